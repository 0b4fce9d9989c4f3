//! The flow. Everything else is detail.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::accepted::{Wanted, checksum_named};
use super::checkpoint::{Course, Lock, course, saved};
use super::checksum::verify;
use super::checksum_file;
use super::destination::Destination;
use super::disk::{Disk, is_announced, open_disk, open_source};
use super::import::Run;
use super::layer::{SentLayer, media_type, send};
use super::naming::created;
use super::shown::{Shown, look, shown};
use super::{Checksum, Plan, Source, Target};
use crate::error::{Error, Result, Stage};
use crate::net::redacted;
use crate::observe::{Phase, Task};
use crate::oci::{Digest, Image, ImageFacts, image, label};
use crate::stages::{self, Compressor, Entry, Facts, FramedLayer, Verdict};
use crate::stream::Seek;

/// An image that stands at its destination, verified and tagged.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The repository or layout.
    pub name: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// Bytes of the disk in it; none of an image that was copied as it is.
    pub disk_size: Option<u64>,
}

impl Imported {
    /// `repository@digest`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.digest)
    }
}

/// source → checksums → filters → checksums of the disk → probe's window → framing → compressor → upload → config →
/// manifest → tags.
pub(super) async fn run(run: &Run<'_>) -> Result<Imported> {
    run.interrupted.or(run.wanted().known_to(run.engine, &run.components.probe)).await?;
    let checksums = run.interrupted.or(checksums(run)).await?;
    let _lock = run.plan.checkpoint.as_deref().map(Lock::take).transpose()?;
    let saved = saved(run, &checksums)?;
    let told = (&run.interrupted, &run.progress.repeats);
    let source = open_source(&run.plan.input, run.engine, &run.components.source, run.net, told).await?;
    run.ledger.source(source.facts(), source.described());

    let mut destination = Destination::new(&run.plan.target, &run.plan.policy, run.net)?;
    let carried = async {
        let course = course(run, source.facts(), &checksums, saved, &mut destination).await?;
        let continues = course.there.is_some() || course.continues;
        if !continues && !is_announced(run, source.facts()) {
            destination.try_out(&run.plan.tags).await?;
        }
        let disk = open_disk(run, &source, &checksums, &course).await?;
        run.ledger.disk(&disk.entry);
        let frame = stages::frame(run.engine, &run.components.framing, &disk.entry).await?;
        run.ledger.framed(&frame);
        carry(run, source.facts(), &course, disk, &frame, &mut destination).await
    };
    match run.interrupted.or(carried).await {
        Ok((digest, size)) => Ok(Imported { name: run.plan.target.shown(), digest, disk_size: Some(size) }),
        Err(error) => Err(destination.abandon(error).await),
    }
}

async fn carry(
    run: &Run<'_>,
    facts: &Facts,
    course: &Course,
    disk: Disk,
    frame: &FramedLayer,
    destination: &mut Destination,
) -> Result<(Digest, u64)> {
    let compressor = compressor(run).await?;
    let media_type = media_type(run.plan.image.media_types, frame, compressor.as_ref())?;
    let marks = course.keep(run, &frame.layer)?.map(|(checkpoint, marks)| {
        destination.keep(checkpoint);
        marks
    });
    if course.there.is_none() && !course.continues {
        destination.open(&run.plan.tags).await?;
    }
    run.progress.expect(frame.layer.total_bytes());
    run.progress.enter(Phase::Transferring);
    let Disk { flow, entry, received, of_disk, seek, rewound, spooled } = disk;
    let brought_again = (spooled.is_some() || matches!(seek, Seek::Ranged(_))) && compressor.is_none();
    run.ledger.opened(destination.terms(brought_again));
    let disk = Shown { flow, size: entry.size, seek: &seek, from: course.disk_from };
    let (layer, (verdict, content)) = if let Some(layer) = &course.there {
        (layer.clone(), look(run, disk).await?)
    } else {
        // What the upload needs again is in the spool, however the source can be read.
        let again = spooled.map_or_else(|| seek.clone(), |spooled| Seek::Ranged(Arc::new(spooled)));
        let from = course.disk_from;
        let send = async |flow| {
            let disk = (flow, from, again, rewound);
            send(run, disk, marks, &frame.layer, compressor, media_type, destination).await
        };
        let together = shown(run, disk, send).await;
        run.ledger.checksums(received.computed(), of_disk.computed());
        let (layer, found) = together?;
        verify(&[&received, &of_disk])?;
        run.progress.enter(Phase::Committing);
        destination.commit(&layer).await?;
        (layer, found)
    };
    run.progress.enter(Phase::Publishing);
    let innermost = content.as_ref().and_then(|content| content.verdict.as_ref().ok()).unwrap_or(&verdict);
    let image = describe(run.plan, facts, &entry, innermost, &layer)?;
    run.ledger.image(&layer.blob, &image);
    destination.publish(&image, &run.plan.tags).await?;
    destination.finish()?;
    Ok((image.manifest.digest, entry.size))
}

