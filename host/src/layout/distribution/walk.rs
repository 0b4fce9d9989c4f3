//! The folders of a storage, and what stands in them. A link of the file system is not followed: the registry does, so that among
//! repositories it ends everything, as what is behind it names blobs that nobody knows of here.

use std::fs::{self, DirEntry};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Link, Repository};
use crate::oci::Digest;

/// The most repositories of a registry.
const MAX_REPOSITORIES: usize = 1_000_000;
/// The most segments of a repository's name: it has at most 255 bytes.
const MAX_DEPTH: usize = 128;
/// The most bytes of a link: a digest.
const MAX_LINK: u64 = 256;

/// The repositories, in order: folders that have manifests, layers or uploads, however deep.
pub(super) fn names(root: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut open = vec![(String::new(), root.to_owned(), 0_usize)];
    let mut found = Vec::new();
    while let Some((name, folder, depth)) = open.pop() {
        let mut is_one = false;
        for (child, path) in folders(&folder)? {
            if child.starts_with('_') {
                is_one |= is_part(&child);
                continue;
            }
            let child = if name.is_empty() { child } else { format!("{name}/{child}") };
            if depth == MAX_DEPTH {
                return Err(io::Error::other(format!("the repository `{child}` is too deep")));
            }
            open.push((child, path, depth + 1));
        }
        if is_one && !name.is_empty() {
            found.push((name, folder));
        }
        if found.len() + open.len() > MAX_REPOSITORIES {
            return Err(io::Error::other(format!("it has more than {MAX_REPOSITORIES} repositories")));
        }
    }
    found.sort();
    Ok(found)
}

/// What a repository has.
pub(super) fn repository(name: String, path: &Path) -> io::Result<Repository> {
    let manifests = path.join("_manifests");
    let revisions = links(&manifests.join("revisions"))?;
    let layers = links(&path.join("_layers"))?;
    let mut tags = Vec::new();
    for (tag, folder) in folders(&manifests.join("tags"))? {
        // A tag that leads nowhere is none, to the registry too.
        if let Some(link) = link(&folder.join("current").join("link"))? {
            tags.push((tag, link.digest));
        }
    }
    let mut upload = None;
    for (_, folder) in folders(&path.join("_uploads"))? {
        for entry in entries(&folder)? {
            upload = upload.max(Some(entry.metadata()?.modified()?));
        }
    }
    Ok(Repository { name, revisions, layers, tags, upload })
}

/// The names in a folder of repositories.
pub(super) fn within(root: &Path, folder: &str) -> io::Result<Option<Vec<String>>> {
    let Some(path) = inside(root, folder)? else { return Ok(None) };
    Ok(Some(folders(&path)?.into_iter().map(|(name, _)| name).filter(|name| !name.starts_with('_')).collect()))
}

/// Removes a repository, and none of those below it.
pub(super) fn remove(root: &Path, repository: &str) -> io::Result<bool> {
    let Some(path) = inside(root, repository)? else { return Ok(false) };
    let parts: Vec<PathBuf> =
        folders(&path)?.into_iter().filter(|(name, _)| is_part(name)).map(|(_, path)| path).collect();
    // In order: what leads to something before it.
    for part in parts {
        fs::remove_dir_all(part)?;
    }
    match fs::remove_dir(&path) {
        Err(why) if why.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(true),
        removed => removed.map(|()| true),
    }
}

/// Whether a folder is part of a repository, and no repository below it.
fn is_part(name: &str) -> bool {
    matches!(name, "_manifests" | "_layers" | "_uploads")
}

/// The links of a folder, by their digests.
fn links(folder: &Path) -> io::Result<Vec<Link>> {
    let mut found = Vec::new();
    for (algorithm, folder) in folders(folder)? {
        if algorithm != "sha256" {
            let why = format!(
                "`{}` has digests of another algorithm than SHA-256: what they name is not known",
                folder.display()
            );
            return Err(io::Error::other(why));
        }
        for (name, folder) in folders(&folder)? {
            let digest = Digest::from_hex(&name).map_err(|_| io::Error::other(format!("`{name}` is no digest")))?;
            // Without its link the registry does not have it; what is left of it is cleared with the rest.
            let Some(link) = link(&folder.join("link"))? else { continue };
            if link.digest != digest {
                return Err(io::Error::other(format!("the link {digest} leads to {}", link.digest)));
            }
            found.push(link);
        }
    }
    Ok(found)
}

/// A link, if it is there.
fn link(path: &Path) -> io::Result<Option<Link>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    if !metadata.is_file() {
        return Err(io::Error::other(format!("`{}` is no file", path.display())));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_LINK).read_to_string(&mut text)?;
    let digest = text.trim().parse();
    let digest =
        digest.map_err(|_| io::Error::other(format!("`{}` is no link to a SHA-256 digest", path.display())))?;
    Ok(Some(Link { digest, written: metadata.modified()? }))
}

/// The folders in a folder, in order; none of one that is not there. A link of the file system ends it.
pub(super) fn folders(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    for entry in entries(folder)? {
        if entry.file_type()?.is_symlink() {
            let why = format!("`{}` is a link: what is behind it is not known", entry.path().display());
            return Err(io::Error::other(why));
        }
    }
    folders_without_links(folder)
}

/// The same where whatever is not looked at is not removed either.
pub(super) fn folders_without_links(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        if entry.file_type()?.is_dir() {
            let name = entry.file_name().into_string();
            let name =
                name.map_err(|name| io::Error::other(format!("{} has a name that is no text", name.display())))?;
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(why) => Err(why),
    }
}

/// A folder below `root` that is there, each of whose segments is a folder and no way out of it.
fn inside(root: &Path, folder: &str) -> io::Result<Option<PathBuf>> {
    let mut path = root.to_owned();
    for segment in folder.split('/') {
        if segment.is_empty() || segment.starts_with(['.', '_']) || segment.contains('\0') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{folder}` names no repositories")));
        }
        path.push(segment);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(io::Error::other(format!("`{}` is no folder", path.display()))),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        }
    }
    Ok(Some(path))
}

/// When a file was written; none if it is not there.
pub(super) fn written(path: &Path) -> io::Result<Option<(SystemTime, u64)>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some((metadata.modified()?, metadata.len()))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}
