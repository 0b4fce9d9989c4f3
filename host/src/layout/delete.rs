//! Taking images off a layout's index. Their blobs stay until nothing names them any more and the layout is cleared.

use std::path::Path;

use super::folder::lock;
use super::index;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Digest, Tag};

/// Takes these images off the index of a layout, under these tags; without a tag under every one. How many entries it had of them.
///
/// # Errors
/// `local-file` if it is no layout, or cannot be read or written.
pub async fn delete(layout: &Path, images: &[(Digest, Option<Tag>)]) -> Result<usize> {
    if !layout.join("oci-layout").is_file() {
        let message = format!("`{}` is not an image layout: there is no `oci-layout` in it", layout.display());
        return Err(Error::new(Code::LocalFile, Stage::Publish, message));
    }
    let goes = |digest: &str, tag: Option<&str>| {
        images
            .iter()
            .any(|(image, of)| image.to_string() == digest && of.as_ref().is_none_or(|of| tag == Some(of.as_str())))
    };
    let deleted = async {
        let folder = lock(layout).await?;
        index::remove(&folder, layout, goes)
    };
    deleted.await.map_err(|why| {
        let message = format!("the index of the image layout `{}` cannot be changed: {why}", layout.display());
        Error::new(Code::LocalFile, Stage::Publish, message).caused_by(why)
    })
}
