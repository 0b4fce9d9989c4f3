//! What a run has come to so far, for whoever adds runs up. Made of counters that only grow, so any thread may ask at any time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{End, Phase, Place, Position, Progress};

/// What connections speak: version, cipher suite and key exchange group of TLS, by their names; `none` for what there is not.
pub type Spoken = [String; 3];

/// What the value of a label is where there is nothing.
const NONE: &str = "none";
/// The stage behind which a layer is as it is stored, where there is one.
const COMPRESSOR: &str = "compressor";
/// What everything is called beyond the kinds of sessions that are kept.
const OTHER: &str = "other";
/// The most kinds of sessions that are kept by name. A policy offers fewer.
const MAX_KINDS: usize = 64;

/// How many connections spoke what.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<BTreeMap<Spoken, u64>>>);

/// A run so far.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How far it is.
    pub position: Position,
    /// Bytes of the layer handed to the destination, as it stores them.
    pub sent: u64,
    /// How long bytes have moved, or been waited for; none before the first was asked for.
    pub moving: Option<Duration>,
    /// How often the upload began again at its first byte.
    pub restarts: u32,
    /// Time of each stage, upstream first: it worked, had nothing to work on, and was not asked for what it had.
    pub stages: Vec<(&'static str, [Duration; 3])>,
    /// Connections by end and what they speak.
    pub sessions: Vec<(End, Spoken, u64)>,
}

/// What connections speak, as a session settled on it; without one it is plain HTTP.
#[must_use]
pub fn spoken(session: Option<(&str, &str, Option<&str>)>) -> Spoken {
    let (version, suite, group) =
        session.map_or((NONE, NONE, NONE), |(version, suite, group)| (version, suite, group.unwrap_or(NONE)));
    [version, suite, group].map(str::to_owned)
}

impl Sessions {
    /// One more connection.
    pub fn add(&self, spoken: Spoken) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.len() < MAX_KINDS || kinds.contains_key(&spoken);
        let kind = if known { spoken } else { [OTHER; 3].map(str::to_owned) };
        let number = kinds.entry(kind).or_default();
        *number = number.saturating_add(1);
    }

    fn all(&self) -> BTreeMap<Spoken, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Progress {
    /// From now on that is measured as a stage of the flow; several of one name are one after the other.
    pub fn runs(&self, stage: &'static str, place: &Place) {
        self.watched().stages.push((stage, place.clone()));
    }

    /// What it has come to so far.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let watched = self.watched();
        let times = |place: &Place| [place.busy(), place.out.waiting_for_input(), place.out.waiting_for_output()];
        let of_end = |(end, sessions): (End, &Sessions)| {
            sessions.all().into_iter().map(move |(spoken, number)| (end, spoken, number)).collect::<Vec<_>>()
        };
        let ends = [End::Source, End::Registry].into_iter();
        let compressed =
            watched.stages.iter().rfind(|(stage, _)| *stage == COMPRESSOR).map(|(_, place)| place.out.bytes());
        let position = self.position();
        Reading {
            sent: compressed.unwrap_or(position.sent),
            moving: self.began(Phase::Transferring).map(|began| position.elapsed.saturating_sub(began)),
            position,
            restarts: self.repeats.restarts(),
            stages: watched.stages.iter().map(|(stage, place)| (*stage, times(place))).collect(),
            sessions: ends
                .zip(watched.traffic.iter().flatten().map(|traffic| &traffic.sessions))
                .flat_map(of_end)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Meter, Traffic};
    use super::*;

    #[test]
    fn a_reading_has_what_was_measured_so_far() {
        let progress = Progress::start();
        let place = Place::of(&Arc::new(Meter::default()), []);
        place.out.was_busy(Duration::from_millis(3));
        place.out.waited_for_input(Duration::from_millis(5));
        progress.runs("source", &place);
        let traffic = [Traffic::default(), Traffic::default()];
        progress.watch_run(traffic.clone(), None, None);
        traffic[1].sessions.add(spoken(Some(("TLSv1.3", "A", Some("x25519")))));
        traffic[1].sessions.add(spoken(None));
        traffic[1].sessions.add(spoken(None));
        progress.source.passed(7);
        let reading = progress.reading();
        let millis = Duration::from_millis;
        assert_eq!(reading.stages, [("source", [millis(3), millis(5), Duration::ZERO])]);
        let tls = ["TLSv1.3", "A", "x25519"].map(str::to_owned);
        let plain = ["none"; 3].map(str::to_owned);
        assert_eq!(reading.sessions, [(End::Registry, tls, 1), (End::Registry, plain, 2)]);
        assert_eq!(reading.position.received, 7);
    }

    #[test]
    fn kinds_of_sessions_are_bounded() {
        let sessions = Sessions::default();
        for number in 0..2 * MAX_KINDS {
            sessions.add(spoken(Some((&number.to_string(), "A", None))));
        }
        let all = sessions.all();
        assert_eq!(all.len(), MAX_KINDS + 1);
        assert_eq!(all[&["other"; 3].map(str::to_owned)], MAX_KINDS as u64);
        assert_eq!(all[&["0", "A", "none"].map(str::to_owned)], 1);
    }
}
