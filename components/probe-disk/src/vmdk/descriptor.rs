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
/// As it is compared: VirtualBox takes it with other blanks too (`vmdkPreprocessDescriptor`), whatever the next line is.
const BARE_TITLE: &[u8] = b"#diskdescriptorfile";
const NO_PARENT: &[u8] = b"ffffffff";

/// A list of files that a hypervisor would open. QEMU takes for one whatever has, behind comments and blank lines, the line
/// `version=1`, 2 or 3 (`vmdk_probe`); the comment that usually stands there is optional.
pub(super) fn marked(head: &[u8]) -> Option<Mark> {
    const VERSIONS: [&[u8]; 3] = [b"version=1", b"version=2", b"version=3"];
    const NAME: &str = "a VMDK descriptor";
    let title = head.iter().filter(|byte| !matches!(byte, b' ' | b'\t')).map(u8::to_ascii_lowercase);
    if title.take(BARE_TITLE.len()).eq(BARE_TITLE.iter().copied()) {
        return Some(Mark { offset: 0, bytes: TITLE, name: NAME });
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

/// Words that count wherever they stand, in a comment or behind another value too: QEMU looks for them with `strstr`, whatever
/// the lines are (`vmdk_parent_open`, `vmdk_read_cid`, `vmdk_parse_description`). In any case of letters, as VMware has it.
const WORDS: [(&[u8], Word); 6] = [
    (b"createType", Word::CreateType),
    (b"parentCID", Word::ParentId),
    (b"parentFileNameHint", Word::Parent),
    (b"nativeParentHint", Word::File),
    (b"changeTrackPath", Word::File),
    (b"digestFilename", Word::File),
];

/// The small letters with which they begin.
const BEGINNINGS: [u8; 4] = *b"cpnd";

#[derive(Clone, Copy)]
enum Word {
    CreateType,
    ParentId,
    Parent,
    File,
}

/// What a descriptor says.
#[derive(Debug, Default)]
pub(super) struct Descriptor<'a> {
    /// How often the create type is named, and what it is the first time.
    pub(super) create_types: usize,
    pub(super) create_type: &'a [u8],
    pub(super) extents: Vec<Extent<'a>>,
    /// `parentCID` with another value than none, `parentFileNameHint`: the line from there on, the first few of them.
    pub(super) parents: Vec<&'a [u8]>,
    /// `changeTrackPath`, `ddb.nativeParentHint` and the like, which name a further file.
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
    let descriptor = parse(text, text)?;
    let sectors = descriptor.extents.iter().try_fold(0_u64, |sum, extent| sum.checked_add(extent.sectors));
    let mut verdict = Verdict::new("vmdk", sectors.and_then(|sectors| sectors.checked_mul(SECTOR)));
    if descriptor.create_types > 0 {
        verdict.detail("create-type", descriptor.create_type.escape_ascii());
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
    for line in &descriptor.parents {
        verdict.refuse("vmdk-parent", format!("the descriptor names a parent: {}", quoted(line)));
    }
    for line in &descriptor.others {
        verdict.refuse("vmdk-file", format!("the descriptor names a file: {}", quoted(line)));
    }
}

/// Reads a descriptor: the lines of `text` up to its first zero byte, and the words that count wherever they stand in `area`,
/// which is all that may be taken for a part of it.
pub(super) fn parse<'a>(text: &'a [u8], area: &'a [u8]) -> Result<Descriptor<'a>, Malformed> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut descriptor = Descriptor::default();
    // QEMU takes a carriage return alone for a blank, a line feed for a line's end.
    for (number, line) in text.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        if number >= MAX_LINES {
            return Err(Malformed(format!("vmdk: the descriptor has more than {MAX_LINES} lines")));
        }
        descriptor.extents.extend(extent(line)?);
    }
    // An area may have a MiB, of which few bytes begin a word.
    for (at, _) in area.iter().enumerate().filter(|(_, byte)| BEGINNINGS.contains(&byte.to_ascii_lowercase())) {
        let rest = area.get(at..).unwrap_or_default();
        let stands = |word: &[u8]| rest.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
        if let Some((word, kind)) = WORDS.iter().find(|(word, _)| stands(word)) {
            let line = rest.split(|byte| matches!(byte, b'\n' | b'\r' | 0)).next().unwrap_or_default();
            named(*kind, line, line.get(word.len()..).unwrap_or_default(), &mut descriptor);
        }
    }
    Ok(descriptor)
}

