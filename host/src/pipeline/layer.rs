//! The layer: framed, compressed if that was wanted, hashed, sent.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::destination::Destination;
use super::disk::within_output;
use super::import::Run;
use super::process::cpus;
use super::reading::slowed;
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Meter;
use crate::oci::{Descriptor, Digest, MediaTypes};
use crate::registry::Travelling;
use crate::stages::{Compressor, FramedLayer};
use crate::stream::{
    DigestHandle, Flow, Layer, Marks, Ranges, Reframed, Replay, Seek, framed, hashed, hashed_from, metered,
    metered_into,
};

/// A layer that the destination has, not committed yet.
#[derive(Clone, Debug)]
pub(super) struct SentLayer {
    /// The blob.
    pub(super) blob: Descriptor,
    /// Its digest uncompressed (OCI image-spec, config.md "Layer DiffID").
    pub(super) diff_id: Digest,
}

/// Sends the layer around `disk`, which begins where the course does and can be read again as its `seek` says, or dearly as
/// `rewound`. Each of its
/// forms is hashed once; uncompressed there is only one, and its length is known. The one that is stored leaves `marks`.
pub(super) async fn send(
    run: &Run<'_>,
    (disk, from, seek, rewound): (Flow, u64, Seek, Option<Arc<dyn Ranges>>),
    marks: Option<Marks>,
    frame: &Layer,
    compressor: Option<Compressor>,
    media_type: String,
    destination: &mut Destination,
) -> Result<SentLayer> {
    let unfinished = || Error::internal(Stage::Upload, "the layer was sent but not hashed to its end");
    let (length, repeats) = (frame.total_bytes(), &run.progress.repeats);
    // What was slowed where it was received is slow enough, unless a filter makes more of it.
    let disk = if run.plan.chosen.filters.are_none() { disk } else { slowed(disk, run.plan.limit) };
    let (layer, from) = match from {
        0 => (framed(frame, disk), 0),
        from => {
            let at = frame.payload_at().saturating_add(from);
            let rest =
                frame.from(at).ok_or_else(|| Error::internal(Stage::Upload, "the disk begins behind its end"))?;
            (rest.framed(Some(disk)), at)
        }
    };
    let meter = Arc::clone(&run.progress.digest);
    // Compressed, another form is stored, and all of it is made again.
    let (marks, stored) = if compressor.is_none() { (marks, None) } else { (None, marks) };
    let (layer, digest) = hashing(layer, meter, marks, from)?;
    let whole = || digest.get().filter(|(_, bytes)| *bytes == length).ok_or_else(unfinished);
    let Some(compressor) = compressor else {
        let layer = metered_into(layer, run.framing_place(), run.upload_place());
        let limit = run.plan.limit.map(NonZeroU64::get);
        let again = |disk| Arc::new(Reframed::new(frame.clone(), disk, limit)) as Arc<dyn Replay>;
        let (replay, cheaply) = match seek {
            Seek::Ranged(disk) => (Some(again(disk)), true),
            Seek::InOrder => (rewound.map(again), false),
        };
        destination.send(Travelling { flow: layer, from, length: Some(length), replay, cheaply }, repeats).await?;
        let (digest, size) = whole()?;
        return Ok(SentLayer { blob: Descriptor { media_type, digest, size }, diff_id: digest });
    };
    let layer = metered(layer, run.framing_place());
    let place = run.compressor_place(&Arc::new(Meter::default()));
    run.ledger.compressing(compressor.described(), &place);
    run.progress.runs("compressor", &place);
    let meter = Arc::clone(&run.progress.compressed_digest);
    let compressed = compressor.compress(layer, cpus()).await?;
    let compressed = match &run.components.compressor {
        Some(component) => within_output(component, compressed),
        None => compressed,
    };
    let (compressed, digest) = hashing(compressed, meter, stored, 0)?;
    let flow = metered_into(compressed, place, run.upload_place());
    destination.send(Travelling { flow, from: 0, length: None, replay: None, cheaply: false }, repeats).await?;
    let ((diff_id, _), (digest, size)) = (whole()?, digest.get().ok_or_else(unfinished)?);
    Ok(SentLayer { blob: Descriptor { media_type, digest, size }, diff_id })
}

/// Hashes a form of the layer whose flow begins at `from`.
fn hashing(flow: Flow, meter: Arc<Meter>, marks: Option<Marks>, from: u64) -> Result<(Flow, DigestHandle)> {
    match marks {
        Some(marks) => hashed_from(flow, meter, marks, from),
        None => Ok(hashed(flow, meter)),
    }
}

/// What the layer is called among the image's media types (OCI image-spec, layer.md).
///
/// # Errors
/// `usage` if they have no such layer though others have, `internal` if nobody has.
pub(super) fn media_type(types: MediaTypes, frame: &FramedLayer, compressor: Option<&Compressor>) -> Result<String> {
    let suffix = compressor.map_or_else(String::new, |compressor| format!("+{}", compressor.suffix()));
    let oci = format!("{}{suffix}", frame.media_type);
    types.layer(&oci).ok_or_else(|| {
        let message = format!("{types} has no media type for a layer that is `{oci}`");
        if MediaTypes::Oci.layer(&oci).is_none() {
            return Error::internal(Stage::Plan, message);
        }
        Error::new(Code::Usage, Stage::Plan, message)
            .hint("--media-types oci has one; Docker's are for gzip, or no compression")
    })
}
