//! The storage of a registry, as distribution's file system driver keeps it, on the machine that has it: listed, and cleared of what
//! no manifest names, as `registry garbage-collect` does.
//!
//! `ROOT/docker/registry/v2` has `repositories/NAME` with `_manifests/revisions` (manifests that are there), `_manifests/tags`,
//! `_layers` (blobs that may be had from there) and `_uploads`, all of them links by digest, and `blobs` with the bytes.
//! Nobody locks it: what is cleared must not be pushed to meanwhile.

mod mark;
mod sweep;
mod walk;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;

/// The storage of one registry.
#[derive(Clone, Debug)]
pub struct Storage {
    root: PathBuf,
}

/// What is to be cleared.
#[derive(Clone, Copy, Debug)]
pub struct Clearing {
    /// How old something must be.
    pub grace: Duration,
    /// Whether manifests go that no tag leads to.
    pub untagged: bool,
    /// Whether anything is removed.
    pub remove: bool,
    /// When it ends, done or not.
    pub until: Option<Instant>,
}

impl Clearing {
    /// What was written later is too young.
    fn cutoff(&self) -> SystemTime {
        SystemTime::now().checked_sub(self.grace).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether there is time left.
    fn goes_on(&self) -> io::Result<()> {
        match self.until.is_some_and(|until| Instant::now() >= until) {
            true => Err(io::Error::new(io::ErrorKind::TimedOut, "it takes longer than it may")),
            false => Ok(()),
        }
    }
}

/// What nothing names.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Manifests without a tag, by repository.
    pub manifests: Vec<(String, Digest)>,
    /// Links of repositories to blobs that no manifest names.
    pub links: Vec<(String, Digest)>,
    /// Blobs and their bytes, in order of their digests.
    pub blobs: Vec<(Digest, u64)>,
    /// How many of all these are too young.
    pub young: usize,
    /// How many blobs are named.
    pub named: usize,
    /// Uploads that are under way, or were left, in repositories.
    pub uploads: Vec<String>,
}

/// A repository as it lies there.
struct Repository {
    name: String,
    revisions: Vec<Link>,
    layers: Vec<Link>,
    /// Tags, and where they lead.
    tags: Vec<(String, Digest)>,
    /// When the youngest upload was written to; none without uploads.
    upload: Option<SystemTime>,
}

/// A link by a digest.
#[derive(Clone)]
struct Link {
    digest: Digest,
    written: SystemTime,
}

/// What is named.
struct Marks {
    named: BTreeSet<Digest>,
    /// Blobs that something young leads to: whoever pushes them names them last.
    young: BTreeSet<Digest>,
}

