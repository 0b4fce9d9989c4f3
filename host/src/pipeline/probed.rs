//! What `longshore probe` says: one JSON document, the same fields on success and failure.

use serde::Serialize;

use super::report::{ComponentReport, ConnectionReport, ContentReport, ErrorReport, HazardReport};

/// The version of the document.
pub const PROBE_SCHEMA: &str = "longshore.probe/v1";

/// What was seen of a disk. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeReport {
    /// [`PROBE_SCHEMA`].
    pub schema: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// `accepted`; `refused` where an import would refuse the disk for a hazard, its format or its size; `failed` for every other error.
    pub outcome: &'static str,
    /// Why it was not accepted.
    pub error: Option<ErrorReport>,
    /// The source.
    pub source: ProbedSource,
    /// The disk.
    pub disk: ProbedDisk,
    /// Who looked.
    pub components: Readers,
    /// Every connection, in order.
    pub connections: Vec<ConnectionReport>,
}

/// The source.
#[derive(Clone, Debug, Serialize)]
pub struct ProbedSource {
    /// The location, without secrets.
    pub location: String,
    /// Bytes, if known.
    pub size: Option<u64>,
    /// ETag, date or the like.
    pub revision: Option<String>,
    /// `once`, `restart` or `ranged`.
    pub access: Option<&'static str>,
    /// Bytes that the probe was shown.
    pub bytes_probed: Option<u64>,
}

/// The disk; all null if nobody got to look.
#[derive(Clone, Debug, Serialize)]
pub struct ProbedDisk {
    /// The format.
    pub format: Option<String>,
    /// Bytes as a guest machine would see them.
    pub virtual_size: Option<u64>,
    /// What is dangerous about it.
    pub hazards: Option<Vec<HazardReport>>,
    /// Details, as name and value.
    pub details: Option<Vec<(String, String)>>,
    /// What is in it, if it is a wrapper.
    pub content: Option<ContentReport>,
}

/// The components that read the disk.
#[derive(Clone, Debug, Serialize)]
pub struct Readers {
    /// The source.
    pub source: Option<ComponentReport>,
    /// The probe.
    pub probe: Option<ComponentReport>,
}
