//! `dvcr-cleaner`: what is in the storage of the registry, and what of it can go. `docs/drop-in-cleaner.md` has what is not
//! as it was.

mod cluster;

use std::io::{self, BufRead as _, Write as _};
use std::time::{Duration, Instant, SystemTime};

use indicatif::HumanBytes;

use super::super::alone::alone;
use super::super::args::{Cleaner, CleanerCommand, CleanerDelete, CleanerGc, CleanerLs};
use super::super::messages;
use super::super::signals::counted;
use crate::error::{Code, Error, Result, Stage};
use crate::layout::{Clearing, Storage};

/// How old something must be that is cleared: what is being pushed is named last.
const GRACE: Duration = Duration::from_secs(3600);
/// Where disks of VirtualDisks pass through.
const CACHE: &str = "vd";
/// The longest answer to a question.
const MAX_ANSWER: u64 = 64;

/// A kind of image.
#[derive(Clone, Copy)]
enum Kind {
    Virtual,
    Cluster,
}

/// Runs a command.
pub(in crate::cli) fn run(cleaner: &Cleaner) -> Result<()> {
    match &cleaner.command {
        CleanerCommand::Gc { command: CleanerGc::Run } => clear(cleaner),
        CleanerCommand::Gc { command: CleanerGc::AutoCleanup { maintenance_secret_name, gc_timeout } } => {
            cluster::clean(cleaner, maintenance_secret_name.as_deref().unwrap_or_default(), *gc_timeout)
        }
        CleanerCommand::Gc { command: CleanerGc::Check } => cluster::check(cleaner),
        CleanerCommand::Ls { command } => list(&Storage::open(&cleaner.storage)?, command),
        CleanerCommand::Delete { command } => delete(cleaner, command),
        CleanerCommand::Pause => pause(),
    }
}

/// What disks of VirtualDisks left, and what no tag and no manifest leads to.
fn clear(cleaner: &Cleaner) -> Result<()> {
    let storage = Storage::open(&cleaner.storage)?;
    if !confirmed(cleaner)? {
        return Ok(());
    }
    storage.clearable(clearing(None))?;
    for name in storage.repositories()?.iter().filter(|name| name.starts_with("vd/")) {
        // One that is being imported is no cache yet.
        if is_old(&storage, name)? {
            storage.remove(name)?;
            messages::data(&messages::harmless(&format!("removed {name} of `{CACHE}`")))?;
        }
    }
    swept(&storage, None)
}

/// How a storage is cleared.
const fn clearing(until: Option<Instant>) -> Clearing {
    Clearing { grace: GRACE, untagged: true, remove: true, until }
}

/// Whether nobody has pushed to a repository for long enough.
fn is_old(storage: &Storage, repository: &str) -> Result<bool> {
    let cutoff = SystemTime::now().checked_sub(GRACE);
    let touched = storage.touched(repository)?;
    Ok(touched.is_none_or(|touched| cutoff.is_some_and(|cutoff| touched <= cutoff)))
}

/// Clears a storage of what no tag and no manifest leads to, and says what that was.
fn swept(storage: &Storage, until: Option<Instant>) -> Result<()> {
    let cleared = storage.clear(clearing(until))?;
    for (repository, digest) in &cleared.manifests {
        messages::data(&messages::harmless(&format!("manifest eligible for deletion: {repository}@{digest}")))?;
    }
    for (digest, _) in &cleared.blobs {
        messages::data(&format!("blob eligible for deletion: {digest}"))?;
    }
    let bytes = cleared.blobs.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    messages::data(&format!(
        "{} blobs marked, {} blobs and {} manifests deleted, {} freed; {} are younger than an hour",
        cleared.named,
        cleared.blobs.len(),
        cleared.manifests.len(),
        HumanBytes(bytes),
        cleared.young
    ))
}

fn list(storage: &Storage, command: &CleanerLs) -> Result<()> {
    let (kind, namespace, image, all) = match command {
        CleanerLs::Vi { all_namespaces: true, .. } => return every_namespace(storage),
        CleanerLs::Vi { image, namespace, all, .. } => (Kind::Virtual, namespace.as_str(), image, *all),
        CleanerLs::Cvi { image, all } => (Kind::Cluster, "", image, *all),
    };
    let names = match image {
        Some(image) => vec![found(storage, kind, namespace, image)?],
        None if all => images(storage, kind, namespace)?,
        None => return Err(which()),
    };
    table(&["Name"], names.into_iter().map(|name| vec![name]).collect())
}

fn every_namespace(storage: &Storage) -> Result<()> {
    let mut rows = Vec::new();
    for namespace in storage.within(Kind::Virtual.folder())?.unwrap_or_default() {
        let images = images(storage, Kind::Virtual, &namespace)?;
        rows.extend(images.into_iter().map(|image| vec![namespace.clone(), image]));
    }
    table(&["Namespace", "Name"], rows)
}

