//! `docker://host[:port]/repository[:tag][@digest]`, as the host hands it over.

use crate::Digest;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `host[:port]`.
    pub host: String,
    /// The repository's name (distribution-spec "Pulling manifests").
    pub repository: String,
    /// The tag, or the digest if there is one.
    pub reference: String,
    /// What the manifest must have as its digest.
    pub digest: Option<Digest>,
}

impl Location {
    /// Reads a location. Without tag and digest it is `latest`.
    ///
    /// # Errors
    /// Words for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("docker://").ok_or("it does not begin with docker://")?;
        let (host, path) = rest.split_once('/').ok_or("it names no repository")?;
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => {
                let parsed = Digest::parse(digest).ok_or("its digest is not sha256 with 64 digits")?;
                (path, Some(parsed))
            }
            None => (path, None),
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (path, "latest"),
        };
        let plain = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !plain(host, ".-:[]") || !plain(tag, "._-") {
            return Err("its host or tag has characters that neither has".to_owned());
        }
        let segments = |segment: &str| plain(segment, "._-") && segment != "." && segment != "..";
        if !repository.split('/').all(segments) {
            return Err("its repository is no name of one".to_owned());
        }
        let reference = digest.map_or_else(|| tag.to_owned(), |digest| digest.to_string());
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), reference, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_tag_or_a_digest() {
        let digest = Digest::of(b"");
        let at = |text: &str| Location::parse(text).unwrap();
        for (text, repository, reference) in [
            ("docker://r.example/vm", "vm", "latest".to_owned()),
            ("docker://r.example/vm/disk:1.2", "vm/disk", "1.2".to_owned()),
            (&format!("docker://r.example/vm@{digest}"), "vm", digest.to_string()),
            (&format!("docker://r.example/vm:1@{digest}"), "vm", digest.to_string()),
        ] {
            let found = at(text);
            assert_eq!((&*found.host, &*found.repository, found.reference), ("r.example", repository, reference));
            assert_eq!(found.digest.is_some(), text.contains('@'));
        }
        assert_eq!(at("docker://[::1]:5000/vm").host, "[::1]:5000");
    }

    #[test]
    fn what_leads_elsewhere_is_no_location() {
        for text in [
            "",
            "https://r.example/vm",
            "docker://r.example",
            "docker:///vm",
            "docker://r.example/",
            "docker://r.example/../vm",
            "docker://r.example/vm?x",
            "docker://r.example/vm#x",
            "docker://u@r.example/vm",
            "docker://r.example/vm:",
            "docker://r.example/vm@sha256:1",
            "docker://r.example//vm",
            "docker://r.example/v%2fm",
        ] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }
}
