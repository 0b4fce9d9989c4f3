//! Archives, and compressors that only make them: what is inside is not a disk yet, and never stored as one.

use crate::detect::Mark;
use crate::view::Stop;
use crate::{Verdict, View};

/// "ustar" of POSIX.1 pax, chapter "ustar Interchange Format".
const TAR_MARK: usize = 257;
const TAR_HEADER: usize = 512;
/// Bytes of the LZMA-alone header: properties, dictionary size, size.
const LZMA_HEADER: usize = 13;

pub(crate) fn zip(head: &[u8]) -> Option<Mark> {
    // A local file header, or the end record of an empty archive (APPNOTE 4.3.7, 4.3.16).
    Mark::find(head, 0, b"PK\x03\x04", "zip").or_else(|| Mark::find(head, 0, b"PK\x05\x06", "zip"))
}

pub(crate) fn seven_zip(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, b"7z\xbc\xaf\x27\x1c", "7z")
}

pub(crate) fn lzip(head: &[u8]) -> Option<Mark> {
    Mark::find(head, 0, b"LZIP", "lzip")
}

/// The usual properties, a dictionary of 2^n or 2^n + 2^(n-1) bytes, and a size below 256 GiB or none, as xz decides it: three
/// bytes would be the start of much else.
pub(crate) fn lzma(head: &[u8]) -> Option<Mark> {
    let mark = Mark::find(head, 0, b"\x5d\0\0", "lzma")?;
    let header = head.get(..LZMA_HEADER)?;
    let dictionary = u32::from_le_bytes(*header.get(1..)?.first_chunk()?);
    let size = u64::from_le_bytes(*header.get(5..)?.first_chunk()?);
    let usual = dictionary.is_power_of_two() || (dictionary % 3 == 0 && (dictionary / 3).is_power_of_two());
    (usual && (size == u64::MAX || size < 1 << 38)).then_some(mark)
}

/// A tar whose first member is the description of a machine (DSP0243, 5.3 "Distribution").
pub(crate) fn ova(head: &[u8]) -> Option<Mark> {
    let mark = Mark::find(head, TAR_MARK, b"ustar", "OVA")?;
    let name = head.get(..100)?.split(|byte| *byte == 0).next()?;
    name.to_ascii_lowercase().ends_with(b".ovf").then_some(mark)
}

pub(crate) fn tar(head: &[u8]) -> Option<Mark> {
    ova(head).is_none().then(|| Mark::find(head, TAR_MARK, b"ustar", "tar"))?
}

pub(crate) fn inspect_zip(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("zip", "a zip header at 0"))
}

pub(crate) fn inspect_seven_zip(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("7z", "a 7z header at 0"))
}

pub(crate) fn inspect_lzip(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("lzip", "`LZIP` at 0"))
}

pub(crate) fn inspect_lzma(_: &View) -> Result<Verdict, Stop> {
    Ok(refused("lzma", "an LZMA header at 0"))
}

pub(crate) fn inspect_ova(view: &View) -> Result<Verdict, Stop> {
    Ok(refused("ova", &first_member(view)?))
}

pub(crate) fn inspect_tar(view: &View) -> Result<Verdict, Stop> {
    Ok(refused("tar", &first_member(view)?))
}

fn first_member(view: &View) -> Result<String, Stop> {
    let header = view.at(0, TAR_HEADER as u64)?;
    let name = header.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = name.get(..100.min(name.len())).unwrap_or_default();
    Ok(format!("`ustar` at 257, first member {}", crate::verdict::quoted(name)))
}

fn refused(format: &'static str, found: &str) -> Verdict {
    let mut verdict = Verdict::new(format, None);
    verdict.refuse("archive", format!("{found}: what a {format} file holds must be unpacked first"));
    verdict
}
