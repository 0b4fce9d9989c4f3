//! References: registry, repository, tag (OCI distribution-spec "Pulling manifests", Docker's reference grammar).

use std::fmt;
use std::str::FromStr;

use super::{Digest, as_typed};

/// The longest repository name (distribution-spec: implementations may limit to 255 with the host).
const MAX_REPOSITORY: usize = 255;
/// Docker Hub as references name it.
const DOCKER_HUB: &str = "docker.io";
/// Where its API is.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// Its namespace for repositories that name none.
const DOCKER_HUB_LIBRARY: &str = "library";
/// The longest tag.
const MAX_TAG: usize = 128;

/// A repository in a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repository {
    host: String,
    port: Option<u16>,
    path: String,
}

/// A tag: a letter, digit or `_`, then at most 127 of those, `.` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// A repository with an optional tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, if there is one.
    pub tag: Option<Tag>,
    /// The digest, if there is one.
    pub digest: Option<Digest>,
}

/// A text that is no reference.
#[derive(Debug, thiserror::Error)]
#[error("`{shown}` is not a reference: {why}", shown = as_typed(text))]
pub struct MalformedReference {
    text: String,
    why: &'static str,
}

impl Repository {
    /// The repository of that path in the same registry, if it is one.
    #[must_use]
    pub fn sibling(&self, path: &str) -> Option<Self> {
        let reference: Reference = format!("{}/{path}:x", self.registry()).parse().ok()?;
        Some(reference.repository)
    }

    /// The registry's host: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The registry's port, if it was named.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The registry as it was named.
    #[must_use]
    pub fn registry(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Host and port of the registry's API. Docker Hub's is not where its references say.
    #[must_use]
    pub fn api(&self) -> String {
        if self.host == DOCKER_HUB && self.port.is_none() { DOCKER_HUB_API.to_owned() } else { self.registry() }
    }

    /// The path within the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Tag {
    /// The tag that is meant where none is named.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = MalformedReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let first = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if text.len() <= MAX_TAG && text.as_bytes().first().is_some_and(first) && text.bytes().all(rest) {
            return Ok(Self(text.to_owned()));
        }
        Err(MalformedReference { text: text.to_owned(), why: "a tag has 1 to 128 letters, digits, `_`, `.` and `-`" })
    }
}

impl FromStr for Reference {
    type Err = MalformedReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |why| MalformedReference { text: text.to_owned(), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| malformed("only sha256 digests are understood"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (registry, rest) =
            rest.split_once('/').ok_or_else(|| malformed("expected host[:port]/repository[:tag]"))?;
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag.parse().map_err(|MalformedReference { why, .. }| malformed(why))?)),
            None => (rest, None),
        };
        let (host, port) = split_port(registry).ok_or_else(|| malformed("the port is not a number"))?;
        if !is_registry(host, port) {
            return Err(malformed("the first part must be a registry: a name with a dot or a port, or localhost"));
        }
        if !is_repository(path) {
            return Err(malformed("a repository has lower-case segments of letters, digits, `.`, `_` and `-`"));
        }
        let host = host.to_ascii_lowercase();
        let path = match host == DOCKER_HUB && !path.contains('/') {
            true => format!("{DOCKER_HUB_LIBRARY}/{path}"),
            false => path.to_owned(),
        };
        Ok(Self { repository: Repository { host, port, path }, tag, digest })
    }
}

fn split_port(registry: &str) -> Option<(&str, Option<u16>)> {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            Some((host, Some(port.parse().ok().filter(|_| digits)?)))
        }
        _ => Some((registry, None)),
    }
}

/// Docker's rule for what is a registry and what a user of Docker Hub: a dot, a colon, or `localhost`.
fn is_registry(host: &str, port: Option<u16>) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label) && (host.contains('.') || port.is_some() || host == "localhost")
}

fn is_repository(path: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let segment = |segment: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(|byte| lower(*byte));
        ends(segment.as_bytes().first())
            && ends(segment.as_bytes().last())
            && segment.bytes().all(|byte| lower(byte) || matches!(byte, b'.' | b'_' | b'-'))
            && !segment.contains("..")
            && !segment.contains("___")
            && !segment.contains("._")
            && !segment.contains("_.")
    };
    path.len() <= MAX_REPOSITORY && path.split('/').all(segment)
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry(), self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_what_it_writes() {
        let digest = Digest::of(b"x");
        for text in [
            "registry.example/vm/disk:1".to_owned(),
            "127.0.0.1:5000/a".to_owned(),
            "localhost/a/b-c/d_e__f.g:v1.0-rc".to_owned(),
            "[::1]:5000/vm:x".to_owned(),
            format!("r.example/vm@{digest}"),
            format!("r.example/vm:tag@{digest}"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_parts_are_told_apart() {
        let reference: Reference = "Registry.Example:443/vm/disk:1".parse().unwrap();
        assert_eq!(reference.repository.host(), "registry.example");
        assert_eq!(reference.repository.port(), Some(443));
        assert_eq!(reference.repository.path(), "vm/disk");
        assert_eq!(reference.tag.unwrap().as_str(), "1");
    }

    #[test]
    fn docker_hub_is_reached_where_its_api_is() {
        let repository = |text: &str| text.parse::<Reference>().unwrap().repository;
        let hub = repository("docker.io/alpine:1");
        assert_eq!((hub.to_string(), hub.api()), ("docker.io/library/alpine".to_owned(), DOCKER_HUB_API.to_owned()));
        assert_eq!(repository("docker.io/vm/disk").path(), "vm/disk");
        assert_eq!(repository("r.example:5000/vm").api(), "r.example:5000");
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in [
            "",
            "vm",
            "vm/disk",
            "r.example",
            "r.example/",
            "r.example//a",
            "r.example/A",
            "r.example/a/",
            "r.example/a:",
            "r.example/a:-x",
            "r.example:x/a",
            "r.example:/a",
            "r.example:99999/a",
            "r.example/a@md5:x",
            "r.example/../a",
            "r.example/a..b",
            "u@r.example/a",
            "r ex.ample/a",
            "r.example/a b",
            "[::g]/a",
            "r.example/a:b:c",
            "-r.example/a",
            "https://r.example/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(format!("r.example/a:{}", "x".repeat(129)).parse::<Reference>().is_err());
        assert!(format!("r.example/{}", "x".repeat(256)).parse::<Reference>().is_err());
    }
}
