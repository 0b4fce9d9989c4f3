//! `probe`: what a disk is, for people or as JSON. Both are data and go to standard output.

use indicatif::HumanBytes;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::args::Probe;
use super::signals::signals;
use super::{messages, plan};
use crate::error::{Error, Result, Stage};
use crate::pipeline::{self, ContentReport, ProbePlan, ProbeReport, Probed};

/// Looks at a disk.
pub(super) fn run(probe: &Probe) -> Result<()> {
    let plan = plan::probe_plan(probe)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Error::internal(Stage::Plan, format!("there is no runtime: {why}")))?;
    let probed = LocalSet::new().block_on(&runtime, look(&plan));
    // A read of standard input may still be blocked; nothing waits for it.
    runtime.shutdown_background();
    let Probed { outcome, report } = probed?;
    if probe.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|why| Error::internal(Stage::Report, format!("the verdict cannot be written: {why}")))?;
        messages::data(&text)?;
    } else if report.disk.format.is_some() {
        messages::data(&table(&report))?;
    }
    outcome
}

async fn look(plan: &ProbePlan) -> Result<Probed> {
    let (interrupt, interrupted) = pipeline::interrupt();
    let signals = signals(interrupt)?;
    tokio::select! {
        biased;
        probed = pipeline::probe(plan, interrupted) => Ok(probed),
        error = signals => Err(error),
    }
}

/// The verdict for people: facts as name and value, then the hazards.
fn table(report: &ProbeReport) -> String {
    let (source, disk) = (&report.source, &report.disk);
    let bytes = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("{} ({bytes} bytes)", HumanBytes(bytes)),
        None => "unknown".to_owned(),
    };
    let mut rows = vec![
        ("format", disk.format.clone().unwrap_or_default()),
        ("virtual size", bytes(disk.virtual_size)),
        ("size", bytes(source.size)),
    ];
    rows.extend(disk.details.iter().flatten().map(|(name, value)| (name.as_str(), value.clone())));
    if let Some(content) = &disk.content {
        rows.push(("content", content_of(content)));
        if content.inspected {
            rows.push(("content virtual size", bytes(content.virtual_size)));
        }
        rows.extend(content.details.iter().map(|(name, value)| (name.as_str(), value.clone())));
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let mut lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    let inside = disk.content.iter().flat_map(|content| &content.hazards);
    let hazards = disk.hazards.iter().flatten().chain(inside);
    lines.extend(hazards.map(|hazard| format!("{}: {} ({})", hazard.severity, hazard.message, hazard.code)));
    lines.join("\n")
}

/// What is in a wrapper, and what it is in: innermost first.
fn content_of(content: &ContentReport) -> String {
    let within: Vec<&str> = content.wrappers.iter().rev().map(String::as_str).collect();
    let within = within.join(" in ");
    match &content.format {
        Some(format) => format!("{format} in {within}"),
        None => format!("not inspected, in {within}"),
    }
}
