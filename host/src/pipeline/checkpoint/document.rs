//! What a checkpoint has, and its file: never half written, and nobody else's to read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Descriptor, Digest};
use crate::pipeline::layer::SentLayer;
use crate::stages::Facts;
use crate::stream::{Algorithm, Layer, Marks, Midstate};

/// What the document calls itself.
pub(in crate::pipeline) const SCHEMA: &str = "longshore.checkpoint/v1";
/// The longest file: the most marks of every hash at both places, with room.
const MAX_BYTES: u64 = 32 << 20;
/// Only for the user: the upload's location lets whoever knows it add to the upload.
const MODE: u32 = 0o600;

/// Midstates by offset, in base64.
pub(super) type Midstates = BTreeMap<u64, String>;

/// A checkpoint. It has no credentials; its location is a secret all the same, so it cannot be printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pipeline) struct Document {
    pub(super) schema: String,
    /// The version that wrote it: another one may frame or compress otherwise.
    pub(super) version: String,
    /// What the command said, each part as a digest.
    pub(super) bound: BTreeMap<String, String>,
    pub(super) source: SavedSource,
    pub(super) layer: SavedLayer,
    /// How often it began at the first byte again because the registry had lost the upload.
    pub(super) started_over: u32,
    /// Where the upload session stands.
    pub(super) location: Option<String>,
    /// Of the layer as it is stored.
    pub(super) hashed: Midstates,
    /// Of the bytes as received, by algorithm.
    pub(super) received: BTreeMap<String, Midstates>,
    /// Of the disk behind the filters, by algorithm.
    pub(super) disk: BTreeMap<String, Midstates>,
    /// The layer, once every byte was sent and verified.
    pub(super) sent: Option<SavedBlob>,
}

/// Which bytes of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedSource {
    size: Option<u64>,
    revision: Option<String>,
}

/// How the layer was framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedLayer {
    pub(super) payload_at: u64,
    pub(super) total_bytes: u64,
}

/// A layer that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedBlob {
    media_type: String,
    digest: String,
    size: u64,
    diff_id: String,
}

impl Document {
    /// Reads the checkpoint at `path`, if there is one.
    ///
    /// # Errors
    /// `local-file` if it cannot be read, `checkpoint-refused` if it is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let mut text = Vec::new();
        let read = match File::open(path) {
            Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut text),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => Err(why),
        };
        read.map_err(|why| local(path, "read", &why))?;
        let none = |why: &str| {
            let message = format!("{} is no checkpoint: {why}", path.display());
            Error::new(Code::CheckpointRefused, Stage::Plan, message).hint("name another file, or remove this one")
        };
        if text.len() as u64 > MAX_BYTES {
            return Err(none(&format!("it has more than {MAX_BYTES} bytes")));
        }
        // What serde says quotes what it read, which may be the location.
        let document: Self = serde_json::from_slice(&text).map_err(|why| {
            none(&format!("line {}, column {} is not what longshore writes", why.line(), why.column()))
        })?;
        if document.schema != SCHEMA {
            return Err(none(&format!("its schema is not {SCHEMA}")));
        }
        Ok(Some(document))
    }

    /// Puts it at `path`, in place of what stands there, all or nothing even if the machine is lost.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        let new = beside(path);
        match fs::remove_file(&new) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder(path))?.sync_all()
    }
}

/// Removes the checkpoint at `path` and what a killed process may have left beside it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for file in [beside(path).as_path(), path] {
        match fs::remove_file(file) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
    }
    Ok(())
}

/// The error of a checkpoint file.
pub(super) fn local(path: &Path, what: &str, why: &io::Error) -> Error {
    Error::new(Code::LocalFile, Stage::Plan, format!("the checkpoint {} cannot be {what}: {why}", path.display()))
}

/// Where the next version is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

impl SavedSource {
    pub(super) fn of(facts: &Facts) -> Self {
        Self { size: facts.size, revision: facts.revision.clone() }
    }
}

