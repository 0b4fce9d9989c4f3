//! The figures of a run, as they stand at some moment: what the verdict is made of.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Cgroup, CpuShare, Meter, Phase, Place, Progress, Sessions, Throttled, WaitsFor, process_cpu, thread_cpu};

/// An end of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Where the disk comes from.
    Source,
    /// Where it goes.
    Registry,
}

/// Who or what is at the ends of the flow, for whoever puts it into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Where the disk comes from.
    pub from: Giver,
    /// Where it goes.
    pub to: Taker,
}

/// Where a disk comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Giver {
    /// SOURCE of an import, which is asked for it.
    #[default]
    Source,
    /// A client that sends it.
    Client,
    /// The registry of an export.
    Registry,
}

/// Where a disk goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taker {
    /// A registry.
    #[default]
    Registry,
    /// An image layout on this machine.
    Layout,
    /// A file, a device or standard output.
    File,
}

/// What the connections of one end cost, all together.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// In the kernel: bytes received and sent, TLS and HTTP included, and the time that took.
    pub sockets: Arc<Meter>,
    /// In TLS: bytes within it.
    pub tls: Arc<Meter>,
    /// What they speak.
    pub sessions: Sessions,
    suites: Arc<Mutex<Vec<String>>>,
}

/// The most cipher suites that are kept by name.
const MAX_SUITES: usize = 16;

/// Some work, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// The layer's digests.
    Digest,
    /// Checksums that were demanded, in these algorithms.
    Checksums(Vec<String>),
    /// TLS with one end, in these cipher suites.
    Tls(End, Vec<String>),
    /// Receiving and sending in the kernel, with one end.
    Sockets(End),
    /// A component of that kind and name.
    Component(&'static str, String),
    /// Everything else in the flow's thread: HTTP, the runtime, framing, handing bytes on.
    Rest,
    /// Other threads: reading and writing local disks, progress.
    Threads,
}

/// What a task cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Spent {
    /// What it is for.
    pub task: Task,
    /// How long the flow's thread worked on it, by the clock.
    pub busy: Duration,
    /// CPU time, of threads beside the flow's too.
    pub cpu: Duration,
}

/// A quota, and what it did during the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// CPUs that may be used on average.
    pub cpus: f64,
    /// How often it was used up.
    pub throttled: Throttled,
}

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Time before the first byte was asked for.
    pub opening: Duration,
    /// Time in which bytes moved.
    pub transfer: Duration,
    /// Time after the last byte was sent.
    pub finishing: Duration,
    /// Bytes received from the source.
    pub received: u64,
    /// Whom the flow's thread waited for while bytes moved. What is missing of `transfer` it was working.
    pub waited: Vec<(WaitsFor, Duration)>,
    /// How long the registry was waited for after the last byte.
    pub registry_finishing: Duration,
    /// CPU time of the flow's thread while bytes moved.
    pub thread_cpu: Duration,
    /// What the CPU was spent on, of the whole run.
    pub spent: Vec<Spent>,
    /// Bytes per second of `--limit-rate`.
    pub limit: Option<u64>,
    /// Who or what is at the ends.
    pub ends: Ends,
    /// The quota.
    pub quota: Option<Quota>,
    /// Whether the CPU has instructions for AES.
    pub aes: bool,
    /// Bytes per second that the source gives at least, if that could be seen.
    pub source_pace: Option<f64>,
    /// Bytes per second that the registry takes at least.
    pub registry_pace: Option<f64>,
}

/// What is watched of a run, as the run makes it known.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) works: Vec<Work>,
    pub(super) stages: Vec<(&'static str, Place)>,
    pub(super) traffic: Option<[Traffic; 2]>,
    pub(super) limit: Option<u64>,
    pub(super) ends: Ends,
    pub(super) cgroup: Option<(Cgroup, Throttled)>,
}

/// A task and who does it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) task: Task,
    pub(super) meters: Vec<Arc<Meter>>,
}

/// When a phase began, by the run's clock and that of its thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) at: Duration,
    pub(super) cpu: Duration,
}

impl End {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Registry => "registry",
        }
    }
}

impl Traffic {
    /// A session speaks that cipher suite.
    pub fn speaks(&self, suite: &str) {
        let mut suites = self.suites.lock().unwrap_or_else(PoisonError::into_inner);
        if suites.len() < MAX_SUITES && !suites.iter().any(|known| known == suite) {
            suites.push(suite.to_owned());
        }
    }

    /// The cipher suites spoken so far.
    #[must_use]
    pub fn suites(&self) -> Vec<String> {
        self.suites.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Figures {
    /// How long that one was waited for.
    #[must_use]
    pub fn waited(&self, whom: WaitsFor) -> Duration {
        self.waited.iter().filter(|(waited, _)| *waited == whom).map(|(_, time)| *time).sum()
    }

    /// How long the flow's thread worked, or would have, had it got a CPU.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.transfer.saturating_sub(self.waited.iter().map(|(_, time)| *time).sum())
    }

    /// How long it would have worked and got no CPU.
    #[must_use]
    pub fn starved(&self) -> Duration {
        self.busy().saturating_sub(self.thread_cpu)
    }

    /// CPU time of everything.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.spent.iter().map(|spent| spent.cpu).sum()
    }

    /// Bytes received per second while bytes moved.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.transfer.as_secs_f64().max(f64::EPSILON)
    }

    /// Bytes per second that this process could move if nobody else held it up; none before it has worked.
    #[must_use]
    pub fn local_pace(&self) -> Option<f64> {
        let seconds = self.thread_cpu.as_secs_f64();
        (self.received > 0 && seconds > 0.0).then(|| self.received as f64 / seconds)
    }
}

