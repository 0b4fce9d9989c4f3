//! The images of a repository or a layout, as far as it matters to whoever deletes some of them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::select::Selection;
use crate::error::{Code, Error, Result, Stage};
use crate::layout;
use crate::oci::{Config, Descriptor, Digest, Document, Tag};
use crate::registry;

/// The annotation that has an image's date.
const CREATED: &str = "org.opencontainers.image.created";

/// An image or an index, once for all its tags.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) digest: Digest,
    pub(super) is_index: bool,
    pub(super) tags: Vec<Tag>,
    /// What an index lists.
    pub(super) lists: Vec<Digest>,
    /// When it was made, or for a layout when it was put there; none if nobody says.
    pub(super) dated: Option<SystemTime>,
}

/// All of them, as they were found.
#[derive(Debug, Default)]
pub(super) struct Images {
    pub(super) all: Vec<Held>,
}

impl Images {
    /// Those that tags of a repository lead to, and the one that a digest names.
    pub(super) async fn of_repository(pull: &mut registry::Pull, which: &Selection) -> Result<Self> {
        let tags = match pull.tags().await {
            Ok(tags) => tags,
            // distribution knows no repository whose last tag is gone.
            Err(error) if error.code() == Code::RegistryNotFound && matches!(which, Selection::Digest(..)) => {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let mut images = Self::default();
        for tag in tags {
            let found = match pull.tagged(&tag).await {
                Ok(found) => found,
                // Somebody else was faster.
                Err(error) if error.code() == Code::RegistryNotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(held) = images.of(&found.descriptor.digest) {
                held.tags.push(tag);
                continue;
            }
            let held = held(&found.descriptor, &found.bytes, Some(tag))?;
            let dated = match (which.is_dated(), document(&found.descriptor, &found.bytes)?) {
                (true, document) => dated(pull, &document).await?,
                (false, _) => None,
            };
            images.all.push(Held { dated, ..held });
        }
        if let Selection::Digest(digest, _) = which
            && images.of(digest).is_none()
        {
            let found = pull.digested(digest).await?;
            images.all.push(held(&found.descriptor, &found.bytes, None)?);
        }
        Ok(images)
    }

    /// Those that a layout lists.
    pub(super) fn of_layout(pull: &layout::Pull) -> Result<Self> {
        let mut images = Self::default();
        for (descriptor, tag) in pull.listed()? {
            if let Some(held) = images.of(&descriptor.digest) {
                held.tags.extend(tag);
                continue;
            }
            let bytes = pull.blob(&descriptor)?;
            let dated = Some(pull.put_at(&descriptor)?);
            images.all.push(Held { dated, ..held(&descriptor, &bytes, tag)? });
        }
        Ok(images)
    }

    /// The one of that digest.
    pub(super) fn of(&mut self, digest: &Digest) -> Option<&mut Held> {
        self.all.iter_mut().find(|held| held.digest == *digest)
    }
}

fn held(descriptor: &Descriptor, bytes: &[u8], tag: Option<Tag>) -> Result<Held> {
    let lists = match document(descriptor, bytes)? {
        Document::Index(index) => index.entries.into_iter().map(|entry| entry.manifest.digest).collect(),
        Document::Manifest(_) => Vec::new(),
    };
    let is_index = matches!(document(descriptor, bytes)?, Document::Index(_));
    Ok(Held { digest: descriptor.digest, is_index, tags: tag.into_iter().collect(), lists, dated: None })
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
