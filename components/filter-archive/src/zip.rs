//! zip (APPNOTE 6.3), entry by entry as it comes: what the entries say of themselves counts, and the central directory behind
//! them must say the same of the disk and of their number.

use std::fmt;

use filter_core::{Announced, Crc, Inflate, Pending, Refusal, Step};

use crate::choosing::{Choosing, MAX_DESCRIPTOR, Role, shown};
use crate::zip_header::{self, Central, Local};
use crate::{copied, passed};

/// What an entry that nobody wants is inflated into, to find its end.
const SCRATCH_BYTES: usize = 32 << 10;

/// An archive as it comes in.
pub(crate) struct Zip {
    part: Part,
    held: Pending,
    scratch: Vec<u8>,
    choosing: Choosing,
    entries: u64,
    listed: u64,
    /// The disk's entry as it turned out.
    disk: Option<Found>,
    disk_listed: bool,
}

/// What comes next.
#[derive(Debug)]
enum Part {
    /// A signature says what.
    Signature,
    /// An entry's header, and what is behind its fixed part.
    Local,
    /// So many bytes that nobody wants.
    PassedOver(u64),
    Data(Box<Data>),
    /// What stands behind data of a length unknown before.
    Descriptor(Box<Data>),
    Central,
    Over,
}

/// An entry's data.
#[derive(Debug)]
struct Data {
    local: Local,
    role: Role,
    inflate: Option<Inflate>,
    crc: Crc,
    taken: u64,
    given: u64,
    /// An OVF descriptor, gathered.
    bytes: Vec<u8>,
}

/// What is remembered of the disk's entry.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: Vec<u8>,
    crc: u32,
    size: u64,
}

impl Zip {
    /// With what was read of it already.
    pub(crate) fn new(held: Pending) -> Self {
        Self {
            part: Part::Signature,
            held,
            scratch: Vec::new(),
            choosing: Choosing::default(),
            entries: 0,
            listed: 0,
            disk: None,
            disk_listed: false,
        }
    }

    pub(crate) const fn announced(&self) -> Option<&Announced> {
        self.choosing.announced()
    }

    pub(crate) fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        while step.given == 0 && !step.ended {
            let rest = input.get(step.taken..).unwrap_or_default();
            match &mut self.part {
                Part::Signature => {
                    step.taken += self.held.fill(rest, 4);
                    let Some(signature) = self.held.held().first_chunk::<4>() else { break };
                    self.part = self.signature(*signature)?;
                }
                Part::Local => {
                    let needed = Local::bytes(self.held.held());
                    step.taken += self.held.fill(rest, needed);
                    if self.held.held().len() < needed {
                        break;
                    }
                    if needed == Local::bytes(self.held.held()) {
                        let local = Local::read(self.held.held())?;
                        self.held.used(needed);
                        self.part = self.entry(local)?;
                    }
                }
                Part::PassedOver(0) => self.part = Part::Signature,
                Part::PassedOver(left) => {
                    let more = passed(rest, *left);
                    *left = left.saturating_sub(more as u64);
                    step.taken += more;
                    if more == 0 {
                        break;
                    }
                }
                Part::Data(data) => {
                    let (taken, given, ended) = data.step(rest, output, &mut self.scratch)?;
                    step.taken += taken;
                    step.given = given;
                    if ended {
                        self.ended()?;
                    } else if given == 0 && taken == 0 {
                        break;
                    }
                }
                Part::Descriptor(data) => {
                    step.taken += self.held.fill(rest, zip_header::MAX_DATA_DESCRIPTOR);
                    let over = last && step.taken == input.len();
                    let held = self.held.held();
                    if held.len() < zip_header::MAX_DATA_DESCRIPTOR && !over {
                        break;
                    }
                    let found = zip_header::data_descriptor(held, data.crc.sum(), data.taken, data.given);
                    let used = found.ok_or_else(|| {
                        Refusal::invalid(format!(
                            "{} in the zip archive does not have the checksum and sizes behind it",
                            shown(&data.local.name())
                        ))
                    })?;
                    self.held.used(used);
                    self.whole()?;
                }
                Part::Central => {
                    let needed = Central::bytes(self.held.held());
                    step.taken += self.held.fill(rest, needed);
                    if self.held.held().len() < needed {
                        break;
                    }
                    if needed == Central::bytes(self.held.held()) {
                        self.central(needed)?;
                    }
                }
                Part::Over => step.ended = true,
            }
        }
        if last && step.taken == input.len() && step.given == 0 && !step.ended {
            return Err(Refusal::invalid("the zip archive ends before its end"));
        }
        Ok(step)
    }

    fn signature(&mut self, signature: [u8; 4]) -> Result<Part, Refusal> {
        match &signature {
            b"PK\x03\x04" => Ok(Part::Local),
            b"PK\x01\x02" => Ok(Part::Central),
            // An extra data record would only stand in front of an encrypted directory.
            b"PK\x06\x08" => Err(Refusal::invalid("the directory of the zip archive is encrypted, which is not read")),
            b"PK\x07\x08" | b"PK00" if self.entries == 0 => {
                Err(Refusal::invalid("the zip archive is one of several pieces, which are not read"))
            }
            // The end of the directory, with 64 bits or without.
            b"PK\x06\x06" | b"PK\x05\x06" => {
                self.choosing.over()?;
                if self.listed != self.entries || self.disk.is_some() != self.disk_listed {
                    return Err(Refusal::invalid("the zip archive's directory does not list what is in the archive"));
                }
                Ok(Part::Over)
            }
            _ => Err(Refusal::invalid("the zip archive is malformed: no entry and no directory where one should be")),
        }
    }

    /// What is to be done with an entry.
    fn entry(&mut self, local: Local) -> Result<Part, Refusal> {
        self.entries = self.entries.saturating_add(1);
        let name = local.name();
        let size = (!local.sizes_follow()).then_some(local.size);
        let role = if name.ends_with('/') { Role::Other } else { self.choosing.file(&name, size)? };
        if role == Role::Other && !local.sizes_follow() {
            return Ok(Part::PassedOver(local.packed));
        }
        local.readable()?;
        Ok(Part::Data(Box::new(Data {
            inflate: local.is_deflated().then(Inflate::new),
            local,
            role,
            crc: Crc::default(),
            taken: 0,
            given: 0,
            bytes: Vec::new(),
        })))
    }

    /// The data have ended.
    fn ended(&mut self) -> Result<(), Refusal> {
        let Part::Data(data) = std::mem::replace(&mut self.part, Part::Signature) else { return Ok(()) };
        let follow = data.local.sizes_follow();
        self.part = Part::Descriptor(data);
        if follow { Ok(()) } else { self.whole() }
    }

    /// An entry is whole.
    fn whole(&mut self) -> Result<(), Refusal> {
        let Part::Descriptor(data) = std::mem::replace(&mut self.part, Part::Signature) else { return Ok(()) };
        let local = &data.local;
        if !local.sizes_follow() && (data.crc.sum(), data.taken, data.given) != (local.crc, local.packed, local.size) {
            return Err(Refusal::invalid(format!(
                "{} in the zip archive does not have the checksum or the sizes that it states",
                shown(&local.name())
            )));
        }
        match data.role {
            Role::Disk => {
                self.disk = Some(Found { name: local.raw_name.clone(), crc: data.crc.sum(), size: data.given });
            }
            Role::Descriptor => self.choosing.descriptor(&data.bytes)?,
            Role::Other => {}
        }
        Ok(())
    }

    fn central(&mut self, needed: usize) -> Result<(), Refusal> {
        let central = Central::read(self.held.held())?;
        self.held.used(needed);
        self.listed = self.listed.saturating_add(1);
        let listed = Found { name: central.raw_name, crc: central.crc, size: central.size };
        if self.disk.as_ref().is_some_and(|disk| *disk == listed) {
            self.disk_listed = true;
        }
        self.part = Part::Signature;
        Ok(())
    }
}

