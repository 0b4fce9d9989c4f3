//! A flow whose chunks all have the same length.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::{Chunks, Flow};
use crate::error::{Error, Result};

/// Passes `flow` on in chunks of `length` bytes, at least one, of which only the last is shorter: what is made of it does not
/// depend on how it came. A failure counts behind the bytes in front of it.
#[must_use]
pub fn even(flow: Flow, length: usize) -> Flow {
    Flow::through(Even { flow, length: length.max(1), chunk: Bytes::new(), part: BytesMut::new(), ended: None })
}

struct Even {
    flow: Flow,
    length: usize,
    /// What came, as far as it was not passed on.
    chunk: Bytes,
    /// The beginning of the next chunk.
    part: BytesMut,
    ended: Option<Option<Error>>,
}

impl Chunks for Even {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if self.part.is_empty() && self.chunk.len() >= self.length {
                return Poll::Ready(Some(Ok(self.chunk.split_to(self.length))));
            }
            let missing = self.length.saturating_sub(self.part.len()).min(self.chunk.len());
            self.part.extend_from_slice(&self.chunk.split_to(missing));
            let whole = self.part.len() == self.length || (self.ended.is_some() && !self.part.is_empty());
            if whole {
                return Poll::Ready(Some(Ok(self.part.split().freeze())));
            }
            match &mut self.ended {
                Some(Some(_)) => return Poll::Ready(self.ended.take().flatten().map(Err)),
                Some(None) => return Poll::Ready(None),
                None => {}
            }
            match self.flow.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(chunk))) => self.chunk = chunk,
                Poll::Ready(None) => self.ended = Some(None),
                Poll::Ready(Some(Err(error))) => self.ended = Some(Some(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::flow;
    use super::super::upto;
    use super::*;

    async fn chunks(mut flow: Flow) -> (Vec<Vec<u8>>, bool) {
        let mut all = Vec::new();
        loop {
            match flow.next().await {
                Ok(Some(chunk)) => all.push(chunk.to_vec()),
                end => return (all, end.is_ok()),
            }
        }
    }

    #[tokio::test]
    async fn chunks_are_the_same_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..100).collect();
        let expected: Vec<Vec<u8>> = bytes.chunks(8).map(<[u8]>::to_vec).collect();
        for length in [1, 3, 7, 8, 9, 16, 99, 100] {
            let split: Vec<&[u8]> = bytes.chunks(length).collect();
            assert_eq!(chunks(even(flow(&split), 8)).await, (expected.clone(), true), "{length}");
            let (cut, _) = upto(flow(&split), 50);
            let before = [&expected[..6], &[bytes[48..50].to_vec()]].concat();
            assert_eq!(chunks(even(cut, 8)).await, (before, false), "{length}");
        }
        assert_eq!(chunks(even(flow(&[]), 8)).await, (Vec::new(), true));
    }
}
