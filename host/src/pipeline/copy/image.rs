//! One image: its layer past the probe and over to the destination, or only past the probe where that has it, then its config.

use std::sync::Arc;

use bytes::Bytes;
use tokio::pin;

use super::super::checkpoint::Course;
use super::super::checksum::verify;
use super::super::destination::Destination;
use super::super::disk::{Disk, InItsLayer, open_along, open_disk_in};
use super::super::import::Run;
use super::super::layer::{SentLayer, send};
use super::super::probe::poured_away;
use super::super::reading::slowed;
use super::super::report::CopiedImageReport;
use super::super::shown::{Found, Shown, shown};
use super::super::{Checksum, Target};
use super::documents::{self, Made, Written};
use super::origin::Origin;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Descriptor, Image};
use crate::stages::{self, Access, Alongside, Facts};
use crate::stream::{Flow, Layer, Ranges as _, Resumable, Seek, Segment, tapped};

/// What the source component is told besides what the user has it told: the layer must have nothing but its disk.
const SOLE: &[(&str, &str)] = &[("sole", "true")];

/// Opens the disk of an image, of whose layer its source reads along what is brought.
pub(super) async fn open(
    run: &Run<'_>,
    origin: &Origin<'_>,
    (written, made): (&Written, &Made),
    alongside: &Alongside,
) -> Result<stages::Disk> {
    let input = origin.input(&written.descriptor.digest)?;
    let told = (&run.interrupted, &run.progress.repeats);
    let source = open_along(&input, (SOLE, alongside), run.engine, &run.components.source, run.net, told).await?;
    let layer = made.layer.digest.to_string();
    match source.facts().revision.as_deref() {
        Some(revision) if revision == layer => Ok(source),
        other => {
            let other = other.unwrap_or("nothing");
            Err(Error::internal(Stage::Source, format!("the source reads {other} of an image whose layer is {layer}")))
        }
    }
}

/// Copies the blobs of an image. Its manifest is not put. `sent` is called once its layer is where it is to be committed.
pub(super) async fn copy(
    run: &Run<'_>,
    origin: &Origin<'_>,
    (written, made): (&Written, &Made),
    checksums: &[Checksum],
    destination: &mut Destination,
    sent: &dyn Fn(),
) -> Result<()> {
    let alongside = Alongside::default();
    let source = open(run, origin, (written, made), &alongside).await?;
    run.ledger.source(source.facts(), source.described());
    let from = match &run.plan.target {
        Target::Registry { repository, .. } => origin.beside(repository),
        Target::Layout(_) => None,
    };
    let layer = &made.layer;
    let elsewhere = if destination.stands(layer).await? { None } else { Some(from) };
    let (how, (verdict, content)) = match elsewhere {
        None => {
            run.progress.spare(layer.size);
            ("there", looked_at(run, &source, checksums).await?)
        }
        // A mount commits it: it is looked at before.
        Some(Some(from)) => {
            let found = looked_at(run, &source, checksums).await?;
            if destination.mount(layer, from).await? {
                run.progress.spare(layer.size);
                ("mounted", found)
            } else {
                destination.open_for_one().await?;
                run.ledger.opened(destination.terms(true));
                // What was looked at has the layer's digest, and only what has it too is committed.
                let there = as_stored(run, origin, layer, destination).await?;
                sent();
                commit(origin, &there, layer, destination).await?;
                ("sent", found)
            }
        }
        Some(None) => {
            destination.open_for_one().await?;
            run.ledger.opened(destination.terms(true));
            let (there, found) = match whole(source.facts(), layer) {
                // What stands around the disk is known: it is sent around the disk.
                Some(around) => {
                    let disk = opened(run, &source, checksums, InItsLayer::AsItIsSent).await?;
                    let send = async |flow, seek| {
                        let media_type = layer.media_type.clone();
                        send(run, (flow, 0, seek, None), None, &around, None, media_type, destination).await
                    };
                    carried(run, disk, send).await?
                }
                // In what it is compressed, or where there are no ranges, only the source can tell the disk from what is around it.
                None => along(run, origin, (&source, &alongside), layer, checksums, destination).await?,
            };
            sent();
            commit(origin, &there, layer, destination).await?;
            ("sent", found)
        }
    };
    destination.put_blob(&made.config, &made.config_bytes).await?;
    let image = Image {
        config: made.config.clone(),
        config_bytes: Vec::new(),
        manifest: written.descriptor.clone(),
        manifest_bytes: Vec::new(),
    };
    run.ledger.image(layer, &image);
    let innermost = content.as_ref().and_then(|content| content.verdict.as_ref().ok()).unwrap_or(&verdict);
    run.ledger.copied(CopiedImageReport {
        digest: written.descriptor.digest.to_string(),
        platform: made.platform.as_ref().map(documents::shown),
        disk: source.facts().name.clone().unwrap_or_default(),
        format: innermost.format.clone(),
        layer_digest: layer.digest.to_string(),
        layer_size: layer.size,
        layer: how,
    });
    Ok(())
}

