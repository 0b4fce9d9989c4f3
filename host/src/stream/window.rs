//! What a probe sees of a disk that flows past: the ranges it asks for, and nothing of timing.
//!
//! The flow is held back: it advances only while a request is outstanding, no further than that request's end, or once the
//! probe is done. So what a probe sees depends on its requests alone.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Chunks, Flow};
use crate::error::Result;

/// The most bytes one request may ask for.
pub const MAX_WINDOW_READ: u32 = 1 << 20;

/// Whether the disk behind the window could be read elsewhere than where it flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// It could be read by range, which this window does not do.
    Ranged,
    /// Only in order.
    InOrder,
}

/// Why a request cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError {
    /// Too long, out of range, or a second one while the first is outstanding.
    Invalid(&'static str),
    /// The flow has passed it.
    Gone,
    /// Only a range request could answer it.
    Unsupported(&'static str),
    /// The flow failed.
    Io,
}

/// Holds `flow` back for a probe. `size` is the disk's, if known.
#[must_use]
pub fn windowed(flow: Flow, size: Option<u64>, seek: Seek) -> (Flow, Window) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let window = Window { shared: Arc::clone(&shared), size, seek };
    (Flow::through(Gate { flow, held: Bytes::new(), shared }), window)
}

/// The probe's end.
#[derive(Clone)]
pub struct Window {
    shared: Arc<Mutex<Shared>>,
    size: Option<u64>,
    seek: Seek,
}

#[derive(Default)]
struct Shared {
    position: u64,
    answered: u64,
    ended: bool,
    gone: bool,
    released: bool,
    request: Option<Request>,
    gate: Option<Waker>,
}

struct Request {
    offset: u64,
    end: u64,
    bytes: Vec<u8>,
    reply: oneshot::Sender<Vec<u8>>,
}

impl Window {
    /// The size of the disk, if known.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        lock(&self.shared).answered
    }

    /// Whether the flow broke off before its end.
    #[must_use]
    pub fn failed(&self) -> bool {
        lock(&self.shared).gone
    }

    /// Reads `len` bytes at `offset`: fewer at the disk's end, none behind it.
    ///
    /// # Errors
    /// See [`WindowError`]. The request is outstanding from the call, not from the first poll.
    pub fn read_at(&self, offset: u64, len: u32) -> impl Future<Output = Result<Vec<u8>, WindowError>> + Send + use<> {
        let pending = self.request(offset, len);
        async move {
            match pending? {
                Some(reply) => reply.await.map_err(|_| WindowError::Io),
                None => Ok(Vec::new()),
            }
        }
    }

    /// Reads the disk's tail, which a flow cannot show.
    ///
    /// # Errors
    /// Always, until ranges are built.
    pub fn read_tail(&self, len: u32) -> Result<Vec<u8>, WindowError> {
        if len > MAX_WINDOW_READ {
            return Err(WindowError::Invalid("more than 1 MiB was asked for"));
        }
        Err(WindowError::Unsupported("this host answers from the flow only and cannot read the tail"))
    }

    /// Lets the flow go: the probe is done.
    pub fn release(&self) {
        let mut shared = lock(&self.shared);
        shared.released = true;
        shared.request = None;
        shared.wake();
    }

    fn request(&self, offset: u64, len: u32) -> Result<Option<oneshot::Receiver<Vec<u8>>>, WindowError> {
        if len > MAX_WINDOW_READ {
            return Err(WindowError::Invalid("more than 1 MiB was asked for"));
        }
        let end = offset.checked_add(u64::from(len)).ok_or(WindowError::Invalid("the end is out of range"))?;
        let mut shared = lock(&self.shared);
        if shared.request.as_ref().is_some_and(|request| !request.reply.is_closed()) {
            return Err(WindowError::Invalid("another request is outstanding"));
        }
        if offset < shared.position {
            return Err(match self.seek {
                Seek::InOrder => WindowError::Gone,
                Seek::Ranged => WindowError::Unsupported("this host answers from the flow only and cannot go back"),
            });
        }
        if shared.gone {
            return Err(WindowError::Io);
        }
        if len == 0 || shared.ended {
            return Ok(None);
        }
        let (reply, pending) = oneshot::channel();
        shared.request = Some(Request { offset, end, bytes: Vec::new(), reply });
        shared.wake();
        Ok(Some(pending))
    }
}

impl Shared {
    fn wake(&mut self) {
        if let Some(waker) = self.gate.take() {
            waker.wake();
        }
    }

    /// How far the flow may advance.
    fn limit(&self) -> u64 {
        match &self.request {
            _ if self.released => u64::MAX,
            Some(request) if !request.reply.is_closed() => request.end,
            _ => self.position,
        }
    }

    fn advance(&mut self, chunk: &Bytes) {
        let start = self.position;
        self.position = self.position.saturating_add(chunk.len() as u64);
        let Some(request) = &mut self.request else { return };
        let skip = usize::try_from(request.offset.saturating_sub(start)).unwrap_or(usize::MAX);
        if let Some(wanted) = chunk.get(skip..) {
            request.bytes.extend_from_slice(wanted);
        }
        if self.position >= request.end {
            self.answer();
        }
    }

