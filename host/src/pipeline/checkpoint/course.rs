//! Where a run begins: at the first byte, or where an earlier one with the same command stopped.

use std::collections::BTreeMap;
use std::path::Path;

use super::document::{Document, Midstates, SCHEMA, SavedLayer, SavedSource, known};
use super::{AllMarks, Checkpoint, refused};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;
use crate::pipeline::checksum::algorithms;
use crate::pipeline::destination::Destination;
use crate::pipeline::import::Run;
use crate::pipeline::layer::SentLayer;
use crate::pipeline::{Checksum, Place};
use crate::registry::Standing;
use crate::stages::{Access, Facts};
use crate::stream::{Algorithm, Begun, Layer, Marks, Midstate};

/// Where a run begins.
#[derive(Default)]
pub(in crate::pipeline) struct Course {
    /// The offset in the disk at which it is read.
    pub(in crate::pipeline) disk_from: u64,
    /// Where checksums of the bytes received begin, and those of the disk.
    pub(in crate::pipeline) received: Begun,
    pub(in crate::pipeline) disk: Begun,
    /// Whether the upload session of the earlier run is open.
    pub(in crate::pipeline) continues: bool,
    /// The layer, if the registry has it already.
    pub(in crate::pipeline) there: Option<SentLayer>,
    /// What is kept for a later run, if anything is.
    kept: Option<Kept>,
}

struct Kept {
    document: Document,
    /// Whether it says how the layer was framed.
    framed: bool,
    layer: BTreeMap<u64, Midstate>,
}

/// The checkpoint of an earlier run, if the user names a file and it is there.
///
/// # Errors
/// `checkpoint-refused` if it is of another import, with what differs.
pub(in crate::pipeline) fn saved(run: &Run<'_>, checksums: &[Checksum]) -> Result<Option<Document>> {
    let Some(path) = &run.plan.checkpoint else { return Ok(None) };
    let Some(document) = Document::read(path)? else { return Ok(None) };
    if document.version != env!("CARGO_PKG_VERSION") {
        return Err(refused(path, "was written by another version of longshore"));
    }
    let bound = bound(run, checksums);
    let parts = bound.keys().chain(document.bound.keys());
    let mut differ: Vec<&str> =
        parts.filter(|part| bound.get(*part) != document.bound.get(*part)).map(String::as_str).collect();
    differ.sort_unstable();
    differ.dedup();
    if differ.is_empty() {
        return Ok(Some(document));
    }
    Err(refused(path, &format!("is of an import that differs in: {}", differ.join(", "))))
}

