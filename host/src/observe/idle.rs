//! Whom the flow's thread waits for when it has nothing to do.
//!
//! One thread carries the whole flow. What it does not spend working it is parked, and then somebody else has to move
//! first: whoever was asked last and had nothing to say. Each such place keeps a [`Waiting`]; when the runtime parks the
//! thread, the time until it wakes is put down to the one that holds the flow up. That makes the sum exact: the time of a
//! run is what its thread worked and whom it waited for.

use std::cell::Cell;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Meter, Phase};

/// Somebody who can hold up the flow. In the order in which they do if several are waited for at once: a limit that is
/// reached lets nothing through, whoever else has bytes; a registry that takes no more holds up what is read already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitsFor {
    /// `--limit-rate`.
    RateLimit,
    /// The registry, to take bytes that stand ready.
    RegistryTakes,
    /// The disk an image layout is written to.
    DiskWrites,
    /// The disk that holds the spool, written or read.
    Spool,
    /// Threads that compute checksums.
    Checksums,
    /// Threads that compress.
    Compressor,
    /// The disk, device or pipe that SOURCE is read from.
    DiskReads,
    /// The source's server, for bytes or an answer.
    Source,
    /// The registry, for an answer.
    RegistryAnswers,
    /// Nobody who is known: a component that sleeps, a name that is resolved.
    Other,
}

/// A place where somebody may be waited for. Nobody is when it is dropped.
#[derive(Debug)]
pub struct Waiting {
    whom: WaitsFor,
    now: bool,
}

/// The idle time of a run's thread.
#[derive(Debug)]
pub struct Idle {
    received: Arc<Meter>,
    sent: Arc<Meter>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: usize,
    parked: Option<(Instant, WaitsFor)>,
    times: [[Duration; WaitsFor::ALL.len()]; Phase::ALL.len()],
    source: Pace,
    registry: Pace,
}

/// How fast one peer is, measured only while nobody else held the flow up: from one moment at which it was waited for to
/// the next. At both the socket's buffer is empty (of a source) or full (of a registry), so that what passed in between is
/// what the peer moved in that time.
#[derive(Debug, Default)]
struct Pace {
    since: Option<(Instant, u64)>,
    bytes: u64,
    time: Duration,
}

/// Less than this says nothing about a peer's pace.
const FEWEST_BYTES: u64 = 1 << 20;
const SHORTEST: Duration = Duration::from_millis(20);

thread_local! {
    /// How many places of this thread wait for each.
    static PENDING: [Cell<u32>; WaitsFor::ALL.len()] = const { [const { Cell::new(0) }; WaitsFor::ALL.len()] };
}

impl WaitsFor {
    /// Everybody, in order.
    pub const ALL: [Self; 10] = [
        Self::RateLimit,
        Self::RegistryTakes,
        Self::DiskWrites,
        Self::Spool,
        Self::Checksums,
        Self::Compressor,
        Self::DiskReads,
        Self::Source,
        Self::RegistryAnswers,
        Self::Other,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate-limit",
            Self::RegistryTakes => "registry-takes",
            Self::DiskWrites => "disk-writes",
            Self::Spool => "spool",
            Self::Checksums => "checksums",
            Self::Compressor => "compressor",
            Self::DiskReads => "disk-reads",
            Self::Source => "source",
            Self::RegistryAnswers => "registry-answers",
            Self::Other => "other",
        }
    }

    /// Whoever holds up the flow of this thread now.
    fn now() -> Self {
        PENDING.with(|pending| {
            let mut waited = Self::ALL.into_iter().zip(pending).filter(|(_, places)| places.get() > 0);
            waited.next().map_or(Self::Other, |(whom, _)| whom)
        })
    }
}

impl Waiting {
    /// A place where `whom` may be waited for; nobody is yet.
    #[must_use]
    pub const fn new(whom: WaitsFor) -> Self {
        Self { whom, now: false }
    }

