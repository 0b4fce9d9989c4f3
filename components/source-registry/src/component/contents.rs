//! The tar of a layer from its start to its end, however it is stored: across breaks of the line, and verified.

use wit_bindgen::StreamResult;

use super::asking::{Answered, Asking, Body};
use super::{Failure, failure, other_digest};
use crate::{Blob, Digest, Hashing, Unpacking, Walk};

/// How much is read at once.
const PIECE: usize = 256 * 1024;
/// How often in a row a blob is asked for again where it broke off. After that it is the host's to wait, and to begin again.
const MAX_BREAKS: u32 = 3;
/// A step forward, after which breaks count anew.
const STEP: u64 = 1 << 20;

/// A layer, and what is said of it elsewhere than in the manifest.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) blob: Blob,
    /// The digest of the tar of a compressed layer, where the configuration states it. That of a plain one is its own.
    pub(super) diff_id: Option<Digest>,
    /// How many bytes may come out for each of its own, if the user says so.
    pub(super) expansion: Option<u64>,
    /// Whether it must have nothing but its disk.
    pub(super) sole: bool,
}

impl Layer {
    /// A walk through it.
    pub(super) fn walk(&self) -> Walk {
        if self.sole { Walk::of_sole() } else { Walk::default() }
    }
}

/// The tar of a layer, piece by piece.
pub(super) struct Contents {
    whole: Layer,
    stored: Stored,
    unpacking: Option<Unpacking>,
    /// What it must have as its digest, and the digest in the making.
    diff_id: Option<(Digest, Hashing)>,
}

impl Contents {
    /// Asks for the layer.
    pub(super) async fn open(asking: &Asking, layer: &Layer) -> Result<Self, Failure> {
        let unpacking = Unpacking::new(&layer.blob, layer.expansion);
        let diff_id = layer.diff_id.map(|diff_id| (diff_id, Hashing::default()));
        Ok(Self { whole: *layer, stored: Stored::open(asking, layer.blob).await?, unpacking, diff_id })
    }

    pub(super) const fn layer(&self) -> &Layer {
        &self.whole
    }

    /// The next piece, never empty; none at the end, once all of it is what it was to be.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(unpacking) = &mut self.unpacking else { return self.stored.next().await };
        let mut last = false;
        loop {
            if let Some(piece) = unpacking.next(last).map_err(failure)? {
                if let Some((_, hashing)) = &mut self.diff_id {
                    hashing.take(&piece);
                }
                return Ok(Some(piece));
            }
            if last {
                break;
            }
            match self.stored.next().await? {
                Some(piece) => unpacking.feed(piece),
                None => last = true,
            }
        }
        if let Some((expected, hashing)) = self.diff_id.take() {
            let got = hashing.digest();
            if got != expected {
                return Err(other_digest("the decompressed layer", got, expected));
            }
        }
        Ok(None)
    }
}

/// The bytes of a blob in a row.
struct Stored {
    asking: Asking,
    layer: Blob,
    /// None behind its end.
    body: Option<Body>,
    at: u64,
    /// Breaks in a row, since this offset.
    breaks: u32,
    stepped_at: u64,
}

impl Stored {
    async fn open(asking: &Asking, layer: Blob) -> Result<Self, Failure> {
        let (_, body) = asking.blob_verified(&layer, 0).await?;
        Ok(Self { asking: asking.clone(), layer, body: Some(body), at: 0, breaks: 0, stepped_at: 0 })
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        while let Some((mut stream, outcome)) = self.body.take() {
            let (result, piece) = stream.read(Vec::with_capacity(PIECE)).await;
            self.at = self.at.saturating_add(piece.len() as u64);
            if self.at.saturating_sub(self.stepped_at) >= STEP {
                (self.breaks, self.stepped_at) = (0, self.at);
            }
            if self.at > self.layer.size {
                let message = format!("the registry sent more than the {} bytes of the layer", self.layer.size);
                return Err(Failure::Invalid(message));
            }
            if matches!(result, StreamResult::Dropped) {
                drop(stream);
                self.body = match outcome.await {
                    // The host has compared its digest.
                    Ok(()) if self.at == self.layer.size => None,
                    Ok(()) => return Err(Failure::Io(format!("the layer ended after {} bytes", self.at))),
                    Err(Failure::Io(why)) => Some(self.go_on(why).await?),
                    Err(failure) => return Err(failure),
                };
            } else {
                self.body = Some((stream, outcome));
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// Asks for the rest, where that may help.
    async fn go_on(&mut self, mut why: String) -> Result<Body, Failure> {
        while self.breaks < MAX_BREAKS && self.at < self.layer.size {
            self.breaks += 1;
            match self.asking.blob_verified(&self.layer, self.at).await {
                Ok((Answered::Part, body)) => return Ok(body),
                // Nothing was read yet.
                Ok((Answered::Whole, body)) if self.at == 0 => return Ok(body),
                Ok((Answered::Whole, _)) => break,
                Err(Failure::Io(again)) => why = again,
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Io(why))
    }
}
