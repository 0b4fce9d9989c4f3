//! What is going on and what it cost: stage meters and progress. The bottleneck verdict comes with its own issue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes and times at one place of the flow. All times are of the wall clock.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: AtomicU64,
    inside: AtomicU64,
    waiting_for_input: AtomicU64,
    waiting_for_output: AtomicU64,
}

impl Meter {
    /// So many bytes passed.
    pub fn passed(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// So long it was running, everything upstream included.
    pub fn was_inside(&self, time: Duration) {
        add(&self.inside, time);
    }

    /// So long it had nothing to give.
    pub fn waited_for_input(&self, time: Duration) {
        add(&self.waiting_for_input, time);
    }

    /// So long nobody asked.
    pub fn waited_for_output(&self, time: Duration) {
        add(&self.waiting_for_output, time);
    }

    /// Bytes that passed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Time inside, everything upstream included.
    #[must_use]
    pub fn inside(&self) -> Duration {
        Duration::from_nanos(self.inside.load(Relaxed))
    }

    /// Time without input.
    #[must_use]
    pub fn waiting_for_input(&self) -> Duration {
        Duration::from_nanos(self.waiting_for_input.load(Relaxed))
    }

    /// Time without demand.
    #[must_use]
    pub fn waiting_for_output(&self) -> Duration {
        Duration::from_nanos(self.waiting_for_output.load(Relaxed))
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
}

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

/// The meters of one run, shared with the pipeline; a reader may look at any time.
#[derive(Debug)]
pub struct Progress {
    /// When the run began.
    pub started: Instant,
    /// At the source's end of the flow.
    pub source: Arc<Meter>,
    /// At the destination's end of the flow.
    pub layer: Arc<Meter>,
    total: AtomicU64,
    phase: AtomicU64,
}

impl Progress {
    /// A run that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            source: Arc::default(),
            layer: Arc::default(),
            total: AtomicU64::new(u64::MAX),
            phase: AtomicU64::new(0),
        }
    }

    /// The run goes on to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u64, Relaxed);
    }

    /// The layer has so many bytes.
    pub fn expect(&self, bytes: u64) {
        self.total.store(bytes, Relaxed);
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
}
