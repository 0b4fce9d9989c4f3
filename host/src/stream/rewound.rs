//! A disk that can only be read from its start, as one that can be read from any offset: what is before it is read once more
//! and dropped.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Chunks, Flow, Ranges, Reading, limited};
use crate::error::Result;

/// A disk of `size` bytes. Whoever brings it must refuse to bring another one than before.
pub(super) struct Rewound {
    pub(super) whole: Arc<dyn Ranges>,
    pub(super) size: u64,
    /// Bytes per second at most, also of what is dropped.
    pub(super) limit: Option<NonZeroU64>,
}

impl Ranges for Rewound {
    fn read(&self, offset: u64, length: u64) -> Reading {
        let (whole, limit) = (self.whole.read(0, self.size), self.limit);
        let to_its_end = offset.saturating_add(length) >= self.size;
        let left = if to_its_end { None } else { Some(length) };
        Box::pin(async move {
            let whole = match (whole.await?, limit) {
                (whole, Some(limit)) => limited(whole, limit.get()),
                (whole, None) => whole,
            };
            Ok(Flow::through(Rest { whole, before: offset, left }))
        })
    }
}

struct Rest {
    whole: Flow,
    /// Bytes that are still to be dropped.
    before: u64,
    /// Bytes that are wanted; none for all that is left, with how it ends.
    left: Option<u64>,
}

impl Chunks for Rest {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if self.left == Some(0) {
                return Poll::Ready(None);
            }
            let mut chunk = match ready!(self.whole.poll_next(cx)) {
                Some(Ok(chunk)) => chunk,
                other => return Poll::Ready(other),
            };
            let dropped = usize::try_from(self.before).unwrap_or(usize::MAX).min(chunk.len());
            self.before -= dropped as u64;
            drop(chunk.split_to(dropped));
            if let Some(left) = &mut self.left {
                chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= chunk.len() as u64;
            }
            if !chunk.is_empty() {
                return Poll::Ready(Some(Ok(chunk)));
            }
        }
    }
}
