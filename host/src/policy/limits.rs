//! Times and sizes that bound a run.

use std::time::Duration;

/// Bounds of one run. There is no time for all of it: a large disk over a slow line is no failure.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For name resolution, one connection attempt and one TLS handshake each.
    pub connect: Duration,
    /// Until an answer's head, once the request has been sent.
    pub answer: Duration,
    /// Until the answer to a blob's commit: a registry may hash or copy the whole blob first.
    pub commit: Duration,
    /// Without a byte from a source.
    pub source_stall: Duration,
    /// Without a byte taken by a registry.
    pub registry_stall: Duration,
    /// Until the head of a client's request has come whole, counted from when it could be sent; and its TLS handshake.
    pub client_head: Duration,
    /// Without a byte from a client that sends a disk.
    pub client_stall: Duration,
    /// Bytes per second that a client must send in each stretch of `client_stall` in which it is waited for.
    pub client_rate: usize,
    /// How long a client that sends a disk in parts may be away in between.
    pub client_away: Duration,
    /// Without a sign from a component that is waited for and waits for nothing itself.
    pub component_idle: Duration,
    /// What a component may keep others waiting in all before it has delivered anything; more is earned with each byte.
    pub component_wait: Duration,
    /// How often something that may succeed is tried in a row, without any progress in between.
    pub attempts: u32,
    /// The pause before the second attempt; each later one is twice as long, up to half a minute.
    pub back_off: Duration,
    /// How often a source that broke is asked in a row, without a step forward in between.
    pub source_attempts: u32,
    /// The pause before it is asked the second time; each later one is twice as long, up to half a minute.
    pub source_back_off: Duration,
    /// How long something that fails is tried in a row on either side, without any progress in between.
    pub total: Duration,
    /// How often an import may start over at the first byte because the registry lost the upload that its checkpoint names.
    pub start_overs: u32,
    /// CPU that a component may spend before it has delivered anything; more is earned with each byte.
    pub component_cpu: Duration,
    /// Bytes that all memories and tables of one component may take together.
    pub component_memory: usize,
    /// CPU that compiling one component may take, in whole seconds.
    pub compile_cpu: Duration,
    /// Address space that compiling one component may take.
    pub compile_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            answer: Duration::from_secs(120),
            commit: Duration::from_secs(15 * 60),
            source_stall: Duration::from_secs(120),
            registry_stall: Duration::from_secs(180),
            client_head: Duration::from_secs(15),
            client_stall: Duration::from_secs(60),
            client_rate: 1 << 10,
            client_away: Duration::from_secs(10 * 60),
            component_idle: Duration::from_secs(20),
            component_wait: Duration::from_secs(120),
            attempts: 5,
            back_off: Duration::from_millis(400),
            source_attempts: 8,
            source_back_off: Duration::from_millis(400),
            total: Duration::from_secs(5 * 60),
            start_overs: 3,
            component_cpu: Duration::from_secs(10),
            component_memory: 64 << 20,
            compile_cpu: Duration::from_secs(60),
            compile_memory: 4 << 30,
        }
    }
}

/// What one limit is, and between which bounds a document may set it, both included.
#[derive(Clone, Copy)]
pub(super) enum Bounds {
    /// A time.
    Time(fn(&mut Limits) -> &mut Duration, Duration, Duration),
    /// A number of bytes.
    Size(fn(&mut Limits) -> &mut usize, usize, usize),
    /// A number.
    Count(fn(&mut Limits) -> &mut u32, u32, u32),
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long one component may do nothing, and keep others waiting in all, whoever sets it.
pub(super) const COMPONENT_IDLE: (Duration, Duration) = (SECOND, HOUR);
pub(super) const COMPONENT_WAIT: (Duration, Duration) = (SECOND, DAY);
/// What one component may spend of CPU and memory, whoever sets it.
pub(super) const COMPONENT_CPU: (Duration, Duration) = (SECOND, HOUR);
/// A component of an ordinary toolchain needs a few MiB to begin with; wasm addresses 4 GiB.
pub(super) const COMPONENT_MEMORY: (usize, usize) = (4 << 20, 4 << 30);
/// The program itself has some 200 MiB of addresses before it compiles anything.
const COMPILE_MEMORY: (usize, usize) = (512 << 20, 64 << 30);

/// The limits that a document may set, by key.
pub(super) const LIMITS: [(&str, Bounds); 21] = [
    ("limits.connect", Bounds::Time(|limits| &mut limits.connect, SECOND, Duration::from_secs(10 * 60))),
    ("limits.answer", Bounds::Time(|limits| &mut limits.answer, SECOND, HOUR)),
    ("limits.commit", Bounds::Time(|limits| &mut limits.commit, SECOND, DAY)),
    ("limits.source-stall", Bounds::Time(|limits| &mut limits.source_stall, SECOND, HOUR)),
    ("limits.registry-stall", Bounds::Time(|limits| &mut limits.registry_stall, SECOND, HOUR)),
    ("limits.client-head", Bounds::Time(|limits| &mut limits.client_head, SECOND, Duration::from_secs(10 * 60))),
    ("limits.client-stall", Bounds::Time(|limits| &mut limits.client_stall, SECOND, HOUR)),
    ("limits.client-rate", Bounds::Size(|limits| &mut limits.client_rate, 1, 1 << 30)),
    ("limits.client-away", Bounds::Time(|limits| &mut limits.client_away, SECOND, DAY)),
    ("limits.component-idle", Bounds::Time(|limits| &mut limits.component_idle, COMPONENT_IDLE.0, COMPONENT_IDLE.1)),
    ("limits.component-wait", Bounds::Time(|limits| &mut limits.component_wait, COMPONENT_WAIT.0, COMPONENT_WAIT.1)),
    ("limits.component-cpu", Bounds::Time(|limits| &mut limits.component_cpu, COMPONENT_CPU.0, COMPONENT_CPU.1)),
    ("limits.attempts", Bounds::Count(|limits| &mut limits.attempts, 1, 1000)),
    ("limits.back-off", Bounds::Time(|limits| &mut limits.back_off, Duration::from_millis(1), Duration::from_secs(30))),
    ("limits.source-attempts", Bounds::Count(|limits| &mut limits.source_attempts, 1, 1000)),
    (
        "limits.source-back-off",
        Bounds::Time(|limits| &mut limits.source_back_off, Duration::from_millis(1), Duration::from_secs(30)),
    ),
    ("limits.total", Bounds::Time(|limits| &mut limits.total, SECOND, DAY)),
    ("limits.start-overs", Bounds::Count(|limits| &mut limits.start_overs, 0, 1000)),
    (
        "limits.component-memory",
        Bounds::Size(|limits| &mut limits.component_memory, COMPONENT_MEMORY.0, COMPONENT_MEMORY.1),
    ),
    ("limits.compile-cpu", Bounds::Time(|limits| &mut limits.compile_cpu, SECOND, HOUR)),
    ("limits.compile-memory", Bounds::Size(|limits| &mut limits.compile_memory, COMPILE_MEMORY.0, COMPILE_MEMORY.1)),
];
