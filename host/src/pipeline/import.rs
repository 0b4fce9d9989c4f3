//! One import from its plan to its report.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::interrupt::Interrupted;
use super::ledger::Ledger;
use super::places::traffic;
use super::run::{Imported, run};
use super::{Components, Plan, Report};
use crate::engine::Engine;
use crate::error::Result;
use crate::net::Net;
use crate::observe::{Cgroup, Progress};

/// What became of an import.
#[derive(Debug)]
pub struct Finished {
    /// The image, or why there is none.
    pub outcome: Result<Imported>,
    /// The same fields either way.
    pub report: Report,
}

/// Everything the flow needs.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) engine: &'a Engine,
    pub(super) components: &'a Components,
    pub(super) net: &'a Net,
    pub(super) progress: &'a Progress,
    pub(super) ledger: &'a Ledger,
    pub(super) interrupted: Interrupted,
}

/// Carries out a plan. Must run in a `LocalSet`: guests are bound to their thread.
pub async fn import(plan: &Plan, progress: &Progress, interrupted: Interrupted) -> Finished {
    let ledger = Ledger::default();
    let net = Net::new(Arc::new(plan.policy.clone()));
    progress.watch_run(traffic(&net.connections()), plan.limit.map(NonZeroU64::get), Cgroup::own());
    let outcome = carry_out(plan, &net, progress, &ledger, interrupted).await.map_err(|error| {
        let error = net.advise(error);
        // Whoever touched the destination has said what is left there.
        let untouched = error.leftovers().is_empty();
        if untouched { error.left(format!("nothing in {}", plan.target.shown())) } else { error }
    });
    let report = ledger.report(plan, &net, progress, &outcome);
    Finished { outcome, report }
}

async fn carry_out(
    plan: &Plan,
    net: &Net,
    progress: &Progress,
    ledger: &Ledger,
    interrupted: Interrupted,
) -> Result<Imported> {
    let engine = Engine::new(&plan.policy.limits)?;
    let _ticker = engine.ticker()?;
    let components = tokio::select! {
        loaded = Components::load(&engine, &plan.chosen, &plan.program) => loaded?,
        error = interrupted.error() => return Err(error),
    };
    ledger.components(&components);
    let all = Run { plan, engine: &engine, components: &components, net, progress, ledger, interrupted };
    all.watch_work();
    run(&all).await
}
