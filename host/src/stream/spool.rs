//! A disk on its way, kept in a file of its own: it is taken in as fast as it comes, whoever takes it further and however often.

mod back;

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher as _;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::task::{AbortHandle, spawn_blocking};

use self::back::Back;
use super::{Flow, Ranges, Reading};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::{Meter, WaitsFor, waiting_for};

/// Bytes that are kept in memory, so that whoever keeps up never reads the file. A block more may stand there.
const WINDOW_BYTES: usize = 8 << 20;
/// And the most chunks they come in.
const WINDOW_CHUNKS: usize = 4096;
/// How much is written at once.
const BLOCK_BYTES: usize = 1 << 20;
/// And the most chunks it comes in.
const BLOCK_CHUNKS: usize = 1024;
/// How many names are tried for the file.
const MOST_NAMES: u64 = 16;

/// A file for one disk, which nobody else can open: it has no name any more.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    shown: String,
    most: u64,
}

/// A disk that is being taken in. The taking in ends with the last of these and of the flows read from it.
#[derive(Clone)]
pub struct Spooled {
    state: Arc<State>,
    _taking: Arc<Taking>,
}

struct Taking(AbortHandle);

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct State {
    file: Arc<File>,
    shown: String,
    most: u64,
    meter: Arc<Meter>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// What came last.
    window: VecDeque<Bytes>,
    window_bytes: usize,
    received: u64,
    /// Of them in the file.
    written: u64,
    end: Option<Result<()>>,
    readers: Vec<Waker>,
}

impl Spool {
    /// Makes the file in `folder`, for at most `most` bytes. It is its owner's alone, and loses its name at once: the space is
    /// free again however this process ends.
    ///
    /// # Errors
    /// `local-file`.
    pub fn create(folder: &Path, most: u64) -> Result<Self> {
        let shown = folder.display().to_string();
        let file = nameless(folder).map_err(|why| failed(&shown, "cannot be made", why))?;
        Ok(Self { file: Arc::new(file), shown, most })
    }

    /// The most bytes it takes.
    ///
    /// # Errors
    /// `spool-full` if that is less than `size`.
    pub fn has_room_for(&self, size: u64) -> Result<()> {
        if size <= self.most { Ok(()) } else { Err(full(&self.shown, self.most, &format!("has {size} bytes"))) }
    }

    /// Takes `flow` in, and counts its bytes in `meter`. Must be called in a runtime.
    #[must_use]
    pub fn take(self, flow: Flow, meter: Arc<Meter>) -> Spooled {
        let Self { file, shown, most } = self;
        let state = Arc::new(State { file, shown, most, meter, taken: Mutex::default() });
        let taking = tokio::spawn(take(Arc::clone(&state), flow));
        Spooled { state, _taking: Arc::new(Taking(taking.abort_handle())) }
    }
}

