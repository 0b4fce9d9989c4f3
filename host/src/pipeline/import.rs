//! One import from its plan to its report.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::accepted::checksum_named;
use super::interrupt::Interrupted;
use super::ledger::Ledger;
use super::loader::Loader;
use super::places::{ends, traffic};
use super::preflight::preflight;
use super::run::{Imported, run};
use super::{Components, Plan, Report};
use super::{copy, destination};
use crate::engine::Engine;
use crate::error::Result;
use crate::net::Net;
use crate::observe::{Cgroup, Progress};

/// What became of an import or of a check.
#[derive(Debug)]
pub struct Finished<T> {
    /// The image, or nothing for a check; or why there is none.
    pub outcome: Result<T>,
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
pub async fn import(plan: &Plan, progress: &Progress, interrupted: Interrupted) -> Finished<Imported> {
    match &plan.copy {
        Some(image) => carried_out(plan, progress, interrupted, "done", async |all| copy::run(all, image).await).await,
        None => carried_out(plan, progress, interrupted, "done", run).await,
    }
}

/// Carries it out up to where the disk's first byte would move, and leaves nothing behind. Must run in a `LocalSet`.
pub async fn check(plan: &Plan, progress: &Progress, interrupted: Interrupted) -> Finished<()> {
    match &plan.copy {
        Some(image) => {
            carried_out(plan, progress, interrupted, "checked", async |all| copy::check(all, image).await).await
        }
        None => carried_out(plan, progress, interrupted, "checked", preflight).await,
    }
}

/// `done` is what the report calls it if nothing goes wrong.
async fn carried_out<T>(
    plan: &Plan,
    progress: &Progress,
    interrupted: Interrupted,
    done: &'static str,
    flow: impl AsyncFn(&Run<'_>) -> Result<T>,
) -> Finished<T> {
    let ledger = Ledger::default();
    let net = Net::new(Arc::new(plan.policy.clone()));
    progress.watch_run(traffic(&net.connections()), plan.limit.map(NonZeroU64::get), Cgroup::own());
    progress.between(ends(plan));
    let outcome = carry_out(plan, &net, progress, &ledger, interrupted, flow).await.map_err(|error| {
        let error = net.advise(error);
        // Whoever touched the destination has said what is left there.
        let untouched = error.leftovers().is_empty();
        if untouched { error.left(format!("nothing in {}", plan.target.shown())) } else { error }
    });
    let report = ledger.report(plan, &net, progress, outcome.as_ref().err().map_or(Ok(done), Err));
    Finished { outcome, report }
}

async fn carry_out<T>(
    plan: &Plan,
    net: &Net,
    progress: &Progress,
    ledger: &Ledger,
    interrupted: Interrupted,
    flow: impl AsyncFn(&Run<'_>) -> Result<T>,
) -> Result<T> {
    destination::allowed(&plan.target, &plan.tags, &plan.policy)?;
    // What a checksum file would say is known only once it was fetched.
    if plan.checksum_files.is_empty() {
        checksum_named(&plan.policy.require, &plan.checksums)?;
    }
    let engine = Engine::new(&plan.policy.limits)?;
    let _ticker = engine.ticker()?;
    let loader = Loader { engine: &engine, compiler: &plan.compiler, policy: &plan.policy, net };
    let components = tokio::select! {
        loaded = Components::load(&plan.chosen, loader) => loaded?,
        error = interrupted.error() => return Err(error),
    };
    ledger.components(&components);
    let all = Run { plan, engine: &engine, components: &components, net, progress, ledger, interrupted };
    all.watch_work();
    flow(&all).await
}
