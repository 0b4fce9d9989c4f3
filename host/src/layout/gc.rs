//! Blobs that nothing in a layout names any more: what images leave whose tags were moved.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::folder::{self, blobs};
use super::index;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;

/// The most bytes of a document in which other blobs are named.
const MAX_DOCUMENT: u64 = 16 << 20;
/// The most blobs that a layout may name.
pub(super) const MAX_NAMED: usize = 1_000_000;

/// What nothing names.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Blobs and their bytes, in order of their digests; they were removed, if that was wanted.
    pub blobs: Vec<(Digest, u64)>,
    /// How many are too young: an import that is under way may have just put them there.
    pub young: usize,
    /// How many are named.
    pub named: usize,
}

/// Finds the blobs of a layout that nothing names and that are older than `grace`, and removes them if `remove`. Nobody changes
/// the layout meanwhile.
///
/// # Errors
/// `local-file` if it is no layout, or cannot be read or changed; a document that is damaged ends it before anything is removed:
/// what it named is not known.
pub async fn collect(layout: &Path, grace: Duration, remove: bool) -> Result<Garbage> {
    let failed = |why: io::Error| {
        let message = format!("the image layout `{}` cannot be cleared: {why}", layout.display());
        Error::new(Code::LocalFile, Stage::Upload, message).caused_by(why)
    };
    if !layout.join("oci-layout").is_file() {
        let message = format!("`{}` is not an image layout: there is no `oci-layout` in it", layout.display());
        return Err(Error::new(Code::LocalFile, Stage::Upload, message));
    }
    let lock = folder::lock(layout).await.map_err(failed)?;
    if remove {
        // What crashed imports left.
        lock.prepare().map_err(failed)?;
    }
    let garbage = found(layout, grace).map_err(failed)?;
    if remove {
        for (digest, _) in &garbage.blobs {
            fs::remove_file(path(layout, digest)).map_err(failed)?;
        }
        File::open(blobs(layout)).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    drop(lock);
    Ok(garbage)
}

fn found(layout: &Path, grace: Duration) -> io::Result<Garbage> {
    let named = named(layout)?;
    let mut garbage = Garbage { named: named.len(), ..Garbage::default() };
    let young = SystemTime::now().checked_sub(grace);
    let entries = match fs::read_dir(blobs(layout)) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(garbage),
        Err(why) => return Err(why),
    };
    for entry in entries {
        let entry = entry?;
        // What has another name is no blob, a partial file for instance.
        let digest = entry.file_name().to_str().and_then(|hex| Digest::from_hex(hex).ok());
        let Some(digest) = digest.filter(|digest| !named.contains(&digest.hex())) else { continue };
        // Of a link, the link.
        let metadata = fs::symlink_metadata(entry.path())?;
        if metadata.is_dir() {
            continue;
        }
        match young {
            Some(young) if metadata.modified()? <= young => garbage.blobs.push((digest, metadata.len())),
            _ => garbage.young += 1,
        }
    }
    garbage.blobs.sort_by_key(|(digest, _)| digest.hex());
    Ok(garbage)
}

/// The digests of everything that the index leads to, in hexadecimal. Rather too much than too little: whatever looks like a digest
/// in a document counts, as the subject of a signature does.
fn named(layout: &Path) -> io::Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    // An index that is not there says nothing: not that nothing is named.
    if !layout.join("index.json").is_file() {
        return Err(io::Error::other("there is no `index.json` that would say what is named"));
    }
    let listed = index::listed(layout)?;
    // What is named as a manifest has to be read, whatever else may be one.
    let mut open: Vec<(Digest, bool)> = listed.into_iter().map(|(manifest, _)| (manifest.digest, true)).collect();
    let mut read = BTreeSet::new();
    while let Some((digest, manifest)) = open.pop() {
        let fresh = named.insert(digest.hex());
        let unread = manifest && read.insert(digest.hex());
        if !fresh && !unread {
            continue;
        }
        if named.len() > MAX_NAMED {
            return Err(io::Error::other(format!("it names more than {MAX_NAMED} blobs")));
        }
        let Some(bytes) = document(&path(layout, &digest))? else {
            if manifest {
                let why = format!("the manifest {digest} is not there, or cannot be read: what it names is not known");
                return Err(io::Error::other(why));
            }
            continue;
        };
        if Digest::of(&bytes) != digest {
            return Err(io::Error::other(format!("the document {digest} has other bytes: what it named is not known")));
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(document) => {
                let mut all = Vec::new();
                digests(&document, &mut all);
                open.extend(all.into_iter().map(|digest| (digest, false)));
                // Last, so that they come first: what has been read as a manifest is not read again.
                manifests(&document, &mut open)?;
            }
            Err(why) if manifest => {
                return Err(io::Error::other(format!("the manifest {digest} cannot be read: {why}")));
            }
            Err(_) => {}
        }
    }
    Ok(named)
}

/// The bytes of a blob that may be a document; none of one that is not there, or is too large or begins as something else.
pub(super) fn document(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    if !file.metadata()?.is_file() || file.metadata()?.len() > MAX_DOCUMENT {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
    let begins = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    Ok(begins.then_some(bytes))
}

/// The manifests that an index lists (OCI Image Index). One by another algorithm's digest names what is not known here.
pub(super) fn manifests(document: &Value, found: &mut Vec<(Digest, bool)>) -> io::Result<()> {
    let listed = document.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for entry in listed {
        let digest = entry.get("digest").and_then(Value::as_str).unwrap_or_default();
        let digest = digest
            .parse()
            .map_err(|_| io::Error::other(format!("an index names `{digest}`, which is no sha256 digest")))?;
        found.push((digest, true));
    }
    Ok(())
}

/// Every digest in a document. JSON that is read is no deeper than 128 (serde_json).
pub(super) fn digests(value: &Value, found: &mut Vec<Digest>) {
    match value {
        Value::String(text) => found.extend(text.parse::<Digest>().ok()),
        Value::Array(values) => values.iter().for_each(|value| digests(value, found)),
        Value::Object(values) => values.values().for_each(|value| digests(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn path(layout: &Path, digest: &Digest) -> PathBuf {
    blobs(layout).join(digest.hex())
}
