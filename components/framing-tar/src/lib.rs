//! One file under `disk/` in a tar layer, as container disks have it.
//!
//! POSIX.1-1988 ustar headers by the `tar` crate; a POSIX.1-2001 (pax) record for what does not fit them: a size of 8 GiB
//! or more, a path over 100 bytes, an owner over seven octal digits. Nothing in the layer depends on a clock, a host or
//! chance. This half is pure, testable without wasm; `component` is the glue to the `framing-component` world.

#[cfg(target_family = "wasm")]
mod component;

use std::io;

use tar::{EntryType, Header};

/// The media type of an uncompressed tar layer (OCI image-spec, layer.md).
pub const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Tar's unit, and what every entry is padded to.
const BLOCK: u64 = 512;
/// The end of an archive: two zero blocks.
const TRAILER: u64 = 2 * BLOCK;
/// The size field has eleven octal digits.
const MAX_USTAR_SIZE: u64 = (1 << 33) - 1;
/// The name field has 100 bytes; the prefix field is left alone, a pax record says it in full.
const MAX_USTAR_PATH: usize = 100;
/// The owner fields have seven octal digits.
const MAX_USTAR_ID: u32 = (1 << 21) - 1;

/// What is to be framed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// One path segment.
    pub name: String,
    /// Bytes of payload.
    pub size: u64,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
}

/// What stands around the payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The headers before it.
    pub before: Vec<u8>,
    /// Zero bytes behind it: padding and the two zero blocks.
    pub zeros_after: u64,
}

/// Frames `entry` as `disk/<name>`.
///
/// # Errors
/// `InvalidInput` if the name is not one path segment.
pub fn frame(entry: &Entry) -> io::Result<Frame> {
    if entry.name.is_empty() || matches!(entry.name.as_str(), "." | "..") || entry.name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is not one path segment"));
    }
    let path = format!("disk/{}", entry.name);
    let mut before = Vec::new();
    let pax = pax_records(entry, &path);

    push_directory(&mut before, entry)?;
    if !pax.is_empty() {
        push_pax(&mut before, entry, &pax)?;
    }
    let mut header = header(EntryType::Regular, 0o644, entry);
    set_path(&mut header, &path)?;
    // `set_size` would write base-256 for what does not fit, which is not ustar: the pax record has the size then.
    header.set_size(if entry.size > MAX_USTAR_SIZE { 0 } else { entry.size });
    push_header(&mut before, header);

    let padding = entry.size.next_multiple_of(BLOCK) - entry.size;
    Ok(Frame { before, zeros_after: padding + TRAILER })
}

fn push_directory(out: &mut Vec<u8>, entry: &Entry) -> io::Result<()> {
    let mut header = header(EntryType::Directory, 0o755, entry);
    let pax = id_records(entry);
    if !pax.is_empty() {
        push_pax(out, entry, &pax)?;
    }
    set_path(&mut header, "disk/")?;
    push_header(out, header);
    Ok(())
}

fn header(kind: EntryType, mode: u32, entry: &Entry) -> Header {
    let field = |id: u32| if id > MAX_USTAR_ID { 0 } else { u64::from(id) };
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(field(entry.uid));
    header.set_gid(field(entry.gid));
    header.set_size(0);
    header.set_mtime(0);
    header
}

/// Sets the name field, cut at a character's edge; whoever calls adds a pax record if it was cut.
fn set_path(header: &mut Header, path: &str) -> io::Result<()> {
    let cut = path.floor_char_boundary(MAX_USTAR_PATH);
    header.set_path(path.get(..cut).unwrap_or_default())
}

