//! A look at a disk without carrying it: the window, the components and the verdict are those of an import, and nothing is
//! read but what the probe asks for.

use std::sync::Arc;

use tokio::pin;

use super::accepted::Wanted;
use super::content::{self, Beginning, Content, Looking, MAX_SHOWN};
use super::disk::{attempts, known_size, open_with, within_output};
use super::interrupt::Interrupted;
use super::ledger::{self, access, component, connection, error_report, hazards, ran};
use super::loader::Loader;
use super::probed::{PROBE_SCHEMA, ProbeReport, ProbedDisk, ProbedSource, Readers};
use super::report::ComponentReport;
use super::wrapper::is_wrapper;
use super::{Choice, Compiler, Input, Source};
use crate::engine::{Component, Engine, Kind};
use crate::error::{Code, Error, Result, Stage};
use crate::net::Net;
use crate::observe::Repeats;
use crate::policy::Policy;
use crate::stages::{self, Access, Disk, Facts, Verdict};
use crate::stream::{Flow, Resumable, Seek, Tapped, Window, exactly, tapped, upto, windowed};

/// The most requests that a disk with ranges costs, the one that opens it included.
const MAX_REQUESTS: usize = 10;

/// One look.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    /// Where the disk comes from.
    pub input: Input,
    /// The source.
    pub source: Choice,
    /// The probe.
    pub probe: Choice,
    /// What is allowed.
    pub policy: Policy,
    /// Who compiles strangers' components.
    pub compiler: Compiler,
}

/// What came of a look.
#[derive(Debug)]
pub struct Probed {
    /// Ok where an import would not refuse the disk.
    pub outcome: Result<()>,
    /// The same fields either way.
    pub report: ProbeReport,
}

/// What is known so far.
#[derive(Default)]
struct Known {
    facts: Option<Facts>,
    size: Option<u64>,
    verdict: Option<Verdict>,
    content: Option<Content>,
    bytes_probed: Option<u64>,
    source: Option<ComponentReport>,
    probe: Option<ComponentReport>,
}

/// Looks at a disk. Must run in a `LocalSet`: guests are bound to their thread.
pub async fn probe(plan: &ProbePlan, interrupted: Interrupted) -> Probed {
    let net = Net::new(Arc::new(plan.policy.clone()));
    let mut known = Known::default();
    let looked = tokio::select! {
        looked = look(plan, &net, &interrupted, &mut known) => looked,
        error = interrupted.error() => Err(error),
    };
    let outcome = looked.and_then(|(verdict, content)| {
        let found = plan.wanted().found(&verdict, content.as_ref());
        (known.verdict, known.content) = (Some(verdict), content);
        found
    });
    let outcome = outcome.map_err(|error| net.advise(error));
    let report = known.report(plan, &net, &outcome);
    Probed { outcome, report }
}

async fn look(plan: &ProbePlan, net: &Net, interrupted: &Interrupted, known: &mut Known) -> Result<Found> {
    let engine = Engine::new(&plan.policy.limits)?;
    let _ticker = engine.ticker()?;
    let loader = Loader { engine: &engine, compiler: &plan.compiler, policy: &plan.policy, net };
    let source = loader.load(&plan.source, Kind::Source).await?;
    let probe = loader.load(&plan.probe, Kind::Probe).await?;
    (known.source, known.probe) = (Some(component(&source)), Some(component(&probe)));

    let repeats = Arc::<Repeats>::default();
    // Nothing but parts will be read: a server that is asked for the whole would send what nobody wants.
    let is_http = matches!(&plan.source, Choice::BuiltIn(name) if name == "source-http");
    let own: &[(&str, &str)] = if is_http { &[("open", "part")] } else { &[] };
    let disk = open_with(&plan.input, own, &engine, &source, net, (interrupted, &repeats)).await?;
    ran(&mut known.source, disk.described());
    known.facts = Some(disk.facts().clone());
    known.size = known_size(&plan.input, disk.facts())?;
    known.size.map_or(Ok(()), |size| plan.wanted().size(size))?;

    let looking = Looking { loader, probe: &probe, expected: None, watch: &|_| () };
    let (found, bytes) = match disk.facts().access {
        Access::Ranged => {
            let ranges = Resumable::new(disk.ranges(), attempts(&plan.input, net), repeats);
            // What is here costs nobody anything.
            let here = matches!(plan.input.source, Source::File(_)).then_some(&disk);
            by_range(&looking, ranges, known.size, here).await
        }
        Access::Once | Access::Restart => in_order(&looking, &source, &disk, known.size).await?,
    };
    known.bytes_probed = Some(bytes);
    let (verdict, content) = found?;
    ran(&mut known.probe, &verdict.described);
    Ok((verdict, content))
}

/// What was found of the disk, and of what is in it.
type Found = (Verdict, Option<Content>);