    /// Whether it is waited for from now on: after every poll, whether that was pending.
    pub fn set(&mut self, now: bool) {
        if self.now == now {
            return;
        }
        self.now = now;
        PENDING.with(|pending| {
            if let Some(places) = pending.get(self.whom as usize) {
                places.set(if now { places.get().saturating_add(1) } else { places.get().saturating_sub(1) });
            }
        });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// A future that `whom` is waited for with.
pub async fn waiting_for<F: Future>(whom: WaitsFor, step: F) -> F::Output {
    let (mut step, mut waiting) = (pin!(step), Waiting::new(whom));
    std::future::poll_fn(|cx| {
        let polled = step.as_mut().poll(cx);
        waiting.set(polled.is_pending());
        polled
    })
    .await
}

impl Idle {
    pub(super) fn new(received: Arc<Meter>, sent: Arc<Meter>) -> Self {
        Self { received, sent, state: Mutex::default() }
    }

    /// The thread goes to sleep: for the runtime to call.
    pub fn parks(&self) {
        let (now, whom) = (Instant::now(), WaitsFor::now());
        let mut state = self.lock();
        state.parked = Some((now, whom));
        state.source.waits(whom == WaitsFor::Source, now, self.received.bytes());
        state.registry.waits(whom == WaitsFor::RegistryTakes, now, self.sent.bytes());
    }

    /// The run goes on to `phase`.
    pub(super) fn enter(&self, phase: Phase) {
        self.lock().phase = phase as usize;
    }

    /// It wakes up: for the runtime to call.
    pub fn wakes(&self) {
        let mut state = self.lock();
        let Some((since, whom)) = state.parked.take() else { return };
        let phase = state.phase;
        let time = state.times.get_mut(phase).and_then(|times| times.get_mut(whom as usize));
        if let Some(time) = time {
            *time = time.saturating_add(since.elapsed());
        }
    }

    /// How long that one was waited for in that phase.
    #[must_use]
    pub fn time(&self, phase: Phase, whom: WaitsFor) -> Duration {
        let state = self.lock();
        state.times.get(phase as usize).and_then(|times| times.get(whom as usize)).copied().unwrap_or_default()
    }

    /// How long anybody was waited for, in the whole run.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.lock().times.iter().flatten().sum()
    }

    /// Bytes per second that the source gives at least, where it was the one waited for; none if that says too little.
    #[must_use]
    pub fn source_pace(&self) -> Option<f64> {
        self.lock().source.per_second()
    }

    /// The same of the registry, for what it takes.
    #[must_use]
    pub fn registry_pace(&self) -> Option<f64> {
        self.lock().registry.per_second()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    fn waits(&mut self, is_waited_for: bool, now: Instant, passed: u64) {
        let before = self.since.take();
        if !is_waited_for {
            return;
        }
        if let Some((since, bytes)) = before {
            self.bytes = self.bytes.saturating_add(passed.saturating_sub(bytes));
            self.time = self.time.saturating_add(now.duration_since(since));
        }
        self.since = Some((now, passed));
    }

    fn per_second(&self) -> Option<f64> {
        let enough = self.bytes >= FEWEST_BYTES && self.time >= SHORTEST;
        enough.then(|| self.bytes as f64 / self.time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::thread::sleep;

    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    fn idle() -> (Idle, Arc<Meter>, Arc<Meter>) {
        let (received, sent) = (Arc::new(Meter::default()), Arc::new(Meter::default()));
        (Idle::new(Arc::clone(&received), Arc::clone(&sent)), received, sent)
    }

    fn sleeps(idle: &Idle, phase: Phase) {
        idle.enter(phase);
        idle.parks();
        sleep(STEP);
        idle.wakes();
    }

    #[test]
    fn idle_time_is_put_down_to_whoever_holds_up_the_flow() {
        let (idle, ..) = idle();
        sleeps(&idle, Phase::Opening);
        let mut source = Waiting::new(WaitsFor::Source);
        source.set(true);
        source.set(true);
        sleeps(&idle, Phase::Transferring);
        {
            let mut registry = Waiting::new(WaitsFor::RegistryTakes);
            registry.set(true);
            sleeps(&idle, Phase::Transferring);
        }
        sleeps(&idle, Phase::Transferring);
        source.set(false);
        sleeps(&idle, Phase::Transferring);
        assert!(idle.time(Phase::Opening, WaitsFor::Other) >= STEP);
        assert!(idle.time(Phase::Transferring, WaitsFor::Source) >= 2 * STEP);
        assert!(idle.time(Phase::Transferring, WaitsFor::RegistryTakes) >= STEP);
        assert!(idle.time(Phase::Transferring, WaitsFor::Other) >= STEP);
        assert_eq!(idle.time(Phase::Committing, WaitsFor::Source), Duration::ZERO);
    }

    #[test]
    fn a_pace_is_measured_only_while_nobody_else_holds_up_the_flow() {
        let (idle, received, sent) = idle();
        let mut source = Waiting::new(WaitsFor::Source);
        source.set(true);
        sleeps(&idle, Phase::Transferring);
        assert_eq!(idle.source_pace(), None);
        received.passed(4 << 20);
        sleeps(&idle, Phase::Transferring);
        let pace = idle.source_pace().unwrap();
        assert!(pace <= (4 << 20) as f64 / STEP.as_secs_f64(), "{pace}");
        // The registry holds it up: what comes after that was waiting in a buffer.
        let mut registry = Waiting::new(WaitsFor::RegistryTakes);
        registry.set(true);
        sleeps(&idle, Phase::Transferring);
        sent.passed(2 << 20);
        sleeps(&idle, Phase::Transferring);
        registry.set(false);
        received.passed(1 << 30);
        sleeps(&idle, Phase::Transferring);
        assert_eq!(idle.source_pace(), Some(pace));
        assert!(idle.registry_pace().unwrap() <= (2 << 20) as f64 / STEP.as_secs_f64());
    }

    #[test]
    fn a_future_is_waited_for_until_it_is_ready_or_dropped() {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = Cell::new(false);
        let step = std::future::poll_fn(|_| if ready.get() { Poll::Ready(()) } else { Poll::Pending });
        let mut asked = Box::pin(waiting_for(WaitsFor::RegistryAnswers, step));
        assert!(asked.as_mut().poll(&mut cx).is_pending());
        assert_eq!(WaitsFor::now(), WaitsFor::RegistryAnswers);
        ready.set(true);
        assert!(asked.as_mut().poll(&mut cx).is_ready());
        assert_eq!(WaitsFor::now(), WaitsFor::Other);
        let mut dropped = Box::pin(waiting_for(WaitsFor::Source, std::future::pending::<()>()));
        assert!(dropped.as_mut().poll(&mut cx).is_pending());
        assert_eq!(WaitsFor::now(), WaitsFor::Source);
        drop(dropped);
        assert_eq!(WaitsFor::now(), WaitsFor::Other);
    }

    #[test]
    fn the_list_is_in_the_order_of_the_enum() {
        for (at, whom) in WaitsFor::ALL.into_iter().enumerate() {
            assert_eq!(whom as usize, at, "{}", whom.as_str());
        }
    }
}