/// Decides where this run begins.
///
/// # Errors
/// `source-changed` if the disk is another than that of the earlier run, `upload-lost` if the registry lost the upload and
/// the policy does not let it start over once more, and whatever keeps the registry from saying what it has.
pub(in crate::pipeline) async fn course(
    run: &Run<'_>,
    facts: &Facts,
    checksums: &[Checksum],
    saved: Option<Document>,
    destination: &mut Destination,
) -> Result<Course> {
    let Some(path) = &run.plan.checkpoint else { return Ok(Course::default()) };
    // What cannot be told from another disk, a device say, might be one.
    if facts.access != Access::Ranged || facts.revision.is_none() {
        if saved.is_some() {
            return Err(refused(
                path,
                "is of a source with ranges that can be identified, and this one is none any more",
            ));
        }
        let why = "the source offers no ranges of a disk it can identify, so that nothing could go on where it stopped: \
                   no checkpoint is kept";
        run.progress.warn("no-checkpoint", why);
        return Ok(Course::default());
    }
    let algorithms = [algorithms(checksums, Place::Received), algorithms(checksums, Place::Disk)];
    let Some(saved) = saved else {
        return Ok(Course::fresh(new(run, facts, checksums), false, &algorithms));
    };
    let source = SavedSource::of(facts);
    if saved.source != source {
        let message =
            format!("{} is another disk than when {} was written", run.plan.input.source.shown(), path.display());
        return Err(Error::new(Code::SourceChanged, Stage::Source, message)
            .hint("remove the checkpoint to start over with the disk as it is now"));
    }
    if let Some(layer) = saved.sent.as_ref().and_then(super::document::SavedBlob::layer)
        && destination.has(&layer.blob).await?
    {
        run.ledger.continued(layer.blob.size);
        return Ok(Course { there: Some(layer), ..Course::fresh(saved, true, &algorithms) });
    }
    let standing = match saved.location.as_ref().map(|location| location.parse()) {
        Some(Ok(location)) => destination.resume(&location).await?,
        Some(Err(_)) => return Err(refused(path, "has a location that is no URL")),
        // It was never open.
        None => Standing::Empty,
    };
    let total = run.components.compressor.is_none().then_some(saved.layer.total_bytes);
    match standing {
        Standing::Has(stored) if total.is_none_or(|total| stored <= total) => {
            run.ledger.continued(stored);
            Ok(from_mark(run, facts, saved, stored, &algorithms))
        }
        // Nothing was sent that is worth a word.
        Standing::Empty if saved.location.is_none() => {
            Ok(Course::fresh(Document { sent: None, ..saved }, true, &algorithms))
        }
        Standing::Has(_) => {
            destination.drop_session().await;
            start_over(run, path, saved, &algorithms)
        }
        Standing::Empty | Standing::Lost => start_over(run, path, saved, &algorithms),
    }
}

/// The registry lost the upload.
fn start_over(run: &Run<'_>, path: &Path, saved: Document, algorithms: &[Vec<Algorithm>; 2]) -> Result<Course> {
    let (target, times) = (run.plan.target.shown(), saved.started_over);
    let why = format!("{target} does not have the upload of the checkpoint {} any more", path.display());
    if times >= run.plan.policy.limits.start_overs {
        let message = format!("{why}, and it has started over {times} times, as often as limits.start-overs allows");
        return Err(Error::new(Code::UploadLost, Stage::Upload, message)
            .hint("remove the checkpoint to start over all the same"));
    }
    run.progress.warn("upload-lost", &format!("{why}: it starts over at the first byte"));
    run.progress.repeats.restarted();
    let saved = Document { started_over: times + 1, location: None, sent: None, ..saved };
    Ok(Course::fresh(saved, true, algorithms))
}

/// From the last mark in front of what the registry has, where the disk can be read from there.
fn from_mark(run: &Run<'_>, facts: &Facts, saved: Document, stored: u64, algorithms: &[Vec<Algorithm>; 2]) -> Course {
    let components = run.components;
    // What a disk stands in is verified from the first byte on.
    let flows_as_it_comes = run.plan.chosen.filters.are_none()
        && components.compressor.is_none()
        && run.plan.spool.is_none()
        && facts.enclosure.is_none();
    let (received, disk) = (begun(&saved.received, &algorithms[0]), begun(&saved.disk, &algorithms[1]));
    let (layer, payload_at) = (known(&saved.hashed), saved.layer.payload_at);
    let size = facts.size.or(run.plan.input.size).unwrap_or(0);
    let marked = |at: &u64| {
        let everywhere = |begun: &Begun| begun.marks.values().all(|marks| marks.at(*at).is_some());
        *at < size && everywhere(&received) && everywhere(&disk)
    };
    let in_front = layer.range(..=stored).rev().filter_map(|(at, _)| at.checked_sub(payload_at));
    let disk_from = if flows_as_it_comes { in_front.into_iter().find(marked).unwrap_or(0) } else { 0 };
    tracing::info!(stored, disk_from, "an earlier run is continued");
    Course {
        disk_from,
        received: Begun { at: disk_from, ..received },
        disk: Begun { at: disk_from, ..disk },
        continues: true,
        there: None,
        kept: Some(Kept { document: saved, framed: true, layer }),
    }
}

