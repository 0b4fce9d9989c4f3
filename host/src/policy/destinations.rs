//! Where images may be put, under which tags, and whether a tag that is there may be moved.

use std::fmt;
use std::str::FromStr;

use super::{HostPattern, Origin, Rule, Site, Sited};
use crate::oci::{Repository, Tag};

/// Where images may be put. Everywhere, if it is empty.
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    /// Repositories that may be written, with what holds for each: the first that covers a repository counts, and no other. If
    /// there are any, no other repository may be written.
    pub repositories: Vec<RepositoryRule>,
    /// Whether image layouts may be written; without it they may where no repositories are listed.
    pub layouts: Option<Sited<bool>>,
    /// Whether a tag that is there may be moved, where a repository's entry does not say; without it it may.
    pub overwrite: Option<Sited<bool>>,
}

/// An entry `[[destinations.repository]]`.
#[derive(Clone, Debug)]
pub struct RepositoryRule {
    /// Which.
    pub repositories: Sited<RepositoryPattern>,
    /// Tags that may be put; every one, if there are none.
    pub tags: Vec<Sited<TagPattern>>,
    /// Whether a tag that is there may be moved.
    pub overwrite: Option<Sited<bool>>,
}

/// `HOSTPATTERN/PATH`: in PATH `*` stands for any characters of one segment, and `**` as its last segment for one or more
/// segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryPattern {
    hosts: HostPattern,
    segments: Vec<String>,
    /// Whether more segments follow, one at least.
    deeper: bool,
}

/// A tag in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagPattern(String);

/// A text that is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MalformedDestination(String);

/// Why an image must not be put there.
#[derive(Debug, PartialEq, Eq)]
pub enum DestinationDenied {
    /// The policy lists repositories, and not this one.
    NotListed(Rule),
    /// The policy lists tags for it, and not this one.
    Tag(Tag, Rule),
    /// The policy allows no image layouts.
    Layout(Rule),
}

/// The longest repository path and the longest tag (distribution-spec).
const MAX_PATTERN: usize = 255;

impl Destinations {
    /// Whether these tags may be put into the repository.
    ///
    /// # Errors
    /// With the rule that forbids it.
    pub fn check(&self, repository: &Repository, tags: &[Tag]) -> Result<(), DestinationDenied> {
        let Some(first) = self.repositories.first() else { return Ok(()) };
        let Some(entry) = self.entry(repository) else {
            let rule = Rule { key: "destinations.repository", site: first.repositories.site.clone() };
            return Err(DestinationDenied::NotListed(rule));
        };
        let Some(listed) = entry.tags.first() else { return Ok(()) };
        let denied = tags.iter().find(|tag| !entry.tags.iter().any(|pattern| pattern.value.covers(tag)));
        match denied {
            Some(tag) => {
                let rule = Rule { key: "destinations.repository.tags", site: listed.site.clone() };
                Err(DestinationDenied::Tag(tag.clone(), rule))
            }
            None => Ok(()),
        }
    }

    /// Whether an image layout may be written.
    ///
    /// # Errors
    /// With the rule that forbids it.
    pub fn check_layout(&self) -> Result<(), DestinationDenied> {
        match (&self.layouts, self.repositories.first()) {
            (Some(Sited { value: true, .. }), _) | (None, None) => Ok(()),
            (Some(Sited { site, .. }), _) => {
                Err(DestinationDenied::Layout(Rule { key: "destinations.layouts", site: site.clone() }))
            }
            (None, Some(first)) => {
                let rule = Rule { key: "destinations.repository", site: first.repositories.site.clone() };
                Err(DestinationDenied::Layout(rule))
            }
        }
    }

    /// The rule that lets a repository, or without one an image layout, be written that was found to be allowed.
    #[must_use]
    pub fn allowing(&self, repository: Option<&Repository>) -> Rule {
        match repository {
            Some(repository) => {
                let site = self.entry(repository).map_or(Site::BuiltIn, |entry| entry.repositories.site.clone());
                Rule { key: "destinations.repository", site }
            }
            None => {
                let site = self.layouts.as_ref().map_or(Site::BuiltIn, |said| said.site.clone());
                Rule { key: "destinations.layouts", site }
            }
        }
    }

    /// The rule that keeps tags where they are, if one does: in a repository, or without one in an image layout.
    #[must_use]
    pub fn keeps_tags(&self, repository: Option<&Repository>) -> Option<Rule> {
        let entry = repository.and_then(|repository| self.entry(repository));
        let of_entry =
            entry.and_then(|entry| entry.overwrite.as_ref()).map(|said| ("destinations.repository.overwrite", said));
        let (key, said) = of_entry.or_else(|| Some(("destinations.overwrite", self.overwrite.as_ref()?)))?;
        (!said.value).then(|| Rule { key, site: said.site.clone() })
    }

