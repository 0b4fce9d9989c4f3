//! Whether a component that is waited for is doing anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared between whoever waits for a component, the host calls it waits for itself, and the watch over it.
#[derive(Clone, Default)]
pub struct Pulse(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Since when it owes something without having given a sign.
    owed_since: Option<Instant>,
    /// Host operations it waits for: then it is not its fault.
    helping: usize,
    delivered: u64,
}

/// A host operation the component waits for, as long as it lives.
pub struct Helping(Pulse);

impl Pulse {
    /// It owes something from now on, if it did not before.
    pub fn owes(&self) {
        self.lock().owed_since.get_or_insert_with(Instant::now);
    }

    /// It gave a sign: what it owes next counts from then.
    pub fn sign(&self) {
        let mut state = self.lock();
        if state.owed_since.is_some() {
            state.owed_since = Some(Instant::now());
        }
    }

    /// It delivered bytes.
    pub fn delivered(&self, bytes: usize) {
        let mut state = self.lock();
        state.owed_since = None;
        state.delivered = state.delivered.saturating_add(bytes as u64);
    }

    /// It owes nothing any more.
    pub fn settled(&self) {
        self.lock().owed_since = None;
    }

    /// Bytes delivered so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lock().delivered
    }

    /// A host operation begins on which the component waits.
    #[must_use]
    pub fn helping(&self) -> Helping {
        self.lock().helping += 1;
        Helping(self.clone())
    }

    /// How long it has owed something while nobody kept it waiting.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let state = self.lock();
        match state.owed_since {
            Some(since) if state.helping == 0 => since.elapsed(),
            _ => Duration::ZERO,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        self.0.lock().helping -= 1;
        self.0.sign();
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
}
