//! What is demanded of a disk, and of the way it takes, before it is pushed.

use std::fmt;
use std::str::FromStr;

use super::{FORMATS, HAZARDS, Rule, Site, Sited};

/// Demands. Nothing, if it is empty.
#[derive(Clone, Debug, Default)]
pub struct Require {
    /// Algorithms of which at least one must be that of a checksum that is demanded; none demands no checksum.
    pub checksum: Vec<Sited<ChecksumName>>,
    /// Formats that are accepted; if there are any, no other is.
    pub formats: Vec<Sited<ProbeName>>,
    /// Hazards that are refused although the probe would let them pass.
    pub refused_hazards: Vec<Sited<HazardPattern>>,
    /// Hazards that are accepted although the probe wants them refused: each by its name.
    pub accepted_hazards: Vec<Sited<ProbeName>>,
    /// The most bytes of the disk, behind the filters.
    pub max_size: Option<Sited<u64>>,
    /// The most bytes of the disk as a guest machine would see it.
    pub max_virtual_size: Option<Sited<u64>>,
    /// Set where nothing may go to a registry without TLS, whatever `egress.plain-http` lists.
    pub encrypted_uploads: Option<Site>,
}

/// A checksum algorithm by its name, as `--checksum` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChecksumName(&'static str);

/// A name as a probe gives it, of a format or a hazard: 1 to 64 characters of a-z, 0-9 and -.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeName(String);

/// One hazard by its code, or every one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HazardPattern {
    /// `*`.
    Any,
    /// A code.
    Code(ProbeName),
}

/// A text that no probe could say.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not 1 to 64 characters of a-z, 0-9 and -")]
pub struct MalformedProbeName(String);

/// The longest name of a probe.
const MAX_NAME: usize = 64;

impl Require {
    /// What a key names and the built-in probe does not know.
    #[must_use]
    pub fn unknown(&self) -> Vec<(Rule, &str)> {
        let codes = self.refused_hazards.iter().filter_map(|one| match &one.value {
            HazardPattern::Any => None,
            HazardPattern::Code(code) => Some(("require.refused-hazards", HAZARDS, code, &one.site)),
        });
        let accepted =
            self.accepted_hazards.iter().map(|one| ("require.accepted-hazards", HAZARDS, &one.value, &one.site));
        let formats = self.formats.iter().map(|one| ("require.formats", FORMATS, &one.value, &one.site));
        let all = formats.chain(codes).chain(accepted);
        let unknown = all.filter(|(_, known, name, _)| !known.contains(&name.as_str()));
        unknown.map(|(key, _, name, site)| (Rule { key, site: site.clone() }, name.as_str())).collect()
    }

    /// The rule that a checksum by one of these algorithms would satisfy, if none of them does.
    #[must_use]
    pub fn missing_checksum<'a>(&self, mut demanded: impl Iterator<Item = &'a str>) -> Option<Rule> {
        let first = self.checksum.first()?;
        let satisfied = demanded.any(|name| self.checksum.iter().any(|accepted| accepted.value.0 == name));
        (!satisfied).then(|| Rule { key: "require.checksum", site: first.site.clone() })
    }

    /// The rule that keeps a format out, if one does.
    #[must_use]
    pub fn refuses_format(&self, format: &str) -> Option<Rule> {
        let first = self.formats.first()?;
        let accepted = self.formats.iter().any(|accepted| accepted.value.0 == format);
        (!accepted).then(|| Rule { key: "require.formats", site: first.site.clone() })
    }

    /// The rule that refuses a hazard, if one does.
    #[must_use]
    pub fn refuses_hazard(&self, code: &str) -> Option<Rule> {
        let covers = |pattern: &HazardPattern| match pattern {
            HazardPattern::Any => true,
            HazardPattern::Code(name) => name.0 == code,
        };
        let refused = self.refused_hazards.iter().find(|refused| covers(&refused.value))?;
        Some(Rule { key: "require.refused-hazards", site: refused.site.clone() })
    }

    /// Whether a hazard that the probe wants refused is accepted.
    #[must_use]
    pub fn accepts_hazard(&self, code: &str) -> bool {
        self.accepted_hazards.iter().any(|accepted| accepted.value.0 == code)
    }

    /// The bound that a disk of `size` bytes is beyond, if it is.
    #[must_use]
    pub fn refuses_size(&self, size: u64) -> Option<(u64, Rule)> {
        let most = self.max_size.as_ref().filter(|most| size > most.value)?;
        Some((most.value, Rule { key: "require.max-size", site: most.site.clone() }))
    }

    /// The bound that a disk of that virtual size is beyond, if it is. A size that nobody knows is beyond every bound.
    #[must_use]
    pub fn refuses_virtual_size(&self, size: Option<u64>) -> Option<(u64, Rule)> {
        let most = self.max_virtual_size.as_ref().filter(|most| size.is_none_or(|size| size > most.value))?;
        Some((most.value, Rule { key: "require.max-virtual-size", site: most.site.clone() }))
    }
}

