//! The disk in the first bytes of a tar layer.

use tar::{Archive, Entry};

/// Where container disks have their disk.
const FOLDER: &[u8] = b"disk/";

/// Name and size of the disk, if the layer is a tar that has one within its first bytes: the first file in `disk/`, as
/// those who use container disks look for it, which is no whiteout (OCI image-spec, layer.md). The name is as it stands
/// there, control characters aside.
pub(super) fn disk_entry(start: &[u8]) -> Option<(String, u64)> {
    let mut archive = Archive::new(start);
    // What is malformed or cut off ends the search: what came before it still counts.
    let entries = archive.entries().ok()?.map_while(Result::ok);
    entries.filter(|entry| entry.header().entry_type().is_file()).find_map(|entry| named(&entry))
}

fn named(entry: &Entry<'_, &[u8]>) -> Option<(String, u64)> {
    let path = entry.path_bytes();
    let path = path.strip_prefix(b"./").unwrap_or(&path);
    let name = path.strip_prefix(FOLDER).filter(|name| !name.is_empty() && !name.starts_with(b".wh."))?;
    let name: String = String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    Some((name, entry.size()))
}

#[cfg(test)]
mod tests {
    use tar::{Builder, EntryType, Header};

    use super::*;

    fn layer(files: &[(&str, usize)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, "disk/", &b""[..]).unwrap();
        for (name, size) in files {
            let mut header = Header::new_ustar();
            header.set_size(*size as u64);
            builder.append_data(&mut header, name, &vec![7; *size][..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn found(files: &[(&str, usize)]) -> Option<(String, u64)> {
        disk_entry(&layer(files))
    }

    #[test]
    fn the_first_file_in_disk_is_it() {
        assert_eq!(found(&[("disk/vm.raw", 5), ("disk/b", 6)]), Some(("vm.raw".to_owned(), 5)));
        assert_eq!(found(&[("etc/passwd", 5), ("./disk/vm.raw", 6)]), Some(("vm.raw".to_owned(), 6)));
        assert_eq!(found(&[("etc/passwd", 5), ("disk/.wh.vm", 6), ("disks/x", 1)]), None);
        let long = format!("disk/{}", "x".repeat(200));
        assert_eq!(found(&[(&long, 7)]), Some(("x".repeat(200), 7)));
    }

    #[test]
    fn a_layer_that_is_cut_off_is_enough() {
        let layer = layer(&[("disk/vm.raw", 100_000)]);
        assert_eq!(disk_entry(&layer[..1024]), Some(("vm.raw".to_owned(), 100_000)));
        assert_eq!(disk_entry(&layer[..1000]), None);
    }

    #[test]
    fn no_bytes_make_it_fail() {
        assert_eq!(disk_entry(b""), None);
        assert_eq!(disk_entry(&[0x1f; 4096]), None);
        assert_eq!(disk_entry(&[0; 4096]), None);
        let good = layer(&[("disk/vm.raw", 10)]);
        for at in 0..good.len().min(2048) {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = disk_entry(&bad);
        }
    }
}
