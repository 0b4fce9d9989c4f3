//! Archives as tools write them in every way that is read, and what hostile ones say.

use std::io::Write as _;

use filter_core::samples::damaged;
use filter_core::{Unwrapper as _, unwrapped};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::*;
use crate::Archive;

/// How an entry is written.
#[derive(Clone, Copy, Default)]
struct Way {
    deflated: bool,
    /// With a data descriptor: whether it has a signature, and 64 bits.
    follow: Option<(bool, bool)>,
    zip64: bool,
    flags: u16,
    method: Option<u16>,
}

const DEFLATED: Way = Way { deflated: true, follow: None, zip64: false, flags: 0, method: None };

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    central: Vec<u8>,
    entries: u16,
}

impl Written {
    fn entry(mut self, name: &str, bytes: &[u8], way: Way) -> Self {
        let mut crc = Crc::default();
        crc.update(bytes);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(bytes).unwrap();
        let packed = if way.deflated { encoder.finish().unwrap() } else { bytes.to_vec() };
        let method = way.method.unwrap_or(if way.deflated { 8 } else { 0 });
        let flags = way.flags | if way.follow.is_some() { 8 } else { 0 };
        let (crc, packed_size, size) = (crc.sum(), packed.len() as u64, bytes.len() as u64);
        let wide = |size: u64| if way.zip64 { u32::MAX } else { size as u32 };
        let known = |value: u32| if way.follow.is_some() { 0 } else { value };
        let mut extra = b"UT\x05\0\x01time".to_vec();
        if way.zip64 {
            extra.extend([&[1, 0, 16, 0][..], &size.to_le_bytes(), &packed_size.to_le_bytes()].concat());
        }
        let lengths = [name.len() as u16, extra.len() as u16].map(u16::to_le_bytes).concat();
        let start = |version: &[u8]| [version, &flags.to_le_bytes(), &method.to_le_bytes(), &[0; 4]].concat();
        let sizes = |crc: u32, packed: u32, size: u32| [crc, packed, size].map(u32::to_le_bytes).concat();
        let local = [
            b"PK\x03\x04".to_vec(),
            start(&[20, 0]),
            sizes(known(crc), known(wide(packed_size)), known(wide(size))),
            lengths.clone(),
            name.as_bytes().to_vec(),
            extra.clone(),
        ];
        self.bytes.extend(local.concat());
        self.bytes.extend(&packed);
        if let Some((signed, wide)) = way.follow {
            self.bytes.extend(if signed { &b"PK\x07\x08"[..] } else { b"" });
            self.bytes.extend(crc.to_le_bytes());
            let length = if wide { 8 } else { 4 };
            self.bytes.extend([packed_size, size].iter().flat_map(|size| size.to_le_bytes()[..length].to_vec()));
        }
        let central = [
            b"PK\x01\x02\x14\0".to_vec(),
            start(&[20, 0]),
            sizes(crc, wide(packed_size), wide(size)),
            lengths,
            vec![0; 14],
            name.as_bytes().to_vec(),
            extra,
        ];
        self.central.extend(central.concat());
        self.entries += 1;
        self
    }

    fn end(self) -> Vec<u8> {
        self.ended(|end| end)
    }

    /// With another end.
    fn ended(self, other: impl Fn(Ends) -> Ends) -> Vec<u8> {
        let (at, size) = (self.bytes.len() as u64, self.central.len() as u64);
        let entries = self.entries.into();
        let end = other(Ends { wide: false, entries, size, at, locates: at + size, extensible: b"", comment: b"" });
        [self.bytes, self.central, end.written()].concat()
    }
}

/// What the ends of a directory say.
struct Ends {
    wide: bool,
    entries: u64,
    size: u64,
    at: u64,
    locates: u64,
    extensible: &'static [u8],
    comment: &'static [u8],
}

impl Ends {
    fn written(self) -> Vec<u8> {
        let mut all = Vec::new();
        if self.wide {
            let wide = [44 + self.extensible.len() as u64, 0, 0, self.entries, self.entries, self.size, self.at]
                .map(u64::to_le_bytes);
            let (size, rest) = wide.split_first().unwrap();
            let rest = rest.concat();
            // Versions and the numbers of disks are two halves and two words.
            all.extend([&b"PK\x06\x06"[..], size, &rest[..4], &rest[8..], self.extensible].concat());
            all.extend([&b"PK\x06\x07\0\0\0\0"[..], &self.locates.to_le_bytes(), &[1, 0, 0, 0]].concat());
        }
        let [entries, size, at] = if self.wide { [u64::MAX; 3] } else { [self.entries, self.size, self.at] };
        let entries = (entries as u16).to_le_bytes();
        all.extend([&b"PK\x05\x06\0\0\0\0"[..], &entries, &entries].concat());
        all.extend([size, at].iter().flat_map(|number| (*number as u32).to_le_bytes()));
        all.extend([&(self.comment.len() as u16).to_le_bytes()[..], self.comment].concat());
        all
    }
}

