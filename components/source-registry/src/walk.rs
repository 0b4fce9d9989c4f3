//! The entries of a tar layer, one after the other, up to the disk and behind it (POSIX.1-2017, pax "ustar Interchange Format"; GNU tar
//! "Basic Tar Format"; OCI image-spec, layer.md).

use crate::Refusal;
use crate::pax::Pax;

/// The size of a block.
const BLOCK: usize = 512;
/// Where container disks have their disk.
const FOLDER: &[u8] = b"disk/";
/// The most bytes of an extended header or a long name.
const MAX_EXTENDED: u64 = 64 * 1024;
/// The most entries of a layer.
const MAX_ENTRIES: u32 = 100_000;
/// How gzip, zstd, xz and bzip2 begin.
const COMPRESSED: [&[u8]; 4] = [b"\x1F\x8B", b"\x28\xB5\x2F\xFD", b"\xFD7zXZ\0", b"BZh"];
/// The largest file: its layer's length still has to have 63 bits.
const MAX_SIZE: u64 = 1 << 62;

/// A walk through a tar.
#[derive(Default)]
pub struct Walk {
    state: State,
    /// The beginning of a block that is not there yet.
    block: Vec<u8>,
    /// What stands in front of the next entry.
    long_name: Option<Vec<u8>>,
    extended: Option<Pax>,
    global: Pax,
    entries: u32,
    zeros: bool,
    sole: Sole,
    behind: Option<Behind>,
}

/// The disk of a layer further down, and whether this one takes it away.
struct Behind {
    path: Vec<u8>,
    hidden: bool,
}

/// Whether the disk must be all there is.
#[derive(Default)]
enum Sole {
    #[default]
    No,
    /// Nothing but folders so far.
    Wanted,
    /// The disk was seen: nothing may follow.
    Seen,
}

#[derive(Default)]
enum State {
    #[default]
    Header,
    /// An extended header or a long name.
    Body {
        kind: u8,
        left: u64,
        padding: u64,
        bytes: Vec<u8>,
    },
    /// Bytes that nobody wants.
    Skipping(u64),
    Over,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// More bytes are needed.
    More,
    /// So many bytes are of no interest; they may be passed by [`Walk::skipped`], or taken.
    Skip(u64),
    /// A disk: its first byte is next. [`Walk::skipped`] passes it, too.
    Disk(Disk),
    /// The tar ends without a disk.
    End,
}

/// A file in `disk/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it stands, without `./`.
    pub path: Vec<u8>,
    /// Its name, without folders.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

impl Walk {
    /// A walk through a tar that must have nothing but its disk, and folders, and be read alike by whoever reads it. It is to be led
    /// to the tar's end.
    #[must_use]
    pub fn of_sole() -> Self {
        Self { sole: Sole::Wanted, ..Self::default() }
    }

    /// The same walk through a layer over that of a disk at `path`.
    #[must_use]
    pub fn behind(self, path: &[u8]) -> Self {
        Self { behind: Some(Behind { path: path.to_vec(), hidden: false }), ..self }
    }

