//! Bytes and times at one place of the flow.
//!
//! Everything that carries a flow runs in one thread, one step within another: whoever sends a chunk on polls for it, and
//! so does every step before. So a step's own time is what passed while it ran without what passed in the steps that it
//! called. Two readings of the clock for each step and chunk give that exactly, and no part of it is counted twice.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes and times at one place of the flow. Times are of the wall clock, but for those on a CPU.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: AtomicU64,
    busy: AtomicU64,
    steady: AtomicU64,
    waiting_for_input: AtomicU64,
    waiting_for_output: AtomicU64,
    cpu: AtomicU64,
}

/// The longest that one stretch of work may take to count as steady. A chunk takes a fraction of it: whatever takes longer
/// was mostly spent waiting for a CPU, by a quota or by others.
const STEADY: Duration = Duration::from_millis(2);

/// A stage of the flow: the meter where its bytes come out, and those of what works for it besides.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Where its bytes come out.
    pub out: Arc<Meter>,
    /// What works for it: a component, a socket, TLS, a digest.
    pub workers: Vec<Arc<Meter>>,
}

/// A stretch of work of this thread.
#[derive(Debug)]
pub struct Span {
    /// When it began.
    pub began: Instant,
    /// What was spent in spans within the one around this one, before it.
    around: Duration,
}

thread_local! {
    /// What was spent in spans within the current one.
    static WITHIN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl Span {
    /// Work begins. It must end in the same thread, before any work does that was already going on.
    #[must_use]
    pub fn enter() -> Self {
        Self { began: Instant::now(), around: WITHIN.replace(Duration::ZERO) }
    }

    /// Work ends: when, and how long it took without the work of others within it.
    pub fn leave(self) -> (Instant, Duration) {
        let ended = Instant::now();
        let whole = ended.duration_since(self.began);
        let within = WITHIN.replace(self.around.saturating_add(whole));
        (ended, whole.saturating_sub(within))
    }
}

impl Meter {
    /// So many bytes passed.
    pub fn passed(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Does some work of this place. What others do within it is theirs.
    pub fn working<R>(&self, work: impl FnOnce() -> R) -> R {
        let span = Span::enter();
        let done = work();
        self.was_busy(span.leave().1);
        done
    }

    /// So long it was working itself.
    pub fn was_busy(&self, time: Duration) {
        add(&self.busy, time);
        add(&self.steady, time.min(STEADY));
    }

    /// So long it had nothing to give.
    pub fn waited_for_input(&self, time: Duration) {
        add(&self.waiting_for_input, time);
    }

    /// So long nobody asked.
    pub fn waited_for_output(&self, time: Duration) {
        add(&self.waiting_for_output, time);
    }

    /// So long a thread beside the flow's worked for it on a CPU. Several may add to it at the same time: it can grow faster
    /// than the clock runs.
    pub fn was_on_cpu(&self, time: Duration) {
        add(&self.cpu, time);
    }

    /// Bytes that passed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Time it worked itself.
    #[must_use]
    pub fn busy(&self) -> Duration {
        read(&self.busy)
    }

    /// Time it worked itself, of each stretch no more than it can have needed a CPU for.
    #[must_use]
    pub fn steady(&self) -> Duration {
        read(&self.steady)
    }

    /// Time without input.
    #[must_use]
    pub fn waiting_for_input(&self) -> Duration {
        read(&self.waiting_for_input)
    }

    /// Time without demand.
    #[must_use]
    pub fn waiting_for_output(&self) -> Duration {
        read(&self.waiting_for_output)
    }

    /// Time on a CPU in threads beside the flow's, of all of them together.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        read(&self.cpu)
    }
}

impl Place {
    /// A stage that `workers` work for.
    #[must_use]
    pub fn of(out: &Arc<Meter>, workers: impl IntoIterator<Item = Arc<Meter>>) -> Self {
        Self { out: Arc::clone(out), workers: workers.into_iter().collect() }
    }

    /// Time it worked, whoever did it.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.workers.iter().fold(self.out.busy(), |sum, worker| sum.saturating_add(worker.busy()))
    }

    /// The same, of each stretch no more than it can have needed a CPU for.
    #[must_use]
    pub fn steady(&self) -> Duration {
        self.workers.iter().fold(self.out.steady(), |sum, worker| sum.saturating_add(worker.steady()))
    }

    /// Time on a CPU in threads beside the flow's.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.workers.iter().fold(self.out.cpu(), |sum, worker| sum.saturating_add(worker.cpu()))
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    // 2^64 ns are 584 years; nothing wraps all the same.
    let _ = counter.fetch_update(Relaxed, Relaxed, |sum| Some(sum.saturating_add(nanos)));
}

fn read(counter: &AtomicU64) -> Duration {
    Duration::from_nanos(counter.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    #[test]
    fn what_others_do_within_is_theirs() {
        let (outer, inner, innermost) = (Meter::default(), Meter::default(), Meter::default());
        let began = Instant::now();
        outer.working(|| {
            sleep(STEP);
            for _ in 0..2 {
                inner.working(|| {
                    sleep(STEP);
                    innermost.working(|| sleep(STEP));
                });
            }
        });
        let whole = began.elapsed();
        assert!(outer.busy() >= STEP && inner.busy() >= 2 * STEP && innermost.busy() >= 2 * STEP);
        let sum = outer.busy() + inner.busy() + innermost.busy();
        assert!(sum <= whole, "{sum:?} of {whole:?}: every moment is counted once");
    }

    #[test]
    fn a_meter_adds_up_what_every_thread_spent() {
        let meter = Meter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| meter.was_on_cpu(Duration::from_secs(1)));
            }
        });
        assert_eq!(meter.cpu(), Duration::from_secs(2));
        meter.was_on_cpu(Duration::MAX);
        assert_eq!(meter.cpu(), Duration::from_nanos(u64::MAX), "it does not wrap");
    }

    #[test]
    fn a_stage_is_its_output_and_whoever_works_for_it() {
        let (out, worker) = (Arc::new(Meter::default()), Arc::new(Meter::default()));
        out.was_busy(STEP);
        worker.was_busy(STEP);
        worker.was_on_cpu(STEP);
        let place = Place::of(&out, [worker]);
        assert_eq!((place.busy(), place.cpu()), (2 * STEP, STEP));
    }
}
