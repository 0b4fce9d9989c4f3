//! The watch over a guest that others wait for: how long it may do nothing, and how long it may keep them waiting in all. A guest
//! that gives a sign of life now and then is never idle, and would hold everybody up for ever.

use std::time::Duration;

use crate::policy::Limits;
use crate::stream::Pulse;

/// How often it is looked whether a guest still does anything.
const EVERY: Duration = Duration::from_millis(250);
/// How long each MiB that a guest moved lets it keep others waiting besides: so slow is no component that works.
const EARNED_PER_MIB: Duration = Duration::from_secs(60);

/// What one guest may keep others waiting.
#[derive(Clone)]
pub(super) struct Watch {
    pulse: Pulse,
    idle: Duration,
    wait: Duration,
}

impl Watch {
    pub(super) fn new(pulse: Pulse, limits: &Limits) -> Self {
        Self { pulse, idle: limits.component_idle, wait: limits.component_wait }
    }

    /// Waits until the guest has done nothing for too long, or has kept others waiting for too long. Gives what it did.
    pub(super) async fn stalled(&self) -> String {
        let mut every = tokio::time::interval(EVERY);
        loop {
            every.tick().await;
            if self.pulse.idle() > self.idle {
                return format!("did nothing for {} s while it was waited for", self.idle.as_secs());
            }
            let moved = self.pulse.total();
            if self.pulse.kept_waiting() > self.granted(moved) {
                let (wait, each) = (self.wait.as_secs(), EARNED_PER_MIB.as_secs());
                return format!(
                    "kept others waiting for longer than it may: {wait} s, and {each} s for each MiB that it moved, of which \
                     there are {}",
                    moved >> 20
                );
            }
        }
    }

    fn granted(&self, moved: u64) -> Duration {
        let earned = u32::try_from(moved >> 20).ok().and_then(|mebibytes| EARNED_PER_MIB.checked_mul(mebibytes));
        earned.map_or(Duration::MAX, |earned| self.wait.saturating_add(earned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_earns_more() {
        let watch =
            Watch::new(Pulse::default(), &Limits { component_wait: Duration::from_secs(5), ..Limits::default() });
        assert_eq!(watch.granted((1 << 20) - 1), Duration::from_secs(5));
        assert_eq!(watch.granted(3 << 20), Duration::from_secs(185));
        assert!(watch.granted(u64::MAX) > Duration::from_secs(1 << 40));
    }

    #[tokio::test]
    async fn a_guest_that_gives_signs_now_and_then_is_stalled_all_the_same() {
        let limits = Limits {
            component_idle: Duration::from_secs(3600),
            component_wait: Duration::from_millis(20),
            ..Limits::default()
        };
        let pulse = Pulse::default();
        let watch = Watch::new(pulse.clone(), &limits);
        let trickles = async {
            loop {
                pulse.owes();
                tokio::time::sleep(Duration::from_millis(2)).await;
                pulse.delivered(1);
            }
        };
        let words = tokio::select! {
            words = watch.stalled() => words,
            () = trickles => String::new(),
        };
        assert!(words.starts_with("kept others waiting for longer than it may: 0 s, and 60 s"), "{words}");
    }
}
