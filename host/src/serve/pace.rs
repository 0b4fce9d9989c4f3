//! Whether a client that is waited for sends fast enough, over all its requests, and how long it may be away between them.

use std::time::Duration;

/// What came while somebody waited for it, in whatever request. What the client had to wait for us does not count.
#[derive(Debug)]
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

/// For how long a client may be away. What it brings buys it time again, as much as a client of the least rate would have needed
/// for that; so a byte now and then keeps no place.
#[derive(Debug)]
pub(super) struct Patience {
    most: Duration,
    left: Duration,
    /// Bytes per second.
    least: u64,
}

impl Patience {
    pub(super) const fn new(most: Duration, least: u64) -> Self {
        Self { most, left: most, least }
    }

    /// How long it may still be away.
    pub(super) const fn left(&self) -> Duration {
        self.left
    }

    /// It was away so long, and then brought so many bytes, at least one.
    pub(super) fn back(&mut self, away: Duration, bytes: u64) {
        let bought = Duration::from_millis(bytes.saturating_mul(1000) / self.least.max(1));
        self.left = self.left.saturating_sub(away).saturating_add(bought).min(self.most);
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
    fn time_away_is_bought_by_what_is_brought() {
        let mut patience = Patience::new(10 * SECOND, 100);
        for _ in 0..4 {
            patience.back(2 * SECOND, 1);
        }
        assert_eq!(patience.left(), Duration::from_millis(2040), "a byte buys 10 ms");
        patience.back(2 * SECOND, 500);
        assert_eq!(patience.left(), Duration::from_millis(5040));
        patience.back(20 * SECOND, 1 << 20);
        assert_eq!(patience.left(), 10 * SECOND, "and never more than there was");
    }

    #[test]
    fn who_is_not_waited_for_is_not_slow() {
        let mut pace = Pace::new(SECOND, u64::MAX);
        for _ in 0..1000 {
            assert_eq!(pace.came(1, Duration::ZERO), None);
        }
    }
}