    /// Whether what was seen so far takes the disk of the layer further down away: a whiteout, or something else in its place.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.hidden)
    }

    /// Takes bytes, up to where something is seen.
    ///
    /// # Errors
    /// `Invalid` if it is no tar or has more than it may, `Unsupported` for a disk without its holes, `Limit` for too many entries.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Seen, Refusal> {
        loop {
            match &mut self.state {
                State::Over => return self.sole.ended(bytes).map(|()| Seen::End),
                State::Skipping(0) => self.state = State::Header,
                State::Skipping(left) => {
                    let taken = cut(bytes, *left);
                    *left -= taken.len() as u64;
                    if *left > 0 {
                        return Ok(Seen::Skip(*left));
                    }
                }
                State::Body { left: 0, padding, kind, bytes: body } => {
                    let (kind, padding, body) = (*kind, *padding, std::mem::take(body));
                    self.state = State::Skipping(padding);
                    self.extended_by(kind, body)?;
                }
                State::Body { left, bytes: body, .. } => {
                    let taken = cut(bytes, *left);
                    if taken.is_empty() {
                        return Ok(Seen::More);
                    }
                    *left -= taken.len() as u64;
                    body.extend_from_slice(taken);
                }
                State::Header => {
                    let wanted = BLOCK.saturating_sub(self.block.len()) as u64;
                    self.block.extend_from_slice(cut(bytes, wanted));
                    if self.block.len() < BLOCK {
                        return Ok(Seen::More);
                    }
                    let block = std::mem::take(&mut self.block);
                    if let Some(disk) = self.header(&block)? {
                        return Ok(Seen::Disk(disk));
                    }
                }
            }
        }
    }

    /// So many bytes of what [`Seen::Skip`] said were passed.
    pub const fn skipped(&mut self, bytes: u64) {
        if let State::Skipping(left) = &mut self.state {
            *left = left.saturating_sub(bytes);
        }
    }

    /// Nothing more is to be seen.
    pub fn end(&mut self) {
        self.state = State::Over;
    }

    fn header(&mut self, block: &[u8]) -> Result<Option<Disk>, Refusal> {
        if block.iter().all(|byte| *byte == 0) {
            // Two of them are the end; readers differ about a single one.
            if std::mem::replace(&mut self.zeros, true) {
                self.state = State::Over;
            }
            return Ok(None);
        }
        if std::mem::take(&mut self.zeros) {
            self.sole.goes_on()?;
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(Refusal::Limit(format!("the layer has more than {MAX_ENTRIES} entries")));
        }
        let header = Header { block };
        if !header.is_sound() {
            return Err(Refusal::Invalid("the layer is no tar: a header's checksum is wrong".to_owned()));
        }
        if self.entries == 1 {
            self.sole.begins(block)?;
        }
        let stated =
            header.size().ok_or_else(|| Refusal::Invalid("the layer has an entry without a size".to_owned()))?;
        let kind = header.kind();
        if matches!(kind, b'x' | b'g' | b'L' | b'K') {
            let again = match kind {
                b'x' => self.extended.is_some(),
                b'L' => self.long_name.is_some(),
                other => other == b'g',
            };
            self.sole.extended(again)?;
            if stated > MAX_EXTENDED {
                let message =
                    format!("the layer has an extended header of {stated} bytes, expected at most {MAX_EXTENDED}");
                return Err(Refusal::Limit(message));
            }
            self.state = State::Body { kind, left: stated, padding: padding(stated), bytes: Vec::new() };
            return Ok(None);
        }
        let pax = self.extended.take().unwrap_or_default().over(&self.global);
        let long_name = self.long_name.take();
        self.sole.extended(pax.path.is_some() && long_name.is_some())?;
        let size = pax.size.unwrap_or(stated);
        if size > MAX_SIZE {
            return Err(Refusal::Invalid(format!("the layer has an entry of {size} bytes")));
        }
        let path = pax.path.or(long_name).unwrap_or_else(|| header.path());
        let name = disk_name(&path).filter(|_| matches!(kind, b'0' | 0 | b'7' | b'S'));
        let has = Has { kind, content: stated.max(size) > 0, sparse: pax.sparse };
        self.sole.sees(&path, &has, name.is_some())?;
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        if let Some(behind) = &mut self.behind {
            behind.hidden |= hides(path, kind, &behind.path);
        }
        let Some(name) = name else {
            // Links, folders and devices have no bytes, whatever their size says.
            let content = if matches!(kind, b'1'..=b'6') { 0 } else { size };
            self.state = State::Skipping(content.saturating_add(padding(content)));
            return Ok(None);
        };
        // Over another one it is one all the same: whoever opens it says so.
        if (pax.sparse || kind == b'S') && self.behind.is_none() {
            let message = format!("`{name}` is stored without its holes (GNU sparse), which is not supported");
            return Err(Refusal::Unsupported(message));
        }
        self.state = State::Skipping(size.saturating_add(padding(size)));
        Ok(Some(Disk { path: path.to_vec(), name, size }))
    }

    fn extended_by(&mut self, kind: u8, body: Vec<u8>) -> Result<(), Refusal> {
        match kind {
            b'x' => self.extended.get_or_insert_default().read(&body).map_err(Refusal::Invalid),
            b'g' => self.global.read(&body).map_err(Refusal::Invalid),
            b'L' => {
                let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
                self.long_name = Some(body.get(..end).unwrap_or_default().to_vec());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// What a header says of its entry besides its path.
struct Has {
    kind: u8,
    content: bool,
    sparse: bool,
}

/// Readers differ about a tar that is out of the ordinary: what one takes for content is the next entry to another. Of a disk that
/// must be the same one to all of them there is nothing like that. What Go's `archive/tar` does, which container engines read
/// layers with, is what it is held against.
impl Sole {
    /// The first block. Engines look for compression themselves, whatever the media type says, and a name can look like that.
    fn begins(&self, block: &[u8]) -> Result<(), Refusal> {
        let skippable = matches!(block, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]);
        self.refuses(skippable || COMPRESSED.iter().any(|magic| block.starts_with(magic)), || {
            "the layer is a tar that begins like something compressed".to_owned()
        })
    }

    /// An extended header, or a long name, of which some readers make nothing. Go's applies no global ones, and of two only the last.
    fn extended(&self, twofold: bool) -> Result<(), Refusal> {
        self.refuses(twofold, || {
            "the layer has a global extended header, or several for one entry, which readers take differently"
                .to_owned()
        })
    }

    /// A header behind one block of zeros.
    fn goes_on(&self) -> Result<(), Refusal> {
        self.refuses(true, || "the layer goes on behind a block of zeros, where some readers end".to_owned())
    }

    /// Bytes behind the end.
    fn ended(&self, bytes: &mut &[u8]) -> Result<(), Refusal> {
        match self {
            Self::No => Ok(()),
            Self::Wanted | Self::Seen => {
                let behind = cut(bytes, u64::MAX).iter().any(|byte| *byte != 0);
                self.refuses(behind, || "the layer has more than zeros behind the tar's end".to_owned())
            }
        }
    }

    /// An entry of a tar. What readers of container disks would make of a second one differs from reader to reader. A folder with
    /// content is none: Go's reader looks for the next header where others look for the content.
    fn sees(&mut self, path: &[u8], has: &Has, is_disk: bool) -> Result<(), Refusal> {
        let is_folder = !has.content && !has.sparse && (has.kind == b'5' || has.kind == 0 && path.ends_with(b"/"));
        match self {
            Self::Wanted if is_disk && has.kind != b'7' => {
                *self = Self::Seen;
                Ok(())
            }
            Self::No => Ok(()),
            Self::Wanted | Self::Seen => self.refuses(!is_folder, || {
                let path: String =
                    String::from_utf8_lossy(path).chars().filter(|c| !c.is_control()).take(100).collect();
                format!("the layer has `{path}` besides one disk")
            }),
        }
    }

    fn refuses(&self, what: bool, says: impl FnOnce() -> String) -> Result<(), Refusal> {
        match (self, what) {
            (Self::Wanted | Self::Seen, true) => Err(Refusal::Invalid(says())),
            _ => Ok(()),
        }
    }
}

/// The name of a disk at that path, if it is one and no whiteout.
fn disk_name(path: &[u8]) -> Option<String> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let rest = path.strip_prefix(FOLDER)?;
    let name = rest.rsplit(|byte| *byte == b'/').next()?;
    let is_one = !name.is_empty() && !name.starts_with(b".wh.");
    is_one.then(|| String::from_utf8_lossy(name).into_owned())
}

/// Whether an entry at `path` takes a file at `disk` in a layer further down away (OCI image-spec, layer.md): a whiteout of it, of
/// a folder around it or of all that a folder has, or something that is no such folder, or no file, in its place.
fn hides(path: &[u8], kind: u8, disk: &[u8]) -> bool {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let within = |folder: &[u8]| disk.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"));
    let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => path.split_at_checked(at).unwrap_or_default(),
        None => (&b""[..], path),
    };
    match name.strip_prefix(b"/").unwrap_or(name).strip_prefix(b".wh.") {
        Some(b".wh..opq") => folder.is_empty() || within(folder),
        Some(name) => {
            let target = if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() };
            disk == target || within(&target)
        }
        None => match kind {
            b'5' => disk == path,
            b'1'..=b'6' => disk == path || within(path),
            _ => within(path),
        },
    }
}

