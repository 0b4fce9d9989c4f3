//! The stream type of the whole host.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Sleep;

use super::Outcome;
use crate::error::{Error, Result, Stage};

/// Bytes without an outcome: the end says nothing about success. Only a [`Flow`] is fit to be passed on.
pub trait Chunks: Send + 'static {
    /// The next chunk, never empty; none at the end of the bytes.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>>;

    /// This part of the last chunk was not used, and nothing more will be: said before the drop, to whoever cares.
    fn left_over(&mut self, _: Bytes) {}
}

/// When a failure counts that is known before all bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// At once.
    AtOnce,
    /// Behind the bytes in front of it: what is seen of them does not depend on when it became known.
    InPlace,
}

/// A stream of bytes whose end is success: it ends only after its outcome resolved to ok, and fails otherwise.
pub struct Flow {
    steps: Box<dyn Chunks>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Running,
    Ended,
    Failed,
}

impl Flow {
    /// Pairs bytes with their outcome. With `grace`, an outcome that is still open that long after the last byte is the
    /// fault of whoever owes it.
    pub fn new(chunks: impl Chunks, outcome: Outcome, grace: Option<Duration>) -> Self {
        Self::failing(chunks, outcome, grace, Failing::AtOnce)
    }

    /// The same, whose failure counts when `failing` says.
    pub fn failing(chunks: impl Chunks, outcome: Outcome, grace: Option<Duration>, failing: Failing) -> Self {
        Self::through(Paired { chunks, outcome, failing, outcome_ok: false, bytes_ended: false, grace, timer: None })
    }

    /// No bytes, and that is well.
    #[must_use]
    pub fn empty() -> Self {
        Self::through(Nothing)
    }

    /// A step of the host over another flow: its end is the end of that flow, which has seen an outcome.
    pub(super) fn through(steps: impl Chunks) -> Self {
        Self { steps: Box::new(steps), state: State::Running }
    }

    /// The next chunk; none once everything arrived and the outcome is ok.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self.state {
            State::Running => {}
            State::Ended => return Poll::Ready(None),
            State::Failed => return Poll::Ready(Some(Err(polled_after_failure()))),
        }
        let next = self.steps.poll_chunk(cx);
        match &next {
            Poll::Ready(None) => self.state = State::Ended,
            Poll::Ready(Some(Err(_))) => self.state = State::Failed,
            _ => {}
        }
        next
    }

    /// [`Self::poll_next`] as a future.
    ///
    /// # Errors
    /// The failure of the outcome, or of a step.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_next(cx)).await.transpose()
    }
}

struct Nothing;

impl Chunks for Nothing {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(None)
    }
}

fn polled_after_failure() -> Error {
    Error::internal(Stage::Upload, "a flow was read on after it had failed")
}

struct Paired<C> {
    chunks: C,
    outcome: Outcome,
    failing: Failing,
    outcome_ok: bool,
    bytes_ended: bool,
    grace: Option<Duration>,
    timer: Option<std::pin::Pin<Box<Sleep>>>,
}

impl<C: Chunks> Chunks for Paired<C> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // An early failure ends the run at once, an early ok is kept.
        if !self.outcome_ok && (self.failing == Failing::AtOnce || self.bytes_ended) {
            match self.outcome.poll(cx) {
                Poll::Ready(Ok(())) => self.outcome_ok = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {}
            }
        }
        if !self.bytes_ended {
            match self.chunks.poll_chunk(cx) {
                Poll::Ready(None) => self.bytes_ended = true,
                other => return other,
            }
            // The last byte may have set the outcome.
            if !self.outcome_ok {
                match self.outcome.poll(cx) {
                    Poll::Ready(Ok(())) => self.outcome_ok = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Pending => {}
                }
            }
        }
        if self.outcome_ok {
            return Poll::Ready(None);
        }
        let Some(grace) = self.grace else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(grace)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(self.outcome.overdue(grace)))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;

    use super::super::outcome;
    use super::*;
    use crate::error::Code;

    /// Chunks from a list.
    pub(crate) struct Listed(pub VecDeque<Bytes>);

    impl Chunks for Listed {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    /// A flow of these chunks that ends well.
    pub(crate) fn flow(chunks: &[&[u8]]) -> Flow {
        let (setter, outcome) = outcome(Stage::Source, "test");
        setter.set(Ok(()));
        Flow::new(Listed(chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect()), outcome, None)
    }

    /// All bytes of a flow.
    pub(crate) async fn collect(mut flow: Flow) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = flow.next().await? {
            assert!(!chunk.is_empty());
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    fn listed(outcome: Outcome, grace: Option<Duration>) -> Flow {
        Flow::new(Listed([Bytes::from_static(b"abc")].into()), outcome, grace)
    }

    #[tokio::test]
    async fn the_end_counts_only_with_an_ok() {
        assert_eq!(collect(flow(&[b"a", b"bc"])).await.unwrap(), b"abc");
        let (setter, outcome) = outcome(Stage::Source, "test");
        let mut flow = listed(outcome, None);
        assert!(flow.next().await.unwrap().is_some());
        assert!(tokio::time::timeout(Duration::from_millis(20), flow.next()).await.is_err(), "no outcome, no end");
        setter.set(Ok(()));
        assert!(flow.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_early_failure_ends_it_at_once_and_for_good() {
        let (setter, outcome) = outcome(Stage::Source, "test");
        setter.set(Err(Error::new(Code::SourceFailed, Stage::Source, "no")));
        let mut flow = listed(outcome, None);
        assert_eq!(flow.next().await.unwrap_err().code(), Code::SourceFailed);
        assert!(flow.next().await.is_err(), "a failed flow never ends well");
    }

    #[tokio::test]
    async fn a_failure_in_its_place_comes_behind_the_bytes() {
        let (setter, outcome) = outcome(Stage::Source, "test");
        setter.set(Err(Error::new(Code::SourceFailed, Stage::Source, "no")));
        let chunks = Listed([Bytes::from_static(b"abc")].into());
        let mut flow = Flow::failing(chunks, outcome, None, Failing::InPlace);
        assert_eq!(flow.next().await.unwrap().unwrap(), b"abc"[..]);
        assert_eq!(flow.next().await.unwrap_err().code(), Code::SourceFailed);
    }

    #[tokio::test]
    async fn an_outcome_that_nobody_can_set_any_more_is_a_failure() {
        let (setter, outcome) = outcome(Stage::Source, "test");
        drop(setter);
        let mut flow = listed(outcome, None);
        assert_eq!(flow.next().await.unwrap_err().code(), Code::ComponentContract);
    }

    #[tokio::test]
    async fn an_overdue_outcome_is_a_failure() {
        let (_setter, outcome) = outcome(Stage::Source, "test");
        let mut flow = listed(outcome, Some(Duration::from_millis(10)));
        assert!(flow.next().await.unwrap().is_some());
        assert_eq!(flow.next().await.unwrap_err().code(), Code::ComponentContract);
    }
}
