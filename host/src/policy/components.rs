//! Which components may run, as what, and what each is granted.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::document::{shown_size, shown_time};
use super::{HostPattern, Origin, Rule, Site, Sited};
use crate::oci::Digest;

/// Which components may run. Built-in ones and those that were named on the command line, if it is empty.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// Components that may run, with what holds for each: the first that is for a component counts, and no other.
    pub allow: Vec<ComponentRule>,
    /// Whether built-in ones may run without an entry; without it they may.
    pub built_in: Option<Sited<bool>>,
    /// Whether others may run without an entry; without it they may where no entries are listed.
    pub unlisted: Option<Sited<bool>>,
}

/// An entry `[[components.allow]]`.
#[derive(Clone, Debug)]
pub struct ComponentRule {
    /// The digest of the component's bytes.
    pub digest: Sited<Digest>,
    /// What it may run as; as everything it fits, if there are none.
    pub kinds: Vec<Sited<ComponentKind>>,
    /// Where it may come from; from everywhere, if there are none.
    pub origins: Vec<Sited<ComponentOrigin>>,
    /// What it is granted.
    pub grant: Grant,
}

/// What one component is granted besides what its world has. What is not said is as for every component.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// Hosts that a source may ask, of those it could otherwise.
    pub hosts: Vec<Sited<HostPattern>>,
    /// Methods that a source may ask with.
    pub methods: Vec<Sited<RequestMethod>>,
    /// Options that a source may be told.
    pub options: Vec<Sited<OptionKey>>,
    /// In the place of `limits.component-memory`.
    pub memory: Option<Sited<usize>>,
    /// In the place of `limits.component-cpu`.
    pub cpu: Option<Sited<Duration>>,
    /// In the place of `limits.component-idle`.
    pub idle: Option<Sited<Duration>>,
    /// In the place of `limits.component-wait`.
    pub wait: Option<Sited<Duration>>,
    /// The most bytes that a source, filter or compressor may put into the flow.
    pub output: Option<Sited<u64>>,
}

/// What a component can be, by the name that flags and reports have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ComponentKind(&'static str);

/// Where a component can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ComponentOrigin {
    /// It is part of the program.
    BuiltIn,
    /// A file that was named on the command line.
    File,
    /// A repository of a registry that was named there.
    Registry,
}

/// A method that a source may ask with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestMethod {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
}

/// The key of something that a source is told: 1 to 256 characters, none of which is a control character or `=`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OptionKey(String);

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no key of an option: expected 1 to 256 characters, no control characters, no `=`")]
pub struct MalformedOptionKey(String);

/// Why a component does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentDenied {
    /// The policy lists components, and not this one.
    NotListed(Rule),
    /// The policy lists it, and not as this kind.
    Kind(ComponentKind, Rule),
    /// The policy lists it, and not from there.
    Origin(ComponentOrigin, Rule),
    /// The policy wants built-in ones listed, too.
    BuiltIn(Rule),
    /// The policy wants others listed, and lists none.
    Unlisted(Rule),
}

/// Why a source does not get its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestDenied {
    /// Its grant lists hosts, and not this one.
    Host(Rule),
    /// Its grant lists methods, and not this one.
    Method(Rule),
}

/// The longest key of an option.
const MAX_OPTION_KEY: usize = 256;

impl Components {
    /// Whether a component may run, and the entry that lets it, if one does.
    ///
    /// # Errors
    /// With the rule that forbids it.
    pub fn check(
        &self,
        digest: &Digest,
        kind: ComponentKind,
        origin: ComponentOrigin,
    ) -> Result<Option<&ComponentRule>, ComponentDenied> {
        let mut nearly = None;
        for entry in self.allow.iter().filter(|entry| entry.digest.value == *digest) {
            let kinds = entry.kinds.first().filter(|_| !entry.kinds.iter().any(|one| one.value == kind));
            let origins = entry.origins.first().filter(|_| !entry.origins.iter().any(|one| one.value == origin));
            let denied = match (kinds, origins) {
                (None, None) => return Ok(Some(entry)),
                (Some(first), _) => ComponentDenied::Kind(kind, rule("components.allow.kinds", first)),
                (None, Some(first)) => ComponentDenied::Origin(origin, rule("components.allow.origins", first)),
            };
            nearly.get_or_insert(denied);
        }
        let (own, denied): (_, fn(Rule) -> ComponentDenied) = match origin {
            ComponentOrigin::BuiltIn => (("components.built-in", &self.built_in), ComponentDenied::BuiltIn),
            ComponentOrigin::File | ComponentOrigin::Registry => {
                (("components.unlisted", &self.unlisted), ComponentDenied::Unlisted)
            }
        };
        match (own, self.allow.first(), origin) {
            ((_, Some(Sited { value: true, .. })), ..)
            | ((_, None), _, ComponentOrigin::BuiltIn)
            | ((_, None), None, _) => Ok(None),
            (_, Some(first), ComponentOrigin::File | ComponentOrigin::Registry) => {
                Err(nearly.unwrap_or_else(|| ComponentDenied::NotListed(rule("components.allow", &first.digest))))
            }
            ((key, Some(said)), ..) => Err(nearly.unwrap_or_else(|| denied(rule(key, said)))),
        }
    }
}

