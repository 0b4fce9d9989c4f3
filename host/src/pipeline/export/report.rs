//! The report of an export: one JSON document, the same fields on success and failure.

use serde::Serialize;

use super::super::ledger::{access, connection, error_report};
use super::super::process::Process;
use super::super::report::{BottleneckReport, ComponentReport, ConnectionReport, ErrorReport, WaitReport, WorkReport};
use super::super::spent::{bottleneck, waits, work};
use super::{ExportPlan, ExportTarget, Exported, Known};
use crate::error::Error;
use crate::net::Net;
use crate::observe::Progress;

/// The version of the document.
pub const EXPORT_SCHEMA: &str = "longshore.export/v1";

/// What an export did. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct ExportReport {
    /// [`EXPORT_SCHEMA`].
    pub schema: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// `done` or `failed`.
    pub outcome: &'static str,
    /// Why it failed.
    pub error: Option<ErrorReport>,
    /// Where the disk was.
    pub source: ExportSource,
    /// Where it is.
    pub target: ExportedTo,
    /// The transfer.
    pub transfer: ExportTransfer,
    /// The source's component.
    pub component: Option<ComponentReport>,
    /// Every connection, in order.
    pub connections: Vec<ConnectionReport>,
    /// What the CPU was spent on, dearest first.
    pub work: Vec<WorkReport>,
    /// Whom the transfer waited for, longest first.
    pub waits: Vec<WaitReport>,
    /// The process.
    pub process: Process,
    /// What limited the transfer; null if it never began.
    pub bottleneck: Option<BottleneckReport>,
}

/// Where a disk was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExportSource {
    /// The reference, without secrets.
    pub location: Option<String>,
    /// The name of the disk in the image, fit for a file.
    pub name: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The digest of its layer.
    pub layer_digest: Option<String>,
    /// `restart` or `ranged`.
    pub access: Option<&'static str>,
}

/// Where a disk is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExportedTo {
    /// The file; null for standard output.
    pub path: Option<String>,
    /// `file`, `device` or `standard-output`; null if it was never opened.
    pub kind: Option<&'static str>,
    /// Whether the disk is there, verified.
    pub verified: bool,
    /// Bytes that were left out, being zeros.
    pub bytes_in_holes: Option<u64>,
    /// Bytes that an earlier run had left and that were verified with the rest; null if there were none.
    pub continued_from: Option<u64>,
}

/// The transfer.
#[derive(Clone, Debug, Serialize)]
pub struct ExportTransfer {
    /// Bytes received of the disk.
    pub bytes_received: u64,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Bytes received per second, on average.
    pub average_rate: Option<f64>,
    /// How often it was tried.
    pub attempts: u32,
    /// How often it was resumed.
    pub resumes: u32,
}

/// The report of an export that ended before it had a plan.
#[must_use]
pub fn export_unplanned(error: &Error, progress: &Progress) -> ExportReport {
    made(&Known::default(), None, progress, Err(error))
}

pub(super) fn report(
    known: &Known,
    plan: &ExportPlan,
    net: &Net,
    progress: &Progress,
    outcome: Result<&Exported, &Error>,
) -> ExportReport {
    let mut report = made(known, Some(plan), progress, outcome);
    report.connections = net.connections().all().iter().map(connection).collect();
    report.bottleneck = bottleneck(&progress.figures());
    report
}

fn made(
    known: &Known,
    plan: Option<&ExportPlan>,
    progress: &Progress,
    outcome: Result<&Exported, &Error>,
) -> ExportReport {
    let (figures, facts) = (progress.figures(), known.facts.as_ref());
    let (received, seconds) = (progress.source.bytes(), progress.started.elapsed().as_secs_f64());
    let exported = outcome.ok();
    ExportReport {
        schema: EXPORT_SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        outcome: if exported.is_some() { "done" } else { "failed" },
        error: outcome.err().map(error_report),
        source: ExportSource {
            location: plan.map(|plan| plan.shown.clone()),
            name: exported.map(|exported| exported.name.clone()),
            size: facts.and_then(|facts| facts.size),
            layer_digest: facts.and_then(|facts| facts.revision.clone()),
            access: facts.map(|facts| access(facts.access)),
        },
        target: ExportedTo {
            path: plan.and_then(|plan| match &plan.target {
                ExportTarget::File { path, .. } => Some(path.display().to_string()),
                ExportTarget::StandardOutput(_) => None,
            }),
            kind: known.kind,
            verified: exported.is_some(),
            bytes_in_holes: exported.map(|exported| exported.in_holes),
            continued_from: known.already,
        },
        transfer: ExportTransfer {
            bytes_received: received,
            seconds,
            average_rate: (seconds > 0.0).then(|| received as f64 / seconds),
            attempts: progress.repeats.attempt(),
            resumes: progress.repeats.resumes(),
        },
        component: known.source.clone(),
        connections: Vec::new(),
        work: work(&figures),
        waits: waits(&figures),
        process: Process::now(&figures),
        bottleneck: None,
    }
}
