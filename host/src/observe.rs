//! What is going on and what it cost: meters, whom the flow's thread waits for, progress, and the bottleneck verdict.

mod cgroup;
mod cpu;
mod culprit;
mod figures;
mod idle;
mod meter;
mod reading;
mod verdict;
mod words;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use cgroup::{Cgroup, Throttled};
pub use cpu::{CpuShare, process_cpu, thread_cpu};
pub use culprit::{Bottleneck, Culprit};
pub use figures::{End, Ends, Figures, Giver, Quota, Spent, Taker, Task, Traffic};
use figures::{Mark, Watched, Work};
pub use idle::{Idle, Waiting, WaitsFor, waiting_for};
pub use meter::{Meter, Place, Span};
pub use reading::{Reading, Sessions, Spoken, spoken};
pub use verdict::verdict;

/// What a run is doing, for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening source and destination.
    Opening,
    /// Bytes are moving.
    Transferring,
    /// The layer is being committed.
    Committing,
    /// Config, manifest and tags.
    Publishing,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Opening, Self::Transferring, Self::Committing, Self::Publishing];

    /// The phase as it is shown and reported.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Transferring => "transferring",
            Self::Committing => "committing",
            Self::Publishing => "publishing",
        }
    }
}

/// How far a run is. Everything is absolute, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Time since the start.
    pub elapsed: Duration,
    /// What it is doing.
    pub phase: Phase,
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
    /// How often it went on where it had stopped.
    pub resumes: u32,
    /// Bytes sent more than once.
    pub sent_twice: u64,
    /// Bytes received from the source.
    pub received: u64,
    /// Bytes of the layer handed to the destination.
    pub sent: u64,
    /// Bytes of the whole layer, once known.
    pub total: Option<u64>,
}

/// Something that happened at a moment, not to be missed by whoever looks later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When and where.
    pub at: Position,
    /// What.
    pub what: Noted,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// A phase began.
    Phase,
    /// Something to know about that does not end the run.
    Warning {
        /// A stable name.
        code: String,
        /// One sentence.
        message: String,
    },
    /// This filter takes off what the bytes turned out to be wrapped in.
    Filter(String),
}

/// The most notes that are kept; a run has a handful.
const MAX_NOTES: usize = 256;

/// The meters of one run, shared with the pipeline; a reader may look at any time.
#[derive(Debug)]
pub struct Progress {
    /// When the run began.
    pub started: Instant,
    /// What the process had cost by then.
    process_cpu: Duration,
    /// At the source's end of the flow.
    pub source: Arc<Meter>,
    /// At the destination's end of the flow.
    pub layer: Arc<Meter>,
    /// What is sent to the destination.
    pub upload: Arc<Meter>,
    /// The digest of the layer as it was framed.
    pub digest: Arc<Meter>,
    /// The digest of the layer as it was compressed.
    pub compressed_digest: Arc<Meter>,
    /// The checksums that were demanded.
    pub checksums: Arc<Meter>,
    /// Whom the run's thread waits for.
    pub idle: Arc<Idle>,
    /// What the spool took in.
    pub spool: Arc<Meter>,
    /// What had to be done more than once.
    pub repeats: Arc<Repeats>,
    total: AtomicU64,
    phase: AtomicU8,
    notes: Mutex<Vec<Note>>,
    told: AtomicUsize,
    watched: Mutex<Watched>,
    marks: Mutex<[Option<Mark>; Phase::ALL.len()]>,
}

/// What a transfer had to do more than once, on either side.
#[derive(Debug, Default)]
pub struct Repeats {
    again: AtomicU32,
    resumes: AtomicU32,
    restarts: AtomicU32,
    sent_twice: AtomicU64,
    /// Breaks that nobody has noted yet.
    breaks: Mutex<Vec<String>>,
    /// How often an upload went which way, by the name of the way.
    ways: Mutex<BTreeMap<&'static str, u32>>,
}

