//! Flows that must be what was announced: of that length, with that beginning.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Chunks, Flow};
use crate::error::{Error, Result};

/// Fails a flow that has another length than `bytes`. `mismatch` is told how many came: `7`, `at least 7`.
#[must_use]
pub fn exactly(flow: Flow, bytes: u64, mismatch: impl Fn(&str) -> Error + Send + 'static) -> Flow {
    Flow::through(Exactly { flow, expected: bytes, got: 0, mismatch })
}

/// Fails a flow that does not begin with `magic`.
#[must_use]
pub fn beginning_with(flow: Flow, magic: &'static [u8], otherwise: impl Fn() -> Error + Send + 'static) -> Flow {
    Flow::through(Beginning { flow, left: magic, otherwise })
}

struct Exactly<F> {
    flow: Flow,
    expected: u64,
    got: u64,
    mismatch: F,
}

impl<F: Fn(&str) -> Error + Send + 'static> Chunks for Exactly<F> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = self.flow.poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(chunk))) => {
                self.got = self.got.saturating_add(chunk.len() as u64);
                if self.got > self.expected {
                    return Poll::Ready(Some(Err((self.mismatch)(&format!("at least {}", self.got)))));
                }
            }
            Poll::Ready(None) if self.got < self.expected => {
                return Poll::Ready(Some(Err((self.mismatch)(&self.got.to_string()))));
            }
            _ => {}
        }
        next
    }
}

struct Beginning<F> {
    flow: Flow,
    /// What is still to come of the beginning.
    left: &'static [u8],
    otherwise: F,
}

impl<F: Fn() -> Error + Send + 'static> Chunks for Beginning<F> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = self.flow.poll_next(cx);
        if self.left.is_empty() {
            return next;
        }
        let fits = match &next {
            Poll::Ready(Some(Ok(chunk))) => {
                let (now, later) = self.left.split_at(chunk.len().min(self.left.len()));
                self.left = later;
                chunk.starts_with(now)
            }
            Poll::Ready(None) => false,
            _ => true,
        };
        if fits { next } else { Poll::Ready(Some(Err((self.otherwise)()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::*;
    use crate::error::{Code, Stage};

    fn error(words: &str) -> Error {
        Error::new(Code::DiskLengthMismatch, Stage::Filter, words)
    }

    #[tokio::test]
    async fn another_length_fails_and_says_how_much_came() {
        let run = async |chunks: &[&[u8]]| collect(exactly(flow(chunks), 3, error)).await;
        assert_eq!(run(&[b"ab", b"c"]).await.unwrap(), b"abc");
        assert_eq!(run(&[b"ab"]).await.unwrap_err().to_string(), "2");
        assert_eq!(run(&[]).await.unwrap_err().to_string(), "0");
        assert_eq!(run(&[b"ab", b"cd"]).await.unwrap_err().to_string(), "at least 4");
    }

    #[tokio::test]
    async fn another_beginning_fails_however_it_is_split() {
        let run = async |chunks: &[&[u8]]| collect(beginning_with(flow(chunks), b"abc", || error("no"))).await;
        for chunks in [&[&b"abcd"[..]][..], &[b"a", b"bc"], &[b"abc"], &[b"a", b"b", b"c", b"d"]] {
            assert_eq!(run(chunks).await.unwrap(), chunks.concat());
        }
        for chunks in [&[&b"abx"[..]][..], &[b"a", b"x"], &[b"ab"], &[]] {
            assert!(run(chunks).await.is_err(), "{chunks:?}");
        }
    }
}
