//! `index.json`: which manifests there are and what they are called.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::folder::Locked;
use crate::oci::{Descriptor, INDEX, Tag};

/// The annotation that holds a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The most bytes of an index that are read.
const MAX_INDEX: u64 = 16 << 20;

/// Adds the manifest under `tag`; the entry that had the tag is no longer listed.
pub(super) fn add(folder: &Locked, layout: &Path, manifest: &Descriptor, tag: &Tag) -> io::Result<()> {
    let path = layout.join("index.json");
    let mut document = read(&path)?;
    let manifests = document.entry("manifests").or_insert_with(|| json!([]));
    let Value::Array(manifests) = manifests else { return Err(malformed("`manifests` is not a list")) };
    manifests.retain(|entry| tag_of(entry) != Some(tag.as_str()));
    manifests.push(json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest.to_string(),
        "size": manifest.size,
        "annotations": { REF_NAME: tag.as_str() },
    }));
    let bytes = serde_json::to_vec_pretty(&Value::Object(document))?;
    folder.replace(&path, &bytes)
}

/// Takes entries out of the index: those of which `goes` says so, by digest and name. The digests that are still listed.
pub(super) fn remove(
    folder: &Locked,
    layout: &Path,
    goes: impl Fn(&str, Option<&str>) -> bool,
) -> io::Result<BTreeSet<String>> {
    let path = layout.join("index.json");
    let mut document = read(&path)?;
    let Some(Value::Array(manifests)) = document.get_mut("manifests") else {
        return Err(malformed("`manifests` is not a list"));
    };
    let before = manifests.len();
    let digest = |entry: &Value| entry.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
    manifests.retain(|entry| !goes(&digest(entry), tag_of(entry)));
    let left = manifests.iter().map(digest).collect();
    if before > manifests.len() {
        let bytes = serde_json::to_vec_pretty(&Value::Object(document))?;
        folder.replace(&path, &bytes)?;
    }
    Ok(left)
}

/// The manifests that are listed, with their tags. A name that is no tag is none.
pub(super) fn listed(layout: &Path) -> io::Result<Vec<(Descriptor, Option<Tag>)>> {
    let named = named(layout)?.into_iter();
    Ok(named.map(|(manifest, name)| (manifest, name.and_then(|name| name.parse().ok()))).collect())
}

/// The same with their names, which others than tags may be (`docker.io/library/x:1`).
pub(super) fn named(layout: &Path) -> io::Result<Vec<(Descriptor, Option<String>)>> {
    let document = read(&layout.join("index.json"))?;
    let manifests = match document.get("manifests") {
        Some(Value::Array(manifests)) => manifests.as_slice(),
        None => &[],
        Some(_) => return Err(malformed("`manifests` is not a list")),
    };
    manifests
        .iter()
        .map(|entry| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            let digest = text("digest").and_then(|digest| digest.parse().ok());
            let size = entry.get("size").and_then(Value::as_u64);
            let (Some(digest), Some(size)) = (digest, size) else {
                return Err(malformed("a manifest without sha256 digest and size"));
            };
            let media_type = text("mediaType").unwrap_or_default().to_owned();
            Ok((Descriptor { media_type, digest, size }, tag_of(entry).map(str::to_owned)))
        })
        .collect()
}

fn read(path: &Path) -> io::Result<Map<String, Value>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_INDEX => return Err(malformed("index.json is too large")),
        Ok(_) => {}
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let mut fresh = Map::new();
            fresh.insert("schemaVersion".to_owned(), json!(2));
            fresh.insert("mediaType".to_owned(), json!(INDEX));
            return Ok(fresh);
        }
        Err(why) => return Err(why),
    }
    match serde_json::from_slice(&fs::read(path)?)? {
        Value::Object(document) => Ok(document),
        _ => Err(malformed("index.json is not an object")),
    }
}

fn tag_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::folder::lock;
    use super::*;
    use crate::oci::{Digest, MANIFEST};

    fn manifest(content: &[u8]) -> Descriptor {
        Descriptor { media_type: MANIFEST.to_owned(), digest: Digest::of(content), size: content.len() as u64 }
    }

    async fn scratch(name: &str) -> (std::path::PathBuf, Locked) {
        let path = Path::new(env!("OUT_DIR")).join(format!("index-{name}-{}", std::process::id()));
        let folder = lock(&path).await.unwrap();
        (path, folder)
    }

    #[tokio::test]
    async fn a_tag_moves_and_the_others_stay() {
        let (path, folder) = scratch("move").await;
        let add = |manifest: &Descriptor, tag: &Tag| add(&folder, &path, manifest, tag);
        let (one, two): (Tag, Tag) = ("1".parse().unwrap(), "2".parse().unwrap());
        add(&manifest(b"a"), &one).unwrap();
        add(&manifest(b"b"), &two).unwrap();
        add(&manifest(b"c"), &one).unwrap();
        let index: Value = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
        let listed: Vec<_> =
            index["manifests"].as_array().unwrap().iter().map(|m| (tag_of(m).unwrap(), &m["digest"])).collect();
        let digest = |content: &[u8]| json!(Digest::of(content).to_string());
        assert_eq!(listed, [("2", &digest(b"b")), ("1", &digest(b"c"))]);
        fs::remove_dir_all(path).unwrap();
    }

    #[tokio::test]
    async fn an_index_of_another_shape_is_left_alone() {
        let (path, folder) = scratch("shape").await;
        for content in ["[]", "{\"manifests\":{}}", "nonsense"] {
            fs::write(path.join("index.json"), content).unwrap();
            assert!(add(&folder, &path, &manifest(b"a"), &Tag::latest()).is_err());
            assert_eq!(fs::read_to_string(path.join("index.json")).unwrap(), content);
        }
        fs::remove_dir_all(path).unwrap();
    }
}
