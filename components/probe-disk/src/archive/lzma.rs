//! LZMA alone (XZ Utils' `doc/lzma-file-format.txt`, 1.1 "Header"): a format without a magic.

use super::refused;
use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

/// Properties (1.1.1), dictionary size (1.1.2), size (1.1.3).
const HEADER: usize = 13;
/// lc = 3, lp = 0, pb = 2, as everybody writes them, and a dictionary of whole 64 KiB.
const USUAL: &[u8] = b"\x5d\0\0";
/// What xz takes for a size that somebody may mean (`lzma_alone_decoder`): below 256 GiB.
const MAX_SIZE: u64 = 1 << 38;

/// The usual properties, a dictionary of 2^n or 2^n + 2^(n-1) bytes, and a size below 256 GiB or none, as xz decides it: three
/// bytes would be the start of much else.
pub(crate) fn marked(head: &[u8]) -> Option<Mark> {
    let mark = Mark::find(head, 0, USUAL, "lzma")?;
    let header = head.get(..HEADER)?;
    let dictionary = u32::from_le_bytes(*header.get(1..)?.first_chunk()?);
    let size = u64::from_le_bytes(*header.get(5..)?.first_chunk()?);
    let usual = dictionary.is_power_of_two() || (dictionary % 3 == 0 && (dictionary / 3).is_power_of_two());
    (usual && (size == u64::MAX || size < MAX_SIZE)).then_some(mark)
}

pub(crate) fn inspect(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("lzma", "an LZMA header at 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bytes_alone_are_no_lzma() {
        let header = |dictionary: u32, size: u64| {
            let mut header = vec![0x5d];
            header.extend_from_slice(&dictionary.to_le_bytes());
            header.extend_from_slice(&size.to_le_bytes());
            marked(&header).is_some()
        };
        for dictionary in [1 << 16, 1 << 23, 3 << 22] {
            assert!(header(dictionary, u64::MAX) && header(dictionary, MAX_SIZE - 1), "{dictionary}");
        }
        assert!(!header(1 << 23, MAX_SIZE) && !header(5 << 20, 1) && !header(1, 1) && !header(0, 1));
        assert!(marked(&[0x5d, 0, 0, 1]).is_none());
    }
}
