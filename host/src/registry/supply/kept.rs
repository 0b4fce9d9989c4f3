//! Bytes of the layer that are kept in memory.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes of the layer in a row, as they flowed: the last chunk, or the last ones that nobody can bring again.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) bytes: VecDeque<Bytes>,
}

impl Kept {
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.to += chunk.len() as u64;
        self.bytes.push_back(chunk);
    }

    /// Forgets what stands in front of `from`.
    pub(super) fn drop_front(&mut self, from: u64) {
        while let Some(first) = self.bytes.front_mut() {
            let gone = from.saturating_sub(self.from);
            if gone == 0 {
                return;
            }
            let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(first.len());
            drop(first.split_to(gone));
            self.from += gone as u64;
            if first.is_empty() {
                self.bytes.pop_front();
            }
        }
        self.from = from;
    }

    /// Forgets whole chunks in front as long as so many bytes are left.
    pub(super) fn forget_all_but(&mut self, bytes: u64) {
        while let Some(first) = self.bytes.front().map(|first| first.len() as u64) {
            if self.to - self.from - first < bytes {
                return;
            }
            self.from += first;
            self.bytes.pop_front();
        }
    }

    /// The first so many bytes; the same memory, not a copy.
    pub(super) fn first(&self, bytes: u64) -> VecDeque<Bytes> {
        self.part(0, bytes)
    }

    /// So many bytes behind the first `skip`.
    pub(super) fn part(&self, skip: u64, bytes: u64) -> VecDeque<Bytes> {
        let (mut skip, mut left) =
            (usize::try_from(skip).unwrap_or(usize::MAX), usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut part = VecDeque::new();
        for chunk in &self.bytes {
            if left == 0 {
                break;
            }
            let from = chunk.len().min(skip);
            skip -= from;
            let to = chunk.len().min(from.saturating_add(left));
            left -= to - from;
            if to > from {
                part.push_back(chunk.slice(from..to));
            }
        }
        part
    }
}
