//! Writing an image into a layout.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt as _;

use super::index;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Descriptor, Tag};
use crate::stream::Flow;

/// Tells apart the partial blobs of one process.
static PARTIALS: AtomicU64 = AtomicU64::new(0);

/// How much is handed to the file system at once.
const WRITE_BYTES: usize = 1 << 20;

/// A push of one image into one layout.
pub struct Push {
    layout: PathBuf,
    partial: Option<PathBuf>,
}

impl Push {
    /// A push into `layout`. Nothing is touched yet.
    #[must_use]
    pub const fn new(layout: PathBuf) -> Self {
        Self { layout, partial: None }
    }

    /// Makes the layout if it is not there.
    ///
    /// # Errors
    /// `local-file` if it cannot be made or written, or is something else than a layout.
    pub fn open(&mut self) -> Result<()> {
        self.prepare().map_err(|why| self.error(Stage::Upload, "cannot be opened", why))
    }

    /// Writes the layer beside its place. It is not committed.
    ///
    /// # Errors
    /// The flow's own, or `local-file`.
    pub async fn send(&mut self, mut flow: Flow) -> Result<()> {
        let number = PARTIALS.fetch_add(1, Ordering::Relaxed);
        let partial = self.blobs().join(format!(".{}-{number}.partial", std::process::id()));
        let failed = |why| self.error(Stage::Upload, "cannot take the layer", why);
        let file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&partial).await.map_err(failed)?;
        self.partial = Some(partial);
        let failed = |why| self.error(Stage::Upload, "cannot take the layer", why);
        let mut file = tokio::io::BufWriter::with_capacity(WRITE_BYTES, file);
        while let Some(chunk) = flow.next().await? {
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        file.get_ref().sync_all().await.map_err(failed)
    }

    /// Gives the layer its name.
    ///
    /// # Errors
    /// `local-file`; `registry-mismatch` if the file does not have the length that was written.
    pub fn commit(&mut self, layer: &Descriptor) -> Result<()> {
        let partial =
            self.partial.take().ok_or_else(|| Error::internal(Stage::Upload, "there is no layer to commit"))?;
        let committed = fs::metadata(&partial).and_then(|metadata| {
            if metadata.len() != layer.size {
                return Err(io::Error::other(format!("{} bytes on disk, expected {}", metadata.len(), layer.size)));
            }
            fs::rename(&partial, self.blobs().join(layer.digest.hex()))?;
            File::open(self.blobs())?.sync_all()
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
    pub fn put_blob(&self, blob: &Descriptor, bytes: &[u8]) -> Result<()> {
        let path = self.blobs().join(blob.digest.hex());
        let failed = |why| self.error(Stage::Publish, "cannot take a blob", why);
        index::replace(&path, bytes).map_err(failed)?;
        if fs::read(&path).map_err(failed)? != bytes {
            let message = format!("{} reads back otherwise than it was written", path.display());
            return Err(Error::new(Code::RegistryMismatch, Stage::Publish, message));
        }
        Ok(())
    }

    /// Lists the manifest under a tag.
    ///
    /// # Errors
    /// `local-file`.
    pub fn tag(&self, tag: &Tag, manifest: &Descriptor) -> Result<()> {
        let add = || {
            // Held until the file is closed: imports into one layout may run side by side.
            let lock = File::open(self.layout.join("oci-layout"))?;
            lock.lock()?;
            index::add(&self.layout, manifest, tag)
        };
        add().map_err(|why| self.error(Stage::Publish, "cannot be tagged", why))
    }

    /// Removes what was written of the layer. Says what is left if that fails.
    pub fn cancel(&mut self) -> Option<String> {
        let partial = self.partial.take()?;
        match fs::remove_file(&partial) {
            Ok(()) => None,
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => Some(format!("the unfinished blob `{}`, which cannot be removed: {why}", partial.display())),
        }
    }

    fn prepare(&self) -> io::Result<()> {
        let marker = self.layout.join("oci-layout");
        match File::open(&marker) {
            Ok(file) => {
                let mut text = String::new();
                file.take(4096).read_to_string(&mut text)?;
                let version: serde_json::Value = serde_json::from_str(&text)?;
                if version.get("imageLayoutVersion").and_then(serde_json::Value::as_str) != Some("1.0.0") {
                    return Err(io::Error::other("its imageLayoutVersion is not 1.0.0"));
                }
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.layout)?;
                if fs::read_dir(&self.layout)?.next().is_some() {
                    return Err(io::Error::other("the folder is not empty and not an image layout"));
                }
                index::replace(&marker, b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
            }
            Err(why) => return Err(why),
        }
        fs::create_dir_all(self.blobs())
    }

    fn blobs(&self) -> PathBuf {
        self.layout.join("blobs").join("sha256")
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
