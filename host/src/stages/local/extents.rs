//! Where a file has holes, which read as zeros and need not be read (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).

use std::fs::File;

use rustix::fs::{SeekFrom, fstatfs, seek};
use rustix::io::Errno;

/// The smallest hole that is passed over. Smaller ones are read with what stands around them, which costs less than many
/// small reads.
pub(super) const LEAST_HOLE: u64 = 256 * 1024;
/// The file systems whose holes are known to be holes (linux/magic.h): ext4 (and ext2, ext3), xfs, btrfs and tmpfs. Not OpenZFS, which has said so
/// of data that were only just written (openzfs/zfs #15526), nor what may stand on it or be anything: overlays, FUSE, networks.
const SOUND: [u32; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994];
/// How often is asked where the next of those begins, before something is read.
const MOST_ASKED: u32 = 8;

/// What stands at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Bytes to be read, up to this offset at least.
    Data(u64),
    /// Zeros, up to this offset.
    Hole(u64),
}

impl Extent {
    /// What stands at `offset` of a file with sound holes. Where nobody says so, as Linux does not of block devices, everything is data.
    pub(super) fn at(file: &File, offset: u64) -> Self {
        let mut until = match next_data(file, offset) {
            Some(data) if data.saturating_sub(offset) >= LEAST_HOLE => return Self::Hole(data),
            Some(data) => data,
            None => return Self::Data(u64::MAX),
        };
        let enough = offset.saturating_add(LEAST_HOLE);
        for _ in 0..MOST_ASKED {
            // A file that ends there has a hole behind its end.
            let Ok(hole) = seek(file, SeekFrom::Hole(until)) else { break };
            match next_data(file, hole) {
                Some(data) if data.saturating_sub(hole) < LEAST_HOLE && data < enough => until = data,
                _ => return Self::Data(hole),
            }
        }
        Self::Data(until.max(enough))
    }
}

/// Whether what its file system calls a hole reads as zeros. Who cannot be asked is not believed.
pub(super) fn has_sound_holes(file: &File) -> bool {
    fstatfs(file).is_ok_and(|system| is_sound(system.f_type))
}

/// The type is a word of the machine's, and a magic number 32 bits of it.
fn is_sound(kind: impl TryInto<i64>) -> bool {
    kind.try_into().is_ok_and(|kind| SOUND.iter().any(|sound| i64::from(*sound) == kind & 0xFFFF_FFFF))
}

/// Where the first data at or behind `offset` begin, or else the file ends.
fn next_data(file: &File, offset: u64) -> Option<u64> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Some(data),
        // None follow; unless that is where it ends now, and somebody has cut it short.
        Err(Errno::NXIO) => seek(file, SeekFrom::End(0)).ok().filter(|end| *end > offset),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A file of that length with bytes at these offsets; tmpfs has blocks of 4096.
    fn file(length: u64, at: &[u64]) -> File {
        let file = File::from(rustix::fs::memfd_create("sparse", rustix::fs::MemfdFlags::empty()).unwrap());
        file.set_len(length).unwrap();
        at.iter().for_each(|at| file.write_all_at(b"x", *at).unwrap());
        file
    }

    #[test]
    fn holes_are_found_and_small_ones_are_none() {
        const MIB: u64 = 1 << 20;
        let sparse = file(10 * MIB + 5, &[0, 8192, 4 * MIB, 10 * MIB]);
        assert_eq!(Extent::at(&sparse, 0), Extent::Data(12_288), "with the small hole in it");
        assert_eq!(Extent::at(&sparse, 12_288), Extent::Hole(4 * MIB));
        assert_eq!(Extent::at(&sparse, 2 * MIB), Extent::Hole(4 * MIB), "from its middle");
        assert_eq!(Extent::at(&sparse, 4 * MIB - 1), Extent::Data(4 * MIB + 4096));
        assert_eq!(Extent::at(&sparse, 4 * MIB + 4096), Extent::Hole(10 * MIB));
        assert_eq!(Extent::at(&sparse, 10 * MIB), Extent::Data(10 * MIB + 5));
        let empty = file(MIB, &[]);
        assert_eq!(Extent::at(&empty, 0), Extent::Hole(MIB));
        assert_eq!(Extent::at(&empty, MIB), Extent::Data(u64::MAX), "cut short: a read says so");
        assert_eq!(Extent::at(&empty, 2 * MIB), Extent::Data(u64::MAX));
    }

    #[test]
    fn only_file_systems_with_sound_holes_are_asked_for_them() {
        assert!(has_sound_holes(&file(5, &[])), "tmpfs");
        assert!(!has_sound_holes(&File::open("/proc/self/status").unwrap()));
        let (zfs, fuse, overlay, nfs, btrfs) = (0x2FC1_2FC1, 0x6573_5546, 0x794C_7630, 0x6969, 0x9123_683E_i64);
        assert_eq!([zfs, fuse, overlay, nfs, btrfs].map(is_sound), [false, false, false, false, true]);
        assert!(is_sound(0x9123_683E_u32.cast_signed()), "a word of 32 bits");
    }

    #[test]
    fn many_small_holes_are_no_reason_to_read_little() {
        let many: Vec<u64> = (0..1000).map(|at| at * 8192).collect();
        let file = file(8 << 20, &many);
        for offset in [0, 4096, 8191, 1 << 20] {
            let Extent::Data(until) = Extent::at(&file, offset) else { panic!("a small hole") };
            assert!(until >= offset + LEAST_HOLE, "{offset}: {until}");
        }
    }

    #[test]
    fn what_knows_of_no_holes_is_read() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        assert_eq!(Extent::at(&pipe, 0), Extent::Data(u64::MAX));
    }
}
