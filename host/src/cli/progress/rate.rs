//! How fast it goes now, and how long it will take: over a window, since an average hides what changed.

use std::collections::VecDeque;
use std::time::Duration;

use indicatif::HumanBytes;

use crate::observe::{Phase, Position};

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(15);
/// The most samples that are kept.
const MAX_SAMPLES: usize = 128;
/// Less than this says nothing about a rate.
const SHORTEST: Duration = Duration::from_millis(100);
/// A time left that is longer than this is no use to anybody.
const LONGEST: f64 = 100.0 * 3600.0;

/// Bytes sent at recent moments.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Duration, u64)>);

impl Rate {
    /// Looks where the run is.
    pub(super) fn sample(&mut self, at: &Position) {
        self.0.push_back((at.elapsed, at.sent));
        let too_old = |(then, _): &(Duration, u64)| at.elapsed.saturating_sub(*then) > WINDOW;
        while self.0.len() > MAX_SAMPLES || (self.0.len() > 2 && self.0.front().is_some_and(too_old)) {
            self.0.pop_front();
        }
    }

    /// Bytes per second over the window; none before there is one.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.0.front()?, self.0.back()?);
        let time = to.checked_sub(*from).filter(|time| *time >= SHORTEST)?;
        Some(after.saturating_sub(*before) as f64 / time.as_secs_f64())
    }

    /// How long the rest will take at that rate; none if that cannot be said.
    fn left(&self, at: &Position) -> Option<Duration> {
        let rest = at.total?.checked_sub(at.sent).filter(|rest| *rest > 0)?;
        let seconds = rest as f64 / self.per_second().filter(|rate| *rate > 0.0)?;
        (seconds < LONGEST).then(|| Duration::from_secs_f64(seconds))
    }

    /// Where the run is, in words.
    pub(super) fn words(&self, at: &Position) -> String {
        let sent = HumanBytes(at.sent);
        if at.phase != Phase::Transferring {
            return match at.phase {
                Phase::Opening => "opening".to_owned(),
                other => format!("{}: {sent} sent", other.as_str()),
            };
        }
        let mut words = match at.total.filter(|total| *total > 0) {
            Some(total) => format!("{sent} of {} ({:.0} %)", HumanBytes(total), fraction(at) * 100.0),
            None => format!("{sent}"),
        };
        if let Some(rate) = self.per_second() {
            words.push_str(&format!(", {}/s", HumanBytes(rate as u64)));
        }
        if let Some(left) = self.left(at) {
            words.push_str(&format!(", {} left", time(left)));
        }
        if at.attempt > 1 {
            words.push_str(&format!(", attempt {}, {} sent twice", at.attempt, HumanBytes(at.sent_twice)));
        }
        words
    }
}

/// How much of the layer is sent, from 0 to 1; 0 while its size is unknown.
pub(super) fn fraction(at: &Position) -> f64 {
    at.total.filter(|total| *total > 0).map_or(0.0, |total| (at.sent as f64 / total as f64).min(1.0))
}

/// Bytes per second on average, for people.
pub(in crate::cli) fn rate(bytes: u64, seconds: f64) -> String {
    format!("{}/s", HumanBytes((bytes as f64 / seconds.max(f64::EPSILON)) as u64))
}

fn time(time: Duration) -> String {
    let seconds = time.as_secs().max(1);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {:02} s", seconds % 60),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, sent: u64, total: Option<u64>) -> Position {
        let elapsed = Duration::from_secs(seconds);
        Position {
            elapsed,
            phase: Phase::Transferring,
            attempt: 1,
            resumes: 0,
            sent_twice: 0,
            received: sent,
            sent,
            total,
        }
    }

    #[test]
    fn the_rate_is_of_the_window_and_not_of_the_whole_run() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        // Fast for a minute, then slow.
        for second in 0..60 {
            rate.sample(&at(second, second * 1000, None));
        }
        assert_eq!(rate.per_second(), Some(1000.0));
        for second in 60..90 {
            rate.sample(&at(second, 60_000 + second, None));
        }
        assert_eq!(rate.per_second(), Some(1.0));
        assert!(rate.0.len() <= 17);
        for _ in 0..10_000 {
            rate.sample(&at(90, 0, None));
        }
        assert!(rate.0.len() <= MAX_SAMPLES);
    }

    #[test]
    fn seldom_samples_are_enough() {
        let mut rate = Rate::default();
        rate.sample(&at(0, 0, None));
        rate.sample(&at(100, 500, None));
        rate.sample(&at(200, 700, None));
        assert_eq!(rate.per_second(), Some(2.0));
    }

    #[test]
    fn words_say_how_far_how_fast_and_how_long() {
        let mut rate = Rate::default();
        let total = Some(4 << 20);
        rate.sample(&at(0, 0, total));
        assert_eq!(rate.words(&at(0, 0, total)), "0 B of 4.00 MiB (0 %)");
        rate.sample(&at(1, 1 << 20, total));
        assert_eq!(rate.words(&at(1, 1 << 20, total)), "1.00 MiB of 4.00 MiB (25 %), 1.00 MiB/s, 3 s left");
        assert_eq!(rate.words(&at(1, 1 << 20, None)), "1.00 MiB, 1.00 MiB/s");
        assert_eq!(rate.words(&at(1, 4 << 20, total)), "4.00 MiB of 4.00 MiB (100 %), 1.00 MiB/s");
        let stalled = at(20, 1 << 20, total);
        rate.sample(&at(19, 1 << 20, total));
        rate.sample(&stalled);
        assert_eq!(rate.words(&stalled), "1.00 MiB of 4.00 MiB (25 %), 0 B/s");
        let again = Position { attempt: 2, sent_twice: 3 << 20, ..stalled };
        assert!(rate.words(&again).ends_with(", attempt 2, 3.00 MiB sent twice"), "{}", rate.words(&again));
        assert_eq!(rate.words(&Position { phase: Phase::Opening, ..stalled }), "opening");
        assert_eq!(rate.words(&Position { phase: Phase::Committing, ..stalled }), "committing: 1.00 MiB sent");
    }

    #[test]
    fn times_are_short() {
        let text = |seconds| time(Duration::from_secs(seconds));
        assert_eq!([text(0), text(59), text(61), text(7260)], ["1 s", "59 s", "1 min 01 s", "2 h 01 min"]);
    }
}