/// Takes note of a word with what stands behind it in its line.
fn named<'a>(word: Word, line: &'a [u8], behind: &'a [u8], descriptor: &mut Descriptor<'a>) {
    let value = behind.trim_ascii();
    let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
    let value = value.strip_prefix(b"\"").unwrap_or(value).split(|byte| *byte == b'"').next().unwrap_or_default();
    let list = match word {
        Word::CreateType => {
            descriptor.create_types += 1;
            if descriptor.create_types == 1 {
                descriptor.create_type = value;
            }
            return;
        }
        Word::ParentId if value.eq_ignore_ascii_case(NO_PARENT) => return,
        Word::ParentId | Word::Parent => &mut descriptor.parents,
        Word::File => &mut descriptor.others,
    };
    if list.len() < MAX_NAMED {
        list.push(line);
    }
}

/// A line that describes an extent; a line that begins like one and is none is malformed.
fn extent(line: &[u8]) -> Result<Option<Extent<'_>>, Malformed> {
    let (access, rest) = word(line);
    if ![&b"RW"[..], b"RDONLY", b"NOACCESS"].iter().any(|known| access.eq_ignore_ascii_case(known)) {
        return Ok(None);
    }
    let malformed = || Malformed(format!("vmdk: the extent line {} is incomplete", quoted(line)));
    let (sectors, rest) = word(rest);
    let sectors = str::from_utf8(sectors).ok().and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
    let (kind, rest) = word(rest);
    if kind.is_empty() {
        return Err(malformed());
    }
    // ZERO has no file.
    let rest = rest.trim_ascii();
    let file = rest.strip_prefix(b"\"").unwrap_or(rest).split(|byte| *byte == b'"').next().unwrap_or_default();
    Ok(Some(Extent { sectors, kind, file }))
}

/// The first word and what stands behind it, however many blanks there are.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    line.split_at(line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len()))
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
            "#Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0\n",
            "# Disk Descriptor File\n",
            "#disk descriptor file",
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
            RDONLY  20\t ZERO\nrw 1  SPARSE  \"a b\"\nchangeTrackPath=\"ctk\"\n\0createType=\"behind\"";
        let found = parse(text, text).unwrap();
        assert_eq!((found.create_types, found.create_type), (4, &b"monolithicFlat"[..]));
        assert_eq!(found.parents, [&b"parentCID=0"[..], b"parentFileNameHint = \"a.vmdk\""]);
        assert_eq!(found.others, [&b"changeTrackPath=\"ctk\""[..]]);
        let extents: Vec<_> = found.extents.iter().map(|extent| (extent.sectors, extent.kind, extent.file)).collect();
        assert_eq!(extents, [(100, &b"FLAT"[..], &b"/etc/passwd"[..]), (20, b"ZERO", b""), (1, b"SPARSE", b"a b")]);
    }

    #[test]
    fn no_word_begins_otherwise() {
        assert!(WORDS.iter().all(|(word, _)| BEGINNINGS.contains(&word[0].to_ascii_lowercase())));
    }

    #[test]
    fn a_parent_is_found_where_no_line_begins() {
        for text in [
            "# parentFileNameHint=\"/etc/passwd\"\n",
            "ddb.comment = \"x\" parentFileNameHint=\"/etc/passwd\"\n",
            "parentFileNameHint: /etc/passwd\"\n",
            "RW 1 SPARSE \"a\" parentFileNameHint=\"/etc/passwd\"\n",
            "xparentfilenamehint",
            "\0\0parentFileNameHint=\"/etc/passwd\"",
            "# parentCID=0",
            "parentCID=ffffffff parentCID=fffffffe",
            "parentCID",
        ] {
            assert!(!parse(text.as_bytes(), text.as_bytes()).unwrap().parents.is_empty(), "{text}");
        }
        let many = b"parentCID=1\n".repeat(100);
        assert_eq!(parse(&many, &many).unwrap().parents.len(), MAX_NAMED);
    }

    #[test]
    fn a_broken_extent_line_and_an_endless_text_are_malformed() {
        for line in ["RW", "RW x FLAT \"a\"", "RW 99999999999999999999 FLAT \"a\"", "RW 5"] {
            assert!(parse(line.as_bytes(), b"").is_err(), "{line}");
        }
        assert!(parse(&[b'\n'; MAX_LINES + 1], b"").is_err());
    }
}