impl Course {
    fn fresh(document: Document, framed: bool, algorithms: &[Vec<Algorithm>; 2]) -> Self {
        let (received, disk) = (begun(&document.received, &algorithms[0]), begun(&document.disk, &algorithms[1]));
        let layer = known(&document.hashed);
        Self { received, disk, kept: Some(Kept { document, framed, layer }), ..Self::default() }
    }

    /// Begins to keep the checkpoint, now that the layer is framed. Gives the marks of the layer as it is stored.
    ///
    /// # Errors
    /// `checkpoint-refused` if the layer was framed otherwise before, `local-file` if it cannot be written.
    pub(in crate::pipeline) fn keep(&self, run: &Run<'_>, frame: &Layer) -> Result<Option<(Checkpoint, Marks)>> {
        let (Some(path), Some(kept)) = (&run.plan.checkpoint, &self.kept) else { return Ok(None) };
        let layer = SavedLayer::of(frame);
        if kept.framed && kept.document.layer != layer {
            return Err(refused(path, "is of a layer that was framed in another way"));
        }
        // Compressed, nothing stands at a known place.
        let first = if run.components.compressor.is_some() { 0 } else { layer.payload_at };
        let marks = Marks::new(first, kept.layer.clone());
        let all = AllMarks { layer: marks.clone(), received: self.received.clone(), disk: self.disk.clone() };
        let checkpoint = Checkpoint::keep(path, Document { layer, ..kept.document.clone() }, all)?;
        Ok(Some((checkpoint, marks)))
    }
}

fn new(run: &Run<'_>, facts: &Facts, checksums: &[Checksum]) -> Document {
    Document {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        bound: bound(run, checksums),
        source: SavedSource::of(facts),
        layer: SavedLayer { payload_at: 0, total_bytes: 0 },
        started_over: 0,
        location: None,
        hashed: Midstates::new(),
        received: BTreeMap::new(),
        disk: BTreeMap::new(),
        sent: None,
    }
}

/// Marks for these algorithms, those of an earlier run among them.
fn begun(saved: &BTreeMap<String, Midstates>, algorithms: &[Algorithm]) -> Begun {
    let marks = |algorithm: &Algorithm| {
        let midstates = saved.get(algorithm.as_str()).map(known).unwrap_or_default();
        (*algorithm, Marks::new(0, midstates))
    };
    Begun { at: 0, marks: algorithms.iter().map(marks).collect() }
}

/// What the command says, each part as a digest: a file that others may read tells nothing by it, and an error can name what
/// differs. Credentials are no part of it.
fn bound(run: &Run<'_>, checksums: &[Checksum]) -> BTreeMap<String, String> {
    let (plan, components) = (run.plan, run.components);
    let input = &plan.input;
    let all = [&components.source, &components.probe, &components.framing];
    let all = all.into_iter().chain(&components.filters).chain(&components.compressor);
    let mut digests: Vec<String> = all.map(|component| component.digest().to_string()).collect();
    if plan.chosen.filters.are_chosen_by_bytes() {
        digests.push("filters chosen by the bytes".to_owned());
    }
    let demanded: Vec<String> = checksums.iter().map(ToString::to_string).collect();
    let parts = [
        ("source", format!("{:?}", (input.source.location(), input.size, &input.options, plan.disk_size))),
        ("destination", format!("{:?}", (plan.target.shown(), &plan.tags))),
        ("image", format!("{:?}", (&plan.image, &plan.name, plan.epoch))),
        ("checksums", demanded.join(" ")),
        ("format", format!("{:?}", plan.format)),
        ("components", digests.join(" ")),
        ("transfer", format!("{:?}", (plan.limit, plan.connections, &plan.spool))),
        ("policy", plan.policy.show()),
    ];
    parts.into_iter().map(|(part, text)| (part.to_owned(), Digest::of(text.as_bytes()).hex())).collect()
}
