//! The flow. Everything else is detail.

use std::collections::BTreeMap;

use tokio::pin;

use super::checksum::{Demanded, demanded, verify};
use super::checksum_file;
use super::destination::Destination;
use super::import::Run;
use super::interrupt::Interrupted;
use super::naming::{created, disk_name};
use super::{Checksum, Input, Place, Plan, Source, Target};
use crate::engine::{Component, Engine};
use crate::error::{Code, Error, Result, Stage};
use crate::net::{GrantedClient, Net, redacted};
use crate::observe::Phase;
use crate::oci::{Descriptor, Digest, Image, ImageFacts, MediaTypes, image, label};
use crate::policy::Side;
use crate::stages::{
    self, Access, Disk, Entry, Facts, FetchGrant, FramedLayer, LocalGrant, Severity, SourceGrant, Verdict,
};
use crate::stream::{DigestHandle, Seek, Window, framed, hashed, metered, windowed};

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

/// source → checksums → probe's window → framing → digest → upload → config → manifest → tags.
pub(super) async fn run(run: &Run<'_>) -> Result<Imported> {
    let checksums = checksums(run).await?;
    let disk = open_source(&run.plan.input, run.engine, &run.components.source, run.net, &run.interrupted).await?;
    let entry = entry(run.plan, disk.facts())?;
    run.ledger.disk(disk.facts(), disk.described(), &entry);

    let layer = stages::frame(run.engine, &run.components.framing, &entry).await?;
    run.ledger.framed(&layer);

    let mut destination = Destination::new(&run.plan.target, &run.plan.policy, run.net)?;
    let done = tokio::select! {
        done = carry(run, &disk, &entry, &checksums, &layer, &mut destination) => done,
        error = run.interrupted.error() => Err(error),
    };
    match done {
        Ok(digest) => Ok(Imported { name: run.plan.target.shown(), digest }),
        Err(error) => Err(destination.abandon(error).await),
    }
}

async fn carry(
    run: &Run<'_>,
    source: &Disk,
    entry: &Entry,
    checksums: &[Checksum],
    layer: &FramedLayer,
    destination: &mut Destination,
) -> Result<Digest> {
    destination.open().await?;
    run.progress.expect(layer.layer.total_bytes());
    run.progress.enter(Phase::Transferring);
    let received = metered(source.read(0, None).await?, run.progress.source.clone());
    let (disk, received) = demanded(received, checksums, Place::Received);
    let (disk, of_disk) = demanded(disk, checksums, Place::Disk);
    let (disk, window) = windowed(disk, Some(entry.size), seek(source));
    let (bytes, digest) = hashed(framed(&layer.layer, disk));
    let bytes = metered(bytes, run.progress.layer.clone());

    let send = destination.send(bytes, layer.layer.total_bytes());
    let probe = stages::detect(run.engine, &run.components.probe, &window);
    let together = together(send, probe, &window, |verdict| found(run, verdict)).await;
    run.ledger.probed(window.answered());
    run.ledger.checksums(received.computed(), of_disk.computed());
    let verdict = together?;
    let layer = verified(&[&received, &of_disk], &digest, layer, run.plan.image.media_types)?;

    run.progress.enter(Phase::Committing);
    destination.commit(&layer).await?;
    run.progress.enter(Phase::Publishing);
    let image = describe(run.plan, source.facts(), entry, &verdict, layer.clone())?;
    run.ledger.image(&layer, &image);
    destination.publish(&image, &run.plan.tags).await?;
    Ok(image.manifest.digest)
}

/// Everything that is demanded: what the user typed, and what the checksum files say.
async fn checksums(run: &Run<'_>) -> Result<Vec<Checksum>> {
    let mut all = run.plan.checksums.clone();
    for file in &run.plan.checksum_files {
        let resolve = checksum_file::resolve(file, &run.plan.input.source, run.net, &run.plan.policy.limits);
        all.push(tokio::select! {
            resolved = resolve => resolved?,
            error = run.interrupted.error() => return Err(error),
        });
    }
    run.ledger.demanded(&all);
    Ok(all)
}

/// Opens SOURCE with the component that was chosen for it.
pub(super) async fn open_source(
    input: &Input,
    engine: &Engine,
    component: &Component,
    net: &Net,
    interrupted: &Interrupted,
) -> Result<Disk> {
    let grant = match &input.source {
        Source::Http(_) => {
            let origin = input.source.origin()?;
            let client = net.client(Side::Source, origin.iter().cloned().collect());
            SourceGrant { fetch: Some(FetchGrant::new(GrantedClient::new(client, origin))), local: None }
        }
        Source::File(path) => SourceGrant { fetch: None, local: Some(LocalGrant::file(path)?) },
        Source::StandardInput => SourceGrant { fetch: None, local: Some(LocalGrant::standard_input(input.size)) },
    };
    let open = stages::open(engine, component, grant, input.source.location());
    tokio::select! {
        opened = open => opened,
        error = interrupted.error() => Err(error),
    }
}

/// What will stand in the layer: its length must be known before the upload opens.
fn entry(plan: &Plan, facts: &Facts) -> Result<Entry> {
    let size = known_size(&plan.input, facts)?.ok_or_else(|| {
        let message = format!("{} does not say how long it is", plan.input.source.shown());
        Error::new(Code::SourceLengthUnknown, Stage::Source, message)
            .hint("if you know the length, name it: --size BYTES")
    })?;
    let name = disk_name(plan.name.as_deref(), facts.name.as_deref(), &plan.input.source)?;
    Ok(Entry { name, size, owner: plan.image.owner })
}

