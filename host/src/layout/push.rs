//! Writing an image into a layout.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt as _;

use super::folder::{self, blobs};
use super::index;
use crate::error::{Code, Error, Result, Stage};
use crate::observe::{WaitsFor, waiting_for};
use crate::oci::{Descriptor, Digest, Tag};
use crate::stream::Flow;

/// How much is handed to the file system at once.
const WRITE_BYTES: usize = 1 << 20;

/// A push of one image into one layout.
pub struct Push {
    layout: PathBuf,
    partial: Option<Partial>,
}

/// The layer before it has its name; locked by the open file.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Push {
    /// A push into `layout`. Nothing is touched yet.
    #[must_use]
    pub const fn new(layout: PathBuf) -> Self {
        Self { layout, partial: None }
    }

    /// Makes the layout if it is not there, and room for the layer beside its place.
    ///
    /// # Errors
    /// `local-file` if it cannot be made or written, or is something else than a layout.
    pub async fn open(&mut self) -> Result<()> {
        let opened = async {
            let folder = folder::lock(&self.layout).await?;
            folder.prepare()?;
            folder.partial_blob()
        };
        let (path, file) = opened.await.map_err(|why| self.error(Stage::Upload, "cannot be opened", why))?;
        self.partial = Some(Partial { path, file });
        Ok(())
    }

    /// Writes the layer beside its place. It is not committed.
    ///
    /// # Errors
    /// The flow's own, or `local-file`.
    pub async fn send(&mut self, mut flow: Flow) -> Result<()> {
        let failed = |why| self.error(Stage::Upload, "cannot take the layer", why);
        let partial = self.partial.as_ref().ok_or_else(not_open)?;
        let file = tokio::fs::File::from_std(partial.file.try_clone().map_err(failed)?);
        let mut file = tokio::io::BufWriter::with_capacity(WRITE_BYTES, file);
        while let Some(chunk) = flow.next().await? {
            waiting_for(WaitsFor::DiskWrites, file.write_all(&chunk)).await.map_err(failed)?;
        }
        waiting_for(WaitsFor::DiskWrites, file.flush()).await.map_err(failed)?;
        waiting_for(WaitsFor::DiskWrites, file.get_ref().sync_all()).await.map_err(failed)
    }

    /// Gives the layer its name.
    ///
    /// # Errors
    /// `local-file`, also if the file does not have the length that was written.
    pub fn commit(&mut self, layer: &Descriptor) -> Result<()> {
        let partial = self.partial.take().ok_or_else(not_open)?;
        let committed = partial.file.metadata().and_then(|metadata| {
            if metadata.len() != layer.size {
                return Err(io::Error::other(format!("{} bytes on disk, expected {}", metadata.len(), layer.size)));
            }
            fs::rename(&partial.path, blobs(&self.layout).join(layer.digest.hex()))?;
            File::open(blobs(&self.layout))?.sync_all()
        });
        committed.map_err(|why| {
            self.partial = Some(partial);
            self.error(Stage::Upload, "cannot commit the layer", why)
        })
    }

    /// Writes a small blob, reads it back and compares.
    ///
    /// # Errors
    /// `local-file`, or `registry-mismatch` if it reads back otherwise.
    pub async fn put_blob(&self, blob: &Descriptor, bytes: &[u8]) -> Result<()> {
        let path = blobs(&self.layout).join(blob.digest.hex());
        let failed = |why| self.error(Stage::Publish, "cannot take a blob", why);
        folder::lock(&self.layout).await.and_then(|folder| folder.replace(&path, bytes)).map_err(failed)?;
        if fs::read(&path).map_err(failed)? != bytes {
            let message = format!("{} reads back otherwise than it was written", path.display());
            return Err(Error::new(Code::RegistryMismatch, Stage::Publish, message));
        }
        Ok(())
    }

    /// The digest of what is listed under a tag.
    ///
    /// # Errors
    /// `local-file`.
    pub fn tagged(&self, tag: &Tag, stage: Stage) -> Result<Option<Digest>> {
        listed(&self.layout, tag).map_err(|why| self.error(stage, "cannot be read", why))
    }

    /// Lists the manifest under a tag. With `keep` a tag that leads elsewhere already stays, and what it leads to is the
    /// answer: nothing comes between the look and the change.
    ///
    /// # Errors
    /// `local-file`.
    pub async fn tag(&self, tag: &Tag, manifest: &Descriptor, keep: bool) -> Result<Option<Digest>> {
        let tag = async {
            let folder = folder::lock(&self.layout).await?;
            let stands = if keep { listed(&self.layout, tag)? } else { None };
            if let Some(other) = stands.filter(|stands| *stands != manifest.digest) {
                return Ok(Some(other));
            }
            index::add(&folder, &self.layout, manifest, tag)?;
            Ok(None)
        };
        tag.await.map_err(|why| self.error(Stage::Publish, "cannot be tagged", why))
    }

    /// Removes what was written of the layer. Says what is left if that fails.
    pub fn cancel(&mut self) -> Option<String> {
        let path = self.partial.take()?.path;
        match fs::remove_file(&path) {
            Ok(()) => None,
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => Some(format!("the unfinished blob `{}`, which cannot be removed: {why}", path.display())),
        }
    }

    fn error(&self, stage: Stage, what: &str, why: io::Error) -> Error {
        let path: &Path = &self.layout;
        Error::new(Code::LocalFile, stage, format!("the image layout `{}` {what}: {why}", path.display()))
            .caused_by(why)
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        // A run that is dropped leaves no partial blob either.
        let _ = self.cancel();
    }
}

fn listed(layout: &Path, tag: &Tag) -> io::Result<Option<Digest>> {
    let all = index::listed(layout)?;
    Ok(all.into_iter().find(|(_, listed)| listed.as_ref() == Some(tag)).map(|(manifest, _)| manifest.digest))
}

fn not_open() -> Error {
    Error::internal(Stage::Upload, "there is no layer in this layout's push")
}