impl Progress {
    /// The figures up to now. For the run's own thread.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let now = Mark { at: self.started.elapsed(), cpu: thread_cpu() };
        let marks = self.marks();
        let mark = |phase: Phase| marks.get(phase as usize).copied().flatten();
        let (began, ended) = (mark(Phase::Transferring), mark(Phase::Committing).unwrap_or(now));
        let (began, moving) = (began.unwrap_or(now), began.is_some());
        let transfer = if moving { ended.at.saturating_sub(began.at) } else { Duration::ZERO };
        let waited = WaitsFor::ALL.map(|whom| (whom, self.idle.time(Phase::Transferring, whom)));
        let finishing = [Phase::Committing, Phase::Publishing];
        let watched = self.watched();
        Figures {
            opening: began.at,
            transfer,
            finishing: if moving { now.at.saturating_sub(ended.at) } else { Duration::ZERO },
            received: self.source.bytes(),
            waited: waited.into_iter().filter(|(_, time)| !time.is_zero()).collect(),
            registry_finishing: finishing.map(|phase| self.idle.time(phase, WaitsFor::RegistryAnswers)).iter().sum(),
            thread_cpu: if moving { ended.cpu.saturating_sub(began.cpu) } else { Duration::ZERO },
            spent: self.spent(&watched.works, watched.traffic.as_ref(), now),
            limit: watched.limit,
            ends: watched.ends,
            quota: watched.cgroup.as_ref().and_then(|(cgroup, before)| {
                Some(Quota { cpus: cgroup.quota_cpus()?, throttled: cgroup.throttled().since(before) })
            }),
            aes: has_aes(),
            source_pace: self.idle.source_pace(),
            registry_pace: self.idle.registry_pace(),
        }
    }

    /// What of the time in which the run's thread was busy it was on a CPU. For that thread.
    #[must_use]
    pub fn cpu_share(&self) -> CpuShare {
        let (now, watched) = (Mark { at: self.started.elapsed(), cpu: thread_cpu() }, self.watched());
        self.share(now, &tasks(&watched.works, watched.traffic.as_ref()))
    }

    fn share(&self, now: Mark, tasks: &[(Task, Vec<Arc<Meter>>)]) -> CpuShare {
        let awake = now.at.saturating_sub(self.idle.total());
        let before = self.marks().first().copied().flatten().unwrap_or_default().cpu;
        let all = || tasks.iter().flat_map(|(_, meters)| meters);
        CpuShare::new(
            now.cpu.saturating_sub(before),
            awake,
            all().map(|meter| meter.busy()).sum(),
            all().map(|meter| meter.steady()).sum(),
        )
    }

    /// The CPU time of the run's thread is shared out by how long it was busy with what; threads beside it know their own.
    fn spent(&self, works: &[Work], traffic: Option<&[Traffic; 2]>, now: Mark) -> Vec<Spent> {
        let awake = now.at.saturating_sub(self.idle.total());
        let tasks = tasks(works, traffic);
        let share = self.share(now, &tasks);
        let mut all = Vec::new();
        for (task, meters) in tasks {
            let busy: Duration = meters.iter().map(|meter| meter.busy()).sum();
            let steady: Duration = meters.iter().map(|meter| meter.steady()).sum();
            let beside: Duration = meters.iter().map(|meter| meter.cpu()).sum();
            all.push(Spent { task, busy, cpu: share.of(busy, steady).saturating_add(beside) });
        }
        let rest = awake.saturating_sub(all.iter().map(|spent| spent.busy).sum());
        all.push(Spent { task: Task::Rest, busy: rest, cpu: share.of_rest(rest) });
        let known: Duration = all.iter().map(|spent| spent.cpu).sum();
        let threads = process_cpu().saturating_sub(self.process_cpu).saturating_sub(known);
        all.push(Spent { task: Task::Threads, busy: Duration::ZERO, cpu: threads });
        all.retain(|spent| !spent.cpu.is_zero());
        all
    }
}

/// Everything that has meters, by what it is for.
fn tasks(works: &[Work], traffic: Option<&[Traffic; 2]>) -> Vec<(Task, Vec<Arc<Meter>>)> {
    let mut all: Vec<_> = works.iter().map(|work| (work.task.clone(), work.meters.clone())).collect();
    for (end, traffic) in [End::Source, End::Registry].into_iter().zip(traffic.into_iter().flatten()) {
        all.push((Task::Tls(end, traffic.suites()), vec![Arc::clone(&traffic.tls)]));
        all.push((Task::Sockets(end), vec![Arc::clone(&traffic.sockets)]));
    }
    all
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest => f.write_str("SHA-256 of the layer"),
            Self::Checksums(algorithms) => write!(f, "checksums ({})", algorithms.join(", ")),
            Self::Tls(end, suites) => write!(f, "TLS with the {} ({})", end.as_str(), suites.join(", ")),
            Self::Sockets(end) => write!(f, "sockets of the {}", end.as_str()),
            Self::Component(kind, name) => write!(f, "the {kind} `{name}`"),
            Self::Rest => f.write_str("the rest"),
            Self::Threads => f.write_str("reading and writing local disks"),
        }
    }
}

/// Whether this CPU has instructions for AES; where nobody can tell, they are taken to be there.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    true
}