fn zip() -> Written {
    Written::default()
}

fn read(archive: &[u8]) -> Result<Vec<u8>, String> {
    unwrapped(Archive::new(None, None), [archive], 1 << 16).map_err(|why| why.to_string())
}

fn disk() -> Vec<u8> {
    (0..70_001_u32).map(|at| (at.wrapping_mul(at) >> 3) as u8).collect()
}

/// Every way that is read.
fn ways() -> Vec<Way> {
    let mut ways = vec![Way::default(), DEFLATED, Way { zip64: true, ..DEFLATED }];
    ways.push(Way { zip64: true, ..Way::default() });
    for follow in [(true, false), (true, true), (false, false), (false, true)] {
        ways.push(Way { follow: Some(follow), ..DEFLATED });
    }
    ways
}

#[test]
fn the_disk_is_found_between_everything_else_however_it_is_stored() {
    for way in ways() {
        let archive = zip()
            .entry("vm/", b"", Way::default())
            .entry("vm/README.txt", b"read me", way)
            .entry("vm/empty.txt", b"", way)
            .entry("vm/disk.raw", &disk(), way)
            .entry("__MACOSX/vm/._disk.raw", b"resource fork", way)
            .end();
        assert!(read(&archive).unwrap() == disk());
        for (piece, room) in [(1, 1 << 16), (3, 7), (1000, 999)] {
            assert!(unwrapped(Archive::new(None, None), archive.chunks(piece), room).unwrap() == disk());
        }
    }
}

#[test]
fn the_size_is_announced_where_it_stands_in_front() {
    let announced = |way| {
        let archive = zip().entry("vm/disk.raw", &disk(), way).end();
        let (mut zip, mut at) = (Archive::new(None, None), 0);
        while zip.announced().is_none() {
            at += zip.step(&archive[at..], false, &mut [0; 10]).unwrap().taken;
        }
        zip.announced().cloned().unwrap()
    };
    let named = |size| Announced { size, exact: false, name: Some("disk.raw".to_owned()) };
    assert_eq!(announced(DEFLATED), named(Some(70_001)));
    assert_eq!(announced(Way { zip64: true, ..DEFLATED }), named(Some(70_001)));
    assert_eq!(announced(Way { follow: Some((true, false)), ..DEFLATED }), named(None));
}

#[test]
fn what_is_cut_anywhere_is_refused() {
    for way in ways() {
        let archive = zip().entry("a.txt", b"x", way).entry("disk.raw", &disk()[..300], way).end();
        for cut in 0..archive.len() {
            assert!(read(&archive[..cut]).is_err(), "{cut}");
        }
    }
}

