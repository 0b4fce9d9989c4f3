//! The volume descriptor set (ECMA-119 §8), from sector 16 to its terminator.

use crate::{Malformed, udf};

/// The standard identifier of every volume descriptor.
pub(super) const MARK: &[u8] = b"CD001";
/// Where the mark of the first one stands.
pub(super) const MARK_OFFSET: usize = FIRST + 1;

pub(super) const FIRST: usize = 0x8000;
pub(super) const STEP: usize = 2048;
/// The most descriptors that are walked; discs have three to five.
const MAX_DESCRIPTORS: usize = 64;
/// So many bytes hold as many descriptors.
pub(super) const SET: u64 = (FIRST + MAX_DESCRIPTORS * STEP) as u64;

/// "EL TORITO SPECIFICATION" (El Torito 1.0, figure 7).
pub(super) const EL_TORITO: &[u8] = b"EL TORITO SPECIFICATION";
/// The UCS-2 levels (Joliet, "Escape sequences").
const JOLIET_ESCAPES: [&[u8]; 3] = [b"%/@", b"%/C", b"%/E"];

/// What the volume descriptors say.
#[derive(Debug, Default)]
pub(super) struct Volume {
    pub(super) primary: Option<Primary>,
    pub(super) joliet: bool,
    pub(super) boot_catalog: Option<u32>,
    pub(super) udf: Option<&'static str>,
}

#[derive(Debug)]
pub(super) struct Primary {
    pub(super) at: usize,
    pub(super) identifier: String,
    pub(super) blocks: u32,
    pub(super) block_size: u16,
}

pub(super) enum Scan {
    Done(Volume),
    /// More than was shown.
    Further,
}

/// Walks the volume descriptor set to its terminator, and the UDF recognition sequence that may follow it
/// (ECMA-167 2/9.1).
pub(super) fn scan(head: &[u8]) -> Result<Scan, Malformed> {
    let mut volume = Volume::default();
    let mut terminated = false;
    for number in 0..MAX_DESCRIPTORS {
        let at = FIRST + number * STEP;
        let Some(descriptor) = head.get(at..at + STEP) else {
            // Behind the terminator there need not be anything.
            return Ok(if terminated { Scan::Done(volume) } else { Scan::Further });
        };
        if terminated {
            match udf::structure(descriptor) {
                Some(udf::Structure::Begin) => continue,
                Some(udf::Structure::Udf(version)) => volume.udf = Some(version),
                None => {}
            }
            return Ok(Scan::Done(volume));
        }
        if descriptor.get(1..6) != Some(MARK) {
            return Err(malformed(&format!("the volume descriptor at {at:#x} has no mark, expected `CD001`")));
        }
        match descriptor.first() {
            Some(0) if text(descriptor, 7, 32).starts_with(EL_TORITO) => {
                volume.boot_catalog = Some(le32(descriptor, 71)?);
            }
            Some(1) if volume.primary.is_none() => volume.primary = Some(primary(descriptor, at)?),
            Some(2) => volume.joliet |= JOLIET_ESCAPES.contains(&text(descriptor, 88, 3)),
            Some(255) => terminated = true,
            _ => {}
        }
    }
    match terminated {
        true => Ok(Scan::Done(volume)),
        false => Err(malformed(&format!("more than {MAX_DESCRIPTORS} volume descriptors"))),
    }
}

/// The primary volume descriptor (ECMA-119 §8.4); numbers stand there in both byte orders, which must agree.
fn primary(descriptor: &[u8], at: usize) -> Result<Primary, Malformed> {
    let (blocks, blocks_be) = (le32(descriptor, 80)?, be32(descriptor, 84)?);
    let (block_size, block_size_be) = (le16(descriptor, 128)?, be16(descriptor, 130)?);
    let differ = |name: &str, offset: usize, little: u64, big: u64| {
        Err(malformed(&format!("{name} at {:#x} is {little} in little and {big} in big endian", at + offset)))
    };
    if blocks != blocks_be {
        return differ("the volume space size", 80, u64::from(blocks), u64::from(blocks_be));
    }
    if block_size != block_size_be {
        return differ("the logical block size", 128, u64::from(block_size), u64::from(block_size_be));
    }
    if !matches!(block_size, 512 | 1024 | 2048) {
        return Err(malformed(&format!(
            "the logical block size at {:#x} is {block_size}, expected 512, 1024 or 2048",
            at + 128
        )));
    }
    let identifier = String::from_utf8_lossy(text(descriptor, 40, 32)).trim_end_matches([' ', '\0']).to_owned();
    Ok(Primary { at, identifier, blocks, block_size })
}

fn text(descriptor: &[u8], offset: usize, length: usize) -> &[u8] {
    descriptor.get(offset..offset + length).unwrap_or_default()
}

fn le32(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    chunk(bytes, at).map(u32::from_le_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    chunk(bytes, at).map(u32::from_be_bytes)
}

fn le16(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    chunk(bytes, at).map(u16::from_le_bytes)
}

fn be16(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    chunk(bytes, at).map(u16::from_be_bytes)
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.copied().ok_or_else(|| malformed("the file ends inside a volume descriptor"))
}

pub(super) fn malformed(words: &str) -> Malformed {
    Malformed(format!("iso9660: {words}"))
}
