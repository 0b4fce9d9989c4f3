//! The images of a repository or a layout, as far as it matters to whoever deletes some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use super::select::Selection;
use crate::error::{Code, Error, Result, Stage};
use crate::layout;
use crate::oci::{Config, DOCKER_LIST, Descriptor, Digest, Document, INDEX, Tag};
use crate::registry;

/// The annotation that has an image's date.
const CREATED: &str = "org.opencontainers.image.created";
/// The most manifests that all indexes together list.
const MAX_LISTED: usize = 1_000_000;

/// An image or an index, once for all its tags.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) digest: Digest,
    pub(super) is_index: bool,
    pub(super) tags: Vec<Tag>,
    /// What a layout calls it that is no tag.
    pub(super) names: Vec<String>,
    /// What an index lists, and what the indexes do that it lists.
    pub(super) lists: Vec<Digest>,
    /// The digest of what it is about, as it is written.
    pub(super) subject: Option<String>,
    /// When it was made, or for a layout when it was put there; none if nobody says.
    pub(super) dated: Option<SystemTime>,
}

/// All of them, as they were found.
#[derive(Debug, Default)]
pub(super) struct Images {
    pub(super) all: Vec<Held>,
}

/// Indexes that are to be read because an index lists them.
#[derive(Default)]
struct Nested {
    open: Vec<Descriptor>,
    read: BTreeSet<Digest>,
}

impl Images {
    /// Those that tags of a repository lead to, and the one that a digest names. None if the registry knows no such repository.
    pub(super) async fn of_repository(pull: &mut registry::Pull, which: &Selection) -> Result<Option<Self>> {
        let tags = match (pull.tags_if_known().await?, which) {
            (Some(tags), _) => tags,
            // distribution knows no repository whose last tag is gone.
            (None, Selection::Digest(..)) => Vec::new(),
            (None, _) => return Ok(None),
        };
        let mut images = Self::default();
        let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
        for tag in tags {
            let found = match pull.tagged(&tag).await {
                Ok(found) => found,
                // Somebody else was faster.
                Err(error) if error.code() == Code::RegistryNotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(held) = known.get(&found.descriptor.digest).and_then(|at| images.all.get_mut(*at)) {
                held.tags.push(tag);
                continue;
            }
            let document = document(&found.descriptor, &found.bytes)?;
            let dated = if which.is_dated() { dated(pull, &document).await? } else { None };
            let held = of_registry(pull, &found.descriptor, &document).await?;
            known.insert(held.digest, images.all.len());
            images.all.push(Held { dated, tags: vec![tag], ..held });
            images.bounded()?;
        }
        if let Selection::Digest(digest, _) = which
            && !known.contains_key(digest)
        {
            let found = pull.digested(digest).await?;
            let document = document(&found.descriptor, &found.bytes)?;
            images.all.push(of_registry(pull, &found.descriptor, &document).await?);
        }
        Ok(Some(images))
    }

    /// Those that a layout lists.
    pub(super) fn of_layout(pull: &layout::Pull) -> Result<Self> {
        let mut images = Self::default();
        let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
        for (descriptor, name) in pull.named()? {
            let at = match known.get(&descriptor.digest) {
                Some(at) => *at,
                None => {
                    let document = document(&descriptor, &pull.blob(&descriptor)?)?;
                    let (mut held, mut nested) = held(&descriptor, &document);
                    while let Some(next) = nested.next() {
                        nested.listed(&mut held, &self::document(&next, &pull.blob(&next)?)?);
                    }
                    known.insert(held.digest, images.all.len());
                    images.all.push(Held { dated: Some(pull.put_at(&descriptor)?), ..held });
                    images.bounded()?;
                    images.all.len() - 1
                }
            };
            let Some(held) = images.all.get_mut(at) else { continue };
            match name.map(|name| name.parse::<Tag>().map_err(|_| name)) {
                None => {}
                Some(Ok(tag)) => held.tags.push(tag),
                Some(Err(name)) => held.names.push(name),
            }
        }
        Ok(images)
    }

    fn bounded(&self) -> Result<()> {
        match self.all.iter().map(|held| held.lists.len()).fold(0, usize::saturating_add) {
            0..=MAX_LISTED => Ok(()),
            _ => {
                let message = format!("its indexes list more than {MAX_LISTED} manifests");
                Err(Error::new(Code::RegistryProtocol, Stage::Publish, message))
            }
        }
    }
}

impl Held {
    /// Its names: tags and others.
    pub(super) fn called(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(Tag::as_str).chain(self.names.iter().map(String::as_str))
    }
}

impl Nested {
    fn next(&mut self) -> Option<Descriptor> {
        self.open.pop()
    }

