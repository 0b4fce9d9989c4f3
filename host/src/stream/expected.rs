//! Flows that must be what was announced: of that length, with that beginning, no longer than what they are made of allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
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

/// Counts the bytes of a flow as they are taken.
#[must_use]
pub fn counted(flow: Flow) -> (Flow, Count) {
    let count = Count(Arc::default());
    (Flow::through(Counted { flow, count: Count(Arc::clone(&count.0)) }), count)
}

/// How many bytes of a flow were taken so far.
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Fails a flow that has at any time given more bytes than `most`, which `excess` is told.
#[must_use]
pub fn no_more_than(
    flow: Flow,
    most: impl Fn() -> u64 + Send + 'static,
    excess: impl Fn(u64) -> Error + Send + 'static,
) -> Flow {
    Flow::through(NoMore { flow, got: 0, most, excess })
}

struct Counted {
    flow: Flow,
    count: Count,
}

impl Chunks for Counted {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = self.flow.poll_next(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.count.0.fetch_add(chunk.len() as u64, Relaxed);
        }
        next
    }
}

struct NoMore<M, E> {
    flow: Flow,
    got: u64,
    most: M,
    excess: E,
}

impl<M, E> Chunks for NoMore<M, E>
where
    M: Fn() -> u64 + Send + 'static,
    E: Fn(u64) -> Error + Send + 'static,
{
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = self.flow.poll_next(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.got = self.got.saturating_add(chunk.len() as u64);
            let most = (self.most)();
            if self.got > most {
                return Poll::Ready(Some(Err((self.excess)(most))));
            }
        }
        next
    }
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

    #[tokio::test]
    async fn more_than_allowed_is_an_error_as_soon_as_it_is_there() {
        let excess = |most| Error::internal(Stage::Compressor, format!("more than {most}"));
        assert_eq!(collect(no_more_than(flow(&[b"ab", b"c"]), || 3, excess)).await.unwrap(), b"abc");
        let (input, count) = counted(flow(&[b"12", b"345"]));
        let mut output = no_more_than(flow(&[b"ab", b"cd", b"e"]), move || count.bytes(), excess);
        let mut input = input;
        input.next().await.unwrap();
        assert_eq!(output.next().await.unwrap().unwrap(), "ab");
        assert!(
            output.next().await.unwrap_err().to_string().contains("more than 2"),
            "nothing more was read meanwhile"
        );
    }
}