impl Spooled {
    /// Waits until all of it is there: how many bytes that are.
    ///
    /// # Errors
    /// The flow's own, `spool-full`, or `local-file`.
    pub async fn whole(&self) -> Result<u64> {
        std::future::poll_fn(|cx| {
            let mut taken = self.state.lock();
            match &taken.end {
                Some(Ok(())) => Poll::Ready(Ok(taken.received)),
                Some(Err(error)) => Poll::Ready(Err(error.retold())),
                None => {
                    taken.wait(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The disk from its start. What came goes on at once, and what fails ends it at once.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.from(0, None)
    }

    fn from(&self, at: u64, end: Option<u64>) -> Flow {
        Flow::through(Back::new(self.clone(), at, end))
    }
}

/// What has not come yet is waited for.
impl Ranges for Spooled {
    fn read(&self, offset: u64, length: u64) -> Reading {
        Box::pin(std::future::ready(Ok(self.from(offset, Some(offset.saturating_add(length))))))
    }
}

fn nameless(folder: &Path) -> io::Result<File> {
    let mut last = None;
    for number in 0..MOST_NAMES {
        let name = RandomState::new().hash_one(number);
        let path = folder.join(format!(".longshore-spool-{}-{name:016x}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => last = Some(why),
            Err(why) => return Err(why),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

fn failed(shown: &str, what: &str, why: io::Error) -> Error {
    Error::new(Code::LocalFile, Stage::Source, format!("the spool in `{shown}` {what}: {why}")).caused_by(why)
}

fn full(shown: &str, most: u64, what: &str) -> Error {
    let message = format!("the disk {what}, expected at most {most}, which the spool in `{shown}` may take");
    Error::new(Code::SpoolFull, Stage::Source, message).hint("let it take more: --spool-max SIZE")
}

async fn take(state: Arc<State>, flow: Flow) {
    let ended = state.fill(flow).await;
    let mut taken = state.lock();
    taken.end = Some(ended);
    taken.wake();
}

impl State {
    /// Takes the flow in to its end.
    async fn fill(&self, mut flow: Flow) -> Result<()> {
        let mut written = 0_u64;
        loop {
            let mut block = Vec::new();
            let mut bytes = 0_usize;
            let mut ended = false;
            while bytes < BLOCK_BYTES && block.len() < BLOCK_CHUNKS {
                let Some(chunk) = flow.next().await? else {
                    ended = true;
                    break;
                };
                self.received(&chunk)?;
                bytes = bytes.saturating_add(chunk.len());
                block.push(chunk);
            }
            let (file, at) = (Arc::clone(&self.file), written);
            let write = spawn_blocking(move || {
                block.iter().try_fold(at, |at, chunk| {
                    file.write_all_at(chunk, at)?;
                    Ok::<_, io::Error>(at.saturating_add(chunk.len() as u64))
                })
            });
            written = waiting_for(WaitsFor::Spool, write)
                .await
                .unwrap_or_else(|why| Err(io::Error::other(why)))
                .map_err(|why| failed(&self.shown, "cannot be written", why))?;
            self.lock().wrote(written);
            if ended {
                return Ok(());
            }
        }
    }

    fn received(&self, chunk: &Bytes) -> Result<()> {
        let mut taken = self.lock();
        let received = taken.received.saturating_add(chunk.len() as u64);
        if received > self.most {
            return Err(full(&self.shown, self.most, "has more bytes"));
        }
        taken.received = received;
        taken.window_bytes = taken.window_bytes.saturating_add(chunk.len());
        taken.window.push_back(chunk.clone());
        self.meter.passed(chunk.len());
        taken.wake();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// So many bytes are in the file: what is too much in memory may go.
    fn wrote(&mut self, written: u64) {
        self.written = written;
        while self.window_bytes > WINDOW_BYTES || self.window.len() > WINDOW_CHUNKS {
            let Some(first) = self.window.pop_front() else { return };
            self.window_bytes = self.window_bytes.saturating_sub(first.len());
        }
    }

    /// The bytes from `at` on that one chunk in memory has.
    fn in_window(&self, at: u64) -> Option<Bytes> {
        let mut from = self.received.saturating_sub(self.window_bytes as u64);
        for chunk in &self.window {
            let inside = at.checked_sub(from)?;
            match usize::try_from(inside) {
                Ok(inside) if inside < chunk.len() => return Some(chunk.slice(inside..)),
                _ => from = from.saturating_add(chunk.len() as u64),
            }
        }
        None
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if !self.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
            self.readers.push(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        self.readers.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::flow::tests::{Listed, collect};
    use super::super::outcome;
    use super::*;

    fn byte(at: usize) -> u8 {
        (at / 1000 % 251) as u8
    }

    fn disk(size: usize) -> Vec<u8> {
        (0..size).map(byte).collect()
    }

    fn flow(size: usize, chunk: usize) -> Flow {
        let (setter, ended) = outcome(Stage::Source, "test");
        setter.set(Ok(()));
        let bytes = Bytes::from(disk(size));
        Flow::new(Listed(bytes.chunks(chunk).map(|chunk| bytes.slice_ref(chunk)).collect()), ended, None)
    }

    fn spool(most: u64) -> Spool {
        Spool::create(Path::new(env!("OUT_DIR")), most).unwrap()
    }

    #[tokio::test]
    async fn it_gives_out_what_it_took_in_as_often_as_wanted() {
        for (size, chunk) in [(0, 1), (1, 1), (5000, 1), (3 << 20, 77_777), (20 << 20, 1 << 20), (20 << 20, 60_000)] {
            let meter = Arc::<Meter>::default();
            let spooled = spool(20 << 20).take(flow(size, chunk), Arc::clone(&meter));
            // From memory as it comes, or later from the file.
            let first = spooled.flow();
            assert!(collect(first).await.unwrap() == disk(size), "{size} {chunk}");
            assert_eq!(spooled.whole().await.unwrap(), size as u64);
            assert!(collect(spooled.flow()).await.unwrap() == disk(size), "{size} {chunk}");
            assert_eq!(meter.bytes(), size as u64);
            let taken = spooled.state.lock();
            assert!(taken.window_bytes <= WINDOW_BYTES && taken.window.len() <= WINDOW_CHUNKS);
        }
    }

    #[tokio::test]
    async fn nobody_has_to_read_for_it_to_be_taken_in() {
        let spooled = spool(u64::MAX).take(flow(30 << 20, 1 << 20), Arc::default());
        assert_eq!(spooled.whole().await.unwrap(), 30 << 20);
        for (offset, length) in [(0, 10), (5 << 20, 3 << 20), (29 << 20, 1 << 20), ((30 << 20) - 1, 1)] {
            let part = collect(spooled.read(offset, length).await.unwrap()).await.unwrap();
            assert!(part == disk(30 << 20)[offset as usize..(offset + length) as usize], "{offset}");
        }
        let behind = collect(spooled.read(30 << 20, 1).await.unwrap()).await;
        assert_eq!(behind.unwrap_err().code(), Code::Internal, "nothing is made up");
    }

    #[tokio::test]
    async fn a_range_that_has_not_come_yet_is_waited_for() {
        let spooled = spool(u64::MAX).take(flow(9 << 20, 10_000), Arc::default());
        let late = collect(spooled.read(9 << 19, 1000).await.unwrap()).await.unwrap();
        assert!(late == disk(9 << 20)[9 << 19..(9 << 19) + 1000]);
    }

    #[tokio::test]
    async fn more_than_it_may_take_is_refused() {
        assert_eq!(spool(10).has_room_for(11).unwrap_err().code(), Code::SpoolFull);
        assert!(spool(10).has_room_for(10).is_ok());
        let spooled = spool((1 << 20) - 1).take(flow(1 << 20, 1000), Arc::default());
        assert_eq!(spooled.whole().await.unwrap_err().code(), Code::SpoolFull);
        assert_eq!(collect(spooled.flow()).await.unwrap_err().code(), Code::SpoolFull);
    }

    #[tokio::test]
    async fn a_flow_that_fails_fails_everybody_at_once() {
        let (setter, ended) = outcome(Stage::Source, "test");
        let chunks = Listed([Bytes::from_static(b"abc")].into());
        let spooled = spool(100).take(Flow::new(chunks, ended, None), Arc::default());
        let mut early = spooled.flow();
        assert_eq!(early.next().await.unwrap().unwrap(), "abc");
        setter.set(Err(Error::new(Code::SourceTruncated, Stage::Source, "it broke")));
        assert_eq!(early.next().await.unwrap_err().code(), Code::SourceTruncated);
        assert_eq!(collect(spooled.flow()).await.unwrap_err().to_string(), "it broke");
    }

    #[test]
    fn the_file_is_its_owners_and_has_no_name() {
        let folder = Path::new(env!("OUT_DIR")).join(format!("longshore-spool-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let spool = Spool::create(&folder, 1).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let metadata = spool.file.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.nlink()), (0o600, 0));
        fs::remove_dir(&folder).unwrap();
        let error = Spool::create(&folder, 1).unwrap_err();
        assert_eq!(error.code(), Code::LocalFile);
        assert!(error.to_string().contains("longshore-spool-test"), "{error}");
    }
}
