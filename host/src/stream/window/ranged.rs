//! The window over a disk with ranges: every request is a range request of its own, and what was answered is compared
//! with what flows once the probe is done.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::kept::Kept;
use super::{Answer, MAX_RANGED_BYTES, OUTSTANDING, Ranges, WindowError};
use crate::error::{Code, Error, Result, Stage};
use crate::stream::{Chunks, Flow, Helping};

/// What a range counts for at least: requests cost too.
const LEAST_COUNTED: u64 = 4096;

/// Holds `flow` back until the probe is done, then compares it with what was answered.
pub(super) fn compared(flow: Flow, view: Arc<Ranged>) -> Flow {
    Flow::through(Compared { flow, position: 0, view })
}

/// The probe's side.
pub(super) struct Ranged {
    ranges: Arc<dyn Ranges>,
    size: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Kept,
    /// What counts against the limit so far, and how many ranges were asked for.
    counted: u64,
    requests: usize,
    /// Whether there is a request whose answer was not taken yet.
    outstanding: bool,
    released: bool,
    answered: u64,
    /// Why a range could not be read.
    error: Option<Error>,
    gate: Option<Waker>,
}

/// The pieces that were missing for an answer.
type Pieces = Vec<(u64, Vec<u8>)>;

impl Ranged {
    pub(super) fn new(ranges: Arc<dyn Ranges>, size: Option<u64>) -> Arc<Self> {
        Arc::new(Self { ranges, size, state: Mutex::default() })
    }

    pub(super) fn answered(&self) -> u64 {
        self.lock().answered
    }

    pub(super) fn take_error(&self) -> Option<Error> {
        self.lock().error.take()
    }

    pub(super) fn read_tail(self: &Arc<Self>, len: u32, helping: Helping) -> Result<Answer, WindowError> {
        let size = self.size.ok_or(WindowError::Unsupported("the size of the disk is not known"))?;
        self.read_at(size.saturating_sub(u64::from(len)), size, helping)
    }

    pub(super) fn read_at(self: &Arc<Self>, offset: u64, end: u64, helping: Helping) -> Result<Answer, WindowError> {
        let mut state = self.lock();
        if state.outstanding {
            return Err(OUTSTANDING);
        }
        let range = offset..self.size.map_or(end, |size| end.min(size));
        let missing = if range.is_empty() { Vec::new() } else { state.kept.gaps(range.clone()) };
        let counts: u64 = missing.iter().map(|gap| (gap.end - gap.start).max(LEAST_COUNTED)).sum();
        if state.counted.saturating_add(counts) > MAX_RANGED_BYTES {
            return Err(WindowError::Limit);
        }
        state.counted += counts;
        state.requests += missing.len();
        state.outstanding = true;
        drop(state);
        // It goes on whether the probe looks or not: only so can be told who keeps whom waiting.
        let (reply, pieces) = oneshot::channel();
        let (ranges, size) = (Arc::clone(&self.ranges), self.size);
        let task = tokio::spawn(async move {
            let read = pieces_of(&*ranges, missing, size).await;
            drop(helping);
            // A probe that gave up does not want to know.
            let _ = reply.send(read);
        });
        let outstanding = Outstanding { view: Arc::clone(self), task: task.abort_handle() };
        Ok(Box::pin(async move {
            let read = pieces.await.unwrap_or_else(|_| Err(Error::internal(Stage::Source, "a read by range was lost")));
            outstanding.view.take(read, range)
        }))
    }

    /// How many ranges were asked for.
    pub(super) fn requests(&self) -> usize {
        self.lock().requests
    }

    /// How many bytes may still be asked for.
    pub(super) fn left(&self) -> u64 {
        MAX_RANGED_BYTES.saturating_sub(self.lock().counted)
    }

