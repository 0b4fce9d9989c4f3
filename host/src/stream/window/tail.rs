//! The last bytes of what flowed past.

use std::collections::VecDeque;

use super::MAX_WINDOW_READ;

/// Holds at most the longest tail that can be asked for. Copies, so that no chunk is kept alive for a few bytes of it.
#[derive(Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let most = MAX_WINDOW_READ as usize;
        let kept = chunk.len().min(most);
        let stale = (self.0.len() + kept).saturating_sub(most);
        self.0.drain(..stale);
        self.0.extend(chunk.iter().skip(chunk.len() - kept));
    }

    /// The last `len` bytes, or all there are.
    pub(super) fn last(&self, len: u32) -> Vec<u8> {
        let skipped = self.0.len().saturating_sub(len as usize);
        self.0.iter().skip(skipped).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_end_however_the_bytes_are_split() {
        let most = MAX_WINDOW_READ as usize;
        let bytes: Vec<u8> = (0..=250).cycle().take(2 * most + 77).collect();
        for chunk in [1, 1000, most - 1, most, most + 1, bytes.len()] {
            let mut tail = Tail::default();
            for chunk in bytes.chunks(chunk.max(97)) {
                tail.push(chunk);
                assert!(tail.0.len() <= most);
            }
            assert_eq!(tail.last(MAX_WINDOW_READ), bytes[bytes.len() - most..], "{chunk}");
            assert_eq!(tail.last(7), bytes[bytes.len() - 7..], "{chunk}");
        }
    }

    #[test]
    fn of_less_it_holds_all() {
        let mut tail = Tail::default();
        assert_eq!(tail.last(5), b"");
        tail.push(b"abc");
        assert_eq!((tail.last(5), tail.last(2), tail.last(0)), (b"abc".to_vec(), b"bc".to_vec(), Vec::new()));
    }
}