impl Components {
    /// The rule that decides about a component of which nobody knows the digest yet; none if any may run.
    #[must_use]
    pub fn undecided(&self) -> Option<Rule> {
        match (&self.unlisted, self.allow.first()) {
            (Some(Sited { value: true, .. }), None) | (None, None) => None,
            (_, Some(first)) => Some(rule("components.allow", &first.digest)),
            (Some(said), None) => Some(rule("components.unlisted", said)),
        }
    }

    /// The rule that lets a component run that [`Self::check`] found to be allowed by this entry or without one.
    #[must_use]
    pub fn allowing(&self, entry: Option<&ComponentRule>, origin: ComponentOrigin) -> Rule {
        let (key, said) = match origin {
            ComponentOrigin::BuiltIn => ("components.built-in", &self.built_in),
            ComponentOrigin::File | ComponentOrigin::Registry => ("components.unlisted", &self.unlisted),
        };
        match (entry, said) {
            (Some(entry), _) => rule("components.allow", &entry.digest),
            (None, Some(said)) => rule(key, said),
            (None, None) => Rule { key, site: Site::BuiltIn },
        }
    }
}

impl Grant {
    /// Whether a source may send such a request.
    ///
    /// # Errors
    /// With the rule that forbids it.
    pub fn check_request(&self, origin: &Origin, method: &str) -> Result<(), RequestDenied> {
        match self.hosts.first() {
            Some(first) if !self.hosts.iter().any(|pattern| pattern.value.covers(origin)) => {
                return Err(RequestDenied::Host(rule("components.allow.hosts", first)));
            }
            _ => {}
        }
        match self.methods.first() {
            Some(first) if !self.methods.iter().any(|granted| granted.value.as_str() == method) => {
                Err(RequestDenied::Method(rule("components.allow.methods", first)))
            }
            _ => Ok(()),
        }
    }

    /// The rule that keeps an option from being told, if one does.
    #[must_use]
    pub fn refuses_option(&self, key: &str) -> Option<Rule> {
        let first = self.options.first()?;
        let listed = self.options.iter().any(|granted| granted.value.0 == key);
        (!listed).then(|| rule("components.allow.options", first))
    }

    /// What it says, by key and value, in the words of a document.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        fn list<T>(name: &str, entries: &[Sited<T>], shown: impl Fn(&T) -> String) -> Option<String> {
            let entries: Vec<String> = entries.iter().map(|entry| shown(&entry.value)).collect();
            (!entries.is_empty()).then(|| format!("{name} {}", entries.join(", ")))
        }
        let time = |name: &str, time: &Option<Sited<Duration>>| {
            time.as_ref().map(|time| format!("{name} {}", shown_time(time.value)))
        };
        let size = |name: &str, bytes: Option<u64>| bytes.map(|bytes| format!("{name} {}", shown_size(bytes)));
        [
            list("hosts", &self.hosts, ToString::to_string),
            list("methods", &self.methods, |method| method.as_str().to_owned()),
            list("options", &self.options, ToString::to_string),
            size("memory", self.memory.as_ref().map(|memory| memory.value as u64)),
            time("cpu", &self.cpu),
            time("idle", &self.idle),
            time("wait", &self.wait),
            size("output", self.output.as_ref().map(|output| output.value)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The most bytes it may put into the flow, and the rule that says so.
    #[must_use]
    pub fn output(&self) -> Option<(u64, Rule)> {
        self.output.as_ref().map(|most| (most.value, rule("components.allow.output", most)))
    }
}

fn rule<T>(key: &'static str, sited: &Sited<T>) -> Rule {
    Rule { key, site: sited.site.clone() }
}

impl ComponentKind {
    /// Every kind, upstream first.
    pub const ALL: &'static [Self] =
        &[Self("source"), Self("filter"), Self("probe"), Self("framing"), Self("compressor")];

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.0 == name)
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl ComponentOrigin {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::BuiltIn, Self::File, Self::Registry];

    /// As a document has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::File => "file",
            Self::Registry => "registry",
        }
    }
}

impl RequestMethod {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Get, Self::Head];

    /// As a request has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

impl FromStr for OptionKey {
    type Err = MalformedOptionKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_OPTION_KEY).contains(&text.chars().count()) && !text.contains('=');
        let fits = fits && !text.contains(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(MalformedOptionKey(text.to_owned())) }
    }
}

