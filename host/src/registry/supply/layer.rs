//! What is left of the layer's flow, and where it stands.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::kept::Kept;
use crate::error::{Error, Result, Stage};
use crate::stream::Flow;

/// The most bytes that are kept of a flow that nobody can bring again. What a registry answers early, and what was on its way
/// when a connection broke, is within.
pub(super) const WINDOW_BYTES: u64 = 8 << 20;

/// The flow of a layer, read once.
pub(super) struct Layer {
    flow: Flow,
    /// What is still to come; none if nobody knows before the end.
    left: Option<u64>,
    /// What was more than somebody wanted: it comes next.
    over: Option<Bytes>,
    /// The chunk that waits for the next one, or for the end.
    held: Option<Bytes>,
    ended: bool,
    /// Bytes given out.
    pub(super) position: u64,
    /// The last of them, if nobody can bring them again.
    pub(super) window: Option<Kept>,
    /// Why the flow ended early; whoever was reading it may have been given up since.
    pub(super) failed: Option<Error>,
    pub(super) turn: u64,
}

impl Layer {
    /// Of `length` bytes, if that is known, whose flow begins at `from`. What is given out is kept in `window`.
    pub(super) fn new(flow: Flow, from: u64, length: Option<u64>, window: Option<Kept>) -> Self {
        let left = length.map(|length| length.saturating_sub(from));
        Self { flow, left, over: None, held: None, ended: false, position: from, window, failed: None, turn: 0 }
    }

    /// Whether the flow has ended and all of it was given out.
    pub(super) const fn is_spent(&self) -> bool {
        self.ended && self.held.is_none() && self.over.is_none()
    }

    /// The next bytes, at most so many.
    pub(super) fn poll_at_most(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut chunk = match self.over.take() {
            Some(over) => over,
            None => match self.poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => chunk,
                other => return other,
            },
        };
        if chunk.len() > most {
            self.over = Some(chunk.split_off(most));
        }
        self.gives(&chunk);
        Poll::Ready(Some(Ok(chunk)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if self.ended {
                return Poll::Ready(self.held.take().map(Ok));
            }
            let chunk = match self.flow.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) if self.left.is_none_or(|left| left == 0) => {
                    self.ended = true;
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(Some(Err(wrong_length()))),
                Poll::Ready(Some(Ok(chunk))) => chunk,
            };
            let given = match self.left {
                None => self.held.replace(chunk),
                Some(left) => match left.checked_sub(chunk.len() as u64) {
                    None => return Poll::Ready(Some(Err(wrong_length()))),
                    Some(0) => {
                        (self.left, self.held) = (Some(0), Some(chunk));
                        None
                    }
                    left => {
                        self.left = left;
                        Some(chunk)
                    }
                },
            };
            if let Some(given) = given {
                return Poll::Ready(Some(Ok(given)));
            }
        }
    }

    fn gives(&mut self, chunk: &Bytes) {
        self.position += chunk.len() as u64;
        if let Some(window) = &mut self.window {
            window.push(chunk.clone());
            window.forget_all_but(WINDOW_BYTES);
        }
    }

    /// Ready once it is known whether anything follows: something is held, the flow has ended, or bytes of known number are
    /// still to come.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.ended || self.over.is_some() || self.held.is_some() || self.left.is_some_and(|left| left > 0) {
            return Poll::Ready(Ok(()));
        }
        match self.flow.poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
            Poll::Ready(Some(Ok(_))) if self.left == Some(0) => Poll::Ready(Err(wrong_length())),
            Poll::Ready(Some(Ok(chunk))) => {
                self.held = Some(chunk);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}

fn wrong_length() -> Error {
    Error::internal(Stage::Upload, "the layer has another length than was computed for it")
}