/// The layer around its disk, if the source knows what that is.
fn whole(facts: &Facts, layer: &Descriptor) -> Option<Layer> {
    let enclosure = facts.enclosure.as_ref().filter(|enclosure| enclosure.digest == layer.digest)?;
    let size = facts.size.filter(|_| facts.access == Access::Ranged)?;
    let segments = vec![literal(&enclosure.before), Segment::Payload, literal(&enclosure.after)];
    // More than a layer may have around its disk is sent as it is stored.
    Layer::new(segments, size).ok().filter(|whole| whole.total_bytes() == layer.size)
}

fn literal(bytes: &Bytes) -> Segment {
    match bytes.iter().all(|byte| *byte == 0) {
        true => Segment::Zeros(bytes.len() as u64),
        false => Segment::Literal(bytes.clone()),
    }
}

async fn opened(run: &Run<'_>, source: &stages::Disk, checksums: &[Checksum], layer: InItsLayer) -> Result<Disk> {
    let disk = open_disk_in(run, source, checksums, &Course::default(), layer).await?;
    run.ledger.disk(&disk.entry);
    Ok(disk)
}

/// Shows a disk to the probe while `act` takes all of it, and holds it against what is demanded.
async fn carried<T>(run: &Run<'_>, disk: Disk, act: impl AsyncFnOnce(Flow, Seek) -> Result<T>) -> Result<(T, Found)> {
    let Disk { flow, entry, received, of_disk, seek, .. } = disk;
    let again = seek.clone();
    let disk = Shown { flow, size: entry.size, seek: &seek, from: 0 };
    let carried = shown(run, disk, async |flow| act(flow, again).await).await;
    run.ledger.checksums(received.computed(), of_disk.computed());
    let carried = carried?;
    verify(&[&received, &of_disk])?;
    Ok(carried)
}

/// Shows a disk to the probe that goes nowhere. All of it is read: what the probe was shown is that disk only if what it stands
/// in has its digest.
async fn looked_at(run: &Run<'_>, source: &stages::Disk, checksums: &[Checksum]) -> Result<Found> {
    looked_at_in(run, source, checksums, InItsLayer::Verified).await
}

async fn looked_at_in(
    run: &Run<'_>,
    source: &stages::Disk,
    checksums: &[Checksum],
    layer: InItsLayer,
) -> Result<Found> {
    let disk = opened(run, source, checksums, layer).await?;
    Ok(carried(run, disk, async |flow, _| poured_away(flow).await).await?.1)
}

/// Sends a layer as it is stored, while its source reads it along and the probe is shown the disk in it.
async fn along(
    run: &Run<'_>,
    origin: &Origin<'_>,
    (source, alongside): (&stages::Disk, &Alongside),
    layer: &Descriptor,
    checksums: &[Checksum],
    destination: &mut Destination,
) -> Result<(SentLayer, Found)> {
    let (whole, blob) = stored(origin, layer)?;
    let flow = slowed(blob.read(0, layer.size).await?, run.plan.limit);
    let (flow, second, tapped) = tapped(flow);
    alongside.bring(layer.digest, layer.size, second);
    let flow = (flow, 0, Seek::Ranged(Arc::new(blob)), None);
    let send = send(run, flow, None, &whole, None, layer.media_type.clone(), destination);
    let look = looked_at_in(run, source, checksums, InItsLayer::BroughtAlong);
    pin!(send, look);
    tokio::select! {
        biased;
        sent = &mut send => {
            let sent = sent?;
            Ok((sent, look.await?))
        }
        found = &mut look => {
            // If it was not read to its end, it is sent on without waiting for anybody.
            alongside.forget();
            match found {
                Ok(found) => Ok((send.await?, found)),
                // It failed because what it read along did: what that says is the cause.
                Err(error) if tapped.failed() => match send.await {
                    Err(cause) => Err(cause.most_upstream(error)),
                    Ok(_) => Err(error),
                },
                Err(error) => Err(error),
            }
        }
    }
}

/// Sends a layer as it is stored.
async fn as_stored(
    run: &Run<'_>,
    origin: &Origin<'_>,
    layer: &Descriptor,
    destination: &mut Destination,
) -> Result<SentLayer> {
    let (whole, blob) = stored(origin, layer)?;
    let flow = slowed(blob.read(0, layer.size).await?, run.plan.limit);
    let flow = (flow, 0, Seek::Ranged(Arc::new(blob)), None);
    send(run, flow, None, &whole, None, layer.media_type.clone(), destination).await
}

/// A layer that is sent as it is stored, and where it is.
fn stored(origin: &Origin<'_>, layer: &Descriptor) -> Result<(Layer, Resumable)> {
    let whole = Layer::new(vec![Segment::Payload], layer.size).map_err(|why| {
        Error::new(Code::SourceInvalid, Stage::Source, format!("the layer {} has {why}", layer.digest))
    })?;
    Ok((whole, origin.large(layer)?))
}

/// Commits what was sent, if it is the layer.
async fn commit(
    origin: &Origin<'_>,
    sent: &SentLayer,
    layer: &Descriptor,
    destination: &mut Destination,
) -> Result<()> {
    if (sent.blob.digest, sent.blob.size) == (layer.digest, layer.size) {
        return destination.commit(sent).await;
    }
    let message = format!(
        "{}: the layer has the digest {} and {} bytes, expected {} and {}",
        origin.shown(),
        sent.blob.digest,
        sent.blob.size,
        layer.digest,
        layer.size
    );
    Err(Error::new(Code::ChecksumMismatch, Stage::Source, message))
}
