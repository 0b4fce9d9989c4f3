//! Whether a component that is waited for is doing anything, and how long it has kept others waiting in all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared between whoever waits for a component, the host calls it waits for itself, and the watch over it. Clones share
/// one debt; see [`Self::beside`].
#[derive(Clone, Default)]
pub struct Pulse {
    state: Arc<Mutex<State>>,
    debt: u64,
}

#[derive(Default)]
struct State {
    /// Since when it owes something without having given a sign, by debt.
    owed_since: BTreeMap<u64, Instant>,
    debts: u64,
    /// Host operations it waits for: then it is not its fault.
    helping: usize,
    /// The same, for those that count only until some time.
    helping_for_now: usize,
    until: Option<Instant>,
    delivered: u64,
    /// How long it has kept others waiting, up to when it was last counted.
    kept_waiting: Duration,
    counted: Option<Instant>,
}

/// A host operation the component waits for, as long as it lives.
pub struct Helping {
    pulse: Pulse,
    for_now: bool,
}

impl Pulse {
    /// The pulse of the same component with a debt of its own, for something that is waited for at the same time.
    #[must_use]
    pub fn beside(&self) -> Self {
        let mut state = self.lock();
        state.debts += 1;
        Self { state: Arc::clone(&self.state), debt: state.debts }
    }

    /// It owes something from now on, if it did not before.
    pub fn owes(&self) {
        let mut state = self.lock();
        let now = state.count();
        state.owed_since.entry(self.debt).or_insert(now);
    }

    /// It gave a sign: what it owes next counts from then.
    pub fn sign(&self) {
        for since in self.lock().owed_since.values_mut() {
            *since = Instant::now();
        }
    }

    /// It delivered bytes.
    pub fn delivered(&self, bytes: usize) {
        let mut state = self.lock();
        state.count();
        state.owed_since.remove(&self.debt);
        state.delivered = state.delivered.saturating_add(bytes as u64);
    }

    /// It took bytes of its input: a sign of life, and what it does with them is paid for as if it had delivered them.
    pub fn took(&self, bytes: usize) {
        self.sign();
        let mut state = self.lock();
        state.delivered = state.delivered.saturating_add(bytes as u64);
    }

    /// It owes nothing any more.
    pub fn settled(&self) {
        let mut state = self.lock();
        state.count();
        state.owed_since.remove(&self.debt);
    }

    /// Bytes delivered so far, and taken.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lock().delivered
    }

    /// A host operation begins on which the component waits.
    #[must_use]
    pub fn helping(&self) -> Helping {
        let mut state = self.lock();
        state.count();
        state.helping += 1;
        drop(state);
        Helping { pulse: self.clone(), for_now: false }
    }

    /// The same, but it counts no longer than `within`. For an operation that goes on only while the component asks after
    /// it: one that stops asking must not count as waiting for ever.
    #[must_use]
    pub fn helping_within(&self, within: Duration) -> Helping {
        let mut state = self.lock();
        let now = state.count();
        state.helping_for_now += 1;
        state.until = state.until.max(now.checked_add(within));
        drop(state);
        Helping { pulse: self.clone(), for_now: true }
    }

    /// How long it has owed something while nobody kept it waiting.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let state = self.lock();
        state.owed_since.values().min().map_or(Duration::ZERO, |since| state.unhelped(*since, Instant::now()))
    }

    /// How long it has owed something in all while nobody kept it waiting, whatever signs it gave in between.
    #[must_use]
    pub fn kept_waiting(&self) -> Duration {
        let mut state = self.lock();
        state.count();
        state.kept_waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the time that has passed since it was last counted, in which nothing changed. Gives the moment.
    fn count(&mut self) -> Instant {
        let now = Instant::now();
        if let (Some(counted), false) = (self.counted, self.owed_since.is_empty()) {
            self.kept_waiting = self.kept_waiting.saturating_add(self.unhelped(counted, now));
        }
        self.counted = Some(now);
        now
    }

    /// How much of the time from `since` to `now` it waited for nobody.
    fn unhelped(&self, since: Instant, now: Instant) -> Duration {
        if self.helping > 0 {
            return Duration::ZERO;
        }
        let until = self.until.filter(|_| self.helping_for_now > 0);
        now.saturating_duration_since(until.map_or(since, |until| since.max(until)))
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        let mut state = self.pulse.lock();
        state.count();
        if self.for_now {
            state.helping_for_now -= 1;
            if state.helping_for_now == 0 {
                state.until = None;
            }
        } else {
            state.helping -= 1;
        }
        drop(state);
        self.pulse.sign();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_debtor_that_waits_for_nobody_is_idle() {
        let pulse = Pulse::default();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(pulse.idle(), Duration::ZERO, "it owes nothing");
        pulse.owes();
        std::thread::sleep(Duration::from_millis(2));
        assert!(pulse.idle() >= Duration::from_millis(2));
        let helping = pulse.helping();
        assert_eq!(pulse.idle(), Duration::ZERO, "it waits for the host");
        drop(helping);
        assert!(pulse.idle() < Duration::from_millis(2), "its time counts from the host's answer");
        pulse.delivered(5);
        assert_eq!((pulse.idle(), pulse.total()), (Duration::ZERO, 5));
    }

    #[test]
    fn one_debt_is_not_settled_with_another() {
        let pulse = Pulse::default();
        let (one, other) = (pulse.beside(), pulse.beside());
        one.owes();
        other.owes();
        other.delivered(5);
        pulse.settled();
        std::thread::sleep(Duration::from_millis(2));
        assert!(pulse.idle() >= Duration::from_millis(2));
        one.clone().settled();
        assert_eq!((pulse.idle(), one.total()), (Duration::ZERO, 5));
    }

    #[test]
    fn signs_of_life_do_not_pay_for_the_time_that_others_wait() {
        let pulse = Pulse::default();
        let pause = || std::thread::sleep(Duration::from_millis(5));
        pause();
        assert_eq!(pulse.kept_waiting(), Duration::ZERO, "it owed nothing");
        for _ in 0..4 {
            pulse.owes();
            pause();
            pulse.delivered(1);
        }
        let kept = pulse.kept_waiting();
        assert!(kept >= Duration::from_millis(20), "{kept:?}");
        pause();
        assert_eq!(pulse.kept_waiting(), kept, "nobody waited");
        pulse.owes();
        let helping = pulse.helping();
        let before = pulse.kept_waiting();
        pause();
        assert_eq!(pulse.kept_waiting(), before, "it waited for the host");
        drop(helping);
        let within = pulse.helping_within(Duration::ZERO);
        let before = pulse.kept_waiting();
        pause();
        assert!(pulse.kept_waiting() >= before + Duration::from_millis(5), "the host's time is over");
        drop(within);
        pulse.settled();
        let settled = pulse.kept_waiting();
        pause();
        assert_eq!(pulse.kept_waiting(), settled);
    }

    #[test]
    fn waiting_for_the_host_can_have_its_time() {
        let pulse = Pulse::default();
        pulse.owes();
        let (long, short) = (pulse.helping_within(Duration::from_secs(60)), pulse.helping_within(Duration::ZERO));
        assert_eq!(pulse.idle(), Duration::ZERO);
        drop((long, short));
        let short = pulse.helping_within(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(50));
        let idle = pulse.idle();
        assert!(idle >= Duration::from_millis(40), "its time is over");
        drop(short);
        assert!(pulse.idle() < idle, "the answer came after all");
    }
}
