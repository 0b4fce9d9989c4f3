//! What is not marked and old enough, and its removal: manifests first, then links, then bytes, so that whatever is cut short leaves
//! nothing that leads to something that is gone.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::SystemTime;

use super::{Cleared, Clearing, Marks, Repository, Storage, walk};
use crate::oci::Digest;

pub(super) fn found(
    storage: &Storage,
    repositories: &[Repository],
    marks: &Marks,
    untagged: bool,
    cutoff: SystemTime,
) -> io::Result<Cleared> {
    let mut cleared = Cleared { named: marks.named.len(), ..Cleared::default() };
    for repository in repositories {
        if repository.upload.is_some() {
            cleared.uploads.push(repository.name.clone());
        }
        if untagged {
            let gone = repository.revisions.iter().filter(|link| !marks.named.contains(&link.digest));
            cleared.manifests.extend(gone.map(|link| (repository.name.clone(), link.digest)));
        }
        for link in repository.layers.iter().filter(|link| !marks.named.contains(&link.digest)) {
            match link.written <= cutoff {
                true => cleared.links.push((repository.name.clone(), link.digest)),
                false => cleared.young += 1,
            }
        }
    }
    for (_, folder) in walk::folders_without_links(&storage.blobs_folder())? {
        for (name, folder) in walk::folders_without_links(&folder)? {
            // What has another name is no blob.
            let digest = Digest::from_hex(&name).ok().filter(|digest| !marks.named.contains(digest));
            let Some(digest) = digest.filter(|digest| storage.blob(digest) == folder) else { continue };
            let Some((written, size)) = walk::written(&folder.join("data"))? else { continue };
            match written <= cutoff && !marks.young.contains(&digest) {
                true => cleared.blobs.push((digest, size)),
                false => cleared.young += 1,
            }
        }
    }
    cleared.blobs.sort_by_key(|(digest, _)| digest.hex());
    Ok(cleared)
}

pub(super) fn remove(storage: &Storage, cleared: &Cleared, clearing: Clearing) -> io::Result<()> {
    let repositories = storage.repositories_folder();
    let mut of_tags = BTreeSet::new();
    for (name, digest) in &cleared.manifests {
        let manifests = repositories.join(name).join("_manifests");
        gone(fs::remove_dir_all(manifests.join("revisions").join("sha256").join(digest.hex())))?;
        of_tags.insert((name.clone(), digest.hex()));
    }
    // What tags led to before: a history that nobody reads, and that the registry would follow when it deletes.
    for (name, hex) in of_tags {
        for (_, tag) in walk::folders(&repositories.join(&name).join("_manifests").join("tags"))? {
            gone(fs::remove_dir_all(tag.join("index").join("sha256").join(&hex)))?;
        }
    }
    for (name, digest) in &cleared.links {
        gone(fs::remove_dir_all(repositories.join(name).join("_layers").join("sha256").join(digest.hex())))?;
    }
    for (digest, _) in &cleared.blobs {
        // What led to it is gone: it can be found again.
        clearing.goes_on()?;
        gone(fs::remove_dir_all(storage.blob(digest)))?;
    }
    Ok(())
}

/// What was gone already is gone.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
