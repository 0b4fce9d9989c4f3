//! The two CRCs of 32 bits that disk formats use, by a table of what each byte does: at most 1 MiB of tables is summed per
//! disk.

/// CRC-32 of ISO 3309 as GPT and xz have it (reflected polynomial).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table(0xEDB8_8320);
    sum(&TABLE, bytes)
}

/// CRC-32C of Castagnoli as VHDX has it (RFC 3720 appendix B.4).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table(0x82F6_3B78);
    sum(&TABLE, bytes)
}

/// The CRC-32C of a structure whose own checksum of four bytes stands at `at` and counts as zeros.
pub(crate) fn crc32c_without(bytes: &[u8], at: usize) -> u32 {
    let mut copy = bytes.to_vec();
    if let Some(field) = copy.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *field = [0; 4];
    }
    crc32c(&copy)
}

/// The CRC-32 of a structure whose own checksum of four bytes stands at `at` and counts as zeros.
pub(crate) fn crc32_without(bytes: &[u8], at: usize) -> u32 {
    let mut copy = bytes.to_vec();
    if let Some(field) = copy.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *field = [0; 4];
    }
    crc32(&copy)
}

/// What each byte makes of a CRC of zero.
#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled, within the array's bounds")]
const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn sum(table: &[u32; 256], bytes: &[u8]) -> u32 {
    let entry = |byte: u8| table.get(usize::from(byte)).copied().unwrap_or_default();
    !bytes.iter().fold(u32::MAX, |crc, byte| crc >> 8 ^ entry(crc as u8 ^ byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_both_come_out() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!((crc32(b""), crc32c(b"")), (0, 0));
        assert_eq!(crc32c_without(b"12345678", 4), crc32c(b"1234\0\0\0\0"));
        assert_eq!(crc32_without(b"12345678", 0), crc32(b"\0\0\0\x005678"));
    }
}