impl Data {
    /// Taken, given to the output, and whether that was all.
    fn step(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(usize, usize, bool), Refusal> {
        if self.role != Role::Disk {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        let to = if self.role == Role::Disk { output } else { &mut **scratch };
        let (taken, given, ended) = match &mut self.inflate {
            None => {
                let moved = copied(input, to, self.local.packed.saturating_sub(self.taken));
                (moved, moved, self.taken.saturating_add(moved as u64) == self.local.packed)
            }
            Some(inflate) => {
                let left = match self.local.sizes_follow() {
                    true => u64::MAX,
                    false => self.local.packed.saturating_sub(self.taken),
                };
                let input = input.get(..passed(input, left)).unwrap_or_default();
                let name = || shown(&self.local.name());
                let malformed =
                    |_| Refusal::invalid(format!("the data of {} in the zip archive are malformed", name()));
                let (taken, given, ended) = inflate.step(input, to).map_err(malformed)?;
                if !ended && taken == 0 && given == 0 && left == 0 {
                    return Err(Refusal::invalid(format!("the data of {} in the zip archive do not end", name())));
                }
                (taken, given, ended)
            }
        };
        let out = to.get(..given).unwrap_or_default();
        self.crc.update(out);
        self.taken = self.taken.saturating_add(taken as u64);
        self.given = self.given.saturating_add(given as u64);
        if self.role == Role::Descriptor {
            self.bytes.extend_from_slice(out);
            if self.bytes.len() as u64 > MAX_DESCRIPTOR {
                return Err(Refusal::limit(format!("the OVF descriptor has more than {MAX_DESCRIPTOR} bytes")));
            }
        }
        Ok((taken, if self.role == Role::Disk { given } else { 0 }, ended))
    }
}

impl fmt::Debug for Zip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zip").field("part", &self.part).field("choosing", &self.choosing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
            let end = [&b"PK\x05\x06\0\0\0\0"[..], &self.entries.to_le_bytes(), &[0; 12]].concat();
            [self.bytes, self.central, end].concat()
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
            // What follows the last signature is not read.
            for cut in 0..archive.len() - 18 {
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
    fn the_disk_of_an_ova_in_a_zip_is_the_one_its_descriptor_names() {
        let ovf = br#"<Envelope><References><File id="f" href="b.vmdk"/></References><Disk fileRef="f"/></Envelope>"#;
        for way in ways() {
            let archive =
                zip().entry("vm.ovf", ovf, way).entry("a.vmdk", b"no", way).entry("b.vmdk", b"yes", way).end();
            assert_eq!(read(&archive).unwrap(), b"yes");
        }
    }
}
