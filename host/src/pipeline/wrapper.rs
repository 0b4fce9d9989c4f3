//! Which built-in filter takes off what a disk is wrapped in, by how the bytes begin.

/// How many bytes decide.
pub(super) const BEGINNING_BYTES: usize = 512;
/// The most wrappers around each other. One is usual, two are an archive that was compressed; more are somebody's joke.
pub(super) const MAX_NESTED: usize = 4;

/// A tar header's magic and where it stands (POSIX.1-2024, pax, ustar interchange format): GNU's, with a space, too.
const USTAR: (usize, &[u8]) = (257, b"ustar");
/// What stands behind `BZh` and a digit: a block, or the end of an empty stream.
const BZIP2: [&[u8]; 2] = [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
/// The identifier that a stream of snappy frames begins with (framing_format.txt §4.1).
const SNAPPY: &[u8] = b"\xff\x06\0\0sNaPpY";

/// What a probe calls wrappers, and the filter that takes each off, if there is one.
const FORMATS: [(&str, Option<&str>); 12] = [
    ("gzip", Some("filter-gzip")),
    ("xz", Some("filter-xz")),
    ("zstd", Some("filter-zstd")),
    ("bzip2", Some("filter-bzip2")),
    ("snappy", Some("filter-snappy")),
    ("tar", Some("filter-archive")),
    ("ova", Some("filter-archive")),
    ("zip", Some("filter-archive")),
    ("lz4", None),
    ("lzip", None),
    ("lzma", None),
    ("7z", None),
];

/// Whether a format is a wrapper around a disk.
pub(super) fn is_wrapper(format: &str) -> bool {
    FORMATS.iter().any(|(name, _)| *name == format)
}

/// The filter for a wrapper of that format.
pub(super) fn filter_for(format: &str) -> Option<&'static str> {
    FORMATS.iter().find(|(name, _)| *name == format).and_then(|(_, filter)| *filter)
}

/// The filter for bytes that begin so, if they are a wrapper.
pub(super) fn wrapper(beginning: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| beginning.starts_with(magic);
    let at = |(at, magic): (usize, &[u8])| beginning.get(at..).is_some_and(|bytes| bytes.starts_with(magic));
    let skippable = matches!(beginning, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    let bzip2 = matches!(beginning, [b'B', b'Z', b'h', b'1'..=b'9', magic @ ..] if BZIP2.iter().any(|one| magic.starts_with(one)));
    if starts(&[0x1f, 0x8b, 8]) {
        Some("filter-gzip")
    } else if starts(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        Some("filter-xz")
    } else if starts(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
        Some("filter-zstd")
    } else if starts(SNAPPY) {
        Some("filter-snappy")
    } else if bzip2 {
        Some("filter-bzip2")
    } else if starts(b"PK\x03\x04") || at(USTAR) {
        Some("filter-archive")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Kind, built_in};

    #[test]
    fn a_wrapper_is_known_by_its_magic_number() {
        let tar = [&[b'x'; 257][..], b"ustar\x0000"].concat();
        let gnu = [&[b'x'; 257][..], b"ustar  \0"].concat();
        for (beginning, filter) in [
            (&b"\x1f\x8b\x08\0"[..], Some("filter-gzip")),
            (b"\xfd7zXZ\0", Some("filter-xz")),
            (b"\x28\xb5\x2f\xfd", Some("filter-zstd")),
            (b"\x50\x2a\x4d\x18", Some("filter-zstd")),
            (b"\x5f\x2a\x4d\x18", Some("filter-zstd")),
            (b"BZh9\x31\x41\x59\x26\x53\x59", Some("filter-bzip2")),
            (b"BZh1\x17\x72\x45\x38\x50\x90", Some("filter-bzip2")),
            (b"\xff\x06\0\0sNaPpY", Some("filter-snappy")),
            (b"PK\x03\x04", Some("filter-archive")),
            (&tar, Some("filter-archive")),
            (&gnu, Some("filter-archive")),
            (b"", None),
            (b"QFI\xfb", None),
            (b"\x1f\x8b", None),
            (b"BZh9", None),
            (b"PK\x05\x06", None),
            (b"\x60\x2a\x4d\x18", None),
        ] {
            assert_eq!(wrapper(beginning), filter, "{beginning:x?}");
            assert!(filter.is_none() || FORMATS.iter().any(|(_, known)| *known == filter), "{filter:?}");
            let built_in = |name| built_in().iter().any(|one| one.name == name && one.kind == Kind::Filter);
            assert!(filter.is_none_or(built_in), "{filter:?}");
        }
    }
}
