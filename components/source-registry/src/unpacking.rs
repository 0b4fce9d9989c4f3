//! A compressed layer (image-spec, layer.md), piece by piece, and how far it may expand.

use filter_core::{Bounded, Gzip, RATIO, Unwrapper, Zstd};

use crate::{Blob, Coding, Refusal};

/// The most bytes that whoever asks for it takes for each byte of a compressed layer; 1000 by default, as behind a filter.
pub const MAX_EXPANSION: u64 = 10_000_000;
/// The largest window of a zstd frame: the tools that make images write up to 32 MiB at their default level (skopeo 1.9). While it
/// grows it is there twice.
const MAX_WINDOW: u64 = 32 << 20;
/// How much comes out at once at most.
const OUTPUT: usize = 256 * 1024;

/// A compressed layer that is fed, and gives its tar.
pub struct Unpacking {
    decoder: Bounded<Box<dyn Unwrapper>>,
    input: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Unpacking {
    /// Of that layer, if it is compressed; no more than `expansion` bytes for each of it, or as many as are usual.
    #[must_use]
    pub fn new(layer: &Blob, expansion: Option<u64>) -> Option<Self> {
        let decoder: Box<dyn Unwrapper> = match layer.coding {
            Coding::Gzip => Box::new(Gzip::new(Some(layer.size), None)),
            Coding::Zstd => Box::new(Zstd::new(Some(layer.size), None).with_windows(MAX_WINDOW)),
            Coding::Plain | Coding::Unreadable => return None,
        };
        let decoder = Bounded::expanding(decoder, Some(layer.size), expansion.unwrap_or(RATIO));
        Some(Self { decoder, input: Vec::new(), taken: 0, ended: false })
    }

    /// Feeds the next piece. What was fed before must be used up.
    pub fn feed(&mut self, piece: Vec<u8>) {
        (self.input, self.taken) = (piece, 0);
    }

    /// The next piece of the tar; none if more must be fed, or with `last`, if that was all.
    ///
    /// # Errors
    /// `Invalid` for what is malformed, cut, or a bomb.
    pub fn next(&mut self, last: bool) -> Result<Option<Vec<u8>>, Refusal> {
        while !self.ended {
            let rest = self.input.get(self.taken..).unwrap_or_default();
            if rest.is_empty() && !last {
                return Ok(None);
            }
            let mut output = vec![0; OUTPUT];
            let step = self.decoder.step(rest, last, &mut output);
            let step = step.map_err(|why| self.refusal(&why))?;
            self.taken = self.taken.saturating_add(step.taken);
            self.ended = step.ended;
            if step.given > 0 {
                output.truncate(step.given);
                return Ok(Some(output));
            }
        }
        Ok(None)
    }

    /// Whatever it is, this layer is not read.
    fn refusal(&self, why: &filter_core::Refusal) -> Refusal {
        let more = if self.decoder.is_beyond() { "; `--source-option expansion=N` takes N bytes for each" } else { "" };
        Refusal::Invalid(format!("the layer cannot be decompressed: {why}{more}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use structured_zstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;
    use crate::Digest;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(coding: Coding, wrapped: &[u8], piece: usize, expansion: Option<u64>) -> Result<Vec<u8>, Refusal> {
        let layer = Blob { digest: Digest::of(wrapped), size: wrapped.len() as u64, coding };
        let mut unpacking = Unpacking::new(&layer, expansion).unwrap();
        let mut all = Vec::new();
        for piece in wrapped.chunks(piece) {
            unpacking.feed(piece.to_vec());
            while let Some(output) = unpacking.next(false)? {
                all.extend(output);
            }
        }
        while let Some(output) = unpacking.next(true)? {
            all.extend(output);
        }
        Ok(all)
    }

    #[test]
    fn what_was_packed_comes_out_however_it_is_fed() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
        let zstd = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::from_level(3));
        for (coding, wrapped) in [(Coding::Gzip, gzip(&bytes)), (Coding::Zstd, zstd(&bytes))] {
            for piece in [1000, 65_536, wrapped.len()] {
                assert!(unpacked(coding, &wrapped, piece, None).unwrap() == bytes, "{coding:?} {piece}");
            }
            let cut = unpacked(coding, &wrapped[..wrapped.len() - 1], 1000, None).unwrap_err();
            assert!(matches!(&cut, Refusal::Invalid(why) if why.contains("end")), "{cut:?}");
            let behind = [&wrapped[..], b"x"].concat();
            assert!(unpacked(coding, &behind, 1000, None).is_err(), "something follows");
        }
    }

    #[test]
    fn a_bomb_ends_at_its_limit_unless_it_is_wanted() {
        let zeros = vec![0; 80 << 20];
        let wrapped = compress_to_vec(&zeros[..], CompressionLevel::from_level(3));
        let refused = unpacked(Coding::Zstd, &wrapped, 1000, None).unwrap_err();
        assert!(
            matches!(&refused, Refusal::Invalid(why) if why.contains("at most 1000 bytes") && why.contains("expansion=N"))
        );
        assert_eq!(unpacked(Coding::Zstd, &wrapped, 1000, Some(1_000_000)).unwrap().len(), zeros.len());
    }

    #[test]
    fn what_is_not_compressed_is_not_unpacked() {
        for coding in [Coding::Plain, Coding::Unreadable] {
            assert!(Unpacking::new(&Blob { digest: Digest::of(b""), size: 0, coding }, None).is_none());
        }
    }
}
