//! tar: the ustar and pax interchange formats (POSIX.1-2024, pax), and what GNU tar writes.

use filter_core::{Announced, Pending, Refusal, Step};

use crate::choosing::{Choosing, MAX_DESCRIPTOR, Role, shown};
use crate::{copied, nothing_behind, passed};

const BLOCK: usize = 512;
/// The longest name or extended header that is read.
const MAX_EXTENDED: u64 = 64 << 10;

/// An archive as it comes in.
#[derive(Debug)]
pub(crate) struct Tar {
    part: Part,
    held: Pending,
    extended: Extended,
    choosing: Choosing,
    entries: u64,
}

/// What comes next.
#[derive(Debug)]
enum Part {
    Header,
    /// So many bytes of the disk.
    Disk {
        left: u64,
        padding: u64,
    },
    /// What is wanted as a whole.
    Gathered {
        what: Gathered,
        left: u64,
        padding: u64,
        bytes: Vec<u8>,
    },
    /// What nobody wants.
    PassedOver(u64),
    /// Behind the first block of zeros, which is the end.
    Behind,
}

#[derive(Clone, Copy, Debug)]
enum Gathered {
    /// GNU's long name for the next entry.
    Name,
    /// pax's records for the next entry.
    Records,
    /// An OVF descriptor.
    Descriptor,
}

/// What stands in front of an entry for it.
#[derive(Debug, Default)]
struct Extended {
    path: Option<String>,
    size: Option<u64>,
    sparse: bool,
    /// What a sparse file is called, beside what stands in for its name.
    sparse_path: Option<String>,
}

impl Tar {
    /// With what was read of it already.
    pub(crate) fn new(held: Pending) -> Self {
        Self { part: Part::Header, held, extended: Extended::default(), choosing: Choosing::by_size(), entries: 0 }
    }

    pub(crate) const fn announced(&self) -> Option<&Announced> {
        self.choosing.announced()
    }

    pub(crate) fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let mut step = Step::default();
        loop {
            let rest = input.get(step.taken..).unwrap_or_default();
            match &mut self.part {
                Part::Header => {
                    step.taken += self.held.fill(rest, BLOCK);
                    let Some(header) = self.held.held().first_chunk::<BLOCK>() else { break };
                    let header = *header;
                    self.held.used(BLOCK);
                    self.part = self.header(&header)?;
                }
                Part::Disk { left: 0, padding } => self.part = Part::PassedOver(*padding),
                Part::Disk { left, .. } => {
                    let given = copied(rest, output, *left);
                    *left = left.saturating_sub(given as u64);
                    step.taken += given;
                    step.given = given;
                    break;
                }
                Part::Gathered { what, left: 0, padding, bytes } => {
                    let (what, padding, bytes) = (*what, *padding, std::mem::take(bytes));
                    self.part = Part::PassedOver(padding);
                    self.gathered(what, &bytes)?;
                }
                Part::Gathered { left, bytes, .. } => {
                    let more = passed(rest, *left);
                    bytes.extend_from_slice(rest.get(..more).unwrap_or_default());
                    *left = left.saturating_sub(more as u64);
                    step.taken += more;
                    if more == 0 {
                        break;
                    }
                }
                Part::PassedOver(0) => self.part = Part::Header,
                Part::PassedOver(left) => {
                    let more = passed(rest, *left);
                    *left = left.saturating_sub(more as u64);
                    step.taken += more;
                    if more == 0 {
                        break;
                    }
                }
                Part::Behind => {
                    // The last record is filled up with zeros; POSIX lets anything stand there, and nobody writes it.
                    nothing_behind("tar", rest)?;
                    step.taken = input.len();
                    step.ended = last;
                    break;
                }
            }
        }
        if last && step.taken == input.len() && step.given == 0 && !step.ended {
            return Err(match self.entries {
                0 => Refusal::invalid("no archive begins here"),
                _ => Refusal::invalid("the tar archive ends before its end"),
            });
        }
        Ok(step)
    }

    /// What a header says comes next.
    fn header(&mut self, header: &[u8; BLOCK]) -> Result<Part, Refusal> {
        if header.iter().all(|byte| *byte == 0) && self.entries > 0 {
            self.choosing.over()?;
            return Ok(Part::Behind);
        }
        if number(header, 148, 8) != Some(sum(header)) {
            return Err(match self.entries {
                0 => Refusal::invalid("no archive begins here"),
                _ => Refusal::invalid("a header of the tar archive does not have its checksum"),
            });
        }
        self.entries = self.entries.saturating_add(1);
        let kind = header.get(156).copied().unwrap_or_default();
        let stated =
            number(header, 124, 12).ok_or_else(|| Refusal::invalid("an entry of the tar archive has no size"))?;
        let gather = |what, most| {
            if stated > most {
                let message =
                    format!("a header of the tar archive has {stated} bytes, more than the {most} that are read");
                return Err(Refusal::limit(message));
            }
            Ok(Part::Gathered { what, left: stated, padding: padding(stated), bytes: Vec::new() })
        };
        match kind {
            b'L' => return gather(Gathered::Name, MAX_EXTENDED),
            b'x' => return gather(Gathered::Records, MAX_EXTENDED),
            // For all entries behind it, or of a link: neither says what a file is.
            b'g' | b'K' => return Ok(Part::PassedOver(padded(stated)?)),
            _ => {}
        }
        let Extended { path, size, sparse, sparse_path } = std::mem::take(&mut self.extended);
        let path = sparse_path.or(path).unwrap_or_else(|| stated_path(header));
        let size = size.unwrap_or(stated);
        match kind {
            b'0' | 0 | b'7' if !path.ends_with('/') => {}
            b'S' => {}
            // Links, devices and folders have no content, whatever stands in their size.
            b'1'..=b'6' => return Ok(Part::PassedOver(0)),
            _ => return Ok(Part::PassedOver(padded(size)?)),
        }
        let all = padded(size)?;
        match self.choosing.file(&path, Some(size))? {
            Role::Other => Ok(Part::PassedOver(all)),
            _ if sparse || kind == b'S' => Err(Refusal::invalid(format!(
                "{} is stored as a sparse file, which is not read: pack it without --sparse",
                shown(&path)
            ))),
            Role::Disk => Ok(Part::Disk { left: size, padding: padding(size) }),
            Role::Descriptor => gather(Gathered::Descriptor, MAX_DESCRIPTOR),
        }
    }

    fn gathered(&mut self, what: Gathered, bytes: &[u8]) -> Result<(), Refusal> {
        match what {
            Gathered::Name => self.extended.path = Some(text(bytes)),
            Gathered::Records => records(bytes, &mut self.extended)?,
            Gathered::Descriptor => self.choosing.descriptor(bytes)?,
        }
        Ok(())
    }
}

