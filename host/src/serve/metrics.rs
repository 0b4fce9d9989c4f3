//! What Prometheus is told of uploads, and of one import. Labels have values that the program itself knows, so their number is
//! bounded whatever clients and peers send. `docs/metrics.md` has them all, and a test compares the two.

use super::exposition::{Exposition, Kind};
use super::totals::{Sums, outcomes};
use super::uploads::Uploads;
use crate::observe::{Cgroup, Phase, Reading, process_cpu};

/// All metrics of a service as they are now.
pub(super) fn of_uploads(uploads: &Uploads) -> String {
    let running: Vec<Reading> =
        uploads.running().iter().filter_map(|upload| Some(upload.meters.get()?.reading())).collect();
    let mut page = Exposition::default();
    page.one("longshore_uploads_running", Kind::Gauge, "Uploads that run.", &[], uploads.running().len());
    page.one("longshore_uploads_places", Kind::Gauge, "Uploads that may run.", &[], uploads.service().uploads);
    page.head("longshore_uploads_phase", Kind::Gauge, "Uploads that run, by what their import does.");
    for phase in Phase::ALL {
        let number = running.iter().filter(|reading| reading.position.phase == phase).count();
        page.line("longshore_uploads_phase", &[("phase", phase.as_str())], number);
    }
    let mut sums = uploads.totals.sums();
    running.iter().for_each(|reading| sums.add(reading));
    clients(&mut page, &sums);
    transfers(&mut page, &sums);
    process(&mut page);
    page.text()
}

/// All metrics of an import as they are now: of those before it of which it is another attempt, and of itself.
pub(super) fn of_import(page: &mut Exposition, before: &Sums, now: Option<&Reading>) {
    page.head("longshore_import_phase", Kind::Gauge, "1 for what the import does.");
    for phase in Phase::ALL {
        let is_it = now.is_some_and(|now| now.position.phase == phase);
        page.line("longshore_import_phase", &[("phase", phase.as_str())], u8::from(is_it));
    }
    if let Some(total) = now.and_then(|now| now.position.total) {
        page.one("longshore_import_layer_bytes", Kind::Gauge, "Bytes of the layer before compression.", &[], total);
    }
    let mut sums = before.clone();
    now.into_iter().for_each(|now| sums.add(now));
    transfers(page, &sums);
    process(page);
}

/// What clients came to.
fn clients(page: &mut Exposition, sums: &Sums) {
    page.head("longshore_uploads_total", Kind::Counter, "Uploads that ended, by `done` or the code of their error.");
    for outcome in outcomes() {
        let number = sums.uploads.get(outcome).copied().unwrap_or(0);
        page.line("longshore_uploads_total", &[("outcome", outcome)], number);
    }
    let help = "Clients with whom there was no TLS session within policy.";
    page.one("longshore_tls_refused_total", Kind::Counter, help, &[], sums.turned_away);
    page.head("longshore_answers_total", Kind::Counter, "Answers to clients, by status.");
    for (status, number) in &sums.answers {
        page.line("longshore_answers_total", &[("status", &status.to_string())], number);
    }
}

/// What imports came to, as far as they are.
fn transfers(page: &mut Exposition, sums: &Sums) {
    for (name, help, value) in [
        ("longshore_received_bytes_total", "Bytes received from sources and clients.", sums.received),
        ("longshore_sent_bytes_total", "Bytes of layers handed to the destination.", sums.sent),
        ("longshore_sent_twice_bytes_total", "Bytes sent more than once.", sums.sent_twice),
        ("longshore_attempts_total", "Attempts of imports.", sums.attempts),
        ("longshore_resumes_total", "Transfers that went on where they broke.", sums.resumes),
        ("longshore_restarts_total", "Uploads to registries that began again at their first byte.", sums.restarts),
    ] {
        page.one(name, Kind::Counter, help, &[], value);
    }
    page.head("longshore_stage_seconds_total", Kind::Counter, "Seconds of stages, by what they were spent on.");
    for (stage, seconds) in &sums.stages {
        for (spent, seconds) in ["busy", "waiting-for-input", "waiting-for-output"].iter().zip(seconds) {
            page.line("longshore_stage_seconds_total", &[("stage", stage), ("spent", spent)], seconds);
        }
    }
    let help = "CPU seconds of the stages of imports that ended.";
    page.head("longshore_stage_cpu_seconds_total", Kind::Counter, help);
    for (stage, seconds) in &sums.stages_cpu {
        page.line("longshore_stage_cpu_seconds_total", &[("stage", stage)], seconds);
    }
    let help = "Connections, by who is at the other end and what TLS settled on.";
    page.head("longshore_sessions_total", Kind::Counter, help);
    for ((side, [version, suite, group]), number) in &sums.sessions {
        let labels = [("side", *side), ("version", &**version), ("cipher_suite", &**suite), ("group", &**group)];
        page.line("longshore_sessions_total", &labels, number);
    }
}