/// Everything that is demanded: what the user typed, and what the checksum files say.
pub(super) async fn checksums(run: &Run<'_>) -> Result<Vec<Checksum>> {
    let mut all = run.plan.checksums.clone();
    for file in &run.plan.checksum_files {
        all.push(checksum_file::resolve(file, &run.plan.input, run.net).await?);
    }
    run.ledger.demanded(&all);
    checksum_named(&run.plan.policy.require, &all)?;
    let mut algorithms: Vec<String> =
        all.iter().map(|checksum| checksum.expected().algorithm().as_str().to_owned()).collect();
    algorithms.sort();
    algorithms.dedup();
    run.progress.watch(Task::Checksums(algorithms), vec![Arc::clone(&run.progress.checksums)]);
    Ok(all)
}

pub(super) async fn compressor(run: &Run<'_>) -> Result<Option<Compressor>> {
    match &run.components.compressor {
        Some(compressor) => Compressor::new(run.engine, compressor).await.map(Some),
        None => Ok(None),
    }
}

impl Run<'_> {
    /// What the disk must be like.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        self.plan.wanted()
    }
}

impl Plan {
    /// What the disk must be like.
    pub(super) const fn wanted(&self) -> Wanted<'_> {
        Wanted { require: &self.policy.require, format: self.format.as_ref(), not_empty: self.not_empty }
    }
}

fn describe(plan: &Plan, facts: &Facts, entry: &Entry, verdict: &Verdict, layer: &SentLayer) -> Result<Image> {
    let created = created(facts.modified.as_deref(), plan.epoch);
    let wanted = &plan.image;
    let mut labels = wanted.labels.clone();
    labels.insert(label::SIZE.to_owned(), entry.size.to_string());
    labels.insert(label::FORMAT.to_owned(), wanted.format_name(&verdict.format).to_owned());
    labels.insert(label::EROFS.to_owned(), "true".to_owned());
    labels.extend(verdict.virtual_size.map(|size| (label::VIRTUAL_SIZE.to_owned(), size.to_string())));
    let mut annotations = BTreeMap::from([("org.opencontainers.image.created".to_owned(), created.clone())]);
    // A path or an inode of this machine means nothing to whoever pulls the image.
    let location = match &plan.input.source {
        _ if plan.input.layout.is_some() => None,
        Source::Http(url) => {
            let mut shown = url.clone();
            shown.set_query(None);
            Some(redacted(&shown))
        }
        Source::Other(location) => Some(location.without_query()),
        Source::File(_) | Source::StandardInput | Source::Upload(_) => None,
    };
    if let Some(location) = location {
        annotations.insert("org.opencontainers.image.source".to_owned(), location);
        let revision = facts.revision.clone();
        annotations.extend(revision.map(|revision| ("org.opencontainers.image.revision".to_owned(), revision)));
    }
    // What the user says about the image is better than what we know of it.
    annotations.extend(wanted.annotations.clone());
    let facts = ImageFacts {
        media_types: wanted.media_types,
        diff_id: layer.diff_id,
        layer: layer.blob.clone(),
        platform: wanted.platform.clone(),
        created,
        labels,
        annotations,
        wording: wanted.wording.clone(),
    };
    image(&facts).map_err(|why| Error::internal(Stage::Publish, format!("config and manifest cannot be made: {why}")))
}

impl Target {
    /// The reference of an image there.
    pub(super) fn reference(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.shown())
    }
}