    /// How much of a range, from its start on, is here already; or how much is not.
    pub(super) fn held(&self, range: Range<u64>) -> (bool, u64) {
        match self.lock().kept.gaps(range.clone()).first() {
            Some(gap) if gap.start == range.start => (false, gap.end - gap.start),
            Some(gap) => (true, gap.start - range.start),
            None => (true, range.end.saturating_sub(range.start)),
        }
    }

    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.released = true;
        if let Some(waker) = state.gate.take() {
            waker.wake();
        }
    }

    /// Keeps what was read, and answers with it. Nothing is kept of a request that was given up: it would tell how far
    /// that had come.
    fn take(&self, read: Result<Pieces>, range: Range<u64>) -> Result<Vec<u8>, WindowError> {
        let mut state = self.lock();
        match read {
            Ok(pieces) => {
                for (offset, bytes) in pieces {
                    state.kept.insert(offset, bytes);
                }
                let answer = state.kept.copy(range);
                state.answered = state.answered.saturating_add(answer.len() as u64);
                Ok(answer)
            }
            Err(error) => {
                state.error.get_or_insert(error);
                Err(WindowError::Io)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose answer nobody took yet.
struct Outstanding {
    view: Arc<Ranged>,
    task: AbortHandle,
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.task.abort();
        self.view.lock().outstanding = false;
    }
}

async fn pieces_of(ranges: &dyn Ranges, missing: Vec<Range<u64>>, size: Option<u64>) -> Result<Pieces> {
    let mut pieces = Vec::new();
    for gap in missing {
        let wanted = gap.end - gap.start;
        let bytes = collect(ranges.read(gap.start, wanted).await?, &gap).await?;
        let short = (bytes.len() as u64) < wanted;
        if short && size.is_some() {
            return Err(another_length(&gap, bytes.len() as u64));
        }
        pieces.push((gap.start, bytes));
        if short {
            break;
        }
    }
    Ok(pieces)
}

/// All bytes of a range, and not one more.
async fn collect(mut flow: Flow, range: &Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = flow.next().await? {
        let got = (bytes.len() + chunk.len()) as u64;
        if got > range.end - range.start {
            return Err(another_length(range, got));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn another_length(range: &Range<u64>, got: u64) -> Error {
    let expected = range.end - range.start;
    let message = format!("the source sent {got} bytes for the range at {}, expected {expected}", range.start);
    Error::new(Code::SourceLengthMismatch, Stage::Source, message)
}

struct Compared {
    flow: Flow,
    position: u64,
    view: Arc<Ranged>,
}

impl Chunks for Compared {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        {
            let mut state = self.view.lock();
            if !state.released {
                state.gate = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let next = self.flow.poll_next(cx);
        let checked = match &next {
            Poll::Ready(Some(Ok(chunk))) => self.view.lock().kept.compare(self.position, chunk),
            Poll::Ready(None) => self.view.lock().kept.end(self.position),
            _ => Ok(()),
        };
        if let Err(error) = checked {
            return Poll::Ready(Some(Err(error)));
        }
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.position = self.position.saturating_add(chunk.len() as u64);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{disk, helping};
    use super::super::{MAX_WINDOW_READ, Reading, Seek, Window, windowed};
    use super::*;
    use crate::stream::flow::tests::{collect as all, flow};

    /// A disk of which ranges can be read, and what was asked of it.
    struct Disk {
        bytes: Vec<u8>,
        /// Offset and length.
        asked: Mutex<Vec<(u64, u64)>>,
        broken: bool,
        sends: i64,
    }

    impl Ranges for Disk {
        fn read(&self, offset: u64, length: u64) -> Reading {
            self.asked.lock().unwrap().push((offset, length));
            let at = (offset as usize).min(self.bytes.len());
            let end = ((offset + length) as i64 + self.sends) as usize;
            let part = self.bytes[at..end.min(self.bytes.len())].to_vec();
            let broken = self.broken;
            Box::pin(async move {
                match broken {
                    true => Err(Error::new(Code::SourceDenied, Stage::Source, "no")),
                    false => Ok(flow(&part.chunks(1000).collect::<Vec<_>>())),
                }
            })
        }
    }

    fn ranges(bytes: Vec<u8>) -> Arc<Disk> {
        Arc::new(Disk { bytes, asked: Mutex::default(), broken: false, sends: 0 })
    }

    fn over(disk: &Arc<Disk>, flows: &[u8]) -> (Flow, Window) {
        let chunks: Vec<&[u8]> = flows.chunks(700).collect();
        windowed(flow(&chunks), Some(disk.bytes.len() as u64), Seek::Ranged(Arc::<Disk>::clone(disk)))
    }

    #[tokio::test]
    async fn any_range_is_answered_and_nothing_else_is_asked_for() {
        let ranges = ranges(disk());
        let (flow, window) = over(&ranges, &disk());
        let pulled = tokio::spawn(all(flow));
        let read = |offset, len| window.read_at(offset, len, helping());
        assert_eq!(read(2000, 100).await.unwrap(), disk()[2000..2100]);
        assert_eq!(read(0, 10).await.unwrap(), disk()[..10], "going back");
        assert_eq!(window.read_tail(7, helping()).await.unwrap(), disk()[2993..]);
        assert_eq!(read(2990, 100).await.unwrap(), disk()[2990..]);
        assert_eq!(read(0, 10).await.unwrap(), disk()[..10], "from memory");
        assert_eq!(read(1990, 200).await.unwrap(), disk()[1990..2190]);
        assert_eq!(read(3000, 10).await.unwrap(), b"");
        assert_eq!(read(5, 0).await.unwrap(), b"");
        let asked = [(2000, 100), (0, 10), (2993, 7), (2990, 3), (1990, 10), (2100, 90)];
        assert_eq!(*ranges.asked.lock().unwrap(), asked);
        assert!(!pulled.is_finished(), "nothing flows before the probe is done");
        window.release();
        assert_eq!(pulled.await.unwrap().unwrap(), disk());
        assert_eq!(window.answered(), 100 + 10 + 7 + 10 + 10 + 200);
    }

    #[tokio::test]
    async fn a_tail_longer_than_the_disk_is_the_disk() {
        let ranges = ranges(disk());
        let (_flow, window) = over(&ranges, &disk());
        assert_eq!(window.read_tail(MAX_WINDOW_READ, helping()).await.unwrap(), disk());
        assert_eq!(*ranges.asked.lock().unwrap(), [(0, 3000)]);
    }

    #[tokio::test]
    async fn other_bytes_than_were_answered_do_not_pass() {
        let mut other = disk();
        other[1234] ^= 1;
        let ranges = ranges(disk());
        for (offset, passes) in [(1000, false), (1235, true), (1234, false)] {
            let (flow, window) = over(&ranges, &other);
            window.read_at(offset, 500, helping()).await.unwrap();
            window.release();
            let flowed = all(flow).await;
            assert_eq!(flowed.is_ok(), passes, "{offset}");
            if let Err(error) = flowed {
                assert_eq!(error.code(), Code::SourceInconsistent);
            }
        }
        let (flow, window) = over(&ranges, &disk()[..2999]);
        window.read_tail(1, helping()).await.unwrap();
        window.release();
        assert_eq!(all(flow).await.unwrap_err().code(), Code::SourceInconsistent, "a shorter flow");
    }

    #[tokio::test]
    async fn four_mebibytes_are_the_limit() {
        let big = ranges(vec![7; 8 << 20]);
        let (_flow, window) = over(&big, &[]);
        for part in 0..4 {
            assert_eq!(window.read_at(part << 20, 1 << 20, helping()).await.unwrap().len(), 1 << 20);
        }
        assert_eq!(window.read_at(4 << 20, 1, helping()).await, Err(WindowError::Limit));
        assert_eq!(window.read_tail(1, helping()).await, Err(WindowError::Limit));
        assert_eq!(window.read_at(12, 1 << 20, helping()).await.unwrap().len(), 1 << 20, "it is there already");
        assert_eq!(big.asked.lock().unwrap().len(), 4);
        let (_flow, window) = over(&big, &[]);
        for part in 0..1024 {
            assert_eq!(window.read_at(part * 2, 1, helping()).await.unwrap().len(), 1);
        }
        assert_eq!(window.read_at(5000, 1, helping()).await, Err(WindowError::Limit), "small ranges count for more");
    }

    #[tokio::test]
    async fn what_the_source_says_is_kept_for_the_report() {
        let mut broken = ranges(disk());
        Arc::get_mut(&mut broken).unwrap().broken = true;
        let (_flow, window) = over(&broken, &disk());
        assert_eq!(window.read_at(0, 1, helping()).await, Err(WindowError::Io));
        assert_eq!(window.take_error().unwrap().code(), Code::SourceDenied);
        for sends in [-1, 1] {
            let mut lying = ranges(disk());
            Arc::get_mut(&mut lying).unwrap().sends = sends;
            let (_flow, window) = over(&lying, &disk());
            assert_eq!(window.read_at(0, 100, helping()).await, Err(WindowError::Io));
            assert_eq!(window.take_error().unwrap().code(), Code::SourceLengthMismatch, "{sends}");
        }
    }

    #[tokio::test]
    async fn without_a_size_there_is_no_tail_and_the_end_is_found() {
        let ranges = ranges(disk());
        let window = Window::over(ranges, None);
        assert!(matches!(window.read_tail(1, helping()).await, Err(WindowError::Unsupported(_))));
        assert_eq!(window.read_at(2990, 100, helping()).await.unwrap(), disk()[2990..]);
        assert_eq!(window.read_at(3500, 100, helping()).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn one_request_at_a_time_and_what_is_given_up_is_not_kept() {
        let ranges = ranges(disk());
        let (_flow, window) = over(&ranges, &disk());
        let first = window.read_at(0, 10, helping());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert_eq!(window.read_at(0, 10, helping()).await, Err(OUTSTANDING));
        drop(first);
        assert_eq!(window.read_at(0, 10, helping()).await.unwrap(), disk()[..10]);
        assert_eq!(*ranges.asked.lock().unwrap(), [(0, 10), (0, 10)]);
    }
}
