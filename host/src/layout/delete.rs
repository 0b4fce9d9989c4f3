//! Taking images off a layout's index. Their blobs stay until nothing names them any more and the layout is cleared.

use std::collections::BTreeSet;
use std::path::Path;

use super::folder::lock;
use super::index;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;

/// Takes these entries off the index of a layout: an image under a name, or where it is listed without one. Those images that are
/// still listed, under other names.
///
/// # Errors
/// `local-file` if it is no layout, or cannot be read or written.
pub async fn delete(layout: &Path, entries: &[(Digest, Option<String>)]) -> Result<BTreeSet<String>> {
    if !layout.join("oci-layout").is_file() {
        let message = format!("`{}` is not an image layout: there is no `oci-layout` in it", layout.display());
        return Err(Error::new(Code::LocalFile, Stage::Publish, message));
    }
    let texts: Vec<String> = entries.iter().map(|(digest, _)| digest.to_string()).collect();
    let pairs = texts.iter().map(String::as_str).zip(entries.iter().map(|(_, name)| name.as_deref()));
    let gone: BTreeSet<(&str, Option<&str>)> = pairs.collect();
    let goes = |digest: &str, name: Option<&str>| gone.contains(&(digest, name));
    let deleted = async {
        let folder = lock(layout).await?;
        index::remove(&folder, layout, goes)
    };
    deleted.await.map_err(|why| {
        let message = format!("the index of the image layout `{}` cannot be changed: {why}", layout.display());
        Error::new(Code::LocalFile, Stage::Publish, message).caused_by(why)
    })
}
