//! When something is tried again, and after how long.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

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
    seed: u64,
}

impl BackOff {
    /// At most `attempts` in a row, `first` between the first two. The same `seed` gives the same pauses.
    #[must_use]
    pub const fn new(attempts: u32, first: Duration, seed: u64) -> Self {
        Self { attempts, first, seed }
    }

    /// The same with a seed of its own.
    pub(super) fn by_chance(attempts: u32, first: Duration) -> Self {
        Self::new(attempts, first, RandomState::new().hash_one(attempts))
    }

    /// How long to wait before the attempt after `attempt` (the first is 1), if there is to be one. `asked` is what the
    /// registry wants.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts || asked.is_some_and(|asked| asked > LONGEST_PAUSE) {
            return None;
        }
        let own = self.first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_OWN_PAUSE);
        let spread = mixed(self.seed.wrapping_add(u64::from(attempt))) % 256;
        let own = own.saturating_add(own / 4 * u32::try_from(spread).unwrap_or(0) / 256);
        Some(asked.unwrap_or(own))
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
    fn attempts_and_pauses_are_bounded() {
        let first = Duration::from_millis(400);
        let pauses = |attempts: u32, seed: u64| -> Vec<_> {
            let back_off = BackOff::new(attempts, first, seed);
            (1..100).map_while(|attempt| back_off.pause(attempt, None)).collect()
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
        assert_eq!(pauses(1, 0), []);
        let back_off = BackOff::new(3, first, 0);
        assert_eq!(back_off.pause(1, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(back_off.pause(1, Some(Duration::from_secs(61))), None);
        assert_eq!(back_off.pause(3, Some(Duration::ZERO)), None);
    }

    #[test]
    fn what_the_registry_decided_is_not_asked_again() {
        for status in [200, 201, 400, 401, 403, 404, 405, 413, 416, 501, 507] {
            assert!(!is_temporary(status), "{status}");
        }
    }
}
