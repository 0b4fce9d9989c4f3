//! What all uploads that ended came to.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::upload::Ended;
use crate::error::Code;
use crate::net::Negotiated;
use crate::pipeline::Report;

/// Sums over uploads that ended, connections and requests. Every label is one of a few that the program itself knows.
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
    /// Seconds by stage: busy, waiting for input, waiting for output, on a CPU.
    pub(super) stages: BTreeMap<&'static str, [f64; 4]>,
    /// Sessions by side, version, suite and group.
    pub(super) sessions: BTreeMap<[String; 4], u64>,
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

    /// An upload ended.
    pub(super) fn add(&self, ended: &Ended) {
        let mut sums = self.0.borrow_mut();
        let became = ended.outcome.as_ref().map_or_else(|error| error.code().as_str(), |_| DONE);
        count(sums.uploads.entry(became).or_default());
        if let Some(report) = &ended.report {
            sums.report(report);
        }
    }

    /// A client connected.
    pub(super) fn connected(&self, tls: Option<&Negotiated>) {
        let tls = tls.map(|tls| (tls.version.as_str(), tls.suite.as_str(), tls.group.as_deref()));
        self.0.borrow_mut().session("client", tls);
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
    fn report(&mut self, report: &Report) {
        let transfer = &report.transfer;
        self.received = self.received.saturating_add(transfer.bytes_received);
        self.sent = self.sent.saturating_add(transfer.bytes_sent);
        self.sent_twice = self.sent_twice.saturating_add(transfer.bytes_sent_twice);
        self.attempts = self.attempts.saturating_add(transfer.attempts.into());
        self.resumes = self.resumes.saturating_add(transfer.resumes.into());
        self.restarts = self.restarts.saturating_add(transfer.restarts.into());
        for stage in &report.stages {
            let seconds = self.stages.entry(stage.stage).or_default();
            let of_it = [
                stage.busy_seconds,
                stage.waiting_for_input_seconds,
                stage.waiting_for_output_seconds,
                stage.cpu_seconds,
            ];
            for (sum, more) in seconds.iter_mut().zip(of_it) {
                *sum += more.unwrap_or(0.0);
            }
        }
        for connection in &report.connections {
            let tls = connection.tls.as_ref();
            let tls =
                tls.map(|tls| (tls.version.as_str(), tls.cipher_suite.as_str(), tls.key_exchange_group.as_deref()));
            self.session(connection.side, tls);
        }
    }

    fn session(&mut self, side: &str, tls: Option<(&str, &str, Option<&str>)>) {
        let (version, suite, group) =
            tls.map_or(("none", "none", "none"), |(version, suite, group)| (version, suite, group.unwrap_or("none")));
        count(self.sessions.entry([side, version, suite, group].map(str::to_owned)).or_default());
    }
}

fn count(number: &mut u64) {
    *number = number.saturating_add(1);
}

/// Every code that an upload may end with, so that a counter is there before it first counts.
pub(super) fn outcomes() -> impl Iterator<Item = &'static str> {
    std::iter::once(DONE).chain(Code::ALL.iter().map(|code| code.as_str()))
}