/// The size of the disk as the source and the user have it, who must not contradict each other.
pub(super) fn known_size(input: &Input, facts: &Facts) -> Result<Option<u64>> {
    match (facts.size, input.size) {
        (Some(announced), Some(demanded)) if announced != demanded => {
            let message = format!("the source announces {announced} bytes, expected {demanded} as --size says");
            Err(Error::new(Code::SourceLengthMismatch, Stage::Source, message))
        }
        (announced, demanded) => Ok(announced.or(demanded)),
    }
}

/// Sends and probes at the same time: the flow advances as the probe asks, and freely once it has its verdict.
async fn together(
    send: impl Future<Output = Result<()>>,
    probe: impl Future<Output = Result<Verdict>>,
    window: &Window,
    found: impl Fn(&Verdict),
) -> Result<Verdict> {
    pin!(send, probe);
    tokio::select! {
        biased;
        sent = &mut send => {
            sent?;
            let verdict = probe.await?;
            found(&verdict);
            refuse(verdict)
        }
        verdict = &mut probe => match verdict {
            Ok(verdict) => {
                found(&verdict);
                let verdict = refuse(verdict)?;
                send.await?;
                Ok(verdict)
            }
            // The probe failed because the disk did: what the disk's flow says is the cause.
            Err(error) if window.failed() => match send.await {
                Err(cause) => Err(cause.most_upstream(error)),
                Ok(()) => Err(error),
            },
            Err(error) => Err(error),
        },
    }
}

/// Notes what the probe found, and says at once what is dangerous about it.
fn found(run: &Run<'_>, verdict: &Verdict) {
    run.ledger.verdict(verdict);
    for hazard in verdict.hazards.iter().filter(|hazard| hazard.severity == Severity::Warning) {
        run.progress.warn(&hazard.code, &hazard.message);
    }
}

/// The built-in policy: what a probe wants refused is refused.
fn refuse(verdict: Verdict) -> Result<Verdict> {
    let mut grave = verdict.hazards.iter().filter(|hazard| hazard.severity == Severity::Refuse);
    let Some(first) = grave.next() else { return Ok(verdict) };
    let message = format!("the {} disk is refused: {} ({})", verdict.format, first.message, first.code);
    let error = Error::new(Code::DiskRefused, Stage::Probe, message);
    Err(grave.fold(error, |error, hazard| error.context(format!("{} ({})", hazard.message, hazard.code))))
}

/// The layer's descriptor, once every checksum that was demanded holds.
fn verified(
    checksums: &[&Demanded],
    digest: &DigestHandle,
    layer: &FramedLayer,
    types: MediaTypes,
) -> Result<Descriptor> {
    verify(checksums)?;
    match digest.get() {
        Some((digest, size)) if size == layer.layer.total_bytes() => {
            let media_type = types.layer(&layer.media_type).ok_or_else(|| {
                let message = format!("no {types} image has a layer of media type `{}`", layer.media_type);
                Error::internal(Stage::Upload, message)
            })?;
            Ok(Descriptor { media_type, digest, size })
        }
        _ => Err(Error::internal(Stage::Upload, "the layer was sent but not hashed to its end")),
    }
}

fn describe(plan: &Plan, facts: &Facts, entry: &Entry, verdict: &Verdict, layer: Descriptor) -> Result<Image> {
    let created = created(facts.modified.as_deref(), plan.epoch);
    let wanted = &plan.image;
    let mut labels = wanted.labels.clone();
    labels.insert(label::SIZE.to_owned(), entry.size.to_string());
    labels.insert(label::FORMAT.to_owned(), verdict.format.clone());
    labels.insert(label::EROFS.to_owned(), "true".to_owned());
    labels.extend(verdict.virtual_size.map(|size| (label::VIRTUAL_SIZE.to_owned(), size.to_string())));
    let mut annotations = BTreeMap::from([("org.opencontainers.image.created".to_owned(), created.clone())]);
    // A path or an inode of this machine means nothing to whoever pulls the image.
    if let Source::Http(url) = &plan.input.source {
        let mut shown = url.clone();
        shown.set_query(None);
        annotations.insert("org.opencontainers.image.source".to_owned(), redacted(&shown));
        let revision = facts.revision.clone();
        annotations.extend(revision.map(|revision| ("org.opencontainers.image.revision".to_owned(), revision)));
    }
    // What the user says about the image is better than what we know of it.
    annotations.extend(wanted.annotations.clone());
    let facts = ImageFacts {
        media_types: wanted.media_types,
        diff_id: layer.digest,
        layer,
        platform: wanted.platform.clone(),
        created,
        labels,
        annotations,
    };
    image(&facts).map_err(|why| Error::internal(Stage::Publish, format!("config and manifest cannot be made: {why}")))
}

/// How a window can look at a disk that flows as it comes from its source.
fn seek(source: &Disk) -> Seek {
    match source.facts().access {
        Access::Ranged => Seek::Ranged(source.ranges()),
        Access::Once | Access::Restart => Seek::InOrder,
    }
}

impl Target {
    /// The reference of an image there.
    pub(super) fn reference(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.shown())
    }
}
