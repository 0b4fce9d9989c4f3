//! Which file is the disk of an OVF descriptor (DSP0243 §7.1, §9.1).

use std::collections::BTreeMap;

use filter_core::Refusal;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::choosing::shown;

/// The most files that a descriptor may refer to.
const MAX_FILES: usize = 256;

/// A file of the package.
struct File {
    path: String,
    chunked: bool,
}

/// The one file that the descriptor's disks are in.
pub(crate) fn disk(descriptor: &[u8]) -> Result<String, Refusal> {
    let text = std::str::from_utf8(descriptor).map_err(|_| invalid("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let (mut files, mut disks) = (BTreeMap::new(), Vec::new());
    loop {
        let start = match reader.read_event().map_err(|why| invalid(&why.to_string()))? {
            Event::Start(start) | Event::Empty(start) => start,
            Event::Eof => break,
            _ => continue,
        };
        match start.local_name().as_ref() {
            "File" => {
                let (Some(id), Some(path)) = (attribute(&start, "id")?, attribute(&start, "href")?) else {
                    return Err(invalid("a file has no id or no href"));
                };
                files.insert(id, File { path, chunked: attribute(&start, "chunkSize")?.is_some() });
            }
            // Without a file it is an empty disk, made when the machine is.
            "Disk" => disks.extend(attribute(&start, "fileRef")?),
            _ => {}
        }
        if files.len() > MAX_FILES || disks.len() > MAX_FILES {
            return Err(invalid(&format!("it refers to more than {MAX_FILES} files")));
        }
    }
    disks.sort();
    disks.dedup();
    match &*disks {
        [] => Err(invalid("it names no disk that is in a file")),
        [one] => {
            let file = files.get(one).ok_or_else(|| invalid("its disk is in a file that it does not list"))?;
            if file.chunked {
                return Err(invalid(&format!("its disk {} is cut into pieces, which are not read", shown(&file.path))));
            }
            Ok(file.path.trim_start_matches("./").to_owned())
        }
        several => {
            let paths: Vec<String> =
                several.iter().map(|id| shown(files.get(id).map_or(id, |file| &file.path))).take(8).collect();
            Err(Refusal::invalid(format!(
                "the archive's OVF descriptor names {} disks: {}; give the one that is wanted",
                several.len(),
                paths.join(", ")
            )))
        }
    }
}

/// An attribute, whatever its namespace.
fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, Refusal> {
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|why| invalid(&why.to_string()))?;
        if attribute.key.local_name().as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|why| invalid(&why.to_string()))?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

fn invalid(why: &str) -> Refusal {
    Refusal::invalid(format!("the archive's OVF descriptor cannot be followed: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(files: &str, disks: &str) -> String {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns="http://schemas.dmtf.org/ovf/envelope/1">
              <ovf:References>{files}</ovf:References>
              <ovf:DiskSection><ovf:Info>Disks &amp; more</ovf:Info>{disks}</ovf:DiskSection>
              <ovf:VirtualSystem ovf:id="vm"><ovf:Info>x</ovf:Info></ovf:VirtualSystem>
            </ovf:Envelope>"#
        )
    }

    fn found(files: &str, disks: &str) -> Result<String, String> {
        disk(envelope(files, disks).as_bytes()).map_err(|why| why.to_string())
    }

    const FILES: &str =
        r#"<ovf:File ovf:id="a" ovf:href="a &amp; b.vmdk" ovf:size="5"/><File ovf:href='c.iso' ovf:id='c'/>"#;

    #[test]
    fn the_file_of_the_one_disk_is_found() {
        let disk = r#"<ovf:Disk ovf:diskId="d" ovf:fileRef="a" ovf:capacity="1"/><ovf:Disk ovf:diskId="empty"/>"#;
        assert_eq!(found(FILES, disk).unwrap(), "a & b.vmdk");
        assert_eq!(found(FILES, &format!("{disk}{disk}")).unwrap(), "a & b.vmdk", "one file for two disks");
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for (files, disks, why) in [
            (FILES, "", "names no disk"),
            (FILES, r#"<Disk ovf:fileRef="z"/>"#, "does not list"),
            (FILES, r#"<Disk ovf:fileRef="a"/><Disk ovf:fileRef="c"/>"#, "2 disks: `a & b.vmdk`, `c.iso`"),
            (r#"<File ovf:id="a"/>"#, "", "no href"),
            (r#"<File ovf:id="a" ovf:href="&xxe;"/>"#, "", "cannot be followed"),
            (r#"<File id="a" href="x" chunkSize="5"/>"#, r#"<Disk fileRef="a"/>"#, "cut into pieces"),
            ("<File", "", "cannot be followed"),
        ] {
            let refused = found(files, disks).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(disk(b"\xff").is_err());
        let many = r#"<File id="a" href="x"/>"#.replace('a', "A");
        let many: String = (0..300).map(|at| many.replace('A', &at.to_string())).collect();
        assert!(found(&many, "").unwrap_err().contains("more than 256"));
    }
}
