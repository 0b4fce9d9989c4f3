//! What the run's time went to, as the report has it.

use std::time::Duration;

use super::ledger::{Known, Passed};
use super::report::{BottleneckReport, StageReport, WaitReport, WorkReport};
use crate::observe::{Bottleneck, CpuShare, End, Figures, Place, Progress, Task, WaitsFor, verdict};

impl Known {
    /// The stages, upstream first.
    pub(super) fn stages(&self, progress: &Progress) -> Vec<StageReport> {
        let share = progress.cpu_share();
        let stage = |name, passed: &Passed| stage(name, passed, share);
        let received = progress.source.bytes();
        let mut all = vec![StageReport { bytes_out: Some(received), ..stage("source", &self.source) }];
        let mut into = received;
        for filter in &self.filters {
            let out = filter.bytes();
            all.push(StageReport { bytes_in: out.map(|_| into), bytes_out: out, ..stage("filter", filter) });
            into = out.unwrap_or(into);
        }
        // It has its own window on the disk, and nothing comes out of it.
        let probe = stage("probe", &self.probe);
        all.push(StageReport {
            bytes_in: self.probed,
            waiting_for_input_seconds: None,
            waiting_for_output_seconds: None,
            ..probe
        });
        let layer = progress.layer.bytes();
        all.push(StageReport { bytes_in: Some(into), bytes_out: Some(layer), ..stage("framing", &self.framing) });
        if let Some(compressor) = &self.compressor {
            let out = compressor.bytes();
            all.push(StageReport { bytes_in: out.map(|_| layer), bytes_out: out, ..stage("compressor", compressor) });
        }
        all.push(StageReport { bytes_in: Some(self.sent(progress)), ..stage("upload", &self.upload) });
        all
    }
}

fn stage(name: &'static str, passed: &Passed, share: CpuShare) -> StageReport {
    let of = |time: fn(&Place) -> Duration| passed.place.as_ref().map(|place| time(place).as_secs_f64());
    StageReport {
        stage: name,
        component: passed.component.clone(),
        bytes_in: None,
        bytes_out: None,
        busy_seconds: of(Place::busy),
        waiting_for_input_seconds: of(|place| place.out.waiting_for_input()),
        waiting_for_output_seconds: of(|place| place.out.waiting_for_output()),
        cpu_seconds: passed
            .place
            .as_ref()
            .map(|place| (share.of(place.busy(), place.steady()) + place.cpu()).as_secs_f64()),
    }
}

/// What the CPU was spent on, dearest first.
pub(super) fn work(figures: &Figures) -> Vec<WorkReport> {
    let mut all: Vec<WorkReport> = figures
        .spent
        .iter()
        .map(|spent| {
            let (task, side, names) = match &spent.task {
                Task::Digest => ("digest", None, vec!["sha256".to_owned()]),
                Task::Checksums(algorithms) => ("checksums", None, algorithms.clone()),
                Task::Tls(end, suites) => ("tls", Some(*end), suites.clone()),
                Task::Sockets(end) => ("sockets", Some(*end), Vec::new()),
                Task::Component(kind, name) => (*kind, None, vec![name.clone()]),
                Task::Rest => ("rest", None, Vec::new()),
                Task::Threads => ("threads", None, Vec::new()),
            };
            WorkReport {
                task,
                side: side.map(End::as_str),
                names,
                busy_seconds: spent.busy.as_secs_f64(),
                cpu_seconds: spent.cpu.as_secs_f64(),
            }
        })
        .collect();
    all.sort_by(|one, other| other.cpu_seconds.total_cmp(&one.cpu_seconds));
    all
}

/// What limited the transfer; none if it never began.
pub(super) fn bottleneck(figures: &Figures) -> Option<BottleneckReport> {
    if figures.transfer.is_zero() {
        return None;
    }
    let Bottleneck { culprit, evidence, advice } = verdict(figures);
    Some(BottleneckReport {
        culprit: culprit.as_str(),
        evidence,
        advice,
        source_rate: figures.source_pace,
        registry_rate: figures.registry_pace,
        local_rate: figures.local_pace(),
    })
}

/// Whom the flow's thread waited for, longest first.
pub(super) fn waits(figures: &Figures) -> Vec<WaitReport> {
    let wait = |(whom, time): &(WaitsFor, Duration)| WaitReport { whom: whom.as_str(), seconds: time.as_secs_f64() };
    let mut all: Vec<WaitReport> = figures.waited.iter().map(wait).collect();
    all.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    all
}
