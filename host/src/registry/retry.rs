//! When something is tried again, and after how long.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use crate::net::Client;
pub(super) use crate::net::{is_temporary, retry_after};

/// The longest pause of our own.
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause a registry may ask for; one that wants more is told to the user instead of being waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often something is tried in a row, and the pauses in between: each twice as long as the one before, up to a quarter
/// more by chance, so that many who were refused together do not come back together.
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    attempts: u32,
    first: Duration,
    total: Duration,
    seed: u64,
}

/// One thing that is tried, and how often and since when it has failed in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    back_off: BackOff,
    failures: u32,
    since: Option<Instant>,
}

impl BackOff {
    /// At most `attempts` in a row, `first` between the first two, and none begins later than `total` after the first has
    /// failed. The same `seed` gives the same pauses.
    #[must_use]
    pub const fn new(attempts: u32, first: Duration, total: Duration, seed: u64) -> Self {
        Self { attempts, first, total, seed }
    }

    /// As the policy has it, with a seed of its own.
    pub(super) fn of(client: &Client) -> Self {
        let limits = &client.policy().limits;
        Self::new(limits.attempts, limits.back_off, limits.total, RandomState::new().hash_one(limits.attempts))
    }

    /// How long to wait before the attempt after `attempt` (the first is 1), if there is to be one. `asked` is what the
    /// registry wants, `failing` how long ago the first one failed.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>, failing: Duration) -> Option<Duration> {
        let pause = self.wanted(attempt, asked)?;
        (failing.saturating_add(pause) <= self.total).then_some(pause)
    }

    /// Whether it is the time alone that keeps [`Self::pause`] from giving one.
    pub(super) fn is_out_of_time(&self, attempt: u32, asked: Option<Duration>, failing: Duration) -> bool {
        self.wanted(attempt, asked).is_some() && self.pause(attempt, asked, failing).is_none()
    }

    /// How long may still be tried what failed first so long ago.
    pub(super) const fn left(&self, failing: Duration) -> Duration {
        self.total.saturating_sub(failing)
    }

    fn wanted(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts || asked.is_some_and(|asked| asked > LONGEST_PAUSE) {
            return None;
        }
        let own = self.first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_OWN_PAUSE);
        let spread = mixed(self.seed.wrapping_add(u64::from(attempt))) % 256;
        let own = own.saturating_add(own / 4 * u32::try_from(spread).unwrap_or(0) / 256);
        // A clock that runs behind makes a pause of a date that is over.
        Some(asked.map_or(own, |asked| asked.max(own)))
    }
}

impl Tries {
    pub(super) const fn new(back_off: BackOff) -> Self {
        Self { back_off, failures: 0, since: None }
    }

    /// It failed: how long to wait before it is tried once more, if it is. `asked` is what the registry wants.
    pub(super) fn failed(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.failures = self.failures.saturating_add(1);
        self.back_off.pause(self.failures, asked, since.elapsed())
    }

    /// How long an attempt may take once another one has failed.
    pub(super) fn left(&self) -> Option<Duration> {
        self.since.map(|since| self.back_off.left(since.elapsed()))
    }
}

/// `SplitMix64`: neighbouring seeds give unrelated numbers.
const fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_over_is_none() {
        let first = Duration::from_millis(400);
        let back_off = BackOff::new(5, first, Duration::MAX, 1);
        assert_eq!(back_off.pause(1, Some(Duration::ZERO), Duration::ZERO), back_off.pause(1, None, Duration::ZERO));
        let long = Duration::from_secs(7);
        assert_eq!(back_off.pause(1, Some(long), Duration::ZERO), Some(long));
    }

    #[test]
    fn attempts_and_pauses_are_bounded() {
        let first = Duration::from_millis(400);
        let pauses = |attempts: u32, seed: u64| -> Vec<_> {
            let back_off = BackOff::new(attempts, first, Duration::MAX, seed);
            (1..100).map_while(|attempt| back_off.pause(attempt, None, Duration::ZERO)).collect()
        };
        for seed in 0..100 {
            let pauses = pauses(20, seed);
            assert_eq!(pauses.len(), 19);
            assert!(pauses[0] >= first && pauses[0] <= first * 5 / 4, "{pauses:?}");
            assert!(pauses[1] >= first * 2 && pauses[1] <= first * 5 / 2, "{pauses:?}");
            assert!(pauses.iter().all(|pause| *pause <= LONGEST_OWN_PAUSE * 5 / 4), "{pauses:?}");
        }
        assert_eq!(pauses(9, 7), pauses(9, 7));
        assert_ne!(pauses(9, 7), pauses(9, 8));
        assert!(pauses(1, 0).is_empty());
        let back_off = BackOff::new(3, first, Duration::MAX, 0);
        let pause = |attempt, asked| back_off.pause(attempt, Some(Duration::from_secs(asked)), Duration::ZERO);
        assert_eq!(pause(1, 7), Some(Duration::from_secs(7)));
        assert_eq!(pause(1, 61), None);
        assert_eq!(pause(3, 0), None);
    }

    #[test]
    fn the_time_is_bounded_with_the_pause_that_would_follow() {
        let seconds = Duration::from_secs;
        let back_off = BackOff::new(3, seconds(1), seconds(60), 0);
        let (asked, late) = (Some(seconds(20)), seconds(41));
        assert_eq!(back_off.pause(1, asked, seconds(40)), asked);
        assert_eq!(back_off.pause(1, asked, late), None);
        assert!(back_off.is_out_of_time(1, asked, late));
        assert!(!back_off.is_out_of_time(1, asked, seconds(40)) && !back_off.is_out_of_time(3, asked, late));
        assert_eq!((back_off.left(late), back_off.left(seconds(61))), (seconds(19), Duration::ZERO));
        let mut tries = Tries::new(BackOff::new(9, seconds(1), seconds(10), 0));
        assert_eq!(tries.left(), None);
        assert!(tries.failed(asked).is_none() && tries.failed(None).is_some());
        assert!(tries.left().is_some_and(|left| left <= seconds(10)));
    }

    #[test]
    fn what_the_registry_decided_is_not_asked_again() {
        for status in [200, 201, 400, 401, 403, 404, 405, 413, 416, 501, 507] {
            assert!(!is_temporary(status), "{status}");
        }
    }
}
