//! The disk of a container disk back out of a registry or an image layout, through the source that an import of it would have.

mod holes;
mod part;
mod report;
mod sink;

use std::fs::File;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use super::accepted::Wanted;
use super::disk::open_source;
use super::interrupt::Interrupted;
use super::ledger::{component, ran};
use super::loader::Loader;
use super::naming::disk_name;
use super::places::traffic;
use super::reading::Reading;
use super::report::ComponentReport;
use super::{Choice, Compiler, Input, Location, Source, SourceConnections, SourceFields};
use crate::engine::{Engine, Kind};
use crate::error::{Code, Error, Result, Stage};
use crate::layout;
use crate::net::Net;
use crate::observe::{Cgroup, Ends, Giver, Phase, Progress, Taker, Task};
use crate::oci::Tag;
use crate::policy::Policy;
use crate::stages::{Access, Disk, Facts, StoredImages};
use crate::stream::{Flow, chained, of_file};

pub use holes::Sparse;
pub use report::{EXPORT_SCHEMA, ExportReport, ExportSource, ExportTransfer, ExportedTo, export_unplanned};
use sink::Sink;

/// One export.
#[derive(Clone, Debug)]
pub struct ExportPlan {
    /// Where the disk is.
    pub input: Input,
    /// The reference as it may be shown.
    pub shown: String,
    /// How many connections bring the disk, where the source has ranges.
    pub connections: SourceConnections,
    /// Bytes per second that are not exceeded.
    pub limit: Option<NonZeroU64>,
    /// Where it goes.
    pub target: ExportTarget,
    /// Where zeros are left out.
    pub sparse: Sparse,
    /// The source.
    pub source: Choice,
    /// What is allowed.
    pub policy: Policy,
    /// Who compiles strangers' components.
    pub compiler: Compiler,
}

/// Where a disk goes.
#[derive(Clone, Debug)]
pub enum ExportTarget {
    /// A file, or a block device, which is there already.
    File {
        /// Which.
        path: PathBuf,
        /// Whether something that is there may be written over.
        force: bool,
    },
    /// Standard output, open for writing.
    StandardOutput(Arc<File>),
}

impl ExportTarget {
    /// It as it may be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::StandardOutput(_) => "standard output".to_owned(),
        }
    }
}

/// A disk that stands where it was to go, verified.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Its name in the image, fit for a file.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes that were left out, being zeros.
    pub in_holes: u64,
}

/// What became of an export.
#[derive(Debug)]
pub struct ExportFinished {
    /// The disk, or why there is none.
    pub outcome: Result<Exported>,
    /// The same fields either way.
    pub report: ExportReport,
}

/// What is known so far.
#[derive(Debug, Default)]
struct Known {
    facts: Option<Facts>,
    source: Option<ComponentReport>,
    kind: Option<&'static str>,
    /// Bytes that an earlier run had left.
    already: Option<u64>,
}

/// The image of that tag in an image layout, for a source component that reads images of registries, which is told `options`.
///
/// # Errors
/// `registry-not-found` if there is none, or several without a tag; `local-file` if the layout cannot be read.
pub fn stored_image(folder: PathBuf, tag: Option<&Tag>, options: Vec<(String, String)>) -> Result<Input> {
    let image = layout::Pull::new(folder.clone()).tagged(tag)?;
    let location = Location::parse(&StoredImages::location(&image.digest))
        .map_err(|why| Error::internal(Stage::Plan, format!("no location can be made of a digest: {why}")))?;
    Ok(Input {
        source: Source::Other(location),
        size: None,
        fields: SourceFields::default(),
        options,
        registry: None,
        layout: Some(folder),
    })
}