#[test]
fn what_is_damaged_anywhere_is_refused_or_the_same() {
    let expected = &disk()[..300];
    for way in ways() {
        let archive = zip().entry("disk.raw", expected, way).end();
        for ((at, bit), damaged) in damaged(&archive) {
            if let Ok(bytes) = read(&damaged) {
                assert!(bytes == expected, "{at}.{bit}");
            }
        }
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let disk = |way| zip().entry("disk.raw", b"disk", way).end();
    for (archive, why) in [
        (disk(Way { flags: 1, ..DEFLATED }), "`disk.raw` in the zip archive is encrypted"),
        (disk(Way { flags: 1 << 6, ..DEFLATED }), "masked header"),
        (disk(Way { method: Some(93), ..DEFLATED }), "compression method 93"),
        (disk(Way { follow: Some((true, false)), ..Way::default() }), "stored with its length behind it"),
        (zip().entry("a.raw", b"1", DEFLATED).entry("b.raw", b"2", DEFLATED).end(), "`a.raw` and `b.raw`"),
        (zip().entry("a.txt", b"1", DEFLATED).end(), "only `a.txt`"),
        (zip().end(), "holds no file"),
        (b"PK\x07\x08PK\x03\x04".to_vec(), "one of several pieces"),
        ([&zip().entry("a.txt", b"1", DEFLATED).bytes[..], b"xxxx"].concat(), "no entry and no directory"),
    ] {
        let refused = read(&archive).unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

#[test]
fn the_directory_must_list_what_there_is() {
    let one = || zip().entry("disk.raw", b"disk", DEFLATED);
    let hidden = Written { central: Vec::new(), ..one() }.end();
    let renamed = Written { central: zip().entry("other.raw", b"disk", DEFLATED).central, ..one() }.end();
    let twice = Written { central: [one().central, one().central].concat(), ..one() }.end();
    for archive in [hidden, renamed, twice] {
        assert!(read(&archive).unwrap_err().contains("does not list"));
    }
}

#[test]
fn whoever_begins_at_the_other_end_comes_to_the_same_directory() {
    let one = || zip().entry("a.txt", b"x", DEFLATED).entry("disk.raw", b"disk", DEFLATED);
    let wide = |end| Ends { wide: true, ..end };
    let whole = [one().end(), one().ended(wide), one().ended(|end| Ends { comment: b"of a disk", ..end })];
    for archive in &whole {
        assert_eq!(read(archive).unwrap(), b"disk");
        assert_eq!(read(&[&archive[..], &[0; 5000]].concat()).unwrap(), b"disk", "padding");
        for (piece, room) in [(1, 10), (3, 1)] {
            assert_eq!(unwrapped(Archive::new(None, None), archive.chunks(piece), room).unwrap(), b"disk");
        }
        for cut in 0..archive.len() {
            assert!(read(&archive[..cut]).is_err(), "{cut}");
        }
        let other = zip().entry("other.raw", b"another", DEFLATED).end();
        for behind in [&b"x"[..], b"\0\0x", &other] {
            let refused = read(&[&archive[..], behind].concat()).unwrap_err();
            assert!(refused.contains("something follows the end of the zip archive"), "{refused}");
        }
    }
    for (what, archive) in [
        ("place", one().ended(|end| Ends { at: end.at - 1, ..end })),
        ("size", one().ended(|end| Ends { size: end.size + 1, ..end })),
        ("entries", one().ended(|end| Ends { entries: 1, ..end })),
        ("wide place", one().ended(|end| wide(Ends { at: 0, ..end }))),
        ("wide size", one().ended(|end| wide(Ends { size: 0, ..end }))),
        ("wide entries", one().ended(|end| wide(Ends { entries: 1, ..end }))),
        ("locator", one().ended(|end| wide(Ends { locates: 5, ..end }))),
    ] {
        assert!(read(&archive).unwrap_err().contains("leads elsewhere"), "{what}");
    }
    let hiding = one().ended(|end| Ends { comment: b"PK\x05\x06 is where another reader begins", ..end });
    assert!(read(&hiding).unwrap_err().contains("comment"));
    // What a reader takes for an end of 64 bits that looks right in front of the end, or of its locator.
    let mut in_the_last_comment = one();
    let comment = [&b"another directory, and its end in 64 bits"[..], b"PK\x06\x07", &[0; 16]].concat();
    let last = zip().entry("disk.raw", b"disk", DEFLATED).central.len();
    let last = in_the_last_comment.central.len() - last;
    in_the_last_comment.central[last + 32..last + 34].copy_from_slice(&(comment.len() as u16).to_le_bytes());
    in_the_last_comment.central.extend(comment);
    assert!(read(&in_the_last_comment.end()).unwrap_err().contains("another end of the zip archive"));
    let extended = one().ended(|end| wide(Ends { extensible: b"PK\x06\x06 another", ..end }));
    assert!(read(&extended).unwrap_err().contains("extensible data"));
    let behind_the_directory = one();
    let twice = [&behind_the_directory.bytes[..], &behind_the_directory.central].concat();
    let twice = [&twice[..], &zip().entry("b.txt", b"x", DEFLATED).bytes].concat();
    assert!(read(&twice).unwrap_err().contains("no entry and no directory"));
}

#[test]
fn the_disk_of_an_ova_in_a_zip_is_the_one_its_descriptor_names() {
    let ovf = br#"<Envelope><References><File id="f" href="b.vmdk"/></References><Disk fileRef="f"/></Envelope>"#;
    for way in ways() {
        let archive = zip().entry("vm.ovf", ovf, way).entry("a.vmdk", b"no", way).entry("b.vmdk", b"yes", way).end();
        assert_eq!(read(&archive).unwrap(), b"yes");
    }
}
