//! Reading an image from a layout.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::index;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Descriptor, Digest, Tag};

/// The most bytes of a manifest, an index or a config.
const MAX_DOCUMENT: u64 = 4 << 20;
/// Nothing here is part of a flow.
const STAGE: Stage = Stage::Upload;

/// Reads from one layout.
pub struct Pull {
    layout: PathBuf,
}

impl Pull {
    /// Reads from `layout`. Nothing is touched yet.
    #[must_use]
    pub const fn new(layout: PathBuf) -> Self {
        Self { layout }
    }

    /// What a tag leads to; without one, the only manifest there is, or the one tagged `latest`.
    ///
    /// # Errors
    /// `registry-not-found` if there is none, or several without a tag; `local-file` if the layout cannot be read.
    pub fn tagged(&self, tag: Option<&Tag>) -> Result<Descriptor> {
        let shown = self.layout.display();
        let mut listed = self.listed()?;
        let wanted = tag.cloned().unwrap_or_else(Tag::latest);
        if let Some(at) = listed.iter().position(|(_, found)| found.as_ref() == Some(&wanted)) {
            return Ok(listed.swap_remove(at).0);
        }
        if let (None, [_]) = (tag, &listed[..]) {
            return Ok(listed.swap_remove(0).0);
        }
        let tags: Vec<String> = listed.iter().filter_map(|(_, tag)| tag.as_ref().map(ToString::to_string)).collect();
        let error = Error::new(Code::RegistryNotFound, STAGE, format!("the image layout `{shown}` has no `{wanted}`"));
        Err(match tags.is_empty() {
            true => error.hint("it has no tags at all"),
            false => error.hint(format!("it has {}", tags.join(", "))),
        })
    }

    /// Everything that is listed, with its tag if it has one.
    ///
    /// # Errors
    /// `local-file` if it is no layout or cannot be read.
    pub fn listed(&self) -> Result<Vec<(Descriptor, Option<Tag>)>> {
        self.is_layout()?;
        index::listed(&self.layout).map_err(|why| self.error("has an index.json that", why))
    }

    /// The same with its name, which may be no tag.
    ///
    /// # Errors
    /// As for [`Self::listed`].
    pub fn named(&self) -> Result<Vec<(Descriptor, Option<String>)>> {
        self.is_layout()?;
        index::named(&self.layout).map_err(|why| self.error("has an index.json that", why))
    }

    /// A document, verified.
    ///
    /// # Errors
    /// `registry-mismatch` if it is not what the descriptor says, `local-file` if it cannot be read or is over 4 MiB.
    pub fn blob(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        let path = self.path(blob);
        let bytes = first(&path, MAX_DOCUMENT + 1).map_err(|why| self.error("has a blob that", why))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            let message = format!("`{}` has more than {MAX_DOCUMENT} bytes, which no document has", path.display());
            return Err(Error::new(Code::LocalFile, STAGE, message));
        }
        match Digest::of(&bytes) {
            digest if digest == blob.digest => Ok(bytes),
            digest => {
                let message = format!("`{}` has bytes of the digest {digest}", path.display());
                Err(Error::new(Code::RegistryMismatch, STAGE, message))
            }
        }
    }

    /// The first bytes of a blob, at most `most`. They are not verified: its digest is over all of it.
    ///
    /// # Errors
    /// `local-file` if it cannot be read.
    pub fn blob_start(&self, blob: &Descriptor, most: usize) -> Result<Vec<u8>> {
        first(&self.path(blob), most as u64).map_err(|why| self.error("has a blob that", why))
    }

    /// When a blob was put there.
    ///
    /// # Errors
    /// `local-file` if it cannot be looked at.
    pub fn put_at(&self, blob: &Descriptor) -> Result<SystemTime> {
        let put = fs::metadata(self.path(blob)).and_then(|metadata| metadata.modified());
        put.map_err(|why| self.error("has a blob that", why))
    }

    fn is_layout(&self) -> Result<()> {
        if self.layout.join("oci-layout").is_file() {
            return Ok(());
        }
        let message = format!("`{}` is not an image layout: there is no `oci-layout` in it", self.layout.display());
        Err(Error::new(Code::LocalFile, STAGE, message))
    }

    fn path(&self, blob: &Descriptor) -> PathBuf {
        self.layout.join("blobs").join("sha256").join(blob.digest.hex())
    }

    fn error(&self, what: &str, why: io::Error) -> Error {
        let message = format!("the image layout `{}` {what} cannot be read: {why}", self.layout.display());
        Error::new(Code::LocalFile, STAGE, message).caused_by(why)
    }
}

fn first(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