/// Takes at most `most` bytes off the front.
fn cut<'a>(bytes: &mut &'a [u8], most: u64) -> &'a [u8] {
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    let (taken, rest) = bytes.split_at_checked(most).unwrap_or_default();
    *bytes = rest;
    taken
}

/// What follows content of that size up to the next block.
const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The header of an entry.
struct Header<'a> {
    block: &'a [u8],
}

impl Header<'_> {
    fn field(&self, from: usize, length: usize) -> &[u8] {
        self.block.get(from..from.saturating_add(length)).unwrap_or_default()
    }

    /// A field up to its first zero byte.
    fn text(&self, from: usize, length: usize) -> &[u8] {
        self.field(from, length).split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    /// The checksum is over the header with blanks in its own place; some old writers added signed bytes.
    fn is_sound(&self) -> bool {
        let counted = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
        let bytes = || self.block.iter().enumerate().map(|(at, byte)| counted(at, *byte));
        let unsigned: i64 = bytes().map(i64::from).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let stated = octal(self.field(148, 8)).and_then(|sum| i64::try_from(sum).ok());
        stated.is_some_and(|stated| stated == unsigned || stated == signed)
    }

    /// Octal, or in base 256 (GNU) where the first bit is set.
    fn size(&self) -> Option<u64> {
        let field = self.field(124, 12);
        match field.first() {
            Some(0x80) => {
                let (high, low) = field.get(1..)?.split_at_checked(3)?;
                high.iter().all(|byte| *byte == 0).then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            }
            Some(first) if *first > 0x80 => None,
            _ => octal(field),
        }
    }

    fn path(&self) -> Vec<u8> {
        let (name, prefix) = (self.text(0, 100), self.text(345, 155));
        // GNU's own format has other things there.
        let ustar = self.field(257, 6) == b"ustar\0";
        if ustar && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
    }
}