fn delete(cleaner: &Cleaner, command: &CleanerDelete) -> Result<()> {
    let (kind, namespace, image, all) = match command {
        CleanerDelete::Vi { image, namespace, all } => (Kind::Virtual, namespace.as_str(), image, *all),
        CleanerDelete::Cvi { image, all } => (Kind::Cluster, "", image, *all),
    };
    let storage = Storage::open(&cleaner.storage)?;
    if !confirmed(cleaner)? {
        return Ok(());
    }
    let names = match image {
        Some(image) => vec![found(&storage, kind, namespace, image)?],
        None if all => images(&storage, kind, namespace)?,
        None => return Err(which()),
    };
    // All names are good before anything goes.
    let paths = names.iter().map(|name| kind.path(namespace, name)).collect::<Result<Vec<_>>>()?;
    for path in paths {
        storage.remove(&path)?;
    }
    messages::data("Successful")
}

/// The images of a kind, in a namespace.
fn images(storage: &Storage, kind: Kind, namespace: &str) -> Result<Vec<String>> {
    let within = match kind {
        Kind::Virtual => storage.within(&format!("{}/{}", kind.folder(), segment(namespace)?))?,
        Kind::Cluster => storage.within(kind.folder())?,
    };
    match (within, kind) {
        (Some(names), _) => Ok(names),
        (None, Kind::Cluster) => Ok(Vec::new()),
        (None, Kind::Virtual) => Err(absent(format!("the namespace {namespace:?} is not found"))),
    }
}

/// An image that is there.
fn found(storage: &Storage, kind: Kind, namespace: &str, image: &str) -> Result<String> {
    let there = storage.within(&kind.path(namespace, image)?)?;
    let message = || match kind {
        Kind::Virtual => format!("the `VirtualImage` {image:?} is not found in {namespace:?} namespace"),
        Kind::Cluster => format!("the `ClusterVirtualImage` {image:?} is not found"),
    };
    there.map(|_| image.to_owned()).ok_or_else(|| absent(message()))
}

impl Kind {
    /// Where its images are among the repositories.
    const fn folder(self) -> &'static str {
        match self {
            Self::Virtual => "vi",
            Self::Cluster => "cvi",
        }
    }

    /// The repository of an image.
    fn path(self, namespace: &str, image: &str) -> Result<String> {
        let image = segment(image)?;
        Ok(match self {
            Self::Virtual => format!("{}/{}/{image}", self.folder(), segment(namespace)?),
            Self::Cluster => format!("{}/{image}", self.folder()),
        })
    }
}

/// A name as Kubernetes has it (RFC 1123): one segment of a path, and no way out of its folder.
fn segment(name: &str) -> Result<&str> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_one = !name.is_empty() && name.bytes().all(fits) && !name.starts_with('.');
    is_one
        .then_some(name)
        .ok_or_else(|| Error::new(Code::Usage, Stage::Plan, format!("{name:?} is no name of an image or a namespace")))
}

/// Asks, as it was asked before; without somebody who answers, no is the answer.
fn confirmed(cleaner: &Cleaner) -> Result<bool> {
    if cleaner.yes {
        return Ok(true);
    }
    let failed =
        |why: io::Error| Error::new(Code::LocalFile, Stage::Plan, format!("confirm is failed: {why}")).caused_by(why);
    let mut err = io::stderr();
    err.write_all(b"Confirm? [y/N] ").and_then(|()| err.flush()).map_err(failed)?;
    let mut answer = String::new();
    io::Read::take(io::stdin().lock(), MAX_ANSWER).read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

fn pause() -> Result<()> {
    messages::line("Pause");
    alone(async {
        let (mut told, counting) = counted()?;
        tokio::select! {
            _ = told.wait_for(Option::is_some) => Ok(()),
            () = counting => Ok(()),
        }
    })?
}

/// Columns, each as wide as its widest, as Go's tabwriter puts them.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default() + 1
    };
    all.iter().try_for_each(|row| {
        let line: String =
            row.iter().enumerate().map(|(at, cell)| format!("{cell:width$}", width = width(at))).collect();
        messages::data(&messages::harmless(&line))
    })
}

fn absent(message: String) -> Error {
    Error::new(Code::RegistryNotFound, Stage::Plan, message)
}

fn which() -> Error {
    Error::new(Code::Usage, Stage::Plan, "which images? name one, or --all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_way_out_of_its_folder() {
        assert_eq!(Kind::Virtual.path("default", "ubuntu-24.04").unwrap(), "vi/default/ubuntu-24.04");
        assert_eq!(Kind::Cluster.path("", "x").unwrap(), "cvi/x");
        for name in ["", ".", "..", "../x", "a/b", ".x", "_uploads", "A", "a\0"] {
            assert_eq!(Kind::Cluster.path("", name).unwrap_err().code(), Code::Usage, "{name:?}");
            assert_eq!(Kind::Virtual.path(name, "x").unwrap_err().code(), Code::Usage, "{name:?}");
        }
    }
}
