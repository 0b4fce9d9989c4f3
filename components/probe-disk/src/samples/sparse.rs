//! A disk as a few pieces between zeros: what a fuzzer can change, of disks whose parts lie megabytes apart.

use super::Disk;
use crate::crc::{crc32, crc32_without, crc32c_without};

/// The most bytes of pieces that are made of an image: its head and its tail are what matters.
const MAX_BYTES: usize = 64 << 10;
/// Zeros between two pieces cost less than one more piece from so many on.
const GAP: usize = 16;
/// The most bytes of one piece.
const MAX_PIECE: usize = 4096;

/// Pieces between zeros. Where two overlap, the later one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparse {
    size: u64,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Sparse {
    /// An image as pieces.
    #[must_use]
    pub fn of(image: &[u8]) -> Self {
        let (mut pieces, mut total, mut at) = (Vec::new(), 0, 0);
        let tail = image.len().saturating_sub(MAX_PIECE);
        while let Some(start) = image[at..].iter().position(|byte| *byte != 0).map(|zeros| at + zeros) {
            let most = if start < tail { tail } else { image.len() }.min(start + MAX_PIECE);
            let mut end = start;
            while let Some(next) = image[end..most].iter().position(|byte| *byte != 0).filter(|zeros| *zeros < GAP) {
                end += next + 1;
            }
            if total < MAX_BYTES || start >= tail {
                total += end - start;
                pieces.push((start as u64, image[start..end].to_vec()));
            }
            at = end;
        }
        Self { size: image.len() as u64, pieces }
    }

    /// Size, then offset, length and bytes of each piece, little-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        for (offset, piece) in &self.pieces {
            bytes.extend_from_slice(&(*offset as u32).to_le_bytes());
            bytes.extend_from_slice(&(piece.len() as u16).to_le_bytes());
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    /// What [`Self::encode`] made, or anything else as far as it goes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, mut rest) = bytes.split_first_chunk()?;
        let mut pieces = Vec::new();
        while let Some((offset, behind)) = rest.split_first_chunk() {
            let Some((length, behind)) = behind.split_first_chunk() else { break };
            let (piece, behind) = behind.split_at(usize::from(u16::from_le_bytes(*length)).min(behind.len()));
            pieces.push((u64::from(u32::from_le_bytes(*offset)), piece.to_vec()));
            rest = behind;
        }
        Some(Self { size: u64::from_le_bytes(*size), pieces })
    }

    /// Makes the checksums hold that a fuzzer would never find: of GPT, VHD, VHDX and LUKS 2.
    pub fn repair(&mut self) {
        self.repair_luks();
        for sector in [512, 4096] {
            if self.starts(sector, b"EFI PART") {
                let mut fields = self.read(sector, 92);
                fields.resize(92, 0);
                let number = |at: usize| u32::from_le_bytes(fields[at..at + 4].try_into().unwrap_or_default());
                let entries = u64::from(number(72)).saturating_mul(sector);
                let length = u64::from(number(80)).saturating_mul(u64::from(number(84))).min(1 << 20);
                let sum = crc32(&self.read(entries, length));
                self.put(sector + 88, &sum.to_le_bytes());
                let sum = crc32_without(&self.read(sector, 92), 16);
                self.put(sector + 12, &92_u32.to_le_bytes());
                self.put(sector + 16, &sum.to_le_bytes());
            }
        }
        for (at, mark, length) in [
            (0x1_0000, b"head", 4096),
            (0x2_0000, b"head", 4096),
            (0x3_0000, b"regi", 65_536),
            (0x4_0000, b"regi", 65_536),
        ] {
            if self.starts(at, mark) {
                let sum = crc32c_without(&self.read(at, length), 4);
                self.put(at + 4, &sum.to_le_bytes());
            }
        }
        for (at, mark, length, own) in [
            (0, &b"conectix"[..], 512, 64),
            (self.size.saturating_sub(512), b"conectix", 512, 64),
            (512, b"cxsparse", 1024, 36),
        ] {
            if self.starts(at, mark) {
                let bytes = self.read(at, length);
                let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
                let stored: u32 = bytes.iter().skip(own).take(4).map(|byte| u32::from(*byte)).sum();
                self.put(at + own as u64, &(!(sum - stored)).to_be_bytes());
            }
        }
    }

    /// Makes the checksums of LUKS 2 hold, for headers of the usual size.
    fn repair_luks(&mut self) {
        const HEADER: u64 = 16_384;
        for (at, mark) in [(0, b"LUKS\xba\xbe\0\x02"), (HEADER, b"SKUL\xba\xbe\0\x02")] {
            if self.starts(at, mark) {
                let mut header = self.read(at, HEADER);
                crate::luks::seal(&mut header);
                self.put(at + 448, header.get(448..480).unwrap_or_default());
            }
        }
    }

    fn starts(&self, at: u64, mark: &[u8]) -> bool {
        self.read(at, mark.len() as u64) == mark
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.pieces.push((at, bytes.to_vec()));
    }
}

impl Disk for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let end = offset.saturating_add(len).min(self.size);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for (start, piece) in &self.pieces {
            let (from, to) = (offset.max(*start), end.min(start + piece.len() as u64));
            if from < to {
                let piece = &piece[(from - start) as usize..(to - start) as usize];
                bytes[(from - offset) as usize..(to - offset) as usize].copy_from_slice(piece);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, drive, legal, settled};
    use super::*;

    #[test]
    fn what_is_said_of_a_sparse_disk_is_what_is_said_of_the_whole() {
        for disk in legal() {
            let sparse = Sparse::of(&disk.image);
            let again = Sparse::decode(&sparse.encode()).unwrap();
            assert_eq!(again, sparse, "{}", disk.name);
            assert_eq!(drive(&again, Access::Ranged).0, settled(&disk.image), "{}", disk.name);
            let mut repaired = again;
            repaired.repair();
            if !disk.name.contains("damaged") {
                assert_eq!(drive(&repaired, Access::Ranged).0, settled(&disk.image), "{} repaired", disk.name);
            }
        }
    }

    #[test]
    fn what_is_cut_is_repaired_too() {
        for disk in legal() {
            for size in [0, 10, 512, 520, 528, 4096, 4104, 0x1_0006, 0x3_0005] {
                let mut cut = Sparse { size, ..Sparse::of(&disk.image) };
                cut.repair();
                assert_eq!(cut.size(), size, "{}", disk.name);
            }
        }
    }

    #[test]
    fn anything_is_a_disk() {
        assert_eq!(Sparse::decode(&[1; 7]), None);
        assert_eq!(Sparse::decode(&[0; 20]).unwrap().pieces, [(0, vec![]), (0, vec![])]);
        assert_eq!(Sparse::decode(&[255; 30]).unwrap().read(u64::MAX - 10, 100), [0; 10]);
    }
}