impl SavedLayer {
    pub(super) fn of(layer: &Layer) -> Self {
        Self { payload_at: layer.payload_at(), total_bytes: layer.total_bytes() }
    }
}

impl SavedBlob {
    pub(super) fn of(layer: &SentLayer) -> Self {
        Self {
            media_type: layer.blob.media_type.clone(),
            digest: layer.blob.digest.to_string(),
            size: layer.blob.size,
            diff_id: layer.diff_id.to_string(),
        }
    }

    /// The layer, if those are digests.
    pub(super) fn layer(&self) -> Option<SentLayer> {
        let digest: Digest = self.digest.parse().ok()?;
        let blob = Descriptor { media_type: self.media_type.clone(), digest, size: self.size };
        Some(SentLayer { blob, diff_id: self.diff_id.parse().ok()? })
    }
}

/// Midstates as they are written.
pub(super) fn written(marks: &Marks) -> Midstates {
    marks.all().into_iter().map(|(at, midstate)| (at, STANDARD_NO_PAD.encode(midstate))).collect()
}

/// The same of several hashes.
pub(super) fn all_written(marks: &BTreeMap<Algorithm, Marks>) -> BTreeMap<String, Midstates> {
    marks.iter().map(|(algorithm, marks)| (algorithm.to_string(), written(marks))).collect()
}

/// Midstates from what was written; those that are none are left out.
pub(super) fn known(midstates: &Midstates) -> BTreeMap<u64, Midstate> {
    midstates.iter().filter_map(|(at, text)| Some((*at, STANDARD_NO_PAD.decode(text).ok()?))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder that goes with the test.
    pub(in super::super) struct Folder(pub PathBuf);

    impl Folder {
        pub(in super::super) fn new() -> Self {
            static MADE: AtomicU32 = AtomicU32::new(0);
            let nth = MADE.fetch_add(1, Ordering::Relaxed);
            let folder = Path::new("/tmp").join(format!("longshore-checkpoint-{}-{nth}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    pub(in super::super) fn document() -> Document {
        Document {
            schema: SCHEMA.to_owned(),
            version: "1".to_owned(),
            bound: BTreeMap::from([("source".to_owned(), "a".to_owned())]),
            source: SavedSource { size: Some(7), revision: Some("\"e\"".to_owned()) },
            layer: SavedLayer { payload_at: 1024, total_bytes: 4096 },
            started_over: 0,
            location: Some("https://r.example/u?_state=hunter2".to_owned()),
            hashed: BTreeMap::from([(16, STANDARD_NO_PAD.encode([1, 2, 3]))]),
            received: BTreeMap::new(),
            disk: BTreeMap::new(),
            sent: None,
        }
    }

    #[test]
    fn it_reads_as_it_was_written_and_is_the_users_alone() {
        let folder = Folder::new();
        let path = folder.0.join("checkpoint");
        assert!(Document::read(&path).unwrap().is_none());
        fs::write(beside(&path), b"left by a process that was killed").unwrap();
        for _ in 0..2 {
            document().write(&path).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Document::read(&path).unwrap().unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(document()).unwrap());
        assert_eq!(known(&read.hashed), BTreeMap::from([(16, vec![1, 2, 3])]));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
        remove(&path).unwrap();
        assert!(Document::read(&path).unwrap().is_none());
    }

    #[test]
    fn what_is_no_checkpoint_is_refused_without_being_quoted() {
        let folder = Folder::new();
        let path = folder.0.join("checkpoint");
        let mut other = serde_json::to_value(document()).unwrap();
        other["schema"] = "longshore.checkpoint/v2".into();
        let mut more = serde_json::to_value(document()).unwrap();
        more["hunter2"] = 1.into();
        for text in ["", "hunter2", "{}", &other.to_string(), &more.to_string()] {
            fs::write(&path, text).unwrap();
            let error = Document::read(&path).map(|_| ()).unwrap_err();
            assert_eq!(error.code(), Code::CheckpointRefused, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
