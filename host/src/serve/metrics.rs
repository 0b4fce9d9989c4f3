//! What Prometheus reads (text format 0.0.4). Labels have values that the program itself knows, so their number is bounded
//! whatever clients send.

use std::fmt::{Display, Write as _};

use super::totals::{Sums, outcomes};
use super::uploads::Uploads;
use crate::observe::{Cgroup, Phase, Position, process_cpu};

/// The media type of the text.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as they are now.
pub(super) fn text(uploads: &Uploads) -> String {
    let running: Vec<Position> =
        uploads.running().iter().filter_map(|upload| Some(upload.meters.get()?.position())).collect();
    let mut page = Page::default();
    page.one("longshore_build_info", Kind::Gauge, "The program.", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.one("longshore_uploads_running", Kind::Gauge, "Uploads that run.", &[], uploads.running().len());
    page.one("longshore_uploads_places", Kind::Gauge, "Uploads that may run.", &[], uploads.service().uploads);
    sums(&mut page, &uploads.totals.sums(), &running);
    page.head("longshore_uploads_phase", Kind::Gauge, "Uploads that run, by what their import does.");
    for phase in Phase::ALL {
        let number = running.iter().filter(|position| position.phase == phase).count();
        page.line("longshore_uploads_phase", &[("phase", phase.as_str())], number);
    }
    page.one("process_cpu_seconds_total", Kind::Counter, "CPU of this process.", &[], process_cpu().as_secs_f64());
    if let Some(throttled) = Cgroup::own().map(|cgroup| cgroup.throttled()) {
        let help = "How long the control group's CPU quota kept it waiting.";
        page.one("longshore_throttled_seconds_total", Kind::Counter, help, &[], throttled.time.as_secs_f64());
    }
    page.0
}

/// Sums over uploads that ended, and those that run as far as they are.
fn sums(page: &mut Page, sums: &Sums, running: &[Position]) {
    page.head("longshore_uploads_total", Kind::Counter, "Uploads that ended, by `done` or the code of their error.");
    for outcome in outcomes() {
        let number = sums.uploads.get(outcome).copied().unwrap_or(0);
        page.line("longshore_uploads_total", &[("outcome", outcome)], number);
    }
    let with = |ended: u64, of: fn(&Position) -> u64| running.iter().map(of).fold(ended, u64::saturating_add);
    for (name, help, value) in [
        ("longshore_received_bytes_total", "Bytes taken from clients.", with(sums.received, |now| now.received)),
        ("longshore_sent_bytes_total", "Bytes of layers handed to the destination.", with(sums.sent, |now| now.sent)),
        ("longshore_sent_twice_bytes_total", "Bytes sent more than once.", with(sums.sent_twice, |now| now.sent_twice)),
        ("longshore_attempts_total", "Attempts of imports.", with(sums.attempts, |now| now.attempt.into())),
        (
            "longshore_resumes_total",
            "Transfers that went on where they broke.",
            with(sums.resumes, |now| now.resumes.into()),
        ),
        ("longshore_restarts_total", "Uploads to registries that began again, of imports that ended.", sums.restarts),
        ("longshore_tls_refused_total", "Clients with whom there was no TLS session within policy.", sums.turned_away),
    ] {
        page.one(name, Kind::Counter, help, &[], value);
    }
    let help = "Seconds of the stages of imports that ended, by what they were spent on.";
    page.head("longshore_stage_seconds_total", Kind::Counter, help);
    for (stage, seconds) in &sums.stages {
        for (spent, seconds) in ["busy", "waiting-for-input", "waiting-for-output", "cpu"].iter().zip(seconds) {
            page.line("longshore_stage_seconds_total", &[("stage", stage), ("spent", spent)], seconds);
        }
    }
    page.head(
        "longshore_sessions_total",
        Kind::Counter,
        "Connections, by who is at the other end and what TLS settled on.",
    );
    for ([side, version, suite, group], number) in &sums.sessions {
        let labels = [("side", &**side), ("version", &**version), ("cipher_suite", &**suite), ("group", &**group)];
        page.line("longshore_sessions_total", &labels, number);
    }
    page.head("longshore_answers_total", Kind::Counter, "Answers to clients, by status.");
    for (status, number) in &sums.answers {
        page.line("longshore_answers_total", &[("status", &status.to_string())], number);
    }
}

/// The kind of a metric.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// Metrics as text.
#[derive(Default)]
struct Page(String);

impl Page {
    /// A metric with one line.
    fn one(&mut self, name: &str, kind: Kind, help: &str, labels: &[(&str, &str)], value: impl Display) {
        self.head(name, kind, help);
        self.line(name, labels, value);
    }

    /// The head of a metric. `help` has no backslash and no line break.
    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// A label's value as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_format() {
        let mut page = Page::default();
        page.one("a_total", Kind::Counter, "Help.", &[("x", "1\"2\\3\n")], 4);
        page.one("b", Kind::Gauge, "Help.", &[], 0.5);
        assert_eq!(
            page.0,
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\\\"2\\\\3\\n\"} 4\n\
             # HELP b Help.\n# TYPE b gauge\nb 0.5\n"
        );
    }

    #[test]
    fn every_counter_is_there_before_it_counts() {
        let mut page = Page::default();
        sums(&mut page, &Sums::default(), &[]);
        assert!(page.0.contains("longshore_uploads_total{outcome=\"done\"} 0\n"));
        assert!(page.0.contains("longshore_uploads_total{outcome=\"checksum-mismatch\"} 0\n"));
        assert!(page.0.contains("longshore_received_bytes_total 0\n"));
    }
}
