//! The filters between a source and the disk: those that were named, or those that what flows asks for.

use std::sync::Arc;

use super::Choice;
use super::disk::{agreed, entry, within_output};
use super::import::Run;
use super::loader::Loader;
use super::wrapper::{BEGINNING_BYTES, MAX_NESTED, wrapper};
use crate::engine::{Component, Kind};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Meter;
use crate::stages;
use crate::stream::{Failing, Flow, beginning, exactly, metered};

/// What has passed the filters.
pub(super) struct Filtered {
    /// The bytes.
    pub(super) flow: Flow,
    /// How many there are, as far as anybody says.
    pub(super) size: Option<u64>,
    /// What they are called.
    pub(super) name: Option<String>,
    /// The last filter; none if the bytes are as they were received.
    pub(super) last: Option<String>,
}

/// Lets the bytes received, of that length and name, flow through every filter.
pub(super) async fn filtered(run: &Run<'_>, flow: Flow, size: Option<u64>, name: Option<String>) -> Result<Filtered> {
    let mut now = Filtered { flow, size, name, last: None };
    for (at, filter) in run.components.filters.iter().enumerate() {
        now = passed(run, at, filter, now).await?;
    }
    if run.plan.chosen.filters.are_chosen_by_bytes() {
        now = unwrapped(run, now).await?;
    }
    let Filtered { mut flow, size, name, last } = now;
    let known = agreed(size, run.plan.disk_size, last.as_deref())?;
    if run.plan.spool.is_none() {
        // Before more flows than the filters wanted to see: what cannot be pushed is not read.
        entry(run.plan, known, name.as_deref(), last.as_deref())?;
    }
    if let (None, Some(expected)) = (size, known) {
        let who =
            last.as_ref().map_or_else(|| "the source sent".to_owned(), |last| format!("the filter `{last}` wrote"));
        let (code, stage) = match &last {
            Some(_) => (Code::DiskLengthMismatch, Stage::Filter),
            None => (Code::SourceLengthMismatch, Stage::Source),
        };
        flow = exactly(flow, expected, move |got| {
            Error::new(code, stage, format!("{who} {got} bytes, expected {expected} as --size says"))
        });
    }
    Ok(Filtered { flow, size: known, name, last })
}

/// Takes off every wrapper that the bytes begin as.
async fn unwrapped(run: &Run<'_>, mut now: Filtered) -> Result<Filtered> {
    for at in 0.. {
        let (begins, flow) = beginning(now.flow, BEGINNING_BYTES).await?;
        now.flow = flow;
        let Some(filter) = wrapper(&begins) else { break };
        if at == MAX_NESTED {
            let message =
                format!("the disk is wrapped more than {MAX_NESTED} times, and `{filter}` would be the next filter");
            return Err(Error::new(Code::DiskInvalid, Stage::Filter, message)
                .hint("name the filters, as many as you like: --filter NAME --filter NAME …"));
        }
        let choice = Choice::BuiltIn(filter.to_owned());
        let plan = run.plan;
        let loader = Loader { engine: run.engine, compiler: &plan.compiler, policy: &plan.policy, net: run.net };
        let filter = loader.load(&choice, Kind::Filter).await?;
        run.watch(&filter);
        run.ledger.filter_chosen(&filter);
        run.progress.chose(filter.name());
        now = passed(run, run.components.filters.len().saturating_add(at), &filter, now).await?;
    }
    Ok(now)
}

async fn passed(run: &Run<'_>, at: usize, filter: &Component, now: Filtered) -> Result<Filtered> {
    let filtered = stages::filter(run.engine, filter, now.flow, now.size, now.name, Failing::AtOnce).await?;
    let meter = Arc::new(Meter::default());
    let place = Run::passing(filter, &meter);
    run.ledger.filtering(at, &filtered.described, &place);
    run.progress.runs("filter", &place);
    let flow = metered(within_output(filter, filtered.flow), place);
    Ok(Filtered { flow, size: filtered.size, name: filtered.name, last: Some(filter.name().to_owned()) })
}
