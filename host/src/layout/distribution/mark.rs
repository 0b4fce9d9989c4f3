//! What manifests name, and what is too young to be gone without.

use std::collections::BTreeSet;
use std::io;
use std::time::SystemTime;

use serde_json::Value;

use super::super::gc::{MAX_NAMED, digests, document, manifests};
use super::{Clearing, Link, Marks, Repository, Storage};
use crate::oci::Digest;

/// Marks everything that manifests lead to: those that a tag leads to, and with them, unless those without one go, all that there are.
/// A young manifest stays, and so does one that says that it is about one that stays (its `subject`, as signatures have it).
pub(super) fn mark(
    storage: &Storage,
    repositories: &[Repository],
    clearing: Clearing,
    cutoff: SystemTime,
) -> io::Result<Marks> {
    let mut marks = Marks { named: BTreeSet::new(), young: BTreeSet::new() };
    let is_young = |link: &&Link| link.written > cutoff;
    for repository in repositories {
        let links = repository.layers.iter().chain(&repository.revisions);
        marks.young.extend(links.filter(is_young).map(|link| link.digest));
    }
    let mut read = BTreeSet::new();
    let mut rest: BTreeSet<Digest> = BTreeSet::new();
    for repository in repositories {
        let revisions: BTreeSet<Digest> = repository.revisions.iter().map(|link| link.digest).collect();
        // To a tag without its manifest the registry answers that there is none.
        let tagged: BTreeSet<Digest> =
            repository.tags.iter().map(|(_, digest)| *digest).filter(|digest| revisions.contains(digest)).collect();
        for link in &repository.revisions {
            clearing.goes_on()?;
            if !clearing.untagged || tagged.contains(&link.digest) || is_young(&link) {
                follow(storage, link.digest, &mut marks, &mut read)?;
            } else {
                rest.insert(link.digest);
            }
        }
    }
    let mut subjects = Vec::new();
    for digest in rest {
        let subject = written(storage, &digest)?.map(|document| subject(&document)).transpose()?.flatten();
        subjects.extend(subject.map(|subject| (digest, subject)));
    }
    // What is about something that stays stays, and so on.
    loop {
        let (about, others): (Vec<_>, Vec<_>) =
            subjects.into_iter().partition(|(_, subject)| marks.named.contains(subject));
        if about.is_empty() {
            return Ok(marks);
        }
        for (digest, _) in about {
            follow(storage, digest, &mut marks, &mut read)?;
        }
        subjects = others;
    }
}

/// Marks a manifest that is there, and everything in it that looks like a digest.
fn follow(storage: &Storage, root: Digest, marks: &mut Marks, read: &mut BTreeSet<Digest>) -> io::Result<()> {
    let mut open = vec![root];
    while let Some(digest) = open.pop() {
        if !read.insert(digest) {
            continue;
        }
        marks.named.insert(digest);
        let Some(document) = written(storage, &digest)? else {
            // An index may list what was never pushed.
            if digest == root {
                let why = format!("the manifest {digest} is not there, or cannot be read: what it names is not known");
                return Err(io::Error::other(why));
            }
            continue;
        };
        let mut named = Vec::new();
        digests(&document, &mut named);
        marks.named.extend(named);
        let mut listed = Vec::new();
        manifests(&document, &mut listed)?;
        open.extend(listed.into_iter().map(|(digest, _)| digest));
        if marks.named.len() > MAX_NAMED {
            return Err(io::Error::other(format!("it names more than {MAX_NAMED} blobs")));
        }
    }
    Ok(())
}

/// A document of the storage, verified.
fn written(storage: &Storage, digest: &Digest) -> io::Result<Option<Value>> {
    let Some(bytes) = document(&storage.blob(digest).join("data"))? else { return Ok(None) };
    if Digest::of(&bytes) != *digest {
        return Err(io::Error::other(format!("the document {digest} has other bytes: what it named is not known")));
    }
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|why| io::Error::other(format!("the manifest {digest} cannot be read: {why}")))
}

/// What a manifest is about.
fn subject(document: &Value) -> io::Result<Option<Digest>> {
    let digest = document.get("subject").and_then(|subject| subject.get("digest")?.as_str());
    let parsed = digest.map(|digest| digest.parse().map_err(|_| digest)).transpose();
    // Of another algorithm, it may be about anything.
    parsed.map_err(|digest| {
        io::Error::other(format!("a manifest's subject has the digest `{digest}`, which is not SHA-256"))
    })
}
