//! The beginning of a flow, and the knowledge that there is more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Chunks, Flow};
use crate::error::{Error, Result, Stage};

/// Passes the first `most` bytes of `flow` on. If there are more it fails behind them, which is no fault of anybody's: whoever
/// sees it fail asks the [`Cut`].
#[must_use]
pub fn upto(flow: Flow, most: u64) -> (Flow, Cut) {
    let cut = Cut::default();
    (Flow::through(Upto { flow, left: most, more: false, cut: cut.clone() }), cut)
}

/// Whether a flow was cut.
#[derive(Clone, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Whether there was more.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// There is more. Gives what a flow then fails with.
    pub(super) fn reach(&self) -> Error {
        self.0.store(true, Relaxed);
        Error::internal(Stage::Probe, "only the beginning of a flow was looked at")
    }
}

struct Upto {
    flow: Flow,
    left: u64,
    /// Whether a chunk went on behind what is left.
    more: bool,
    cut: Cut,
}

impl Chunks for Upto {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.more {
            return Poll::Ready(Some(Err(self.cut.reach())));
        }
        let mut next = self.flow.poll_next(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &mut next {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            self.more = chunk.len() > most;
            chunk.truncate(most);
            self.left = self.left.saturating_sub(chunk.len() as u64);
            if chunk.is_empty() {
                return Poll::Ready(Some(Err(self.cut.reach())));
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::flow;
    use super::*;

    #[tokio::test]
    async fn only_what_has_more_is_cut() {
        for (chunks, most, expected, is_cut) in [
            (&[&b"abc"[..], b"def"][..], 2, &b"ab"[..], true),
            (&[b"abc", b"def"], 3, b"abc", true),
            (&[b"abc", b"def"], 4, b"abcd", true),
            (&[b"abc", b"def"], 6, b"abcdef", false),
            (&[b"abc", b"def"], 7, b"abcdef", false),
            (&[], 0, b"", false),
            (&[b"a"], 0, b"", true),
        ] {
            let (mut flow, cut) = upto(flow(chunks), most);
            let mut all = Vec::new();
            let end = loop {
                match flow.next().await {
                    Ok(Some(chunk)) => all.extend_from_slice(&chunk),
                    end => break end,
                }
            };
            assert_eq!((&all[..], end.is_err(), cut.is_reached()), (expected, is_cut, is_cut), "{most} of {chunks:?}");
        }
    }
}