/// What the process costs, and how it is held back.
fn process(page: &mut Exposition) {
    page.one("longshore_build_info", Kind::Gauge, "The program.", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.one("process_cpu_seconds_total", Kind::Counter, "CPU of this process.", &[], process_cpu().as_secs_f64());
    let Some(cgroup) = Cgroup::own() else { return };
    if let Some(cpus) = cgroup.quota_cpus() {
        page.one("longshore_quota_cpus", Kind::Gauge, "CPUs that the control group's quota allows.", &[], cpus);
    }
    let throttled = cgroup.throttled();
    let help = "How long the control group's CPU quota kept it waiting.";
    page.one("longshore_throttled_seconds_total", Kind::Counter, help, &[], throttled.time.as_secs_f64());
    let help = "Periods in which the control group's CPU quota was used up.";
    page.one("longshore_throttled_periods_total", Kind::Counter, help, &[], throttled.throttled_periods);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::gauges::Gauges;
    use super::*;
    use crate::observe::Progress;

    #[test]
    fn every_counter_is_there_before_it_counts() {
        let mut page = Exposition::default();
        clients(&mut page, &Sums::default());
        transfers(&mut page, &Sums::default());
        let text = page.text();
        assert!(text.contains("longshore_uploads_total{outcome=\"done\"} 0\n"));
        assert!(text.contains("longshore_uploads_total{outcome=\"checksum-mismatch\"} 0\n"));
        assert!(text.contains("longshore_received_bytes_total 0\n"));
    }

    #[test]
    fn an_import_tells_what_it_does() {
        let progress = Progress::start();
        progress.source.passed(5);
        progress.expect(9);
        let mut page = Exposition::default();
        let mut before = Sums::default();
        before.add(&progress.reading());
        of_import(&mut page, &before, Some(&progress.reading()));
        let text = page.text();
        assert!(text.contains("longshore_import_phase{phase=\"opening\"} 1\n"), "{text}");
        assert!(text.contains("longshore_import_phase{phase=\"publishing\"} 0\n"));
        assert!(text.contains("longshore_import_layer_bytes 9\n"));
        assert!(text.contains("longshore_received_bytes_total 10\n") && text.contains("longshore_attempts_total 2\n"));
    }

    /// The metrics that are in the sources: their heads.
    fn written() -> BTreeSet<String> {
        let own = include_str!("metrics.rs").split("#[cfg(test)]").next().unwrap();
        let gauges = include_str!("gauges.rs").split("#[cfg(test)]").next().unwrap();
        let names = own.split('"').chain(gauges.split('"')).filter(|text| {
            let metric = |prefix| text.strip_prefix(prefix).is_some_and(|rest: &str| !rest.is_empty());
            (metric("longshore_") || metric("process_") || metric("registry_")) && !text.contains(' ')
        });
        names.map(str::to_owned).collect()
    }

    #[test]
    fn every_metric_is_documented_with_its_type_and_labels() {
        let mut page = Exposition::default();
        let progress = Progress::start();
        progress.expect(1);
        Gauges::new("u".to_owned()).write(&mut page, Some(&progress.reading()));
        of_import(&mut page, &Sums::default(), Some(&progress.reading()));
        clients(&mut page, &Sums::default());
        let text = page.text();
        let documented = include_str!("../../../docs/metrics.md");
        let is_metric = |line: &&str| line.contains("` | counter |") || line.contains("` | gauge |");
        let rows: Vec<&str> = documented.lines().filter(is_metric).collect();
        let names: BTreeSet<String> = rows.iter().filter_map(|row| Some(row.split('`').nth(1)?.to_owned())).collect();
        assert_eq!(names, written());
        for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
            let row = format!("| `{name}` | {kind} | ");
            assert!(rows.iter().any(|line| line.starts_with(&row)), "docs/metrics.md lacks {row}");
        }
    }
}
