//! Writing a disk without its zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

/// Where zeros are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sparse {
    /// In files, which are made for it; on devices they are written.
    #[default]
    Auto,
    /// Also on a device: for one that is known to be empty.
    Always,
    /// Nowhere.
    Never,
}

/// What file systems have their blocks in multiples of, nearly all of them exactly that.
const BLOCK: u64 = 4096;
const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// Writes `chunks` at `at`, without blocks of zeros if `skips`: those must read as zeros already. How many bytes were left out.
///
/// # Errors
/// The file's.
pub(super) fn write(file: &File, mut at: u64, chunks: &[Bytes], skips: bool) -> io::Result<u64> {
    let mut left_out = 0_u64;
    for chunk in chunks {
        if !skips {
            file.write_all_at(chunk, at)?;
            at = at.saturating_add(chunk.len() as u64);
            continue;
        }
        let mut rest: &[u8] = chunk;
        while !rest.is_empty() {
            let zeros = run(rest, at, true);
            left_out = left_out.saturating_add(zeros as u64);
            rest = rest.get(zeros..).unwrap_or_default();
            at = at.saturating_add(zeros as u64);
            let others = run(rest, at, false);
            let (bytes, behind) = rest.split_at_checked(others).unwrap_or_default();
            if !bytes.is_empty() {
                file.write_all_at(bytes, at)?;
            }
            rest = behind;
            at = at.saturating_add(others as u64);
        }
    }
    Ok(left_out)
}

/// How many bytes at the front of what stands at `at` are in blocks of zeros, or in others.
fn run(bytes: &[u8], at: u64, zeros: bool) -> usize {
    let mut end = 0;
    while end < bytes.len() {
        let position = at.saturating_add(end as u64);
        let in_block = usize::try_from(BLOCK - position % BLOCK).unwrap_or(usize::MAX);
        let rest = bytes.get(end..).unwrap_or_default();
        let block = rest.get(..in_block).unwrap_or(rest);
        if (ZEROS.get(..block.len()) == Some(block)) != zeros {
            break;
        }
        end += block.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn written(disk: &[u8], chunk: usize, skips: bool) -> (Vec<u8>, u64, u64) {
        let path = std::path::Path::new("/tmp").join(format!("longshore-holes-{}-{chunk}-{skips}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let (mut at, mut left_out) = (0, 0);
        for piece in disk.chunks(chunk) {
            left_out += write(&file, at, &[Bytes::copy_from_slice(piece)], skips).unwrap();
            at += piece.len() as u64;
        }
        file.set_len(at).unwrap();
        let on_disk = file.metadata().unwrap().blocks() * 512;
        let read = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (read, left_out, on_disk)
    }

    #[test]
    fn what_is_written_reads_as_it_was_whatever_is_left_out() {
        let mut disk = vec![0; 1_000_001];
        for at in [0, 4095, 4096, 300_000, 300_001, 999_999] {
            disk[at] = 7;
        }
        for chunk in [1000, 4096, 65_536, 333_333, disk.len()] {
            let (read, left_out, on_disk) = written(&disk, chunk, true);
            assert!(read == disk, "{chunk}");
            assert!(left_out > 900_000 && on_disk < 200_000, "{chunk}: {left_out} {on_disk}");
            let (read, left_out, _) = written(&disk, chunk, false);
            assert!(read == disk && left_out == 0, "{chunk}");
        }
        assert_eq!(written(&[0; 50_000], 7, true).1, 50_000);
        assert_eq!(written(&[1; 50_000], 7, true).1, 0);
    }
}
