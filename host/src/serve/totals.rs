//! What all uploads that ended came to.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::upload::Ended;
use crate::error::Code;
use crate::net::Negotiated;
use crate::observe::{Reading, Spoken, spoken};

/// Sums over imports, connections and requests. Every label is one of a few that the program itself knows.
#[derive(Debug, Default)]
pub(super) struct Totals(RefCell<Sums>);

/// The sums.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    /// By what became of them: `done`, or the error's code.
    pub(super) uploads: BTreeMap<&'static str, u64>,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) sent_twice: u64,
    pub(super) attempts: u64,
    pub(super) resumes: u64,
    pub(super) restarts: u64,
    /// Seconds by stage: busy, waiting for input, waiting for output.
    pub(super) stages: BTreeMap<&'static str, [f64; 3]>,
    /// CPU seconds by stage, of imports that ended: how they are shared out is not known before.
    pub(super) stages_cpu: BTreeMap<&'static str, f64>,
    /// Connections by side and what they speak.
    pub(super) sessions: BTreeMap<(&'static str, Spoken), u64>,
    /// Connections that got no TLS session.
    pub(super) turned_away: u64,
    /// Answers by status.
    pub(super) answers: BTreeMap<u16, u64>,
}

/// What became of an upload that is well.
pub(super) const DONE: &str = "done";

impl Totals {
    /// As they are now.
    pub(super) fn sums(&self) -> Sums {
        self.0.borrow().clone()
    }

    /// An upload ended, whose meters say that.
    pub(super) fn add(&self, ended: &Ended, last: Option<&Reading>) {
        let mut sums = self.0.borrow_mut();
        let became = ended.outcome.as_ref().map_or_else(|error| error.code().as_str(), |_| DONE);
        count(sums.uploads.entry(became).or_default());
        if let Some(last) = last {
            sums.add(last);
        }
        for stage in ended.report.iter().flat_map(|report| &report.stages) {
            *sums.stages_cpu.entry(stage.stage).or_default() += stage.cpu_seconds.unwrap_or(0.0);
        }
    }

    /// A client connected.
    pub(super) fn connected(&self, tls: Option<&Negotiated>) {
        let spoken = tls.map_or_else(|| spoken(None), Negotiated::spoken);
        count(self.0.borrow_mut().sessions.entry(("client", spoken)).or_default());
    }

    /// A client got no TLS session.
    pub(super) fn turned_away(&self) {
        count(&mut self.0.borrow_mut().turned_away);
    }

    /// A request was answered.
    pub(super) fn answered(&self, status: u16) {
        count(self.0.borrow_mut().answers.entry(status).or_default());
    }
}

impl Sums {
    /// An import, as far as it is.
    pub(super) fn add(&mut self, import: &Reading) {
        let at = &import.position;
        self.received = self.received.saturating_add(at.received);
        self.sent = self.sent.saturating_add(import.sent);
        self.sent_twice = self.sent_twice.saturating_add(at.sent_twice);
        self.attempts = self.attempts.saturating_add(at.attempt.into());
        self.resumes = self.resumes.saturating_add(at.resumes.into());
        self.restarts = self.restarts.saturating_add(import.restarts.into());
        for (stage, times) in &import.stages {
            let sums = self.stages.entry(stage).or_default();
            sums.iter_mut().zip(times).for_each(|(sum, time)| *sum += time.as_secs_f64());
        }
        for (end, spoken, number) in &import.sessions {
            let sum = self.sessions.entry((end.as_str(), spoken.clone())).or_default();
            *sum = sum.saturating_add(*number);
        }
    }
}

fn count(number: &mut u64) {
    *number = number.saturating_add(1);
}

/// Every code that an upload may end with, so that a counter is there before it first counts.
pub(super) fn outcomes() -> impl Iterator<Item = &'static str> {
    std::iter::once(DONE).chain(Code::ALL.iter().map(|code| code.as_str()))
}
