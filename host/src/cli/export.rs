//! `export`: from the arguments to the disk in a file, and what the user sees of it.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;

use super::args::Export;
use super::color::Color;
use super::import::{carried_out, connected, ended, limited, write_text};
use super::locate::{self, Destination};
use super::progress::{Ended, Verbosity, rate, shown, warnings};
use super::source_fields::source_options;
use super::{auth, messages, plan, policy};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Progress;
use crate::pipeline::{
    self, Choice, ExportFinished, ExportPlan, ExportReport, ExportTarget, Input, SourceFields, SourceRegistry,
};

/// The file name that means standard output.
const STANDARD_OUTPUT: &str = "-";
/// The source that reads images.
const READER: &str = "source-registry";

/// Runs an export.
pub(super) fn run(export: &Export, verbosity: Verbosity, color: Color) -> Result<()> {
    let shown = shown(export.progress, export.progress_fd, verbosity, color)?;
    if !shown.owns_standard_error() {
        messages::start_log(verbosity);
    }
    let progress = Progress::start();
    let done = exported(export, &progress, &shown).map(|()| Ended::Done(None));
    ended(shown, &progress, done)
}

fn exported(export: &Export, progress: &Progress, shown: &super::progress::Shown) -> Result<()> {
    let plan = planned(export).inspect_err(|error| {
        // A report of an earlier export must not be taken for this one's. The first error is the one to tell.
        let _ = write_report(export.report.as_deref(), &pipeline::export_unplanned(error, progress));
    })?;
    let target = plan.target.shown();
    shown.begin(&plan.shown, &target, progress);
    let left = format!("perhaps a part of the disk beside {target}");
    let flow = async |interrupted| pipeline::export(&plan, progress, interrupted).await;
    let ExportFinished { outcome, report } = carried_out(progress, shown, &left, flow)?;
    let reported = write_report(export.report.as_deref(), &report);
    if shown.tells_people() {
        if outcome.is_ok() {
            summary(&report, &target, progress);
        }
        warnings(progress);
        limited(report.bottleneck.as_ref());
    }
    outcome?;
    reported.map_err(|error| error.left(format!("the disk in {target}, verified")))
}

fn write_report(path: Option<&Path>, report: &ExportReport) -> Result<()> {
    path.map_or(Ok(()), |path| write_text(path, serde_json::to_string_pretty(report)))
}

fn planned(export: &Export) -> Result<ExportPlan> {
    let target = target(export)?;
    let mut options = source_options(&export.source_option)?;
    options.extend(export.platform.clone().map(|platform| ("platform".to_owned(), platform)));
    let auth_file = export.auth_file.as_deref();
    let (input, shown, repository) = match locate::image(&export.reference)? {
        Destination::Layout(folder, tag) => {
            let tagged = tag.as_ref().map_or_else(String::new, |tag| format!(":{tag}"));
            let shown = format!("oci:{}{tagged}", folder.display());
            (pipeline::stored_image(folder, tag.as_ref(), options)?, shown, None)
        }
        Destination::Registry(reference) => {
            let repository = reference.repository.clone();
            let credentials = auth::credentials(auth_file, &repository)?;
            let input = Input {
                source: locate::in_registry(&reference)?,
                size: None,
                fields: SourceFields::default(),
                options,
                registry: Some(SourceRegistry { repository: repository.clone(), credentials }),
                layout: None,
            };
            (input, reference.to_string(), Some(repository))
        }
    };
    let source = match &export.source {
        Some(spec) => plan::choice(spec, auth_file)?,
        None => Choice::BuiltIn(READER.to_owned()),
    };
    Ok(ExportPlan {
        input,
        shown,
        connections: export.source_connections,
        limit: export.limit_rate,
        target,
        sparse: export.sparse.into(),
        source,
        policy: policy::effective(&export.policy, repository.as_ref())?,
        compiler: plan::compiler()?,
    })
}

fn target(export: &Export) -> Result<ExportTarget> {
    if export.file.as_path() != Path::new(STANDARD_OUTPUT) {
        return Ok(ExportTarget::File { path: export.file.clone(), force: export.force });
    }
    if export.report.as_deref() == Some(Path::new(STANDARD_OUTPUT)) {
        return Err(
            usage("the disk and the report would both go to standard output").hint("name a file for one of them")
        );
    }
    let out = io::stdout();
    if out.is_terminal() && !export.force {
        return Err(
            usage("standard output is a terminal, which is no place for a disk").hint("name a file, or --force")
        );
    }
    let out = out.as_fd().try_clone_to_owned().map_err(|why| {
        let message = format!("standard output cannot be written to: {why}");
        Error::new(Code::LocalFile, Stage::Plan, message).caused_by(why)
    })?;
    Ok(ExportTarget::StandardOutput(Arc::new(File::from(out))))
}

fn usage(message: &str) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

/// What was done, in a few lines for people.
fn summary(report: &ExportReport, target: &str, progress: &Progress) {
    let (transfer, size) = (&report.transfer, report.source.size.unwrap_or_default());
    let mut line = format!(
        "exported {} to {target}: {} in {:.1} s, {}",
        report.source.name.as_deref().unwrap_or("-"),
        HumanBytes(size),
        transfer.seconds,
        rate(transfer.bytes_received, transfer.seconds)
    );
    if let Some(holes) = report.target.bytes_in_holes.filter(|holes| *holes > 0) {
        line.push_str(&format!(", {} of it zeros that were left out", HumanBytes(holes)));
    }
    messages::line(&messages::harmless(&line));
    if let Some(there) = report.target.continued_from {
        messages::line(&format!("{} of it were there from an earlier run", HumanBytes(there)));
    }
    if transfer.attempts > 1 {
        messages::line(&format!("it took {} attempts: resumed {} times", transfer.attempts, transfer.resumes));
    }
    warnings(progress);
    connected(&report.connections);
}