/// The records of a pax header: `LENGTH KEY=VALUE`, each with a line feed behind it.
fn records(mut bytes: &[u8], extended: &mut Extended) -> Result<(), Refusal> {
    let malformed = || Refusal::invalid("an extended header of the tar archive is malformed");
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let digits = bytes.get(..space).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(malformed)?;
        let length: usize = digits.parse().map_err(|_| malformed())?;
        let record =
            bytes.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let (key, value) = record.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        match key {
            b"path" => extended.path = Some(text(value)),
            b"size" => extended.size = Some(text(value).parse().map_err(|_| malformed())?),
            b"GNU.sparse.name" => (extended.sparse, extended.sparse_path) = (true, Some(text(value))),
            key if key.starts_with(b"GNU.sparse.") => extended.sparse = true,
            _ => {}
        }
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// The sum of a header's bytes, its own field taken as spaces.
fn sum(header: &[u8; BLOCK]) -> u64 {
    header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum()
}

/// A number in octal digits, or in GNU's base 256.
fn number(header: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = header.get(at..at.checked_add(length)?)?;
    if let Some(0x80) = field.first() {
        return field
            .get(1..)?
            .iter()
            .try_fold(0_u64, |sum, byte| sum.checked_mul(256).and_then(|sum| sum.checked_add(u64::from(*byte))));
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// Prefix and name of a ustar header, the name of another one.
fn stated_path(header: &[u8]) -> String {
    let name = text(header.get(..100).unwrap_or_default());
    let prefix = match header.get(257..263) {
        Some(b"ustar\0") => text(header.get(345..500).unwrap_or_default()),
        _ => String::new(),
    };
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

/// Up to a NUL, and what is not UTF-8 replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

const fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn padded(size: u64) -> Result<u64, Refusal> {
    size.checked_add(padding(size)).ok_or_else(|| Refusal::invalid("an entry of the tar archive is too large"))
}

#[cfg(test)]
mod tests {
    use filter_core::{Unwrapper as _, unwrapped};

    use super::*;
    use crate::Archive;

    fn header(name: &str, size: u64, kind: u8) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum = sum(header[..].try_into().unwrap());
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    fn entry(name: &str, bytes: &[u8], kind: u8) -> Vec<u8> {
        let padding = vec![0; padding(bytes.len() as u64) as usize];
        [header(name, bytes.len() as u64, kind), bytes.to_vec(), padding].concat()
    }

    fn end() -> Vec<u8> {
        vec![0; 2 * BLOCK]
    }

    fn read(archive: &[u8]) -> Result<Vec<u8>, String> {
        unwrapped(Archive::new(None, None), [archive], 1 << 16).map_err(|why| why.to_string())
    }

    fn disk() -> Vec<u8> {
        (0..70_001_u32).map(|at| (at.wrapping_mul(at) >> 3) as u8).collect()
    }

    #[test]
    fn the_disk_is_found_between_everything_else() {
        let record = "20 path=vm/disk.raw\n";
        let archive = [
            entry("vm", b"", b'5'),
            entry("all", b"19 comment=nothing\n", b'g'),
            entry("vm/README.txt", b"read me", b'0'),
            entry("link", b"", b'2'),
            entry("names", record.as_bytes(), b'x'),
            entry("short", &disk(), b'0'),
            entry("vm/disk.sha256", b"0", 0),
            end(),
            vec![0; 7000],
        ]
        .concat();
        assert!(read(&archive).unwrap() == disk());
        for (piece, room) in [(1, 1 << 16), (511, 7), (513, 1000)] {
            assert!(unwrapped(Archive::new(None, None), archive.chunks(piece), room).unwrap() == disk());
        }
        let mut tar = Archive::new(None, None);
        let mut at = 0;
        while tar.announced().is_none() {
            at += tar.step(&archive[at..], false, &mut [0; 10]).unwrap().taken;
        }
        assert_eq!(
            tar.announced().unwrap(),
            &Announced { size: Some(70_001), exact: true, name: Some("disk.raw".to_owned()) }
        );
    }

    #[test]
    fn long_names_and_large_sizes_are_read() {
        let long = "a".repeat(200) + "/disk.raw\0";
        let gnu = [entry("././@LongLink", long.as_bytes(), b'L'), entry("aaa", b"disk", b'0'), end()].concat();
        assert_eq!(read(&gnu).unwrap(), b"disk");
        let mut base256 = header("disk.raw", 0, b'0');
        base256[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
        let sum = sum(base256[..].try_into().unwrap());
        base256[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let archive = [base256, b"disk".to_vec(), vec![0; 508], end()].concat();
        assert_eq!(read(&archive).unwrap(), b"disk");
        let sized = [entry("p", b"9 size=4\n", b'x'), header("disk.raw", 0, b'0')].concat();
        let archive = [sized, b"disk".to_vec(), vec![0; 508], end()].concat();
        assert_eq!(read(&archive).unwrap(), b"disk");
    }

    #[test]
    fn what_is_cut_anywhere_is_refused() {
        let archive = [entry("a.txt", b"x", b'0'), entry("disk.raw", &disk()[..600], b'0'), end()].concat();
        for cut in 0..archive.len() - BLOCK {
            assert!(read(&archive[..cut]).is_err(), "{cut}");
        }
        assert!(read(&archive[..archive.len() - BLOCK]).is_ok(), "GNU tar, too, is content with one block of zeros");
    }

    #[test]
    fn what_is_not_one_disk_is_refused_by_name() {
        let disk = |name| entry(name, b"disk", b'0');
        for (archive, why) in [
            ([disk("a.raw"), disk("b.raw"), end()].concat(), "`a.raw` and `b.raw`"),
            ([disk("a.txt"), end()].concat(), "only `a.txt`"),
            ([entry("a.raw", b"disk", b'S'), end()].concat(), "`a.raw` is stored as a sparse file"),
            ([entry("p", b"22 GNU.sparse.major=1\n", b'x'), disk("a.raw"), end()].concat(), "sparse file"),
            ([entry("p", b"99 size=1\n", b'x'), disk("a.raw"), end()].concat(), "is malformed"),
            ([entry("p", &vec![b'1'; 70_000], b'x'), disk("a.raw"), end()].concat(), "more than the 65536"),
            (vec![0; 4096], "no archive begins here"),
            (b"QFI\xfb and so on".repeat(100), "no archive begins here"),
            (b"QF".to_vec(), "no archive begins here"),
            ([entry("a.txt", b"x", b'0'), vec![b'x'; 512]].concat(), "does not have its checksum"),
            ([disk("a.raw"), end(), disk("b.raw"), end()].concat(), "something follows the end of the tar archive"),
            ([disk("a.raw"), vec![0; BLOCK], b"x".to_vec()].concat(), "something follows the end of the tar archive"),
        ] {
            let refused = read(&archive).unwrap_err();
            assert!(refused.contains(why), "{why}: {refused}");
        }
    }

    #[test]
    fn the_disk_of_an_ova_is_the_one_its_descriptor_names() {
        let ovf = br#"<Envelope><References><File id="f" href="vm-disk1.vmdk"/><File id="g" href="x.iso"/></References>
            <DiskSection><Disk diskId="d" fileRef="f"/></DiskSection></Envelope>"#;
        let archive = [
            entry("vm.ovf", ovf, b'0'),
            entry("vm.mf", b"SHA256(vm.ovf)= 0", b'0'),
            entry("x.iso", b"an iso", b'0'),
            entry("vm-disk1.vmdk", &disk(), b'0'),
            end(),
        ]
        .concat();
        assert!(read(&archive).unwrap() == disk());
    }
}