impl fmt::Display for OptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ComponentDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed(rule) => write!(f, "the policy's {rule} does not list its digest"),
            Self::Kind(kind, rule) => write!(f, "the policy's {rule} does not list `{}` for its digest", kind.0),
            Self::Origin(origin, rule) => {
                write!(f, "the policy's {rule} does not list `{}` for its digest", origin.as_str())
            }
            Self::BuiltIn(rule) => write!(f, "the policy's {rule} wants built-in components listed too"),
            Self::Unlisted(rule) => write!(f, "the policy's {rule} wants it listed"),
        }
    }
}

impl fmt::Display for RequestDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Host(rule) | Self::Method(rule)) = self;
        write!(f, "the policy's {rule} does not list it")
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::parsed;
    use super::*;

    const ONE: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const TWO: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn check(document: &str, digest: &str, kind: &str, origin: ComponentOrigin) -> Result<Option<usize>, String> {
        let policy = parsed(document).unwrap();
        let (digest, kind) = (digest.parse().unwrap(), ComponentKind::named(kind).unwrap());
        let entry = policy.components.check(&digest, kind, origin).map_err(|why| why.to_string())?;
        let site = entry.map(|entry| entry.digest.site.to_string());
        Ok(site.map(|site| site.rsplit(':').next().unwrap().parse().unwrap()))
    }

    #[test]
    fn without_entries_everything_that_was_named_runs() {
        for origin in ComponentOrigin::ALL {
            assert_eq!(check("", ONE, "source", *origin), Ok(None));
        }
        let all = parsed("[components]\nunlisted = false\nbuilt-in = false").unwrap_err().to_string();
        assert!(all.ends_with("no component could run") && all.contains(":4:"), "{all}");
        let closed = "[components]\nunlisted = false";
        let why = check(closed, ONE, "source", ComponentOrigin::File).unwrap_err();
        assert_eq!(why, "the policy's `components.unlisted` (policy.toml:3) wants it listed");
        let closed = "[components]\nbuilt-in = false";
        let why = check(closed, ONE, "source", ComponentOrigin::BuiltIn).unwrap_err();
        assert_eq!(why, "the policy's `components.built-in` (policy.toml:3) wants built-in components listed too");
    }

    #[test]
    fn with_entries_only_what_they_list_runs_and_what_is_built_in() {
        let document = format!(
            "[[components.allow]]\ndigest = \"{ONE}\"\nkinds = [\"source\", \"filter\"]\norigins = [\"file\"]\n\
             [[components.allow]]\ndigest = \"{ONE}\"\nkinds = [\"probe\"]"
        );
        let (file, built_in) = (ComponentOrigin::File, ComponentOrigin::BuiltIn);
        assert_eq!(check(&document, ONE, "source", file), Ok(Some(3)));
        assert_eq!(check(&document, ONE, "probe", file), Ok(Some(7)));
        assert_eq!(check(&document, ONE, "source", built_in), Ok(None), "no entry is for it");
        let why = check(&document, ONE, "framing", file).unwrap_err();
        assert_eq!(why, "the policy's `components.allow.kinds` (policy.toml:4) does not list `framing` for its digest");
        let why = check(&document, TWO, "source", file).unwrap_err();
        assert_eq!(why, "the policy's `components.allow` (policy.toml:3) does not list its digest");
        assert_eq!(check(&format!("[components]\nunlisted = true\n{document}"), TWO, "source", file), Ok(None));
        let listed = format!("[components]\nbuilt-in = false\n{document}");
        let why = check(&listed, ONE, "source", built_in).unwrap_err();
        assert_eq!(
            why,
            "the policy's `components.allow.origins` (policy.toml:7) does not list `built-in` for its digest"
        );
        assert_eq!(check(&listed, ONE, "probe", built_in), Ok(Some(9)));
    }

    #[test]
    fn a_source_asks_what_it_was_granted() {
        let policy = parsed(&format!(
            "[[components.allow]]\ndigest = \"{ONE}\"\nhosts = [\"*.example:443\"]\nmethods = [\"GET\"]\noptions = [\"a\"]"
        ));
        let policy = policy.unwrap();
        let grant = &policy.components.allow[0].grant;
        let asks = |url: &str, method: &str| {
            let origin = Origin::of(&url::Url::parse(url).unwrap()).unwrap();
            grant.check_request(&origin, method).map_err(|why| why.to_string())
        };
        assert_eq!(asks("https://a.example/", "GET"), Ok(()));
        let why = asks("https://a.example/", "HEAD").unwrap_err();
        assert_eq!(why, "the policy's `components.allow.methods` (policy.toml:5) does not list it");
        for url in ["https://example/", "https://a.example:8443/", "http://a.example/"] {
            assert!(asks(url, "GET").unwrap_err().contains("`components.allow.hosts` (policy.toml:4)"), "{url}");
        }
        assert_eq!(grant.refuses_option("a"), None);
        assert_eq!(grant.refuses_option("b").unwrap().to_string(), "`components.allow.options` (policy.toml:6)");
        assert_eq!(Grant::default().refuses_option("b"), None);
    }
}