impl Repeats {
    /// Something that had broken was begun once more, from wherever.
    pub fn tried_again(&self) {
        self.again.fetch_add(1, Relaxed);
    }

    /// Something broke, and is begun once more: one sentence for the user.
    pub fn broke(&self, message: String) {
        self.tried_again();
        let mut breaks = self.breaks.lock().unwrap_or_else(PoisonError::into_inner);
        if breaks.len() < MAX_NOTES {
            breaks.push(message);
        }
    }

    fn take_breaks(&self) -> Vec<String> {
        std::mem::take(&mut self.breaks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What had broken went on where it had stopped, not from its start.
    pub fn resumed(&self) {
        self.resumes.fetch_add(1, Relaxed);
    }

    /// What had broken began again at its first byte, in a session of its own.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    /// The upload went that way.
    pub fn went(&self, way: &'static str) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ways.entry(way).or_default();
        *count = count.saturating_add(1);
    }

    /// So many bytes were sent that had been sent before.
    pub fn sent_twice(&self, bytes: usize) {
        self.sent_twice.fetch_add(bytes as u64, Relaxed);
    }

    /// Which attempt this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.again.load(Relaxed).saturating_add(1)
    }

    /// How often a transfer went on where it had stopped.
    #[must_use]
    pub fn resumes(&self) -> u32 {
        self.resumes.load(Relaxed)
    }

    /// How often a transfer began again at its first byte.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Relaxed)
    }

    /// How often the upload went which way.
    #[must_use]
    pub fn ways(&self) -> BTreeMap<&'static str, u32> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes sent more than once.
    #[must_use]
    pub fn bytes_sent_twice(&self) -> u64 {
        self.sent_twice.load(Relaxed)
    }
}

impl Progress {
    /// A run that begins now, in this thread.
    #[must_use]
    pub fn start() -> Self {
        let (source, layer) = (Arc::<Meter>::default(), Arc::<Meter>::default());
        let progress = Self {
            started: Instant::now(),
            process_cpu: process_cpu(),
            idle: Arc::new(Idle::new(Arc::clone(&source), Arc::clone(&layer))),
            source,
            layer,
            upload: Arc::default(),
            digest: Arc::default(),
            compressed_digest: Arc::default(),
            checksums: Arc::default(),
            spool: Arc::default(),
            total: AtomicU64::new(u64::MAX),
            phase: AtomicU8::new(Phase::Opening as u8),
            repeats: Arc::default(),
            notes: Mutex::default(),
            told: AtomicUsize::new(0),
            watched: Mutex::default(),
            marks: Mutex::default(),
        };
        progress.mark(Phase::Opening);
        progress.note(Noted::Phase);
        progress
    }

