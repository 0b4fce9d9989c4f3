//! Input that is kept until enough of it is there.

/// Bytes that were taken and not used yet.
#[derive(Debug, Default)]
pub struct Pending {
    bytes: Vec<u8>,
    /// Where what is not used begins.
    from: usize,
}

impl Pending {
    /// Takes from the front of `input` until it holds `most` bytes. Says how many it took.
    pub fn fill(&mut self, input: &[u8], most: usize) -> usize {
        let room = most.saturating_sub(self.held().len());
        let more = input.get(..room).unwrap_or(input);
        if !more.is_empty() {
            self.bytes.drain(..self.from);
            self.from = 0;
            self.bytes.extend_from_slice(more);
        }
        more.len()
    }

    /// What it holds.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    /// Lets go of so many bytes.
    pub fn used(&mut self, bytes: usize) {
        self.from = self.from.saturating_add(bytes).min(self.bytes.len());
        if self.from == self.bytes.len() {
            self.bytes.clear();
            self.from = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_so_much_and_no_more() {
        let mut pending = Pending::default();
        assert_eq!(pending.fill(b"abc", 5), 3);
        assert_eq!(pending.fill(b"defg", 5), 2);
        assert_eq!(pending.held(), b"abcde");
        assert_eq!(pending.fill(b"fg", 5), 0);
        pending.used(2);
        assert_eq!(pending.held(), b"cde");
        assert_eq!(pending.fill(b"fg", 5), 2);
        assert_eq!(pending.held(), b"cdefg");
        pending.used(100);
        assert_eq!(pending.held(), b"");
    }
}
