//! `local`: the one granted file, block device or standard input as a source component sees it. What a file has as holes is not
//! read.

mod extents;

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::coop::poll_proceed;
use tokio::task::{JoinHandle, spawn_blocking};
use wasmtime::component::{Access, FutureReader, StreamReader};

use extents::{Extent, has_sound_holes};

use super::brought::{Brought, BroughtBytes};
use super::fetch::{Nothing, SourceView};
use super::source::SourceState;
use crate::bindings::{Failure, local};
use crate::engine::{HostStream, StoreState, host_future};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::{Waiting, WaitsFor};
use crate::stream::{Chunks, Helping, Pulse, zeros};

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// What a source may read on this machine.
#[derive(Clone, Debug)]
pub struct LocalGrant {
    input: Input,
    size: Option<u64>,
}

#[derive(Clone, Debug)]
enum Input {
    Opened(Opened),
    Standard { taken: Arc<AtomicBool> },
    Brought(Brought),
}

/// A file or device, open for reading and never for anything else.
#[derive(Clone, Debug)]
struct Opened {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    /// Of a regular file. A device has nothing that changes with its content.
    revision: Option<String>,
    /// Whether its holes are believed.
    holes: bool,
}

impl LocalGrant {
    /// Opens a regular file or a block device, whose size is where its end is.
    ///
    /// # Errors
    /// `source-not-found`, `source-failed`; `usage` for what is neither.
    pub fn file(path: &Path) -> Result<Self> {
        let failed = |why: io::Error| {
            let code = match why.kind() {
                io::ErrorKind::NotFound => Code::SourceNotFound,
                _ => Code::SourceFailed,
            };
            Error::new(code, Stage::Source, format!("`{}` cannot be opened: {why}", path.display())).caused_by(why)
        };
        // Looked at before it is opened, as opening a pipe would wait for its writer; and after, as it may be another now.
        readable(path, std::fs::metadata(path).map_err(failed)?.file_type())?;
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        readable(path, metadata.file_type())?;
        let (size, revision) = if metadata.is_file() {
            (metadata.len(), Some(revision(&metadata)))
        } else {
            (end_of(&file).map_err(failed)?, None)
        };
        if size == 0 && revision.is_none() {
            let message = format!("the device `{}` holds no bytes: nothing is attached to it", path.display());
            return Err(Error::new(Code::SourceFailed, Stage::Source, message));
        }
        let holes = revision.is_some() && has_sound_holes(&file);
        let opened = Opened { file: Arc::new(file), path: path.to_owned(), size, revision, holes };
        Ok(Self { input: Input::Opened(opened), size: Some(size) })
    }

    /// Standard input, with the size the user named.
    #[must_use]
    pub fn standard_input(size: Option<u64>) -> Self {
        Self { input: Input::Standard { taken: Arc::default() }, size }
    }

    /// What somebody brings while it is read, with its size if that is known.
    #[must_use]
    pub const fn brought(brought: Brought, size: Option<u64>) -> Self {
        Self { input: Input::Brought(brought), size }
    }

    /// Whether it is a block device.
    pub(super) const fn is_device(&self) -> bool {
        matches!(&self.input, Input::Opened(Opened { revision: None, .. }))
    }

    fn revision(&self) -> Option<String> {
        match &self.input {
            Input::Opened(opened) => opened.revision.clone(),
            Input::Standard { .. } | Input::Brought(_) => None,
        }
    }

    fn open(
        &self,
        offset: u64,
        length: Option<u64>,
        pulse: &Pulse,
        outcome: Sender,
    ) -> Result<Opening, (Failure, Sender)> {
        let (reader, end) = match &self.input {
            Input::Opened(opened) => {
                let size = opened.size;
                if offset > size {
                    let words = format!("offset {offset} is behind the end of a disk of {size} bytes");
                    return Err((Failure::Invalid(words), outcome));
                }
                let end = length.map_or(size, |length| offset.saturating_add(length));
                (Reader::Opened(opened.clone()), Some(end))
            }
            Input::Standard { taken } => {
                if offset != 0 || taken.swap(true, Ordering::Relaxed) {
                    let words = "standard input can be read once, from its start".to_owned();
                    return Err((Failure::Gone(words), outcome));
                }
                (Reader::Standard, length)
            }
            Input::Brought(brought) => {
                let Some(incoming) = brought.take().filter(|_| offset == 0) else {
                    let words = "the upload can be read once, from its start".to_owned();
                    return Err((Failure::Gone(words), outcome));
                };
                return Ok(Opening::Brought(BroughtBytes::new(incoming, length, pulse, outcome)));
            }
        };
        Ok(Opening::Local(LocalBytes {
            reader,
            offset,
            end,
            extent: Extent::Data(offset),
            job: None,
            outcome: Some(outcome),
            pulse: pulse.clone(),
            helping: None,
            waiting: Waiting::new(WaitsFor::DiskReads),
        }))
    }
}

