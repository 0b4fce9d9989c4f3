//! The two CRCs of 32 bits that disk formats use, bit by bit: at most 1 MiB of tables is summed per disk.

/// CRC-32 of ISO 3309 as GPT and xz have it (reflected polynomial).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    sum(0xEDB8_8320, bytes)
}

/// CRC-32C of Castagnoli as VHDX has it (RFC 3720 appendix B.4).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    sum(0x82F6_3B78, bytes)
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

fn sum(polynomial: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
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