    fn answer(&mut self) {
        if let Some(request) = self.request.take() {
            self.answered = self.answered.saturating_add(request.bytes.len() as u64);
            // Nobody waits any more: the probe has given the request up.
            let _ = request.reply.send(request.bytes);
        }
    }
}

struct Gate {
    flow: Flow,
    /// What was pulled but may not pass yet.
    held: Bytes,
    shared: Arc<Mutex<Shared>>,
}

impl Chunks for Gate {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let allowed = {
            let mut shared = lock(&self.shared);
            shared.gate = Some(cx.waker().clone());
            shared.limit().saturating_sub(shared.position)
        };
        if allowed == 0 {
            return Poll::Pending;
        }
        if self.held.is_empty() {
            match self.flow.poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.held = chunk,
                Poll::Ready(None) => {
                    let mut shared = lock(&self.shared);
                    shared.ended = true;
                    shared.answer();
                    return Poll::Ready(None);
                }
                other => return other,
            }
        }
        let now = usize::try_from(allowed).unwrap_or(usize::MAX).min(self.held.len());
        let chunk = self.held.split_to(now);
        lock(&self.shared).advance(&chunk);
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.gone = !shared.ended;
        shared.request = None;
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::*;

    fn disk() -> Vec<u8> {
        (0..=255).cycle().take(3000).collect()
    }

    fn window_over(chunk: usize, seek: Seek) -> (Flow, Window) {
        let disk = disk();
        let chunks: Vec<&[u8]> = disk.chunks(chunk).collect();
        windowed(flow(&chunks), Some(disk.len() as u64), seek)
    }

    #[tokio::test]
    async fn what_is_seen_does_not_depend_on_how_the_bytes_are_split() {
        for chunk in [1, 7, 512, 2999, 3000] {
            let (flow, window) = window_over(chunk, Seek::InOrder);
            let pulled = tokio::spawn(collect(flow));
            assert_eq!(window.read_at(0, 10).await.unwrap(), disk()[..10]);
            assert_eq!(window.read_at(100, 600).await.unwrap(), disk()[100..700]);
            assert_eq!(window.read_at(2990, 100).await.unwrap(), disk()[2990..]);
            assert_eq!(window.read_at(5000, 100).await.unwrap(), b"");
            window.release();
            assert_eq!(pulled.await.unwrap().unwrap(), disk());
            assert_eq!(window.answered(), 620);
        }
    }

    #[tokio::test]
    async fn the_flow_advances_no_further_than_the_request() {
        let (mut flow, window) = window_over(3000, Seek::InOrder);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(flow.poll_next(&mut cx).is_pending(), "nothing was asked for");
        let first = window.read_at(0, 10);
        let Poll::Ready(Some(Ok(chunk))) = flow.poll_next(&mut cx) else { panic!() };
        assert_eq!(chunk.len(), 10);
        assert!(flow.poll_next(&mut cx).is_pending());
        assert_eq!(first.await.unwrap().len(), 10);
        window.release();
        let Poll::Ready(Some(Ok(chunk))) = flow.poll_next(&mut cx) else { panic!() };
        assert_eq!(chunk.len(), 2990);
    }

    #[tokio::test]
    async fn what_has_passed_is_gone_or_unsupported() {
        for (seek, expected) in [(Seek::InOrder, true), (Seek::Ranged, false)] {
            let (flow, window) = window_over(100, seek);
            let _pulled = tokio::spawn(collect(flow));
            window.read_at(50, 10).await.unwrap();
            let error = window.read_at(59, 1).await.unwrap_err();
            assert_eq!(matches!(error, WindowError::Gone), expected);
            assert_eq!(matches!(error, WindowError::Unsupported(_)), !expected);
            assert!(window.read_at(60, 1).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_request_out_of_bounds_or_a_second_one_is_invalid() {
        let (_flow, window) = window_over(100, Seek::InOrder);
        assert!(matches!(window.read_at(0, MAX_WINDOW_READ + 1).await, Err(WindowError::Invalid(_))));
        assert!(matches!(window.read_at(u64::MAX, 1).await, Err(WindowError::Invalid(_))));
        assert!(matches!(window.read_tail(1), Err(WindowError::Unsupported(_))));
        assert!(matches!(window.read_tail(u32::MAX), Err(WindowError::Invalid(_))));
        let first = window.read_at(0, 1);
        assert!(matches!(window.read_at(0, 1).await, Err(WindowError::Invalid(_))));
        drop(first);
        assert_eq!(window.read_at(0, 0).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_flow_that_is_dropped_fails_the_request() {
        let (flow, window) = window_over(100, Seek::InOrder);
        let pending = window.read_at(0, 1);
        drop(flow);
        assert_eq!(pending.await, Err(WindowError::Io));
        assert_eq!(window.read_at(0, 1).await, Err(WindowError::Io));
    }
}
