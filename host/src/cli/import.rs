//! `import`: from the plan to what the user sees of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;

use super::args::{Import, Metrics};
use super::color::Color;
use super::progress::{Ended, Shown, Verbosity, rate, shown, warnings};
use super::signals::signals;
use super::{certificates, messages, plan};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::{Culprit, Progress};
use crate::pipeline::{
    self, BottleneckReport, ConnectionReport, CopyReport, Finished, Imported, Interrupted, Plan, Report,
};
use crate::policy::{ListenerTls, Policy};
use crate::serve::{Monitor, MonitorIdentity, MonitorPlan, Watched};

/// The file name that means standard output.
const STANDARD_OUTPUT: &str = "-";

/// Runs an import.
pub(super) fn run(import: &Import, verbosity: Verbosity, color: Color) -> Result<()> {
    let shown = shown(import.progress, import.progress_fd, verbosity, color)?;
    if !shown.owns_standard_error() {
        messages::start_log(verbosity);
    }
    let progress = Arc::new(Progress::start());
    let done = if import.check {
        checked(import, &progress, &shown).map(|()| Ended::Checked)
    } else {
        imported(import, &progress, &shown).map(|imported| Ended::Done(Some(imported.reference())))
    };
    ended(shown, &progress, done)
}

/// Tells whoever follows how it ended.
pub(super) fn ended(shown: Shown, progress: &Progress, done: Result<Ended>) -> Result<()> {
    match done {
        Ok(ended) => {
            shown.end(progress, Ok(ended));
            Ok(())
        }
        Err(error) => {
            shown.end(progress, Err(&error));
            Err(error)
        }
    }
}

/// Finds out whether the import could succeed.
fn checked(import: &Import, progress: &Progress, shown: &Shown) -> Result<()> {
    let plan = planned(import, progress)?;
    let Finished { outcome, report } = finished(&plan, progress, shown, pipeline::check)?;
    let reported = write_report(import.report.as_deref(), &report);
    if shown.tells_people() && outcome.is_ok() {
        check_summary(&report, progress);
    }
    outcome?;
    reported
}

fn imported(import: &Import, progress: &Arc<Progress>, shown: &Shown) -> Result<Imported> {
    let plan = planned(import, progress)?;
    let _monitor =
        monitor(&import.metrics, &plan.policy, progress, shown).inspect_err(|error| stale(import, error, progress))?;
    let Finished { outcome, report } = finished(&plan, progress, shown, pipeline::import)?;
    let reported = write_report(import.report.as_deref(), &report);
    if shown.tells_people() {
        if outcome.is_ok() {
            summary(&report, progress);
        }
        warnings(progress);
        limited(report.bottleneck.as_ref());
    }
    let imported = outcome?;
    // The image stands there, whatever becomes of the words about it.
    let stands = |error: Error| {
        let tags: Vec<_> = plan.tags.iter().map(ToString::to_string).collect();
        error.left(format!("the image {}, tagged {}", imported.reference(), tags.join(", ")))
    };
    if import.report.as_deref() != Some(Path::new(STANDARD_OUTPUT)) {
        messages::data(&imported.reference()).map_err(stands)?;
    }
    reported.map_err(stands)?;
    Ok(imported)
}

fn planned(import: &Import, progress: &Progress) -> Result<Plan> {
    plan::plan(import).inspect_err(|error| stale(import, error, progress))
}

/// A report of an earlier import must not be taken for this one's. The first error is the one to tell.
fn stale(import: &Import, error: &Error, progress: &Progress) {
    let _ = write_report(import.report.as_deref(), &pipeline::unplanned(error, progress));
}

/// Has the import watched where the flags want it.
fn monitor(wanted: &Metrics, policy: &Policy, progress: &Arc<Progress>, shown: &Shown) -> Result<Option<Monitor>> {
    let Some(at) = wanted.metrics else { return Ok(None) };
    let (identity, scheme) = match (&wanted.metrics_cert, &wanted.metrics_key) {
        (Some(certificate), Some(key)) => {
            let own = certificates::own(certificate, key, "--metrics-cert")?;
            (MonitorIdentity::Own(Box::new(ListenerTls::of(own))), "https")
        }
        _ => {
            policy
                .may_listen_without_tls("--metrics", "tells of the import")
                .map_err(|why| Error::new(Code::FlagDenied, Stage::Plan, why.to_string()).hint(why.advice()))?;
            (MonitorIdentity::Nobody, "http")
        }
    };
    let watched = Watched::default();
    watched.watch_this(progress);
    let monitor = Monitor::start(MonitorPlan { at, identity, watched, owner: None }, policy)?;
    if shown.tells_people() {
        messages::line(&format!("metrics at {scheme}://{}/metrics", monitor.address()));
    }
    Ok(Some(monitor))
}

/// Carries out `flow` of an import.
fn finished<T>(
    plan: &Plan,
    progress: &Progress,
    shown: &Shown,
    flow: impl AsyncFn(&Plan, &Progress, Interrupted) -> Finished<T>,
) -> Result<Finished<T>> {
    let (source, destination) = (plan.input.shown(), plan.target.shown());
    shown.begin(&source, &destination, progress);
    let left = format!("perhaps an unfinished upload in {destination}");
    carried_out(progress, shown, &left, async |interrupted| flow(plan, progress, interrupted).await)
}