    /// The run goes on to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.idle.enter(phase);
        self.mark(phase);
        self.note(Noted::Phase);
    }

    /// The layer has so many bytes.
    pub fn expect(&self, bytes: u64) {
        self.total.store(bytes, Relaxed);
    }

    /// So many of these bytes need not be sent.
    pub fn spare(&self, bytes: u64) {
        self.expect(self.total().unwrap_or_default().saturating_sub(bytes));
    }

    /// Something to know about that does not end the run. `code` is a stable name, `message` one sentence.
    pub fn warn(&self, code: &str, message: &str) {
        self.note(Noted::Warning { code: code.to_owned(), message: message.to_owned() });
    }

    /// The filter of that name was chosen by how the bytes begin.
    pub fn chose(&self, filter: &str) {
        self.note(Noted::Filter(filter.to_owned()));
    }

    /// From now on `meters` are watched as what works on `task`.
    pub fn watch(&self, task: Task, meters: Vec<Arc<Meter>>) {
        self.watched().works.push(Work { task, meters });
    }

    /// The ends of the flow are these.
    pub fn between(&self, ends: Ends) {
        self.watched().ends = ends;
    }

    /// From now on that is watched: what connections to either end cost, the rate that is not to be exceeded, and the
    /// quota this process lives under.
    pub fn watch_run(&self, traffic: [Traffic; 2], limit: Option<u64>, cgroup: Option<Cgroup>) {
        let mut watched = self.watched();
        watched.traffic = Some(traffic);
        watched.limit = limit;
        watched.cgroup = cgroup.map(|cgroup| {
            let before = cgroup.throttled();
            (cgroup, before)
        });
    }

    /// What the run is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Opening,
            1 => Phase::Transferring,
            2 => Phase::Committing,
            _ => Phase::Publishing,
        }
    }

    /// How many bytes the layer has, once known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        Some(self.total.load(Relaxed)).filter(|total| *total != u64::MAX)
    }

    /// How far it is.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            elapsed: self.started.elapsed(),
            phase: self.phase(),
            attempt: self.repeats.attempt(),
            resumes: self.repeats.resumes(),
            sent_twice: self.repeats.bytes_sent_twice(),
            received: self.source.bytes(),
            sent: self.layer.bytes(),
            total: self.total(),
        }
    }

    /// What happened, without the first `seen` notes.
    #[must_use]
    pub fn notes(&self, seen: usize) -> Vec<Note> {
        for message in self.repeats.take_breaks() {
            self.warn("broke-off", &message);
        }
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(seen).cloned().collect()
    }

    /// The notes that this has not given before: each is told to people once.
    pub fn untold(&self) -> Vec<Note> {
        let notes = self.notes(self.told.load(Relaxed));
        self.told.fetch_add(notes.len(), Relaxed);
        notes
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a phase began, by the run's clock.
    fn began(&self, phase: Phase) -> Option<Duration> {
        self.marks().get(phase as usize).copied().flatten().map(|mark| mark.at)
    }

    fn marks(&self) -> [Option<Mark>; Phase::ALL.len()] {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, phase: Phase) {
        let now = Mark { at: self.started.elapsed(), cpu: thread_cpu() };
        if let Some(mark) = self.marks.lock().unwrap_or_else(PoisonError::into_inner).get_mut(phase as usize) {
            mark.get_or_insert(now);
        }
    }

    fn note(&self, what: Noted) {
        let at = self.position();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MAX_NOTES {
            notes.push(Note { at, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_again_is_counted() {
        let progress = Progress::start();
        assert_eq!(progress.position().attempt, 1);
        progress.repeats.tried_again();
        progress.repeats.resumed();
        progress.repeats.sent_twice(5);
        let repeats = &progress.repeats;
        assert_eq!((progress.position().attempt, repeats.resumes(), repeats.bytes_sent_twice()), (2, 1, 5));
        repeats.broke("a sentence".to_owned());
        assert_eq!(progress.position().attempt, 3);
        let notes = progress.notes(1);
        let warning = Noted::Warning { code: "broke-off".to_owned(), message: "a sentence".to_owned() };
        assert_eq!(notes.iter().map(|note| note.what.clone()).collect::<Vec<_>>(), [warning]);
        assert_eq!(progress.notes(1).len(), 1, "noted once");
        assert_eq!((progress.untold().len(), progress.untold().len()), (2, 0), "told once");
    }

    #[test]
    fn phases_and_warnings_are_kept_in_order_with_where_they_were() {
        let progress = Progress::start();
        progress.source.passed(3);
        progress.warn("a-code", "a sentence");
        for phase in Phase::ALL {
            progress.enter(phase);
            assert_eq!((progress.phase(), progress.position().phase), (phase, phase));
        }
        let notes = progress.notes(0);
        assert_eq!(notes.len(), 2 + Phase::ALL.len());
        assert_eq!((notes[0].at.received, notes[1].at.received), (0, 3));
        assert_eq!(notes[1].what, Noted::Warning { code: "a-code".to_owned(), message: "a sentence".to_owned() });
        assert_eq!(progress.notes(2), notes[2..]);
        for _ in 0..2 * MAX_NOTES {
            progress.warn("a", "b");
        }
        assert_eq!(progress.notes(0).len(), MAX_NOTES);
    }
}