/// Refuses what is neither a regular file nor a block device, by name.
fn readable(path: &Path, kind: FileType) -> Result<()> {
    let (what, hint) = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        ("a directory", None)
    } else if kind.is_fifo() {
        // Which of two readers gets a byte of a pipe is chance: it is read where its owner points it to.
        (
            "a named pipe",
            Some("what comes through a pipe is read from standard input: import - DESTINATION --size BYTES < PIPE"),
        )
    } else if kind.is_char_device() {
        (
            "a character device",
            Some("a disk on this machine is a block device; bytes from elsewhere come through standard input: -"),
        )
    } else if kind.is_socket() {
        ("a socket", None)
    } else {
        ("of an unknown kind", None)
    };
    let message = format!("SOURCE `{}` is {what}, expected a regular file or a block device", path.display());
    let error = Error::new(Code::Usage, Stage::Source, message);
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

/// Where the last byte ends. The length in a device's metadata is 0.
fn end_of(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Inode, length and modification time: what changes when somebody writes or replaces the file.
fn revision(metadata: &Metadata) -> String {
    format!("{:x}-{:x}-{:x}.{:09}", metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// What a read of it brings.
enum Opening {
    Local(LocalBytes),
    Brought(BroughtBytes),
}

pub(super) type Sender = oneshot::Sender<Result<(), Failure>>;

#[derive(Clone)]
enum Reader {
    Opened(Opened),
    Standard,
}

/// What a job has found.
enum Read {
    Bytes(Bytes, Extent),
    /// Zeros that are not there to be read.
    Hole(Extent),
}

/// Bytes read in the blocking pool, one job at a time.
struct LocalBytes {
    reader: Reader,
    offset: u64,
    /// Where to stop; none = at the end of the input.
    end: Option<u64>,
    /// What is known of what stands there; nothing, of data that end at the offset.
    extent: Extent,
    job: Option<JoinHandle<io::Result<Read>>>,
    outcome: Option<Sender>,
    pulse: Pulse,
    helping: Option<Helping>,
    waiting: Waiting,
}

impl LocalBytes {
    fn finish(&mut self, outcome: Result<(), Failure>) -> Poll<Option<Result<Bytes>>> {
        if let Some(sender) = self.outcome.take() {
            // The component dropped the outcome: it does not want to know.
            let _ = sender.send(outcome);
        }
        Poll::Ready(None)
    }

    /// At the end of the input: is it still what was opened, and is that where it should end?
    fn verdict(&self) -> Result<(), Failure> {
        if let Reader::Opened(opened) = &self.reader {
            opened.unchanged()?;
        }
        match self.end {
            Some(end) if self.offset < end => {
                Err(Failure::Io(format!("{} ended after {} bytes, expected {end}", self.reader.shown(), self.offset)))
            }
            _ => Ok(()),
        }
    }
}

impl Chunks for LocalBytes {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.outcome.is_none() {
            return Poll::Ready(None);
        }
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.offset));
        if left == 0 {
            let verdict = self.verdict();
            return self.finish(verdict);
        }
        if let Extent::Hole(until) = self.extent
            && until > self.offset
        {
            // Others are to have their turn in between, as while something is read.
            ready!(poll_proceed(cx)).made_progress();
            let zeros = zeros(left.min(until - self.offset));
            self.offset = self.offset.saturating_add(zeros.len() as u64);
            return Poll::Ready(Some(Ok(zeros)));
        }
        let (reader, offset, extent) = (&self.reader, self.offset, self.extent);
        let job = self.job.get_or_insert_with(|| {
            let reader = reader.clone();
            let most = left.min(READ_BYTES as u64);
            spawn_blocking(move || reader.read(offset, most, extent))
        });
        if job.is_finished() {
            self.helping = None;
        } else {
            let pulse = &self.pulse;
            self.helping.get_or_insert_with(|| pulse.helping());
        }
        let read = Pin::new(job).poll(cx);
        self.waiting.set(read.is_pending());
        let read = ready!(read);
        (self.job, self.helping) = (None, None);
        match read {
            Ok(Ok(Read::Hole(hole))) => {
                self.extent = hole;
                self.poll_chunk(cx)
            }
            Ok(Ok(Read::Bytes(bytes, _))) if bytes.is_empty() => {
                let verdict = self.verdict();
                self.finish(verdict)
            }
            Ok(Ok(Read::Bytes(bytes, extent))) => {
                self.extent = extent;
                self.offset = self.offset.saturating_add(bytes.len() as u64);
                Poll::Ready(Some(Ok(bytes)))
            }
            Ok(Err(why)) => {
                let words = format!("{} cannot be read at {}: {why}", self.reader.shown(), self.offset);
                self.finish(Err(Failure::Io(words)))
            }
            Err(why) => self.finish(Err(Failure::Other(format!("the reading job ended: {why}")))),
        }
    }
}

