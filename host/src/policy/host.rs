//! Patterns of hosts: one host, every host below a name, or any; all ports or one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::Host;

use super::address::embedded;
use super::{Authority, Origin};

/// `HOST`, `*.SUFFIX` or `*`, each with `:PORT` or without.
///
/// Names are compared as the origin's host is normalised (lower case, punycode), without a final dot. An IPv6 address that
/// only wraps an IPv4 one is that IPv4 address. `*.SUFFIX` covers names of any depth below SUFFIX, and not SUFFIX itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Hosts {
    Any,
    /// Without the `*.`.
    Below(String),
    Name(String),
    Address(IpAddr),
}

/// A text that is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not HOST, *.SUFFIX or *, with or without :PORT")]
pub struct MalformedHostPattern(String);

impl HostPattern {
    /// Whether it covers the origin.
    #[must_use]
    pub fn covers(&self, origin: &Origin) -> bool {
        self.port.is_none_or(|port| port == origin.port()) && self.hosts.hold(&Hosts::of(origin.host()))
    }

    /// Whether it covers everything that `other` covers.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.port.is_none_or(|port| other.port == Some(port)) && self.hosts.hold(&other.hosts)
    }

    /// Whether there is an origin that both cover.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let ports = self.port.is_none() || other.port.is_none() || self.port == other.port;
        ports && (self.hosts.hold(&other.hosts) || other.hosts.hold(&self.hosts))
    }

    /// Whether it covers every host.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        matches!(self.hosts, Hosts::Any) && self.port.is_none()
    }

    /// Whether it is the host of that name, and no other.
    #[must_use]
    pub fn is_host(&self, name: &str) -> bool {
        matches!(&self.hosts, Hosts::Name(own) if own == name)
    }

    /// Whether there is an origin that it and the authority both cover.
    #[must_use]
    pub fn overlaps(&self, authority: &Authority) -> bool {
        let ports = match (self.port, authority.port()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        ports && self.hosts.hold(&Hosts::of(authority.host()))
    }

    /// Whether it names a host instead of describing many.
    #[must_use]
    pub const fn names_one_host(&self) -> bool {
        matches!(self.hosts, Hosts::Name(_) | Hosts::Address(_))
    }
}

impl Hosts {
    fn of(host: &Host) -> Self {
        match host {
            Host::Domain(name) => Self::Name(name.strip_suffix('.').unwrap_or(name).to_owned()),
            Host::Ipv4(address) => Self::Address((*address).into()),
            Host::Ipv6(address) => Self::Address(embedded((*address).into())),
        }
    }

    fn hold(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(suffix), Self::Name(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (Self::Below(suffix), Self::Below(other)) => {
                other == suffix || other.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            _ => self == other,
        }
    }
}

impl From<&Authority> for HostPattern {
    fn from(authority: &Authority) -> Self {
        Self { hosts: Hosts::of(authority.host()), port: authority.port() }
    }
}

impl FromStr for HostPattern {
    type Err = MalformedHostPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedHostPattern(text.to_owned());
        if text == "*" {
            return Ok(Self { hosts: Hosts::Any, port: None });
        }
        if let Some(port) = text.strip_prefix("*:") {
            // The authority's own reading of a port, on a host that does not matter.
            let authority: Authority = format!("any:{port}").parse().map_err(|_| malformed())?;
            return Ok(Self { hosts: Hosts::Any, port: authority.port() });
        }
        let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        if rest.contains('*') {
            return Err(malformed());
        }
        let authority: Authority = rest.parse().map_err(|_| malformed())?;
        let hosts = match (below, Hosts::of(authority.host())) {
            (true, Hosts::Name(name)) => Hosts::Below(name),
            (true, _) => return Err(malformed()),
            (false, hosts) => hosts,
        };
        Ok(Self { hosts, port: authority.port() })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Any => f.write_str("*")?,
            Hosts::Below(suffix) => write!(f, "*.{suffix}")?,
            Hosts::Name(name) => f.write_str(name)?,
            Hosts::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Hosts::Address(address) => write!(f, "{address}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, url: &str) -> bool {
        let origin = Origin::of(&url::Url::parse(url).unwrap()).unwrap();
        pattern.parse::<HostPattern>().unwrap().covers(&origin)
    }

    #[test]
    fn a_host_is_covered_however_it_is_written() {
        for (pattern, url) in [
            ("a.example", "https://A.Example/"),
            ("a.example", "https://a.example./"),
            ("A.EXAMPLE.", "https://a.example:8443/"),
            ("a.example:443", "https://a.example/"),
            ("*.example", "https://a.b.example/"),
            ("*.example:80", "http://a.example/"),
            ("*", "http://[::1]:5000/"),
            ("*:443", "https://10.0.0.1/"),
            ("127.0.0.1", "http://2130706433/"),
            ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
            ("[::ffff:127.0.0.1]", "http://127.0.0.1/"),
            ("[::1]:5000", "http://[0:0::1]:5000/"),
            ("bücher.example", "https://xn--bcher-kva.example/"),
        ] {
            assert!(covers(pattern, url), "{pattern} {url}");
        }
        for (pattern, url) in [
            ("a.example", "https://b.a.example/"),
            ("a.example:443", "https://a.example:8443/"),
            ("*.example", "https://example/"),
            ("*.example", "https://bad-example/"),
            ("*.0.0.1.example", "https://127.0.0.1/"),
            ("*:443", "https://a.example:444/"),
        ] {
            assert!(!covers(pattern, url), "{pattern} {url}");
        }
    }

    #[test]
    fn a_pattern_contains_what_it_covers_all_of() {
        let contains = |one: &str, other: &str| {
            one.parse::<HostPattern>().unwrap().contains(&other.parse::<HostPattern>().unwrap())
        };
        assert!(contains("*", "*.example:1"));
        assert!(contains("*.example", "*.b.example"));
        assert!(contains("*.example", "a.example:1"));
        assert!(contains("a.example", "a.example:1"));
        assert!(!contains("a.example:1", "a.example"));
        assert!(!contains("a.example", "*.a.example"));
        assert!(!contains("*.b.example", "*.example"));
    }

    #[test]
    fn anything_else_is_no_pattern() {
        for text in ["", "*.", "**", "a.*", "*.*.example", "*a.example", "*.127.0.0.1", "http://a", "*:", "*:x", "*:0x"]
        {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_shown_as_it_is_read() {
        for text in ["*", "*:443", "*.example:80", "a.example", "[::1]:5000", "10.0.0.1:80"] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
        }
    }
}
