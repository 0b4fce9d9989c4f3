//! A disk that flows, and the probe that is shown it: what it says, and what is within a wrapper, decides whether it may go where
//! it flows to.

use std::sync::Arc;

use tokio::pin;

use super::content::{self, Beginning, Content, Looking, MAX_SHOWN};
use super::import::Run;
use super::loader::Loader;
use super::probe::looked;
use super::wrapper::is_wrapper;
use crate::engine::Component;
use crate::error::Result;
use crate::policy::ProbeName;
use crate::stages::{self, Hazard, Severity, Verdict};
use crate::stream::{Flow, Seek, Tapped, Window, tapped, upto, windowed};

/// A disk about to flow.
pub(super) struct Shown<'a> {
    pub(super) flow: Flow,
    /// The size of all of it.
    pub(super) size: u64,
    /// Whether it can also be read elsewhere than where it flows.
    pub(super) seek: &'a Seek,
    /// The offset at which the flow begins.
    pub(super) from: u64,
}

/// What was found of a disk, and of what is in it.
pub(super) type Found = (Verdict, Option<Content>);

/// Shows the disk to the probe while `act` takes it.
///
/// # Errors
/// Those of `act`; the disk's, if it is not one that is wanted; the components'.
pub(super) async fn shown<T>(
    run: &Run<'_>,
    disk: Shown<'_>,
    act: impl AsyncFnOnce(Flow) -> Result<T>,
) -> Result<(T, Found)> {
    seen(run, disk, async |flow, probe, seen| together(act(flow), probe, seen).await).await
}

/// Shows it to the probe, and takes no more of it than that asks for.
///
/// # Errors
/// As for [`shown`].
pub(super) async fn look(run: &Run<'_>, disk: Shown<'_>) -> Result<Found> {
    seen(run, disk, async |flow, probe, seen| looked(flow, probe, seen).await).await
}

/// What a probe that looks will have found.
type Finding<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Found>> + 'a>>;

async fn seen<T>(
    run: &Run<'_>,
    disk: Shown<'_>,
    carried: impl AsyncFnOnce(Flow, Finding<'_>, (&Window, &Tapped)) -> Result<T>,
) -> Result<T> {
    let Shown { flow, size, seek, from } = disk;
    let (flow, window) = match (from, seek) {
        // In front of where it begins, the disk is only there by range.
        (1.., Seek::Ranged(ranges)) => (flow, Window::over(Arc::clone(ranges), Some(size))),
        _ => windowed(flow, Some(size), seek.clone()),
    };
    let expected = run.plan.format.as_ref().map(ProbeName::as_str);
    let detect = Box::pin(stages::detect(run.engine, &run.components.probe, &window, expected));
    // Whoever looks into a wrapper sees what is pushed, unless that was pushed by an earlier run.
    let (flow, second, tapped) = tapped(flow);
    let second = match (from, seek) {
        (1.., Seek::Ranged(ranges)) => {
            // The flow must not wait for it.
            drop(second);
            ranges.read(0, size).await?
        }
        _ => second,
    };
    let (second, cut) = upto(second, MAX_SHOWN);
    let (may_end, held) = (size <= MAX_SHOWN, matches!(seek, Seek::Ranged(_)));
    let disk = Beginning { flow: second, cut, size: Some(size), may_end, held };
    let watch = |filter: &Component| run.watch(filter);
    let loader = Loader { engine: run.engine, compiler: &run.plan.compiler, policy: &run.plan.policy, net: run.net };
    let looking = Looking { loader, probe: &run.components.probe, expected, watch: &watch };
    let probe: Finding<'_> = Box::pin(async {
        let (verdict, content) = content::probed(&looking, disk, detect, |verdict| found(run, verdict)).await?;
        if let Some(content) = &content {
            found_inside(run, &verdict, content)?;
        }
        Ok((verdict, content))
    });
    let carried = carried(flow, probe, (&window, &tapped)).await;
    run.ledger.probed(window.answered());
    carried
}

/// Sends and probes at the same time: the flow advances as the probe asks, and freely once it has its verdict.
async fn together<T, V>(
    send: impl Future<Output = Result<T>>,
    probe: impl Future<Output = Result<V>>,
    (window, tapped): (&Window, &Tapped),
) -> Result<(T, V)> {
    pin!(send, probe);
    tokio::select! {
        biased;
        sent = &mut send => {
            let sent = sent?;
            Ok((sent, probe.await?))
        }
        verdict = &mut probe => match verdict {
            Ok(verdict) => Ok((send.await?, verdict)),
            // The probe failed because the disk did: what the disk's flow says is the cause.
            Err(error) if window.failed() || tapped.failed() => match send.await {
                Err(cause) => Err(cause.most_upstream(error)),
                Ok(_) => Err(error),
            },
            Err(error) => Err(error),
        },
    }
}

/// Notes what the probe found, says at once what is dangerous about it, and refuses what is not wanted: of a wrapper what is
/// wrong with it whatever is inside.
fn found(run: &Run<'_>, verdict: &Verdict) -> Result<()> {
    run.ledger.verdict(verdict);
    tell(run, &verdict.hazards);
    match is_wrapper(&verdict.format) {
        true => run.wanted().wrapper(verdict),
        false => run.wanted().found(verdict, None),
    }
}

/// The same for what is in a wrapper.
fn found_inside(run: &Run<'_>, verdict: &Verdict, content: &Content) -> Result<()> {
    run.ledger.content(content);
    tell(run, &content.hazards);
    run.wanted().found(verdict, Some(content))
}

fn tell(run: &Run<'_>, hazards: &[Hazard]) {
    let wanted = run.wanted();
    let told = |hazard: &&Hazard| match hazard.severity {
        Severity::Note => false,
        Severity::Warning => true,
        // Nobody is to learn it from the guest machine.
        Severity::Refuse => wanted.require.accepts_hazard(&hazard.code),
    };
    for hazard in hazards.iter().filter(told) {
        run.progress.warn(&hazard.code, &hazard.message);
    }
}