impl ChecksumName {
    /// Every algorithm that `--checksum` knows.
    pub const ALL: &'static [Self] =
        &[Self("md5"), Self("sha1"), Self("sha256"), Self("sha512"), Self("streebog256"), Self("streebog512")];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl ProbeName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProbeName {
    type Err = MalformedProbeName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(allowed);
        if fits { Ok(Self(text.to_owned())) } else { Err(MalformedProbeName(text.to_owned())) }
    }
}

impl FromStr for HazardPattern {
    type Err = MalformedProbeName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" { Ok(Self::Any) } else { text.parse().map(Self::Code) }
    }
}

impl fmt::Display for ProbeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HazardPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Code(code) => code.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::parsed;
    use super::*;

    #[test]
    fn without_demands_nothing_is_refused() {
        let none = Require::default();
        assert_eq!(none.missing_checksum(std::iter::empty()), None);
        assert_eq!(none.refuses_format("anything"), None);
        assert_eq!(none.refuses_hazard("anything"), None);
        assert!(!none.accepts_hazard("anything"));
        assert_eq!((none.refuses_size(u64::MAX), none.refuses_virtual_size(None)), (None, None));
    }

    #[test]
    fn every_demand_refuses_with_its_line() {
        let text = "[require]\nchecksum = [\"sha256\",\n\"sha512\"]\nformats = [\"qcow2\"]\nrefused-hazards = [\"a\",\n\"b\"]\n\
                    max-size = \"1KiB\"\nmax-virtual-size = \"2TiB\"\n";
        let require = parsed(text).unwrap().require;
        let shown = |rule: Option<Rule>| rule.map(|rule| rule.to_string());
        assert_eq!(
            shown(require.missing_checksum(["md5", "sha1"].into_iter())).as_deref(),
            Some("`require.checksum` (policy.toml:3)")
        );
        assert_eq!(require.missing_checksum(["md5", "sha512"].into_iter()), None);
        assert_eq!(shown(require.refuses_format("raw")).as_deref(), Some("`require.formats` (policy.toml:5)"));
        assert_eq!(require.refuses_format("qcow2"), None);
        assert_eq!(shown(require.refuses_hazard("b")).as_deref(), Some("`require.refused-hazards` (policy.toml:7)"));
        assert_eq!(require.refuses_hazard("c"), None);
        assert_eq!(require.refuses_size(1024), None);
        assert_eq!(require.refuses_size(1025).map(|(most, rule)| (most, rule.key)), Some((1024, "require.max-size")));
        assert_eq!(require.refuses_virtual_size(Some(2 << 40)), None);
        assert!(require.refuses_virtual_size(Some((2 << 40) + 1)).is_some());
        assert!(require.refuses_virtual_size(None).is_some(), "nobody vouches for it");
        let all = parsed("[require]\nrefused-hazards = [\"*\"]").unwrap().require;
        assert!(all.refuses_hazard("anything").is_some());
        let some = parsed("[require]\naccepted-hazards = [\"a\", \"b\"]").unwrap().require;
        assert_eq!(["a", "b", "c"].map(|code| some.accepts_hazard(code)), [true, true, false]);
    }
}