fn push_header(out: &mut Vec<u8>, mut header: Header) {
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

fn push_pax(out: &mut Vec<u8>, entry: &Entry, records: &[(&str, String)]) -> io::Result<()> {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
    let plain = Entry { uid: 0, gid: 0, ..entry.clone() };
    let mut header = header(EntryType::XHeader, 0o644, &plain);
    header.set_path("PaxHeaders/disk")?;
    header.set_size(body.len() as u64);
    push_header(out, header);
    out.extend_from_slice(&body);
    out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
    Ok(())
}

fn pax_records(entry: &Entry, path: &str) -> Vec<(&'static str, String)> {
    let mut records = id_records(entry);
    if path.len() > MAX_USTAR_PATH {
        records.push(("path", path.to_owned()));
    }
    if entry.size > MAX_USTAR_SIZE {
        records.push(("size", entry.size.to_string()));
    }
    records
}

fn id_records(entry: &Entry) -> Vec<(&'static str, String)> {
    let ids = [("uid", entry.uid), ("gid", entry.gid)];
    ids.into_iter().filter(|(_, id)| *id > MAX_USTAR_ID).map(|(key, id)| (key, id.to_string())).collect()
}

/// `"%d %s=%s\n"` with the length of the whole record, its own digits included (POSIX.1-2001 pax, Extended Header).
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn entry(name: &str, size: u64) -> Entry {
        Entry { name: name.to_owned(), size, uid: 107, gid: 107 }
    }

    fn layer(entry: &Entry) -> Vec<u8> {
        let frame = frame(entry).unwrap();
        let mut layer = frame.before;
        layer.resize(layer.len() + entry.size as usize, b'x');
        layer.resize(layer.len() + frame.zeros_after as usize, 0);
        layer
    }

    #[test]
    fn a_reader_finds_the_directory_and_the_file() {
        for size in [0, 1, 511, 512, 513, 1_000_003] {
            let layer = layer(&entry("vm.qcow2", size));
            assert_eq!(layer.len() % 512, 0);
            let mut archive = tar::Archive::new(layer.as_slice());
            let mut entries = archive.entries().unwrap();
            let directory = entries.next().unwrap().unwrap();
            assert_eq!(directory.path_bytes().as_ref(), b"disk/");
            assert_eq!(directory.header().mode().unwrap(), 0o755);
            let mut file = entries.next().unwrap().unwrap();
            assert_eq!(file.path_bytes().as_ref(), b"disk/vm.qcow2");
            let header = file.header();
            assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap()), (0o644, 107, 0));
            let mut payload = Vec::new();
            file.read_to_end(&mut payload).unwrap();
            assert_eq!(payload, vec![b'x'; size as usize]);
            assert!(entries.next().is_none());
        }
    }

    #[test]
    fn the_layer_is_the_same_to_the_byte_every_time() {
        assert_eq!(frame(&entry("a", 7)).unwrap(), frame(&entry("a", 7)).unwrap());
        assert_eq!(frame(&entry("a", 7)).unwrap().zeros_after, 505 + 1024);
        assert_eq!(frame(&entry("a", 512)).unwrap().zeros_after, 1024);
    }

    #[test]
    fn a_size_from_8_gib_on_is_in_a_pax_record_and_not_in_base_256() {
        let small = frame(&entry("a", MAX_USTAR_SIZE)).unwrap();
        assert_eq!(small.before.len(), 1024);
        let large = frame(&entry("a", MAX_USTAR_SIZE + 1)).unwrap();
        assert_eq!(large.before.len(), 2048);
        let mut archive = tar::Archive::new(large.before.as_slice());
        let file = archive.entries().unwrap().nth(1).unwrap().unwrap();
        assert_eq!(file.size(), MAX_USTAR_SIZE + 1);
        assert_eq!(&large.before[1536 + 124..1536 + 136], b"00000000000\0");
    }

    #[test]
    fn a_long_path_is_in_a_pax_record() {
        let name = "ä".repeat(120);
        let mut archive_bytes = frame(&entry(&name, 0)).unwrap().before;
        archive_bytes.resize(archive_bytes.len() + 1024, 0);
        let mut archive = tar::Archive::new(archive_bytes.as_slice());
        let file = archive.entries().unwrap().nth(1).unwrap().unwrap();
        assert_eq!(file.path().unwrap().to_str().unwrap(), format!("disk/{name}"));
    }

    #[test]
    fn an_owner_beyond_seven_octal_digits_is_in_a_pax_record() {
        let frame = frame(&Entry { uid: u32::MAX, ..entry("a", 0) }).unwrap();
        let text = String::from_utf8_lossy(&frame.before);
        assert_eq!(text.matches("18 uid=4294967295\n").count(), 2);
    }

    #[test]
    fn the_length_of_a_pax_record_counts_its_own_digits() {
        assert_eq!(pax_record("size", "8589934592"), b"19 size=8589934592\n");
        for length in 0..300 {
            let record = pax_record("path", &"x".repeat(length));
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), record.len());
        }
    }

    #[test]
    fn a_name_that_is_no_segment_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc", "a\0"] {
            assert!(frame(&entry(name, 0)).is_err(), "{name:?}");
        }
    }
}
