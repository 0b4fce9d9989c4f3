//! The layer as the body of a request, and the clock that tells who is slow.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::supply::{Before, Lent};
use crate::net;
use crate::observe::Repeats;

/// Who is being waited for while a piece is sent, and how far it is.
#[derive(Clone)]
pub(super) struct SendClock(Arc<Mutex<State>>);

struct State {
    since: Instant,
    waits_for: WaitsFor,
    /// Up to where in the layer bytes were given to the connection.
    handed: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum WaitsFor {
    Flow,
    Registry,
    /// The whole body has been taken.
    Answer,
}

/// The body: what flowed already, then the flow itself.
pub(super) struct FlowBody {
    before: Option<Before>,
    lent: Option<Lent>,
    /// What is still to come; none if nobody knows before the end. Then the body travels in chunks (RFC 9112 §7.1), of which
    /// a flow that fails never sends the last, empty one.
    left: Option<u64>,
    clock: SendClock,
    /// Up to where in the layer bytes were sent by an earlier request, and who counts what is sent once more.
    sent_before: u64,
    repeats: Arc<Repeats>,
}

impl SendClock {
    /// For a piece that begins at `from` in the layer.
    pub(super) fn start(from: u64) -> Self {
        Self(Arc::new(Mutex::new(State { since: Instant::now(), waits_for: WaitsFor::Registry, handed: from })))
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

    /// Up to where in the layer bytes were given to the connection.
    pub(super) fn handed(&self) -> u64 {
        self.lock().handed
    }

    /// Gives up to where that was before these bytes.
    fn now_waits_for(&self, waits_for: WaitsFor, gives: usize) -> u64 {
        let mut state = self.lock();
        let before = state.handed;
        *state = State { since: Instant::now(), waits_for, handed: before.saturating_add(gives as u64) };
        before
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlowBody {
    /// A body of exactly `length` bytes, or of as many as will come. Up to `sent_before` they were sent once.
    pub(super) fn new(
        (before, lent): (Option<Before>, Option<Lent>),
        length: Option<u64>,
        clock: SendClock,
        sent_before: u64,
        repeats: Arc<Repeats>,
    ) -> Self {
        // hyper asks an empty body for nothing.
        if length == Some(0) {
            clock.now_waits_for(WaitsFor::Answer, 0);
        }
        Self { before, lent, left: length, clock, sent_before, repeats }
    }

    /// The next bytes, no more than are still to come.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<crate::error::Result<Bytes>>> {
        let most = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Poll::Ready(None);
        }
        let before = match &mut self.before {
            Some(Before::Kept(bytes)) => Poll::Ready(bytes.pop_front().map(Ok)),
            Some(Before::Again(again)) => again.poll_next(cx),
            None => Poll::Ready(None),
        };
        if !matches!(before, Poll::Ready(None)) {
            return before.map_ok(|mut chunk| {
                chunk.truncate(most);
                chunk
            });
        }
        self.before = None;
        self.lent.as_ref().map_or(Poll::Ready(None), |lent| lent.poll_at_most(most, cx))
    }

    /// Whether all of it has been given out.
    fn is_spent(&self) -> bool {
        match self.left {
            Some(left) => left == 0,
            None => self.lent.as_ref().is_none_or(Lent::is_spent),
        }
    }
}

impl Body for FlowBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let chunk = match self.poll_chunk(cx) {
            Poll::Pending => {
                self.clock.now_waits_for(WaitsFor::Flow, 0);
                return Poll::Pending;
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(net::carried(error)))),
            Poll::Ready(Some(Ok(chunk))) => chunk,
            Poll::Ready(None) => {
                self.clock.now_waits_for(WaitsFor::Answer, 0);
                return Poll::Ready(None);
            }
        };
        self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
        let waits_for = if self.is_spent() { WaitsFor::Answer } else { WaitsFor::Registry };
        let from = self.clock.now_waits_for(waits_for, chunk.len());
        if from < self.sent_before {
            let twice = usize::try_from(self.sent_before - from).unwrap_or(usize::MAX).min(chunk.len());
            self.repeats.sent_twice(twice);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt as _;

    use super::super::supply::Supply;
    use super::super::supply::tests::flow;
    use super::*;

    #[tokio::test]
    async fn an_answer_before_the_last_chunk_is_early() {
        for length in [Some(3), None] {
            let clock = SendClock::start(0);
            let mut supply = Supply::new(flow(b"abc", 2), 0, length, None, false);
            let (before, lent) = supply.rest(0).await.unwrap().unwrap();
            let mut body = FlowBody::new((before, Some(lent)), length, clock.clone(), 0, Arc::default());
            let mut frame = async || body.frame().await.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
            assert_eq!(frame().await.as_deref(), Some(b"ab".as_slice()));
            assert!(!clock.all_taken());
            assert_eq!(frame().await.as_deref(), Some(b"c".as_slice()));
            assert!(clock.all_taken(), "hyper asks for no more behind a Content-Length");
            assert!(clock.registry_idle() > Duration::ZERO, "the answer is waited for");
            assert_eq!(clock.handed(), 3);
        }
    }

    #[tokio::test]
    async fn what_is_sent_once_more_is_counted() {
        let repeats = Arc::<Repeats>::default();
        let kept = VecDeque::from([Bytes::from_static(b"abcd"), Bytes::from_static(b"efgh")]);
        let clock = SendClock::start(100);
        let mut body = FlowBody::new((Some(Before::Kept(kept)), None), Some(8), clock.clone(), 106, repeats.clone());
        while let Some(frame) = body.frame().await {
            frame.unwrap();
        }
        assert_eq!((repeats.bytes_sent_twice(), clock.handed()), (6, 108));
        assert!(clock.all_taken());
    }

    #[tokio::test]
    async fn a_body_ends_where_its_piece_does_and_the_next_one_has_the_rest() {
        let mut supply = Supply::new(flow(b"abcdefghij", 4), 0, Some(10), None, false);
        let mut all = Vec::new();
        for (from, length) in [(0, 3), (3, 3), (6, 4)] {
            let parts = supply.rest(from).await.unwrap().unwrap();
            let clock = SendClock::start(from);
            let mut body = FlowBody::new((parts.0, Some(parts.1)), Some(length), clock.clone(), from, Arc::default());
            let before = all.len();
            while let Some(frame) = body.frame().await {
                all.extend(frame.unwrap().into_data().unwrap());
            }
            assert_eq!((all.len() - before) as u64, length);
            assert!(clock.all_taken() && clock.handed() == from + length && supply.position() == from + length);
        }
        assert_eq!(all, b"abcdefghij");
        // What flowed already has its end too.
        let (before, lent) = supply.rest(2).await.unwrap().unwrap();
        let mut body = FlowBody::new((before, Some(lent)), Some(3), SendClock::start(2), 10, Arc::default());
        let mut again = Vec::new();
        while let Some(frame) = body.frame().await {
            again.extend(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(again, b"cde");
    }

    #[tokio::test]
    async fn an_empty_body_is_taken_at_once() {
        let clock = SendClock::start(5);
        drop(FlowBody::new((None, None), Some(0), clock.clone(), 5, Arc::default()));
        assert!(clock.all_taken());
    }
}