/// Nothing flows: every request is answered by range, each going on where it breaks. So is what is to be seen of the content of a
/// wrapper, unless the disk is `here`.
async fn by_range(
    looking: &Looking<'_>,
    ranges: Resumable,
    size: Option<u64>,
    here: Option<&Disk>,
) -> (Result<Found>, u64) {
    let window = Window::over(Arc::new(ranges), size);
    let found = async {
        let verdict = stages::detect(looking.loader.engine, looking.probe, &window, None).await?;
        let (flow, cut, comes) = match here.filter(|_| is_wrapper(&verdict.format)) {
            Some(here) => {
                let (flow, cut) = upto(here.read(0, None).await?, MAX_SHOWN);
                (flow, cut, MAX_SHOWN)
            }
            None => window.pieces(MAX_REQUESTS - 1),
        };
        let may_end = size.is_none_or(|size| size <= comes);
        let beginning = Beginning { flow, cut, size, may_end, held: true };
        content::probed(looking, beginning, std::future::ready(Ok(verdict)), |_| Ok(())).await
    };
    (found.await, window.answered())
}

/// The disk flows as the probe asks, and goes nowhere.
async fn in_order(
    looking: &Looking<'_>,
    source: &Component,
    disk: &Disk,
    size: Option<u64>,
) -> Result<(Result<Found>, u64)> {
    let mut flow = within_output(source, disk.read(0, None).await?);
    if let (None, Some(size)) = (disk.facts().size, size) {
        // What the source announced is counted where it is read; in an import the framing counts the rest.
        flow = exactly(flow, size, move |got| {
            let message = format!("the source sent {got} bytes, expected {size} as announced");
            Error::new(Code::SourceLengthMismatch, Stage::Source, message)
        });
    }
    let (flow, window) = windowed(flow, size, Seek::InOrder);
    let (flow, second, tapped) = tapped(flow);
    let (second, cut) = upto(second, MAX_SHOWN);
    let may_end = size.is_none_or(|size| size <= MAX_SHOWN);
    let beginning = Beginning { flow: second, cut, size, may_end, held: false };
    let detect = stages::detect(looking.loader.engine, looking.probe, &window, None);
    let probed = content::probed(looking, beginning, detect, |_| Ok(()));
    let found = looked(flow, probed, (&window, &tapped)).await;
    Ok((found, window.answered()))
}

/// What `detect` finds through `window`, while `flow` goes nowhere.
pub(super) async fn looked<V>(
    flow: Flow,
    detect: impl Future<Output = Result<V>>,
    seen: (&Window, &Tapped),
) -> Result<V> {
    together(poured_away(flow), detect, seen).await
}

/// Lets the disk flow while the probe looks, and no longer.
async fn together<V>(
    flow: impl Future<Output = Result<()>>,
    detect: impl Future<Output = Result<V>>,
    (window, tapped): (&Window, &Tapped),
) -> Result<V> {
    pin!(flow, detect);
    tokio::select! {
        biased;
        verdict = &mut detect => match verdict {
            // The probe failed because the disk did: what the disk's flow says is the cause.
            Err(error) if window.failed() || tapped.failed() => match flow.await {
                Err(cause) => Err(cause.most_upstream(error)),
                Ok(()) => Err(error),
            },
            verdict => verdict,
        },
        flowed = &mut flow => {
            flowed?;
            detect.await
        }
    }
}

/// Reads a flow to its end, if it is let.
pub(super) async fn poured_away(mut flow: Flow) -> Result<()> {
    while flow.next().await?.is_some() {}
    Ok(())
}

impl ProbePlan {
    /// What the disk must be like.
    const fn wanted(&self) -> Wanted<'_> {
        Wanted { require: &self.policy.require, format: None, not_empty: false }
    }
}

impl Known {
    fn report(&self, plan: &ProbePlan, net: &Net, outcome: &Result<()>) -> ProbeReport {
        let (facts, verdict) = (self.facts.as_ref(), self.verdict.as_ref());
        let error = outcome.as_ref().err();
        ProbeReport {
            schema: PROBE_SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            outcome: match error.map(Error::code) {
                None => "accepted",
                Some(Code::DiskRefused | Code::DiskFormat | Code::DiskTooLarge) => "refused",
                Some(_) => "failed",
            },
            error: error.map(error_report),
            source: ProbedSource {
                location: plan.input.shown(),
                size: self.size,
                revision: facts.and_then(|facts| facts.revision.clone()),
                access: facts.map(|facts| access(facts.access)),
                bytes_probed: self.bytes_probed,
            },
            disk: ProbedDisk {
                format: verdict.map(|verdict| verdict.format.clone()),
                virtual_size: verdict.and_then(|verdict| verdict.virtual_size),
                hazards: verdict.map(|verdict| hazards(&verdict.hazards)),
                details: verdict.map(|verdict| verdict.details.clone()),
                content: self.content.as_ref().map(ledger::content),
            },
            components: Readers { source: self.source.clone(), probe: self.probe.clone() },
            connections: net.connections().all().iter().map(connection).collect(),
        }
    }
}