    fn entry(&self, repository: &Repository) -> Option<&RepositoryRule> {
        self.repositories.iter().find(|entry| entry.repositories.value.covers(repository))
    }
}

impl RepositoryPattern {
    /// The registries.
    #[must_use]
    pub const fn hosts(&self) -> &HostPattern {
        &self.hosts
    }

    /// Whether it covers the repository. A registry that is named without a port is at port 443.
    #[must_use]
    pub fn covers(&self, repository: &Repository) -> bool {
        let origin = url::Url::parse(&format!("https://{}/", repository.registry())).ok();
        let Some(origin) = origin.and_then(|url| Origin::of(&url).ok()) else { return false };
        self.hosts.covers(&origin) && self.covers_path(repository.path().split('/'))
    }

    /// Whether it covers everything that `other` covers.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        // A `*` of the other is a character that only a `*` of ours covers.
        let path = other.segments.iter().map(String::as_str).chain(other.deeper.then_some("*"));
        let as_deep = self.deeper || !other.deeper;
        self.hosts.contains(&other.hosts) && as_deep && self.covers_path(path)
    }

    fn covers_path<'a>(&self, mut path: impl Iterator<Item = &'a str>) -> bool {
        let begins = self.segments.iter().all(|pattern| path.next().is_some_and(|segment| covers(pattern, segment)));
        begins && path.next().is_some() == self.deeper
    }
}

impl TagPattern {
    /// Whether it covers the tag.
    #[must_use]
    pub fn covers(&self, tag: &Tag) -> bool {
        covers(&self.0, tag.as_str())
    }
}

/// Whether a text is the pattern with something, or nothing, for each `*`: each piece between two is taken where it comes
/// first, which leaves most for the others.
fn covers(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (between, last) = rest.rsplit_once('*').map_or((None, rest), |(between, last)| (Some(between), last));
    for piece in between.into_iter().flat_map(|between| between.split('*')) {
        let Some((_, behind)) = text.split_once(piece) else { return false };
        text = behind;
    }
    text.ends_with(last)
}

impl FromStr for RepositoryPattern {
    type Err = MalformedDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |why: &str| MalformedDestination(format!("`{text}` is not HOST[:PORT]/REPOSITORY: {why}"));
        let (hosts, path) = text.split_once('/').ok_or_else(|| malformed("it has no `/`"))?;
        let hosts = hosts.parse().map_err(|why: super::MalformedHostPattern| malformed(&why.to_string()))?;
        if path.len() > MAX_PATTERN {
            return Err(malformed("it is too long"));
        }
        let (path, deeper) = match path {
            "**" => ("", true),
            path => path.strip_suffix("/**").map_or((path, false), |before| (before, true)),
        };
        let segments: Vec<String> = match (path, deeper) {
            ("", true) => Vec::new(),
            (path, _) => path.split('/').map(str::to_owned).collect(),
        };
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
        let fits = |segment: &String| !segment.is_empty() && !segment.contains("**") && segment.bytes().all(allowed);
        if !segments.iter().all(fits) {
            let why = "segments have a-z, 0-9, `.`, `_`, `-` and `*`, and `**` is a last segment of its own";
            return Err(malformed(why));
        }
        Ok(Self { hosts, segments, deeper })
    }
}

