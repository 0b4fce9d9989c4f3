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
    /// The whole body has been taken.
    Answer,
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
        if state.waits_for == WaitsFor::Flow { Duration::ZERO } else { state.since.elapsed() }
    }

    /// Whether the whole body has been taken.
    pub(super) fn all_taken(&self) -> bool {
        self.lock().waits_for == WaitsFor::Answer
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
                    self.clock.now_waits_for(WaitsFor::Answer);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::stream::{Chunks, outcome};

    struct Listed(VecDeque<Bytes>);

    impl Chunks for Listed {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<crate::error::Result<Bytes>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn flow() -> Flow {
        let (setter, ended) = outcome(Stage::Source, "test");
        setter.set(Ok(()));
        Flow::new(Listed([Bytes::from_static(b"ab"), Bytes::from_static(b"c")].into()), ended, None)
    }

    #[tokio::test]
    async fn an_answer_before_the_last_chunk_is_early() {
        for length in [Some(3), None] {
            let clock = SendClock::start();
            let mut body = FlowBody::new(flow(), length, clock.clone());
            let mut frame = async || body.frame().await.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
            assert_eq!(frame().await.as_deref(), Some(b"ab".as_slice()));
            assert!(!clock.all_taken());
            assert_eq!(frame().await.as_deref(), Some(b"c".as_slice()));
            assert!(clock.all_taken(), "hyper asks for no more behind a Content-Length");
            assert!(clock.registry_idle() > Duration::ZERO, "the answer is waited for");
        }
    }

    #[tokio::test]
    async fn a_flow_of_another_length_never_ends_well() {
        for length in [2, 4] {
            let mut body = FlowBody::new(flow(), Some(length), SendClock::start());
            let mut ended = Ok(());
            while let Some(frame) = body.frame().await {
                ended = frame.map(drop);
                if ended.is_err() {
                    break;
                }
            }
            assert!(ended.is_err(), "{length}");
        }
    }
}
