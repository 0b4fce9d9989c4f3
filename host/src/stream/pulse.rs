//! Whether a component that is waited for is doing anything.

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
        self.lock().owed_since.entry(self.debt).or_insert_with(Instant::now);
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
        self.lock().owed_since.remove(&self.debt);
    }

    /// Bytes delivered so far, and taken.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lock().delivered
    }

    /// A host operation begins on which the component waits.
    #[must_use]
    pub fn helping(&self) -> Helping {
        self.lock().helping += 1;
        Helping { pulse: self.clone(), for_now: false }
    }

    /// The same, but it counts no longer than `within`. For an operation that goes on only while the component asks after
    /// it: one that stops asking must not count as waiting for ever.
    #[must_use]
    pub fn helping_within(&self, within: Duration) -> Helping {
        let mut state = self.lock();
        state.helping_for_now += 1;
        state.until = state.until.max(Instant::now().checked_add(within));
        drop(state);
        Helping { pulse: self.clone(), for_now: true }
    }

    /// How long it has owed something while nobody kept it waiting.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let state = self.lock();
        match state.owed_since.values().min() {
            Some(&since) if state.helping == 0 => {
                let until = state.until.filter(|_| state.helping_for_now > 0);
                until.map_or(since, |until| since.max(until)).elapsed()
            }
            _ => Duration::ZERO,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        let mut state = self.pulse.lock();
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
