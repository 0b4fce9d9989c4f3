//! The flow. Everything else is detail.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::pin;

use super::accepted::{Wanted, checksum_named};
use super::checkpoint::{Course, Lock, course, saved};
use super::checksum::verify;
use super::checksum_file;
use super::content::{self, Beginning, Content, Looking, MAX_SHOWN};
use super::destination::Destination;
use super::disk::{Disk, is_announced, open_disk, open_source};
use super::import::Run;
use super::layer::{SentLayer, media_type, send};
use super::loader::Loader;
use super::naming::created;
use super::probe::looked;
use super::wrapper::is_wrapper;
use super::{Checksum, Plan, Source, Target};
use crate::engine::Component;
use crate::error::{Error, Result, Stage};
use crate::net::redacted;
use crate::observe::{Phase, Task};
use crate::oci::{Digest, Image, ImageFacts, image, label};
use crate::policy::ProbeName;
use crate::stages::{self, Compressor, Entry, Facts, FramedLayer, Hazard, Severity, Verdict};
use crate::stream::{Seek, Tapped, Window, tapped, upto, windowed};

/// An image that stands at its destination, verified and tagged.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The repository or layout.
    pub name: String,
    /// The digest of the manifest.
    pub digest: Digest,
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
    let told = (&run.interrupted, &*run.progress.repeats);
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
        Ok(digest) => Ok(Imported { name: run.plan.target.shown(), digest }),
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
) -> Result<Digest> {
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
    let (flow, window) = match (course.disk_from, &seek) {
        // In front of where it begins, the disk is only there by range.
        (from, Seek::Ranged(ranges)) if from > 0 => (flow, Window::over(Arc::clone(ranges), Some(entry.size))),
        _ => windowed(flow, Some(entry.size), seek.clone()),
    };
    let expected = run.plan.format.as_ref().map(ProbeName::as_str);
    let detect = Box::pin(stages::detect(run.engine, &run.components.probe, &window, expected));
    // Whoever looks into a wrapper sees what is pushed, unless that was pushed by an earlier run.
    let (flow, second, tapped) = tapped(flow);
    let second = match (course.disk_from, &seek) {
        (from, Seek::Ranged(ranges)) if from > 0 => {
            // The flow must not wait for it.
            drop(second);
            ranges.read(0, entry.size).await?
        }
        _ => second,
    };
    let (second, cut) = upto(second, MAX_SHOWN);
    let (may_end, held) = (entry.size <= MAX_SHOWN, matches!(seek, Seek::Ranged(_)));
    let disk = Beginning { flow: second, cut, size: Some(entry.size), may_end, held };
    let watch = |filter: &Component| run.watch(filter);
    let loader = Loader { engine: run.engine, compiler: &run.plan.compiler, policy: &run.plan.policy, net: run.net };
    let looking = Looking { loader, probe: &run.components.probe, expected, watch: &watch };
    let probe = Box::pin(async {
        let (verdict, content) = content::probed(&looking, disk, detect, |verdict| found(run, verdict)).await?;
        if let Some(content) = &content {
            found_inside(run, &verdict, content)?;
        }
        Ok((verdict, content))
    });

    let (layer, (verdict, content)) = if let Some(layer) = &course.there {
        (layer.clone(), looked(flow, probe, (&window, &tapped)).await?)
    } else {
        // What the upload needs again is in the spool, however the source can be read.
        let again = spooled.map_or(seek, |spooled| Seek::Ranged(Arc::new(spooled)));
        let send =
            send(run, (flow, course.disk_from, again, rewound), marks, frame, compressor, media_type, destination);
        let together = together(send, probe, (&window, &tapped)).await;
        run.ledger.probed(window.answered());
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
    Ok(image.manifest.digest)
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

impl Run<'_> {
    /// What the disk must be like.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        self.plan.wanted()
    }
}

impl Plan {
    /// What the disk must be like.
    pub(super) const fn wanted(&self) -> Wanted<'_> {
        Wanted { require: &self.policy.require, format: self.format.as_ref() }
    }
}

fn describe(plan: &Plan, facts: &Facts, entry: &Entry, verdict: &Verdict, layer: &SentLayer) -> Result<Image> {
    let created = created(facts.modified.as_deref(), plan.epoch);
    let wanted = &plan.image;
    let mut labels = wanted.labels.clone();
    labels.insert(label::SIZE.to_owned(), entry.size.to_string());
    labels.insert(label::FORMAT.to_owned(), verdict.format.clone());
    labels.insert(label::EROFS.to_owned(), "true".to_owned());
    labels.extend(verdict.virtual_size.map(|size| (label::VIRTUAL_SIZE.to_owned(), size.to_string())));
    let mut annotations = BTreeMap::from([("org.opencontainers.image.created".to_owned(), created.clone())]);
    // A path or an inode of this machine means nothing to whoever pulls the image.
    let location = match &plan.input.source {
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
    };
    image(&facts).map_err(|why| Error::internal(Stage::Publish, format!("config and manifest cannot be made: {why}")))
}

impl Target {
    /// The reference of an image there.
    pub(super) fn reference(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.shown())
    }
}
