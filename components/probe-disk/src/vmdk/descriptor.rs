//! The text that says what a disk consists of ("Virtual Disk Format 5.0", "The Descriptor File").

use crate::detect::{FIRST_READ, Mark};
use crate::verdict::quoted;
use crate::view::Stop;
use crate::{Malformed, Verdict, View};

use super::SECTOR;

/// QEMU reads so much of it.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// Lines that are read.
const MAX_LINES: usize = 16 * 1024;
/// The hazards that extents of one descriptor give.
const MAX_NAMED: usize = 8;

const TITLE: &[u8] = b"# Disk DescriptorFile";
const NO_PARENT: &[u8] = b"ffffffff";

/// A list of files that a hypervisor would open. QEMU takes for one whatever has, behind comments and blank lines, the line
/// `version=1`, 2 or 3 (`vmdk_probe`); the comment that usually stands there is optional.
pub(super) fn marked(head: &[u8]) -> Option<Mark> {
    const VERSIONS: [&[u8]; 3] = [b"version=1", b"version=2", b"version=3"];
    const NAME: &str = "a VMDK descriptor";
    if let Some(mark) = Mark::find(head, 0, TITLE, NAME) {
        return Some(mark);
    }
    let mut offset = 0_u64;
    for line in head.split(|byte| *byte == b'\n') {
        let text = line.trim_ascii();
        if let Some(bytes) = VERSIONS.into_iter().find(|version| *version == text) {
            return Some(Mark { offset, bytes, name: NAME });
        }
        if !text.is_empty() && !text.starts_with(b"#") {
            return None;
        }
        offset = offset.saturating_add(line.len() as u64).saturating_add(1);
    }
    None
}

/// What a descriptor says.
#[derive(Debug, Default)]
pub(super) struct Descriptor<'a> {
    pub(super) create_types: Vec<&'a [u8]>,
    pub(super) extents: Vec<Extent<'a>>,
    /// `parentCID` with another value than none, `parentFileNameHint`: the line.
    pub(super) parents: Vec<&'a [u8]>,
    /// `changeTrackPath`, `ddb.nativeParentHint` and the like: lines that name a further file.
    pub(super) others: Vec<&'a [u8]>,
}

/// One line `ACCESS SECTORS TYPE "FILE" [OFFSET]`.
#[derive(Debug)]
pub(super) struct Extent<'a> {
    pub(super) sectors: u64,
    pub(super) kind: &'a [u8],
    pub(super) file: &'a [u8],
}

/// A descriptor that is all there is of a disk: the files it names are not here.
pub(super) fn inspect(view: &View) -> Result<Verdict, Stop> {
    let head = view.at(0, FIRST_READ)?;
    let text = if (head.len() as u64) < FIRST_READ || head.contains(&0) { head } else { view.at(0, MAX_BYTES)? };
    let descriptor = parse(text)?;
    let sectors = descriptor.extents.iter().try_fold(0_u64, |sum, extent| sum.checked_add(extent.sectors));
    let mut verdict = Verdict::new("vmdk", sectors.and_then(|sectors| sectors.checked_mul(SECTOR)));
    for kind in descriptor.create_types.iter().take(1) {
        verdict.detail("create-type", String::from_utf8_lossy(kind));
    }
    for extent in descriptor.extents.iter().take(MAX_NAMED) {
        let message = format!("the descriptor names the file {} of type {}", quoted(extent.file), quoted(extent.kind));
        verdict.refuse("vmdk-external-extent", message);
    }
    if descriptor.extents.is_empty() {
        verdict.refuse("vmdk-external-extent", "a descriptor at 0 that names no extent, and holds none");
    }
    parents(&mut verdict, &descriptor);
    Ok(verdict)
}

/// What of a descriptor names yet another file.
pub(super) fn parents(verdict: &mut Verdict, descriptor: &Descriptor<'_>) {
    for line in descriptor.parents.iter().take(MAX_NAMED) {
        verdict.refuse("vmdk-parent", format!("the descriptor names a parent: {}", quoted(line)));
    }
    for line in descriptor.others.iter().take(MAX_NAMED) {
        verdict.refuse("vmdk-file", format!("the descriptor names a file: {}", quoted(line)));
    }
}