impl Storage {
    /// That in the `rootdirectory` of a registry's configuration.
    ///
    /// # Errors
    /// `local-file` if there is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let storage = Self { root: folder.join("docker").join("registry").join("v2") };
        match storage.repositories_folder().is_dir() {
            true => Ok(storage),
            false => {
                let message = format!(
                    "`{}` is not the storage of a registry: there is no `docker/registry/v2/repositories` in it",
                    folder.display()
                );
                Err(Error::new(Code::LocalFile, Stage::Plan, message)
                    .hint("name what `storage.filesystem.rootdirectory` is in the registry's configuration"))
            }
        }
    }

    /// The names of its repositories, in order.
    ///
    /// # Errors
    /// `local-file` if it cannot be read.
    pub fn repositories(&self) -> Result<Vec<String>> {
        let names = walk::names(&self.repositories_folder()).map_err(|why| self.failed("read", why))?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Bytes of the file system that it is in, and how many of them are free.
    ///
    /// # Errors
    /// `local-file` if nobody knows.
    pub fn room(&self) -> Result<(u64, u64)> {
        let room = rustix::fs::statvfs(&self.root).map_err(|why| self.failed("looked at", why.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
        Ok((bytes(room.f_blocks), bytes(room.f_bavail)))
    }

    /// When the youngest of a repository's links and uploads was written; none if it has none, or is not there.
    ///
    /// # Errors
    /// `local-file` if it cannot be read.
    pub fn touched(&self, repository: &str) -> Result<Option<SystemTime>> {
        let path = self.repositories_folder().join(repository);
        let read = walk::repository(repository.to_owned(), &path).map_err(|why| self.failed("read", why))?;
        let links = read.revisions.iter().chain(&read.layers).map(|link| link.written);
        Ok(links.chain(read.upload).max())
    }

    /// Removes a repository, and none of those below it. Blobs stay until nothing names them. Whether it was there.
    ///
    /// # Errors
    /// `local-file` if it cannot be removed.
    pub fn remove(&self, repository: &str) -> Result<bool> {
        let removed = walk::remove(&self.repositories_folder(), repository);
        removed.map_err(|why| self.failed("changed", why))
    }

    /// The names of what stands in a folder of repositories, in order; none if it is not there.
    ///
    /// # Errors
    /// `local-file` if it cannot be read.
    pub fn within(&self, folder: &str) -> Result<Option<Vec<String>>> {
        walk::within(&self.repositories_folder(), folder).map_err(|why| self.failed("read", why))
    }

    /// Finds what nothing names, and removes it if that is wanted.
    ///
    /// # Errors
    /// `local-file` if something cannot be read, before anything is removed: what it named is not known; and if an upload is under
    /// way where something is to be removed.
    pub fn clear(&self, clearing: Clearing) -> Result<Cleared> {
        let found = self.looked_at(clearing)?;
        if clearing.remove {
            // Again: to look takes its time.
            self.idle(clearing)?;
            sweep::remove(self, &found, clearing).map_err(|why| self.failed("cleared", why))?;
        }
        Ok(found)
    }

    /// Whether it could be cleared, before whatever comes first.
    ///
    /// # Errors
    /// As for [`Self::clear`].
    pub fn clearable(&self, clearing: Clearing) -> Result<()> {
        self.looked_at(clearing).map(drop)
    }

    fn looked_at(&self, clearing: Clearing) -> Result<Cleared> {
        let cutoff = clearing.cutoff();
        let failed = |why| self.failed("cleared", why);
        let repositories = self.read(clearing).map_err(failed)?;
        if clearing.remove {
            self.none_under_way(&repositories, cutoff)?;
        }
        let marks = mark::mark(self, &repositories, clearing, cutoff).map_err(failed)?;
        sweep::found(self, &repositories, &marks, clearing.untagged, cutoff).map_err(failed)
    }

    /// Whether nothing is pushed to it.
    fn idle(&self, clearing: Clearing) -> Result<()> {
        let repositories = self.read(clearing).map_err(|why| self.failed("cleared", why))?;
        self.none_under_way(&repositories, clearing.cutoff())
    }

    fn read(&self, clearing: Clearing) -> io::Result<Vec<Repository>> {
        let mut repositories = Vec::new();
        for (name, path) in walk::names(&self.repositories_folder())? {
            clearing.goes_on()?;
            repositories.push(walk::repository(name, &path)?);
        }
        Ok(repositories)
    }

    fn none_under_way(&self, repositories: &[Repository], cutoff: SystemTime) -> Result<()> {
        let Some(busy) = repositories.iter().find(|one| one.upload.is_some_and(|upload| upload > cutoff)) else {
            return Ok(());
        };
        let message = format!("an upload is under way in the repository `{}`: nothing was cleared", busy.name);
        Err(Error::new(Code::LocalFile, Stage::Upload, message)
            .hint("make the registry read-only first; or wait until its uploads have ended"))
    }

    fn repositories_folder(&self) -> PathBuf {
        self.root.join("repositories")
    }

    fn blobs_folder(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    /// The folder of a blob.
    fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.blobs_folder().join(hex.get(..2).unwrap_or_default()).join(&hex)
    }

    fn failed(&self, what: &str, why: io::Error) -> Error {
        let message = format!("the registry's storage `{}` cannot be {what}: {why}", self.root.display());
        Error::new(Code::LocalFile, Stage::Upload, message).caused_by(why)
    }
}
