//! Which of the files in an archive is the disk.

use filter_core::{Announced, Refusal};

use crate::ovf;

/// What goes with disks and is none, by its ending: descriptors, manifests, checksums, signatures, notes, and what programs
/// keep beside their machines.
const COMPANIONS: [&str; 26] = [
    "asc",
    "cert",
    "html",
    "json",
    "log",
    "md",
    "md5",
    "mf",
    "minisig",
    "nvram",
    "ovf",
    "pdf",
    "pem",
    "rtf",
    "sha1",
    "sha256",
    "sha512",
    "sig",
    "txt",
    "vbox",
    "vbox-prev",
    "vmsd",
    "vmx",
    "vmxf",
    "xml",
    "yaml",
];
/// The longest descriptor that is read.
pub(crate) const MAX_DESCRIPTOR: u64 = 1 << 20;
/// The most names that an error lists.
const MAX_NAMES: usize = 8;
/// The most characters of a name that are shown.
const MAX_SHOWN: usize = 128;

/// Chooses as the entries come.
#[derive(Debug, Default)]
pub(crate) struct Choosing {
    /// The name that the descriptor gives.
    expected: Option<String>,
    disk: Option<String>,
    announced: Option<Announced>,
    /// Whether sizes are what bounds the entries, and no mere claims.
    exact: bool,
    /// The first names that were passed over.
    others: Vec<String>,
    entries: u64,
}

/// What to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is the disk.
    Disk,
    /// It says which file is.
    Descriptor,
    /// Pass it over.
    Other,
}

impl Choosing {
    /// Of an archive whose entries are as long as it says, since nothing else says where they end.
    pub(crate) fn by_size() -> Self {
        Self { exact: true, ..Self::default() }
    }

    /// The next regular file. Its size is announced if it is the disk.
    pub(crate) fn file(&mut self, path: &str, size: Option<u64>) -> Result<Role, Refusal> {
        let path = path.trim_start_matches("./");
        let first = self.entries == 0;
        self.entries = self.entries.saturating_add(1);
        if first && ending(path) == "ovf" {
            return match size {
                Some(size) if size > MAX_DESCRIPTOR => Err(Refusal::limit(format!(
                    "the OVF descriptor has {size} bytes, more than the {MAX_DESCRIPTOR} that are read"
                ))),
                _ => Ok(Role::Descriptor),
            };
        }
        let disk = match &self.expected {
            Some(expected) => path == expected,
            None => size != Some(0) && !is_companion(path),
        };
        if !disk {
            if self.others.len() < MAX_NAMES {
                self.others.push(shown(path));
            }
            return Ok(Role::Other);
        }
        if let Some(before) = &self.disk {
            return Err(Refusal::invalid(format!(
                "the archive holds several files that may be the disk: {} and {}; give the one that is",
                shown(before),
                shown(path)
            )));
        }
        self.disk = Some(path.to_owned());
        self.announced = Some(Announced { size, exact: self.exact, name: Some(base(path).to_owned()) });
        Ok(Role::Disk)
    }

    /// The descriptor, as a whole.
    pub(crate) fn descriptor(&mut self, descriptor: &[u8]) -> Result<(), Refusal> {
        self.expected = Some(ovf::disk(descriptor)?);
        Ok(())
    }

    /// What is known of the disk, once it was found.
    pub(crate) const fn announced(&self) -> Option<&Announced> {
        self.announced.as_ref()
    }

    /// That was the last entry.
    pub(crate) fn over(&self) -> Result<(), Refusal> {
        if self.disk.is_some() {
            return Ok(());
        }
        let missing = self.expected.as_ref().map_or_else(
            || "the archive holds no file that may be the disk".to_owned(),
            |expected| format!("the archive does not hold the disk {} that its OVF descriptor names", shown(expected)),
        );
        let others = match &*self.others {
            [] => String::new(),
            others => format!(", only {}", others.join(", ")),
        };
        Err(Refusal::invalid(missing + &others))
    }
}

/// Whether it only goes with a disk: by its ending, or as what macOS keeps beside a file.
fn is_companion(path: &str) -> bool {
    COMPANIONS.contains(&&*ending(path)) || base(path).starts_with("._") || path.starts_with("__MACOSX/")
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn ending(path: &str) -> String {
    base(path).rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default()
}

/// A name as an error shows it.
pub(crate) fn shown(name: &str) -> String {
    let text: String = name.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_file_that_may_be_one_is_the_disk() {
        let mut choosing = Choosing::default();
        assert_eq!(choosing.file("README.txt", Some(10)), Ok(Role::Other));
        assert_eq!(choosing.file("empty", Some(0)), Ok(Role::Other));
        assert_eq!(choosing.file("__MACOSX/vm/._disk.raw", Some(10)), Ok(Role::Other));
        assert_eq!(choosing.announced(), None);
        assert_eq!(choosing.file("./vm/disk.raw", Some(10)), Ok(Role::Disk));
        assert_eq!(choosing.file("vm/disk.raw.SHA256", Some(10)), Ok(Role::Other));
        let named = Announced { size: Some(10), exact: false, name: Some("disk.raw".to_owned()) };
        assert_eq!(choosing.announced(), Some(&named));
        assert_eq!(choosing.over(), Ok(()));
        let refused = choosing.file("other\n.raw", Some(10)).unwrap_err().to_string();
        assert!(refused.contains("`vm/disk.raw` and `other?.raw`"), "{refused}");
    }

    #[test]
    fn without_a_disk_it_says_what_there_was() {
        let mut choosing = Choosing::default();
        assert!(choosing.over().unwrap_err().to_string().ends_with("may be the disk"));
        choosing.file("a.txt", Some(1)).unwrap();
        choosing.file("b.md", Some(1)).unwrap();
        assert!(choosing.over().unwrap_err().to_string().ends_with("may be the disk, only `a.txt`, `b.md`"));
    }

    #[test]
    fn a_descriptor_in_front_names_the_disk() {
        let mut choosing = Choosing::default();
        assert_eq!(choosing.file("vm.ovf", Some(100)), Ok(Role::Descriptor));
        let descriptor =
            r#"<Envelope><References><File id="f" href="b.vmdk"/></References><Disk fileRef="f"/></Envelope>"#;
        choosing.descriptor(descriptor.as_bytes()).unwrap();
        assert_eq!(choosing.file("a.vmdk", Some(1)), Ok(Role::Other));
        assert!(
            choosing.over().unwrap_err().to_string().contains("`b.vmdk` that its OVF descriptor names, only `a.vmdk`")
        );
        assert_eq!(choosing.file("b.vmdk", Some(1)), Ok(Role::Disk));
        assert!(choosing.file("b.vmdk", Some(1)).is_err(), "twice");
        let mut choosing = Choosing::default();
        assert!(matches!(choosing.file("vm.ovf", Some(MAX_DESCRIPTOR + 1)), Err(Refusal::Limit(_))));
    }
}