/// Reads a descriptor up to its first zero byte.
pub(super) fn parse(bytes: &[u8]) -> Result<Descriptor<'_>, Malformed> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut descriptor = Descriptor::default();
    // QEMU takes a carriage return alone for a blank, a line feed for a line's end.
    for (number, line) in text.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        if number >= MAX_LINES {
            return Err(Malformed(format!("vmdk: the descriptor has more than {MAX_LINES} lines")));
        }
        let line = line.trim_ascii();
        if line.starts_with(b"#") {
            continue;
        }
        match extent(line)? {
            Some(extent) => descriptor.extents.push(extent),
            None => entry(line, &mut descriptor),
        }
    }
    Ok(descriptor)
}

/// A line `KEY=VALUE`. QEMU finds a key anywhere in the text, so that a key counts wherever in the line it stands.
fn entry<'a>(line: &'a [u8], descriptor: &mut Descriptor<'a>) {
    let Some(at) = line.iter().position(|byte| *byte == b'=') else { return };
    let (key, value) = line.split_at(at);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let bare = value.strip_prefix(b"\"").unwrap_or(value);
    let bare = bare.split(|byte| *byte == b'"').next().unwrap_or_default();
    let named = |name: &[u8]| key.trim_ascii().to_ascii_lowercase().ends_with(name);
    if named(b"createtype") {
        descriptor.create_types.push(bare);
    } else if (named(b"parentcid") && !bare.eq_ignore_ascii_case(NO_PARENT)) || named(b"parentfilenamehint") {
        descriptor.parents.push(line);
    } else if named(b"changetrackpath") || named(b"nativeparenthint") || named(b"digestfilename") {
        descriptor.others.push(line);
    }
}

/// A line that describes an extent; a line that begins like one and is none is malformed.
fn extent(line: &[u8]) -> Result<Option<Extent<'_>>, Malformed> {
    let mut words = line.splitn(4, |byte| matches!(byte, b' ' | b'\t'));
    if !matches!(words.next(), Some(b"RW" | b"RDONLY" | b"NOACCESS")) {
        return Ok(None);
    }
    let malformed = || Malformed(format!("vmdk: the extent line {} is incomplete", quoted(line)));
    let sectors = words.next().and_then(|word| str::from_utf8(word).ok()?.parse().ok()).ok_or_else(malformed)?;
    let kind = words.next().ok_or_else(malformed)?;
    let rest = words.next().unwrap_or_default().trim_ascii();
    // ZERO has no file.
    let file = rest.strip_prefix(b"\"").unwrap_or(rest).split(|byte| *byte == b'"').next().unwrap_or_default();
    Ok(Some(Extent { sectors, kind, file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_found_behind_any_comment() {
        for text in [
            "# Disk DescriptorFile\nversion=1\n",
            "version=3\r\nCID=1",
            "# harmless\n\n  \r\n#\nversion=2\nRW 1 FLAT \"/etc/passwd\" 0\n",
        ] {
            assert!(marked(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["version=4\n", "x\nversion=1\n", "# version=1\n", "version=10\n", ""] {
            assert!(marked(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn what_names_something_is_found_however_it_is_written() {
        let text = b"createType=\"monolithicFlat\"\r\n  CREATETYPE = \"x\"\nparentCID=FFFFFFFF\nparentCID=0\n\
            parentFileNameHint = \"a.vmdk\"\n# createType=\"comment\"\nRW 100 FLAT \"/etc/passwd\" 0\n\
            RDONLY 20 ZERO\nchangeTrackPath=\"ctk\"\n\0createType=\"behind\"";
        let found = parse(text).unwrap();
        assert_eq!(found.create_types, [&b"monolithicFlat"[..], b"x"]);
        assert_eq!(found.parents, [&b"parentCID=0"[..], b"parentFileNameHint = \"a.vmdk\""]);
        assert_eq!(found.others, [&b"changeTrackPath=\"ctk\""[..]]);
        let extents: Vec<_> = found.extents.iter().map(|extent| (extent.sectors, extent.kind, extent.file)).collect();
        assert_eq!(extents, [(100, &b"FLAT"[..], &b"/etc/passwd"[..]), (20, b"ZERO", b"")]);
    }

    #[test]
    fn a_broken_extent_line_and_an_endless_text_are_malformed() {
        for line in ["RW", "RW x FLAT \"a\"", "RW 99999999999999999999 FLAT \"a\"", "RW 5"] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(parse(&[b'\n'; MAX_LINES + 1]).is_err());
    }
}
