//! A flow as the body of a request, and the clock that tells who is slow.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::error::{Error, Stage};
use crate::net;
use crate::stream::Flow;

/// Who is being waited for while a flow is sent.
#[derive(Clone)]
pub(super) struct SendClock(Arc<Mutex<State>>);

struct State {
    since: Instant,
    waits_for: WaitsFor,
}

#[derive(Clone, Copy, PartialEq)]
enum WaitsFor {
    Flow,
    Registry,
}

/// The body. The last chunk is sent only once the flow has ended well: a registry never has all bytes of a flow that
/// failed at its very end, and hyper does not ask for an end behind a Content-Length.
pub(super) struct FlowBody {
    flow: Flow,
    /// What is still to come; none if nobody knows before the end. Then the body travels in chunks (RFC 9112 §7.1), of which
    /// a flow that fails never sends the last, empty one.
    left: Option<u64>,
    /// The chunk that waits for the next one, or for the end.
    held: Option<Bytes>,
    clock: SendClock,
}

impl SendClock {
    pub(super) fn start() -> Self {
        Self(Arc::new(Mutex::new(State { since: Instant::now(), waits_for: WaitsFor::Registry })))
    }

    /// How long the registry has taken nothing although there was something, or has not answered although it has all.
    pub(super) fn registry_idle(&self) -> Duration {
        let state = self.lock();
        if state.waits_for == WaitsFor::Registry { state.since.elapsed() } else { Duration::ZERO }
    }

    fn now_waits_for(&self, waits_for: WaitsFor) {
        *self.lock() = State { since: Instant::now(), waits_for };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlowBody {
    /// A body of exactly `length` bytes, or of as many as will come.
    pub(super) fn new(flow: Flow, length: Option<u64>, clock: SendClock) -> Self {
        Self { flow, left: length, held: None, clock }
    }
}

impl Body for FlowBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        loop {
            let next = self.flow.poll_next(cx);
            self.clock.now_waits_for(if next.is_pending() { WaitsFor::Flow } else { WaitsFor::Registry });
            let chunk = match next {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(net::carried(error)))),
                Poll::Ready(Some(Ok(chunk))) => chunk,
                Poll::Ready(None) if self.left.is_none_or(|left| left == 0) => {
                    return Poll::Ready(self.held.take().map(|last| Ok(Frame::data(last))));
                }
                Poll::Ready(None) => return Poll::Ready(Some(Err(net::carried(wrong_length())))),
            };
            let Some(left) = self.left else {
                match self.held.replace(chunk) {
                    Some(previous) => return Poll::Ready(Some(Ok(Frame::data(previous)))),
                    None => continue,
                }
            };
            match left.checked_sub(chunk.len() as u64) {
                None => return Poll::Ready(Some(Err(net::carried(wrong_length())))),
                Some(0) => (self.left, self.held) = (Some(0), Some(chunk)),
                left => {
                    self.left = left;
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |held| held.len() as u64);
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }
}

fn wrong_length() -> Error {
    Error::internal(Stage::Upload, "the layer has another length than was computed for it")
}
