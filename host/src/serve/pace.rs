//! Whether a client that is waited for sends fast enough.

use std::time::Duration;

/// What came while somebody waited for it. What the client had to wait for us does not count.
pub(super) struct Pace {
    /// Over how long it is looked at.
    stretch: Duration,
    /// Bytes per second that must come.
    least: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(super) const fn new(stretch: Duration, least: u64) -> Self {
        Self { stretch, least, waited: Duration::ZERO, bytes: 0 }
    }

    /// So many bytes came after that long. If the client was too slow over a whole stretch: how many bytes per second came.
    pub(super) fn came(&mut self, bytes: usize, after: Duration) -> Option<u64> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(after);
        if self.waited < self.stretch {
            return None;
        }
        let millis = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = self.bytes.saturating_mul(1000) / millis;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        (rate < self.least).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_a_whole_stretch_says_something() {
        let mut pace = Pace::new(10 * SECOND, 100);
        for _ in 0..9 {
            assert_eq!(pace.came(1, SECOND), None);
        }
        assert_eq!(pace.came(1, SECOND), Some(1), "10 bytes in 10 seconds");
        assert_eq!(pace.came(1000, 10 * SECOND), None, "a new stretch, and just fast enough");
        assert_eq!(pace.came(999, 10 * SECOND), Some(99));
    }

    #[test]
    fn who_is_not_waited_for_is_not_slow() {
        let mut pace = Pace::new(SECOND, u64::MAX);
        for _ in 0..1000 {
            assert_eq!(pace.came(1, Duration::ZERO), None);
        }
    }
}
