//! The three gauges by which a controller follows an import of the system that this one replaces: names and label are its.

use std::cell::Cell;
use std::time::Duration;

use super::exposition::{Exposition, Kind};
use crate::observe::Reading;

/// How often the current speed is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Progress and speed of the import of one owner.
#[derive(Debug)]
pub(super) struct Gauges {
    owner: String,
    /// In per cent: it never falls, whatever is begun again.
    progress: Cell<f64>,
    /// Bytes at the last look, and how many per second came since the one before.
    last: Cell<(u64, f64)>,
}

impl Gauges {
    /// Of that owner.
    pub(super) fn new(owner: String) -> Self {
        Self { owner, progress: Cell::new(0.0), last: Cell::new((0, 0.0)) }
    }

    /// Looks how far it is, once each [`LOOK_EVERY`].
    pub(super) fn look(&self, now: &Reading) {
        let (before, _) = self.last.get();
        let received = now.position.received;
        let rate = received.saturating_sub(before) as f64 / LOOK_EVERY.as_secs_f64();
        self.last.set((received, rate));
    }

    /// Nothing before it is known how much is to come, as there never was.
    pub(super) fn write(&self, page: &mut Exposition, now: Option<&Reading>) {
        let Some(Reading { position: at, moving, .. }) = now else { return };
        let Some(total) = at.total.filter(|total| *total > 0) else { return };
        let part = (at.sent as f64 / total as f64 * 100.0).clamp(self.progress.get(), 100.0);
        self.progress.set(part);
        let seconds = moving.map_or(0.0, |moving| moving.as_secs_f64());
        let average = if seconds > 0.0 { at.received as f64 / seconds } else { 0.0 };
        let label = [("ownerUID", self.owner.as_str())];
        let gauge = Kind::Gauge;
        page.one("registry_progress", gauge, "The registry import progress in percentage", &label, part);
        let help = "The average registry import speed in bytes/sec";
        page.one("registry_average_speed", gauge, help, &label, average);
        let help = "The current registry import speed in bytes/sec";
        page.one("registry_current_speed", gauge, help, &label, self.last.get().1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Phase, Progress};

    fn text(gauges: &Gauges, progress: &Progress) -> String {
        let mut page = Exposition::default();
        gauges.write(&mut page, Some(&progress.reading()));
        page.text()
    }

    #[test]
    fn they_are_the_names_that_a_controller_looks_for() {
        let (progress, gauges) = (Progress::start(), Gauges::new("b856".to_owned()));
        assert_eq!(text(&gauges, &progress), "", "how much is to come is not known");
        progress.expect(400);
        progress.enter(Phase::Transferring);
        progress.source.passed(90);
        progress.layer.passed(100);
        gauges.look(&progress.reading());
        let said = text(&gauges, &progress);
        assert!(said.contains("\nregistry_progress{ownerUID=\"b856\"} 25\n"), "{said}");
        assert!(said.contains("\nregistry_current_speed{ownerUID=\"b856\"} 90\n"), "{said}");
        assert!(said.contains("\nregistry_average_speed{ownerUID=\"b856\"} "), "{said}");
        // Begun again, with other meters.
        let again = Progress::start();
        again.expect(400);
        assert!(text(&gauges, &again).contains("} 25\n"), "it never falls");
    }
}