impl Reader {
    fn shown(&self) -> String {
        match self {
            Self::Opened(opened) => format!("`{}`", opened.path.display()),
            Self::Standard => "standard input".to_owned(),
        }
    }

    /// Reads up to `most` bytes at `offset`, where `extent` is, as far as that is known.
    fn read(&self, offset: u64, most: u64, extent: Extent) -> io::Result<Read> {
        let extent = match (self, extent) {
            (Self::Opened(opened), Extent::Data(until) | Extent::Hole(until)) if until <= offset => {
                match opened.holes {
                    true => Extent::at(&opened.file, offset),
                    false => Extent::Data(u64::MAX),
                }
            }
            (_, extent) => extent,
        };
        let most = match extent {
            Extent::Hole(_) => return Ok(Read::Hole(extent)),
            Extent::Data(until) if until > offset => most.min(until - offset),
            Extent::Data(_) => most,
        };
        let mut bytes = vec![0; usize::try_from(most).unwrap_or(READ_BYTES)];
        loop {
            let read = match self {
                Self::Opened(opened) => opened.file.read_at(&mut bytes, offset),
                Self::Standard => io::stdin().read(&mut bytes),
            };
            match read {
                Ok(read) => {
                    bytes.truncate(read);
                    return Ok(Read::Bytes(bytes.into(), extent));
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
    }
}

impl Opened {
    fn unchanged(&self) -> Result<(), Failure> {
        let same = match &self.revision {
            Some(before) => self.file.metadata().map(|metadata| revision(&metadata) == *before),
            None => end_of(&self.file).map(|size| size == self.size),
        };
        match same {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::Changed(format!("`{}` was written to while it was read", self.path.display()))),
            Err(why) => Err(Failure::Io(format!("`{}` cannot be looked at: {why}", self.path.display()))),
        }
    }
}

impl local::Host for StoreState<SourceState> {
    fn size(&mut self) -> wasmtime::Result<Option<u64>> {
        Ok(self.stage.grant.local.as_ref().and_then(|local| local.size))
    }

    fn revision(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.stage.grant.local.as_ref().and_then(LocalGrant::revision))
    }
}

impl local::HostWithStore<StoreState<SourceState>> for SourceView {
    fn open(
        mut host: Access<StoreState<SourceState>, Self>,
        offset: u64,
        length: Option<u64>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), Failure>>)> {
        let state = host.get();
        let (sender, outcome) = oneshot::channel();
        let opened = match &state.stage.grant.local {
            Some(local) => local.open(offset, length, &state.pulse, sender),
            None => Err((Failure::Denied("no file was granted to this component".to_owned()), sender)),
        };
        let stream = match opened {
            Ok(Opening::Local(bytes)) => HostStream::new(bytes),
            Ok(Opening::Brought(bytes)) => HostStream::new(bytes),
            Err((failure, sender)) => {
                let _ = sender.send(Err(failure));
                HostStream::new(Nothing)
            }
        };
        let stream = StreamReader::new(&mut host, stream)?;
        let gone = || Failure::Other("the read was given up".to_owned());
        let outcome = host_future(&mut host, async move { outcome.await.unwrap_or_else(|_| Err(gone())) })?;
        Ok((stream, outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str) -> Error {
        LocalGrant::file(Path::new(path)).unwrap_err()
    }

    #[test]
    fn what_is_neither_file_nor_device_is_refused_by_name() {
        for (path, what) in [("/dev/null", "a character device"), ("/tmp", "a directory"), ("/dev", "a directory")] {
            let error = refused(path);
            assert_eq!(error.code(), Code::Usage);
            assert!(error.to_string().contains(what), "{error}");
        }
        assert_eq!(refused("/nonexistent").code(), Code::SourceNotFound);
    }

    #[test]
    fn the_end_is_found_by_seeking_and_reading_starts_anywhere() {
        // What a device is asked, asked of memory: a test without privileges has no device.
        let memory = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::empty()).unwrap();
        let file = File::from(memory);
        file.write_all_at(&[7; 5000], 0).unwrap();
        let size = end_of(&file).unwrap();
        assert_eq!(size, 5000);
        let device = Opened { file: Arc::new(file), path: "/dev/memory".into(), size, revision: None, holes: true };
        assert!(device.unchanged().is_ok());
        let reader = Reader::Opened(device.clone());
        let read = |offset| match reader.read(offset, 100, Extent::Data(offset)).unwrap() {
            Read::Bytes(bytes, _) => bytes.len(),
            Read::Hole(_) => panic!("a hole"),
        };
        assert_eq!(read(0), 100, "seeking does not move where it is read");
        assert_eq!(read(4990), 10);
        device.file.set_len(4000).unwrap();
        assert!(matches!(device.unchanged(), Err(Failure::Changed(_))));
    }

    /// A sparse file, as its reader sees it from `offset` on: every byte, and how many of them were not read.
    async fn seen(file: &Arc<File>, holes: bool, offset: u64, length: Option<u64>) -> (Vec<u8>, u64) {
        let size = file.metadata().unwrap().len();
        let opened = Opened { file: Arc::clone(file), path: "/sparse".into(), size, revision: None, holes };
        let grant = LocalGrant { input: Input::Opened(opened), size: Some(size) };
        let (sender, outcome) = oneshot::channel();
        let Ok(Opening::Local(mut bytes)) = grant.open(offset, length, &Pulse::default(), sender) else { panic!() };
        let (mut all, mut unread) = (Vec::new(), 0);
        while let Some(chunk) = std::future::poll_fn(|cx| bytes.poll_chunk(cx)).await {
            let chunk = chunk.unwrap();
            if chunk.as_ptr() == zeros(1).as_ptr() {
                unread += chunk.len() as u64;
            }
            all.extend_from_slice(&chunk);
        }
        outcome.await.unwrap().unwrap();
        (all, unread)
    }

    #[tokio::test]
    async fn holes_are_zeros_that_nobody_reads() {
        const MIB: u64 = 1 << 20;
        let file = File::from(rustix::fs::memfd_create("sparse", rustix::fs::MemfdFlags::empty()).unwrap());
        file.set_len(9 * MIB + 7).unwrap();
        for at in [0, 3 * MIB + 100, 3 * MIB + 9000, 6 * MIB] {
            file.write_all_at(&[9; 5000], at).unwrap();
        }
        let mut whole = vec![0; 9 * MIB as usize + 7];
        file.read_exact_at(&mut whole, 0).unwrap();
        let file = Arc::new(file);
        let (all, unread) = seen(&file, false, 0, None).await;
        assert!(all == whole && unread == 0, "{unread} bytes of holes that are not believed were not read");
        let (all, unread) = seen(&file, true, 0, None).await;
        assert!(all == whole);
        assert!(unread > 8 * MIB, "only {unread} bytes were not read");
        for (offset, length) in
            [(1, 5000), (MIB, 2 * MIB + 101), (3 * MIB, 100), (5 * MIB, MIB), (9 * MIB, 7), (9 * MIB + 7, 0)]
        {
            let (some, _) = seen(&file, true, offset, Some(length)).await;
            assert!(some == whole[offset as usize..][..length as usize], "{offset} {length}");
        }
    }

    #[test]
    fn a_file_has_a_revision_and_a_device_has_none() {
        let grant = LocalGrant::file(Path::new("/etc/passwd")).unwrap();
        assert!(grant.revision().is_some() && !grant.is_device());
        assert_eq!(grant.size, Some(std::fs::metadata("/etc/passwd").unwrap().len()));
    }
}