/// A number in octal digits, with blanks or zeros around it.
fn octal(field: &[u8]) -> Option<u64> {
    let digits: Vec<u8> = field.iter().copied().skip_while(|byte| *byte == b' ').collect();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let digits = digits.get(..end).filter(|digits| !digits.is_empty())?;
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use tar::{Builder, EntryType, Header as Written};

    use super::*;

    fn entry(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, size: usize) {
        let mut header = Written::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(if kind.is_file() { size as u64 } else { 0 });
        let content = vec![7; if kind.is_file() { size } else { 0 }];
        if kind.is_symlink() || kind.is_hard_link() {
            builder.append_link(&mut header, path, "elsewhere").unwrap();
        } else {
            builder.append_data(&mut header, path, &content[..]).unwrap();
        }
    }

    fn layer(entries: &[(EntryType, &str, usize)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        entries.iter().for_each(|(kind, path, size)| entry(&mut builder, *kind, path, *size));
        builder.into_inner().unwrap()
    }

    /// What a walk in pieces of that size sees, and how many bytes it took; what may be skipped is, if `skips`.
    fn walk(tar: &[u8], piece: usize, skips: bool) -> Result<(Option<Disk>, usize), Refusal> {
        let (mut walk, mut at) = (Walk::default(), 0);
        while at < tar.len() {
            let mut bytes = &tar[at..tar.len().min(at + piece)];
            let given = bytes.len();
            let seen = walk.take(&mut bytes)?;
            at += given - bytes.len();
            match seen {
                Seen::Disk(disk) => return Ok((Some(disk), at)),
                Seen::End => return Ok((None, at)),
                Seen::Skip(left) if skips => {
                    walk.skipped(left);
                    at += left as usize;
                }
                Seen::Skip(_) | Seen::More => assert!(given > bytes.len(), "it goes on"),
            }
        }
        Ok((None, at))
    }

    fn found(entries: &[(EntryType, &str, usize)]) -> Option<(String, u64)> {
        let tar = layer(entries);
        let whole = walk(&tar, tar.len(), false).unwrap();
        for piece in [1, 7, 511, 512, 513, 4096] {
            for skips in [false, true] {
                assert_eq!(walk(&tar, piece, skips).unwrap(), whole, "{piece}");
            }
        }
        if let (Some(disk), at) = &whole {
            assert!(tar[*at..*at + disk.size as usize].iter().all(|byte| *byte == 7));
        }
        whole.0.map(|disk| (disk.name, disk.size))
    }

    #[test]
    fn the_first_file_in_disk_is_it() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let named = |name: &str, size| Some((name.to_owned(), size));
        assert_eq!(found(&[(Directory, "disk/", 0), (Regular, "disk/vm.raw", 513)]), named("vm.raw", 513));
        assert_eq!(found(&[(Regular, "etc/x", 700), (Regular, "./disk/vm.raw", 0)]), named("vm.raw", 0));
        assert_eq!(found(&[(Regular, "disk/a/b/vm.raw", 3)]), named("vm.raw", 3));
        assert_eq!(found(&[(Regular, "disk/.wh.vm", 1), (Regular, "disks/x", 1), (Regular, "x/disk/y", 1)]), None);
        assert_eq!(found(&[(Symlink, "disk/a", 0), (Link, "disk/b", 0), (Regular, "disk/c", 9)]), named("c", 9));
        let long = "x".repeat(200);
        assert_eq!(found(&[(Regular, &format!("disk/{long}"), 5)]), named(&long, 5));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_sole_disk_has_nothing_but_folders_around_it() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let sole = |entries: &[(EntryType, &str, usize)]| {
            let tar = layer(entries);
            let (mut walk, mut bytes, mut disks) = (Walk::of_sole(), &tar[..], 0);
            loop {
                match walk.take(&mut bytes)? {
                    Seen::Disk(_) => disks += 1,
                    Seen::End => return Ok(disks),
                    Seen::More | Seen::Skip(_) => panic!("the tar is whole"),
                }
            }
        };
        let (folder, disk) = ((Directory, "disk/", 0), (Regular, "disk/vm.raw", 513));
        assert_eq!(sole(&[folder, disk, (Directory, "etc/", 0)]), Ok(1));
        assert_eq!(sole(&[(Directory, "a/", 0)]), Ok(0));
        for other in [
            (Regular, "disk/other", 1),
            (Regular, "disk/vm.raw", 513),
            (Regular, "etc/x", 1),
            (Regular, "disk/.wh.vm.raw", 0),
            (Symlink, "disk/link", 0),
            (Link, "disk/link", 0),
            (Symlink, "disks", 0),
        ] {
            for entries in [[folder, other, disk], [folder, disk, other]] {
                assert!(matches!(sole(&entries), Err(Refusal::Invalid(_))), "{other:?}");
            }
        }
    }

    /// A header as it is written by hand, with its padded content.
    fn by_hand(kind: u8, path: &[u8], size: u64, content: &[u8]) -> Vec<u8> {
        let mut header = Written::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.as_mut_bytes()[156] = kind;
        header.set_mode(0o644);
        header.set_size(size);
        header.set_cksum();
        let padding = vec![0; padding(content.len() as u64) as usize];
        [header.as_bytes(), content, &padding].concat()
    }

    /// What a walk to the end of one that must be the same to every reader says, however it is fed.
    fn alike(parts: &[Vec<u8>]) -> Result<usize, Refusal> {
        let tar = parts.concat();
        let walked = |piece: usize| {
            let (mut walk, mut disks) = (Walk::of_sole(), 0);
            for mut piece in tar.chunks(piece) {
                while let Seen::Disk(_) = walk.take(&mut piece)? {
                    disks += 1;
                }
                assert!(piece.is_empty());
            }
            Ok(disks)
        };
        let whole = walked(tar.len());
        assert_eq!(walked(100), whole);
        whole
    }

    #[test]
    fn a_sole_disk_is_the_same_one_to_every_reader() {
        let (end, disk) = (vec![0; 1024], by_hand(b'0', b"disk/vm.raw", 513, &[7; 513]));
        let folder = |kind, content: &[u8]| by_hand(kind, b"disk/", content.len() as u64, content);
        let records = |kind, records: &[u8]| by_hand(kind, b"pax", records.len() as u64, records);
        let path = records(b'x', b"22 path=disk/vm.qcow2\n");
        let long_name = records(b'L', b"disk/vm.img\0");
        for sound in [
            vec![folder(b'5', b""), disk.clone(), end.clone(), vec![0; 9000]],
            vec![folder(0, b""), path.clone(), disk.clone(), end.clone()],
            vec![long_name.clone(), disk.clone(), records(b'x', b"11 mtime=1\n"), folder(b'5', b""), end.clone()],
            vec![disk.clone()],
        ] {
            assert_eq!(alike(&sound), Ok(1));
        }
        let hidden = by_hand(b'0', b"disk/evil", 3, b"bad");
        for (why, twofold) in [
            ("besides", vec![folder(0, &hidden), disk.clone(), end.clone()]),
            ("besides", vec![folder(b'0', b""), disk.clone(), end.clone()]),
            ("besides", vec![by_hand(b'5', b"disk/", 1024, b""), disk.clone(), end.clone()]),
            ("besides", vec![records(b'x', b"12 size=512\n"), folder(b'5', b""), disk.clone(), end.clone()]),
            ("besides", vec![records(b'x', b"22 GNU.sparse.major=1\n"), folder(b'5', b""), disk.clone()]),
            ("besides", vec![by_hand(b'7', b"disk/vm.raw", 3, b"bad"), end.clone()]),
            ("global", vec![records(b'g', b"13 size=1024\n"), disk.clone(), end.clone()]),
            ("several", vec![path.clone(), records(b'x', b"11 mtime=1\n"), disk.clone(), end.clone()]),
            ("several", vec![long_name.clone(), long_name.clone(), disk.clone(), end.clone()]),
            ("several", vec![path, long_name, disk.clone(), end.clone()]),
            ("block of zeros", vec![disk.clone(), vec![0; 512], folder(b'5', b""), end.clone()]),
            ("behind the tar's end", vec![disk.clone(), end.clone(), vec![0; 700], vec![1]]),
            ("behind the tar's end", vec![disk.clone(), end.clone(), hidden]),
            ("compressed", vec![by_hand(b'5', b"\x1F\x8B\x08\x04/", 0, b""), disk.clone(), end.clone()]),
            ("compressed", vec![by_hand(b'5', b"\x5A\x2A\x4D\x18/", 0, b""), disk.clone(), end.clone()]),
            ("compressed", vec![by_hand(b'x', b"BZh", 11, b"11 mtime=1\n"), disk, end]),
        ] {
            let refused = alike(&twofold);
            assert!(matches!(&refused, Err(Refusal::Invalid(says)) if says.contains(why)), "{why}: {refused:?}");
        }
    }

    #[test]
    fn a_second_file_in_disk_is_seen_behind_the_first() {
        use EntryType::{Directory, Regular};
        for (behind, expected) in [
            (&[(Regular, "disk/b.raw", 9)][..], Some("b.raw")),
            (&[(Regular, "etc/x", 600), (Directory, "disk/", 0), (Regular, "disk/b.raw", 0)], Some("b.raw")),
            (&[(Regular, "etc/x", 600), (Regular, "disk/.wh.b", 0)], None),
            (&[], None),
        ] {
            for size in [0, 3, 512, 5000] {
                let tar = layer(&[&[(Regular, "disk/a.raw", size)], behind].concat());
                for piece in [1, 512, tar.len()] {
                    let mut walk = Walk::default();
                    let mut rest = &tar[..];
                    let Ok(Seen::Disk(first)) = walk.take(&mut rest) else { panic!("a disk") };
                    walk.skipped(first.size);
                    let other = rest[size..].chunks(piece).find_map(|mut part| match walk.take(&mut part).unwrap() {
                        Seen::Disk(other) => Some(other.name),
                        _ => None,
                    });
                    assert_eq!(other.as_deref(), expected, "{behind:?} {size} {piece}");
                }
            }
        }
    }

    #[test]
    fn a_later_layer_takes_away_what_it_whites_out_or_replaces() {
        for (path, kind, hidden) in [
            ("disk/.wh.vm", b'0', true),
            ("disk/.wh.other", b'0', false),
            ("disk/.wh.vm.raw", b'0', false),
            (".wh.disk", b'0', true),
            ("disk/.wh..wh..opq", b'0', true),
            (".wh..wh..opq", b'0', true),
            ("etc/.wh..wh..opq", b'0', false),
            ("disk/vm", b'2', true),
            ("disk/vm", b'0', false),
            ("disk/vm/", b'5', true),
            ("disk", b'2', true),
            ("disk", b'0', true),
            ("disk/", b'5', false),
            ("dis", b'2', false),
            ("etc/disk", b'2', false),
        ] {
            assert_eq!(hides(path.as_bytes(), kind, b"disk/vm"), hidden, "{path} {kind}");
        }
        let tar = layer(&[(EntryType::Regular, "./disk/.wh.a", 0), (EntryType::Regular, "disk/b", 3)]);
        let mut walk = Walk::default().behind(b"disk/a");
        assert!(matches!(walk.take(&mut &tar[..]), Ok(Seen::Disk(disk)) if disk.path == b"disk/b"));
        assert!(walk.hides());
    }

    fn pax(path: &str, size: u64, keys: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions(keys.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
        entry(&mut builder, EntryType::Regular, path, size as usize);
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_extended_header_counts_more() {
        let tar = pax("disk/a", 0, &[("path", "disk/other"), ("size", "9000000000")]);
        let expected = Disk { path: b"disk/other".to_vec(), name: "other".to_owned(), size: 9_000_000_000 };
        assert_eq!(walk(&tar, 512, true).unwrap().0, Some(expected));
        let sparse = pax("disk/a", 3, &[("GNU.sparse.major", "1")]);
        assert!(matches!(walk(&sparse, 512, false), Err(Refusal::Unsupported(_))));
        let elsewhere = pax("disk/a", 3, &[("path", "etc/a")]);
        assert_eq!(walk(&elsewhere, 512, false).unwrap().0, None);
    }

    #[test]
    fn sizes_are_octal_or_in_base_256() {
        let mut header = Written::new_gnu();
        for size in [0, 1, 0o77_777_777_777, 8 << 30, MAX_SIZE] {
            header.set_size(size);
            assert_eq!(Header { block: header.as_bytes() }.size(), Some(size));
        }
        for field in [*b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", *b"9           ", *b"            "] {
            header.as_mut_bytes()[124..136].copy_from_slice(&field);
            assert_eq!(Header { block: header.as_bytes() }.size(), None);
        }
    }

    #[test]
    fn what_is_no_tar_is_refused() {
        assert!(matches!(walk(&[7; 1024], 512, false), Err(Refusal::Invalid(_))));
        let mut tar = layer(&[(EntryType::Regular, "disk/a", 3)]);
        tar[0] ^= 1;
        assert!(matches!(walk(&tar, 512, false), Err(Refusal::Invalid(_))));
        let cut = &layer(&[(EntryType::Regular, "etc/a", 3000)])[..600];
        assert_eq!(walk(cut, 512, false).unwrap().0, None, "its reader knows that it was cut");
        let many = layer(&[(EntryType::Directory, "a/", 0); 1]);
        let many: Vec<u8> = many[..512].repeat(MAX_ENTRIES as usize + 1);
        assert!(matches!(walk(&many, 1 << 20, false), Err(Refusal::Limit(_))));
        let mut long = Written::new_gnu();
        long.set_entry_type(EntryType::XHeader);
        long.set_size(MAX_EXTENDED + 1);
        long.set_cksum();
        assert!(matches!(walk(long.as_bytes(), 512, false), Err(Refusal::Limit(_))));
    }
}