/// Carries out a plan. Must run in a `LocalSet`: guests are bound to their thread.
pub async fn export(plan: &ExportPlan, progress: &Progress, interrupted: Interrupted) -> ExportFinished {
    let net = Net::new(Arc::new(plan.policy.clone()));
    progress.watch_run(traffic(&net.connections()), plan.limit.map(NonZeroU64::get), Cgroup::own());
    progress.between(Ends { from: Giver::Registry, to: Taker::File });
    let mut known = Known::default();
    let outcome = run(plan, progress, &net, &interrupted, &mut known).await.map_err(|error| {
        let error = net.advise(error);
        // Whoever touched the target has said what is left there.
        let untouched = error.leftovers().is_empty();
        if untouched { error.left(format!("nothing in {}", plan.target.shown())) } else { error }
    });
    let report = report::report(&known, plan, &net, progress, outcome.as_ref());
    ExportFinished { outcome, report }
}

/// source → what it stands in → file.
async fn run(
    plan: &ExportPlan,
    progress: &Progress,
    net: &Net,
    interrupted: &Interrupted,
    known: &mut Known,
) -> Result<Exported> {
    let engine = Engine::new(&plan.policy.limits)?;
    let _ticker = engine.ticker()?;
    let loader = Loader { engine: &engine, compiler: &plan.compiler, policy: &plan.policy, net };
    let source = interrupted.or(loader.load(&plan.source, Kind::Source)).await?;
    known.source = Some(component(&source));
    progress.watch(Task::Component(source.kind().as_str(), source.name().to_owned()), vec![Arc::clone(source.work())]);

    // Whether there is room for it is known before anybody is asked.
    sink::possible(&plan.target)?;
    let disk = open_source(&plan.input, &engine, &source, net, (interrupted, &progress.repeats)).await?;
    ran(&mut known.source, disk.described());
    let facts = disk.facts().clone();
    known.facts = Some(facts.clone());
    let size = facts.size.ok_or_else(|| {
        let message = format!("{} does not say how long the disk is", plan.shown);
        Error::new(Code::SourceLengthUnknown, Stage::Source, message)
    })?;
    Wanted { require: &plan.policy.require, format: None, not_empty: false }.size(size)?;
    let name = disk_name(None, facts.name.as_deref())?;
    let reading = Reading {
        input: &plan.input,
        source: &source,
        net,
        progress,
        connections: plan.connections,
        limit: plan.limit,
    };
    progress.expect(size);
    // The second time without what an earlier run had left: it was not what the registry has.
    for again in [false, true] {
        let mut sink = Sink::open(plan, &facts, size)?;
        known.kind = Some(sink.kind());
        known.already = Some(sink.already()).filter(|already| *already > 0);
        if let Some(warning) = sink.warning() {
            progress.warn("written-directly", &warning);
        }
        progress.enter(Phase::Transferring);
        let carried = async {
            let flow = flow(&reading, &disk, &sink, size).await?;
            sink.take(flow, progress).await?;
            progress.enter(Phase::Committing);
            sink.finish().await
        };
        match interrupted.or(carried).await {
            Ok(in_holes) => return Ok(Exported { name, size, in_holes }),
            Err(error) if !again && error.code() == Code::ChecksumMismatch && sink.already() > 0 => {
                sink.remove();
                let why = "what an earlier run had left is not what the registry has: all of it is read again";
                progress.warn("part-discarded", why);
                progress.repeats.broke(error.to_string());
            }
            Err(error) => return Err(sink.abandon(error)),
        }
    }
    Err(Error::internal(Stage::Source, "a part that was removed was there again"))
}

/// All of the disk, of which the first bytes are there already, verified at its end.
async fn flow(reading: &Reading<'_>, disk: &Disk, sink: &Sink, size: u64) -> Result<Flow> {
    let already = sink.already();
    let rest = match already {
        there if there == size => Flow::empty(),
        there => reading.received(disk, there).await?,
    };
    let flow = match sink.part().filter(|_| already > 0) {
        Some((part, shown)) => {
            let failed = move |why| part::failed(&shown, "cannot be read back", why);
            chained(of_file(part, 0, already, failed), rest)
        }
        None => rest,
    };
    Ok(reading.within_its_layer(flow, disk.facts()))
}

/// Whether a part of the disk is of use to a later run: it then reads on behind it, and verifies all of it.
fn continues(facts: &Facts) -> bool {
    facts.access == Access::Ranged && facts.enclosure.is_some()
}
