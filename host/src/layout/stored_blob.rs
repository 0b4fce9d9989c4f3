//! A blob of a layout as somebody reads it who copies it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::blobs;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;
use crate::stream::{Flow, Ranges, Reading, of_file, regular_file};

/// A blob, from any offset. What is read is not verified: its digest is over all of it.
pub struct StoredBlob {
    layout: PathBuf,
    digest: Digest,
}

impl StoredBlob {
    /// The blob of that digest.
    #[must_use]
    pub const fn new(layout: PathBuf, digest: Digest) -> Self {
        Self { layout, digest }
    }

    fn open(&self, offset: u64, length: u64) -> Result<Flow> {
        let path = blobs(&self.layout).join(self.digest.hex());
        let file = regular_file(&path).map_err(|why| failed(&path, why))?;
        Ok(of_file(Arc::new(file), offset, length, move |why| failed(&path, why)))
    }
}

impl Ranges for StoredBlob {
    fn read(&self, offset: u64, length: u64) -> Reading {
        let opened = self.open(offset, length);
        Box::pin(async move { opened })
    }
}

fn failed(path: &Path, why: io::Error) -> Error {
    let message = format!("the blob `{}` cannot be read: {why}", path.display());
    Error::new(Code::LocalFile, Stage::Source, message).caused_by(why)
}
