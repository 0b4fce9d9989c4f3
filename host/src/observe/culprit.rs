//! Who or what limited a transfer, and what is said of it.

/// What limited a transfer.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// Who or what.
    pub culprit: Culprit,
    /// Why that is said, in one sentence without its period.
    pub evidence: String,
    /// What could be done, in one sentence without its period.
    pub advice: String,
}

/// Who or what limits a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// Nobody: it was too short, or nothing moved.
    Nothing,
    /// The source's server, or the way to it.
    Source,
    /// The registry, or the way to it.
    Registry,
    /// `--limit-rate`.
    RateLimit,
    /// The disk SOURCE lies on, or the pipe it comes through.
    DiskReads,
    /// The disk the image layout is written to.
    DiskWrites,
    /// The disk the spool is on.
    Spool,
    /// A cipher suite that this CPU does not accelerate.
    Tls,
    /// Checksums that were demanded.
    Checksums,
    /// The compressor.
    Compressor,
    /// A filter.
    Filter,
    /// A source component.
    SourceComponent,
    /// A component that sleeps, or something nobody knows.
    Other,
    /// The CPU quota of the cgroup.
    CpuQuota,
    /// The CPU: everything else is faster.
    Cpu,
}

impl Culprit {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Source => "source",
            Self::Registry => "registry",
            Self::RateLimit => "rate-limit",
            Self::DiskReads => "disk-reads",
            Self::DiskWrites => "disk-writes",
            Self::Spool => "spool",
            Self::Tls => "tls",
            Self::Checksums => "checksums",
            Self::Compressor => "compressor",
            Self::Filter => "filter",
            Self::SourceComponent => "source-component",
            Self::Other => "other",
            Self::CpuQuota => "cpu-quota",
            Self::Cpu => "cpu",
        }
    }
}