    /// Notes what an index of those that `held` leads to lists.
    fn listed(&mut self, held: &mut Held, document: &Document) {
        let Document::Index(index) = document else { return };
        for entry in &index.entries {
            let manifest = &entry.manifest;
            if self.read.insert(manifest.digest) {
                held.lists.push(manifest.digest);
                if matches!(&*manifest.media_type, INDEX | DOCKER_LIST) {
                    self.open.push(manifest.clone());
                }
            }
        }
    }
}

/// What a document of a repository is, with what indexes list that it lists.
async fn of_registry(pull: &mut registry::Pull, descriptor: &Descriptor, document: &Document) -> Result<Held> {
    let (mut held, mut nested) = held(descriptor, document);
    while let Some(next) = nested.next() {
        match pull.digested(&next.digest).await {
            Ok(found) => nested.listed(&mut held, &self::document(&found.descriptor, &found.bytes)?),
            // It was never pushed.
            Err(error) if error.code() == Code::RegistryNotFound => {}
            Err(error) => return Err(error),
        }
        if held.lists.len() > MAX_LISTED {
            break;
        }
    }
    Ok(held)
}

fn held(descriptor: &Descriptor, document: &Document) -> (Held, Nested) {
    let subject = match document {
        Document::Index(index) => &index.subject,
        Document::Manifest(manifest) => &manifest.subject,
    };
    let mut held = Held {
        digest: descriptor.digest,
        is_index: matches!(document, Document::Index(_)),
        tags: Vec::new(),
        names: Vec::new(),
        lists: Vec::new(),
        subject: subject.clone(),
        dated: None,
    };
    let mut nested = Nested::default();
    nested.listed(&mut held, document);
    (held, nested)
}

fn document(descriptor: &Descriptor, bytes: &[u8]) -> Result<Document> {
    // What it names is not known, and so neither is what else would have to stay.
    Document::parse(bytes).map_err(|why| {
        let message = format!("{} cannot be read: {why}", descriptor.digest);
        Error::new(Code::RegistryProtocol, Stage::Publish, message)
    })
}

/// When an image was made, as it says itself. 1970 is what is said where nobody knows.
async fn dated(pull: &mut registry::Pull, document: &Document) -> Result<Option<SystemTime>> {
    let annotations: &BTreeMap<String, String> = match document {
        Document::Manifest(manifest) => &manifest.annotations,
        Document::Index(index) => &index.annotations,
    };
    if let Some(date) = annotations.get(CREATED).and_then(|text| date(text)) {
        return Ok(Some(date));
    }
    let Document::Manifest(manifest) = document else { return Ok(None) };
    let config = match pull.blob(&manifest.config).await {
        Ok(bytes) => Config::parse(&bytes).ok(),
        Err(error) if error.code() == Code::RegistryNotFound => None,
        Err(error) => return Err(error),
    };
    Ok(config.and_then(|config| config.created).and_then(|text| date(&text)))
}

fn date(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(text).ok().filter(|date| *date > UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_nobody_knows_is_none() {
        assert!(date("2024-02-03T04:05:06Z").is_some() && date("2024-02-03T04:05:06.123456789Z").is_some());
        for none in ["1970-01-01T00:00:00Z", "", "yesterday"] {
            assert_eq!(date(none), None, "{none}");
        }
    }
}
