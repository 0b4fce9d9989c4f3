//! A second reader of what flows, as long as it wants to read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{Chunks, Flow};
use crate::error::{Error, Result, Stage};

/// Lets a second reader have what flows, the very same chunks. The flow waits for it, one chunk behind, until the second one is
/// dropped: from then on the tap costs nothing.
#[must_use]
pub fn tapped(flow: Flow) -> (Flow, Flow, Tapped) {
    let shared = Arc::<Mutex<Shared>>::default();
    let tap = Tap { flow, shared: Some(Arc::clone(&shared)) };
    (Flow::through(tap), Flow::through(Second(Arc::clone(&shared))), Tapped(shared))
}

/// What became of a flow that was tapped.
#[derive(Clone)]
pub struct Tapped(Arc<Mutex<Shared>>);

impl Tapped {
    /// Whether the flow broke off, so that the second reader missed something. The flow itself says why.
    #[must_use]
    pub fn failed(&self) -> bool {
        lock(&self.0).broken
    }
}

#[derive(Default)]
struct Shared {
    /// What the second reader has not taken yet.
    chunk: Option<Bytes>,
    ended: bool,
    broken: bool,
    dropped: bool,
    first: Option<Waker>,
    second: Option<Waker>,
}

/// The flow itself.
struct Tap {
    flow: Flow,
    /// Nothing once nobody else reads.
    shared: Option<Arc<Mutex<Shared>>>,
}

impl Chunks for Tap {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Some(shared) = &self.shared else { return self.flow.poll_next(cx) };
        {
            let mut state = lock(shared);
            if state.dropped {
                drop(state);
                self.shared = None;
                return self.flow.poll_next(cx);
            }
            if state.chunk.is_some() {
                state.first = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let next = self.flow.poll_next(cx);
        let mut state = lock(shared);
        match &next {
            Poll::Pending => return next,
            Poll::Ready(Some(Ok(chunk))) => state.chunk = (!state.dropped).then(|| chunk.clone()),
            Poll::Ready(Some(Err(_))) => state.broken = true,
            Poll::Ready(None) => state.ended = true,
        }
        wake(&mut state.second);
        drop(state);
        next
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut state = lock(shared);
            state.broken |= !state.ended;
            wake(&mut state.second);
        }
    }
}

/// The second reader's.
struct Second(Arc<Mutex<Shared>>);

impl Chunks for Second {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut state = lock(&self.0);
        if let Some(chunk) = state.chunk.take() {
            wake(&mut state.first);
            return Poll::Ready(Some(Ok(chunk)));
        }
        if state.broken {
            return Poll::Ready(Some(Err(Error::internal(
                Stage::Probe,
                "the flow broke off before it was looked into",
            ))));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.second = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        (state.dropped, state.chunk) = (true, None);
        wake(&mut state.first);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::super::upto;
    use super::*;

    const CHUNKS: [&[u8]; 3] = [b"abc", b"d", b"ef"];

    #[tokio::test]
    async fn both_readers_have_all_of_it() {
        let (first, second, tapped) = tapped(flow(&CHUNKS));
        let (first, second) = tokio::join!(collect(first), collect(second));
        assert_eq!((first.unwrap(), second.unwrap()), (b"abcdef".to_vec(), b"abcdef".to_vec()));
        assert!(!tapped.failed());
    }

    #[tokio::test]
    async fn the_flow_waits_for_the_second_reader_and_no_longer_than_it_reads() {
        let (mut first, mut second, tapped) = tapped(flow(&CHUNKS));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(second.poll_next(&mut cx).is_pending(), "it pulls nothing itself");
        assert!(matches!(first.poll_next(&mut cx), Poll::Ready(Some(Ok(_)))));
        assert!(first.poll_next(&mut cx).is_pending(), "one chunk is held");
        assert_eq!(second.next().await.unwrap().unwrap(), b"abc"[..]);
        assert!(matches!(first.poll_next(&mut cx), Poll::Ready(Some(Ok(_)))));
        let waiting = tokio::spawn(collect(first));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        assert_eq!(waiting.await.unwrap().unwrap(), b"ef");
        assert!(!tapped.failed());
    }

    #[tokio::test]
    async fn a_flow_that_breaks_off_or_is_dropped_is_told() {
        let (first, mut second, cut) = tapped(upto(flow(&CHUNKS), 3).0);
        let (first, _) = tokio::join!(collect(first), second.next());
        assert!(first.is_err() && second.next().await.is_err() && cut.failed());
        let (mut first, mut second, dropped) = tapped(flow(&CHUNKS));
        first.next().await.unwrap();
        drop(first);
        assert_eq!(second.next().await.unwrap().unwrap(), b"abc"[..], "what came is there");
        assert!(second.next().await.is_err() && dropped.failed());
    }
}