impl FromStr for TagPattern {
    type Err = MalformedDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
        let fits = !text.is_empty() && text.len() <= MAX_PATTERN && text.bytes().all(allowed);
        let malformed = || MalformedDestination(format!("`{text}` is no tag, with or without `*` for any characters"));
        if fits { Ok(Self(text.to_owned())) } else { Err(malformed()) }
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hosts)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))?;
        if self.deeper { f.write_str("/**") } else { Ok(()) }
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DestinationDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed(rule) => write!(f, "the policy's {rule} does not list it"),
            Self::Tag(tag, rule) => write!(f, "the policy's {rule} does not list the tag `{tag}`"),
            Self::Layout(rule @ Rule { key: "destinations.layouts", .. }) => {
                write!(f, "the policy's {rule} allows no image layouts")
            }
            Self::Layout(rule) => {
                write!(f, "the policy's {rule} lists what may be written, and `destinations.layouts` is not true")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::parsed;
    use super::*;
    use crate::oci::Reference;

    fn repository(text: &str) -> Repository {
        text.parse::<Reference>().unwrap().repository
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, text) in [
            ("r.example/vm", "r.example/vm"),
            ("r.example/vm", "r.example:5000/vm"),
            ("r.example:443/vm", "R.EXAMPLE/vm"),
            ("*.example:5000/a/*", "r.example:5000/a/b"),
            ("r.example/a/*-disk", "r.example/a/x-y-disk"),
            ("r.example/**", "r.example/a"),
            ("r.example/a/**", "r.example/a/b/c"),
            ("*/a", "[::1]:5000/a"),
            ("docker.io/library/*", "docker.io/debian"),
        ] {
            assert!(pattern.parse::<RepositoryPattern>().unwrap().covers(&repository(text)), "{pattern} {text}");
            assert_eq!(pattern.parse::<RepositoryPattern>().unwrap().to_string(), pattern);
        }
        for (pattern, text) in [
            ("r.example/vm", "r.example/vms"),
            ("r.example/vm", "r.example/vm/x"),
            ("r.example:5000/vm", "r.example/vm"),
            ("r.example/*", "r.example/a/b"),
            ("r.example/a/**", "r.example/a"),
            ("r.example/a/**", "r.example/ab/c"),
            ("r.example/**", "s.example/a"),
            ("r.example/vm", "r.example.evil.example/vm"),
        ] {
            assert!(!pattern.parse::<RepositoryPattern>().unwrap().covers(&repository(text)), "{pattern} {text}");
        }
        for (pattern, text, covered) in [
            ("v*", "v1", true),
            ("v*", "v", true),
            ("*-a*-b", "x-a-a-b", true),
            ("*-a*-b", "x-b", false),
            ("a*a", "a", false),
            ("*", "latest", true),
            ("latest", "latest2", false),
        ] {
            assert_eq!(pattern.parse::<TagPattern>().unwrap().covers(&tag(text)), covered, "{pattern} {text}");
        }
    }

    #[test]
    fn anything_else_is_no_pattern() {
        for text in [
            "",
            "r.example",
            "r.example/",
            "/a",
            "r.example/A",
            "r.example/a//b",
            "r.example/a**",
            "r.example/**/a",
            "a.*/b",
        ] {
            assert!(text.parse::<RepositoryPattern>().is_err(), "{text}");
        }
        for text in ["", "a b", "a:b", "a/b"] {
            assert!(text.parse::<TagPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_contains_what_it_covers_all_of() {
        let contains = |one: &str, other: &str| {
            one.parse::<RepositoryPattern>().unwrap().contains(&other.parse::<RepositoryPattern>().unwrap())
        };
        assert!(contains("*/**", "r.example/a/b"));
        assert!(contains("r.example/a/**", "r.example/a/*/**"));
        assert!(contains("r.example/a/*", "r.example/a/b*"));
        assert!(!contains("r.example/a/*", "r.example/a/**"));
        assert!(!contains("r.example/a/b", "r.example/a/*"));
        assert!(!contains("r.example:1/**", "r.example/a"));
    }

    #[test]
    fn the_first_entry_that_covers_a_repository_counts() {
        let text = "[destinations]\noverwrite = false\n[[destinations.repository]]\nmatch = \"r.example/a\"\n\
                    tags = [\"v*\"]\noverwrite = true\n[[destinations.repository]]\nmatch = \"r.example/*\"";
        let destinations = parsed(text).unwrap().destinations;
        let check = |text: &str, tags: &[&str]| {
            let tags: Vec<Tag> = tags.iter().map(|text| tag(text)).collect();
            destinations.check(&repository(text), &tags).map_err(|why| why.to_string())
        };
        assert_eq!(check("r.example/a", &["v1", "v2"]), Ok(()));
        assert_eq!(
            check("r.example/a", &["v1", "latest"]),
            Err("the policy's `destinations.repository.tags` (policy.toml:6) does not list the tag `latest`".to_owned())
        );
        assert_eq!(check("r.example/b", &["latest"]), Ok(()));
        assert!(check("s.example/b", &["latest"]).unwrap_err().contains("`destinations.repository` (policy.toml:5)"));
        let keeps = |text: &str| destinations.keeps_tags(Some(&repository(text))).map(|rule| rule.to_string());
        assert_eq!(keeps("r.example/a"), None);
        assert_eq!(keeps("r.example/b").as_deref(), Some("`destinations.overwrite` (policy.toml:3)"));
        assert!(destinations.keeps_tags(None).is_some());
        assert!(destinations.check_layout().unwrap_err().to_string().contains("`destinations.layouts` is not true"));
        let none = Destinations::default();
        assert_eq!(
            (none.check(&repository("a.b/c"), &[]), none.check_layout(), none.keeps_tags(None)),
            (Ok(()), Ok(()), None)
        );
    }
}