/// Carries out a flow in a runtime of its own. A second signal leaves `left` behind.
pub(super) fn carried_out<T>(
    progress: &Progress,
    shown: &Shown,
    left: &str,
    flow: impl AsyncFnOnce(Interrupted) -> T,
) -> Result<T> {
    pipeline::in_this_thread(progress, async {
        let (interrupt, interrupted) = pipeline::interrupt();
        let signals = signals(interrupt)?;
        tokio::select! {
            // What is finished is finished, whatever arrives with it.
            biased;
            finished = flow(interrupted) => Ok(finished),
            error = signals => Err(error.left(left)),
            () = shown.follow(progress) => Err(Error::internal(Stage::Plan, "a task that never ends has ended")),
        }
    })?
}

fn write_report(path: Option<&Path>, report: &Report) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    write_text(path, serde_json::to_string_pretty(report))
}

/// Writes a report there.
pub(super) fn write_text(path: &Path, text: serde_json::Result<String>) -> Result<()> {
    let text = text.map_err(|why| Error::internal(Stage::Report, format!("the report cannot be written: {why}")))?;
    if path == Path::new(STANDARD_OUTPUT) {
        return messages::data(&text);
    }
    fs::write(path, text + "\n").map_err(|why| {
        let message = format!("the report cannot be written to `{}`: {why}", path.display());
        Error::new(Code::LocalFile, Stage::Report, message).caused_by(why)
    })
}

/// What limited the transfer, of one that failed too: perhaps that is why.
pub(super) fn limited(bottleneck: Option<&BottleneckReport>) {
    let told = |culprit: &str| culprit != Culprit::Nothing.as_str();
    let Some(bottleneck) = bottleneck.filter(|bottleneck| told(bottleneck.culprit)) else { return };
    let line = format!("bottleneck: {}: {}", bottleneck.culprit, bottleneck.evidence);
    messages::line(&messages::harmless(&line));
    messages::line(&messages::harmless(&format!("  advice: {}", bottleneck.advice)));
}

/// What was done, in a few lines for people.
fn summary(report: &Report, progress: &Progress) {
    let disk = &report.disk;
    let received = report.transfer.bytes_received;
    if let Some(copy) = &report.copy {
        copied(copy);
    }
    let virtual_size = disk.virtual_size.map_or_else(String::new, |size| format!(", {} virtual", HumanBytes(size)));
    messages::line(&format!(
        "{} {} ({}{virtual_size}): {} in {:.1} s, {}",
        if report.copy.is_some() { "read" } else { "imported" },
        disk.name.as_deref().unwrap_or("-"),
        disk.format.as_deref().unwrap_or("-"),
        HumanBytes(received),
        report.transfer.seconds,
        rate(received, report.transfer.seconds)
    ));
    let transfer = &report.transfer;
    if transfer.attempts > 1 {
        messages::line(&format!(
            "it took {} attempts: resumed {} times, begun again {} times, {} sent twice",
            transfer.attempts,
            transfer.resumes,
            transfer.restarts,
            HumanBytes(transfer.bytes_sent_twice)
        ));
    }
    warned(report, progress);
    connected(&report.connections);
}

/// What was copied as it is.
fn copied(copy: &CopyReport) {
    for image in &copy.images {
        let platform = image.platform.as_ref().map_or_else(String::new, |platform| format!(" for {platform}"));
        let layer = match image.layer {
            "mounted" => "its layer mounted from another repository",
            "there" => "its layer was there already",
            _ => "its layer sent",
        };
        messages::line(&messages::harmless(&format!(
            "copied {} ({}{platform}) as it is, {layer}: {}",
            image.disk, image.format, image.digest
        )));
    }
}

/// What a check found, for people.
fn check_summary(report: &Report, progress: &Progress) {
    let (source, preflight) = (&report.source, &report.preflight);
    messages::line("checked: this import can begin; nothing was pushed");
    let size = source.size.map_or_else(|| "of unknown length".to_owned(), |size| HumanBytes(size).to_string());
    let again = match source.access {
        Some("ranged") => "can be read again from any byte if something breaks",
        Some("restart") => "can only be read again from its start if something breaks",
        _ => "can be read once: nothing that breaks can be continued",
    };
    messages::line(&messages::harmless(&format!(
        "source: {size}, {}; {again}",
        source.revision.as_deref().map_or_else(|| "without a revision".to_owned(), |tag| format!("revision {tag}"))
    )));
    let chunks = match (preflight.chunk_bytes, preflight.least_chunk_bytes) {
        (Some(chunk), Some(least)) => {
            format!("; takes chunks of at least {}, would get {}", HumanBytes(least), HumanBytes(chunk))
        }
        (Some(chunk), None) => {
            format!("; would get chunks of {} if one request does not get through", HumanBytes(chunk))
        }
        (None, _) => String::new(),
    };
    messages::line(&format!("destination: lets us push{chunks}"));
    warned(report, progress);
    connected(&report.connections);
}

fn warned(report: &Report, progress: &Progress) {
    for hazard in report.disk.hazards.iter().flatten() {
        messages::line(&format!("{}: {} ({})", hazard.severity, hazard.message, hazard.code));
    }
    warnings(progress);
}

pub(super) fn connected(connections: &[ConnectionReport]) {
    for connection in connections {
        let tls = connection.tls.as_ref().map_or_else(
            || "plain HTTP".to_owned(),
            |tls| {
                let group = tls.key_exchange_group.as_deref().unwrap_or("resumed");
                format!("{} {} {group}", tls.version, tls.cipher_suite)
            },
        );
        messages::line(&format!("{}: {} over {tls}", connection.side, connection.origin));
    }
}
