//! Origins: scheme, host and port (RFC 6454), and authorities as `--plain-http` names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

use crate::oci::as_typed;

/// The schemes that longshore speaks itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// Scheme, host and port. The host is normalised: lower case, punycode, addresses in their usual form, however they were
/// written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// `HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: Host,
    port: Option<u16>,
}

/// A URL without an origin of ours.
#[derive(Debug, thiserror::Error)]
#[error("expected an http or https URL with a host")]
pub struct MalformedOrigin;

/// A text that is no `HOST[:PORT]`.
#[derive(Debug, thiserror::Error)]
#[error("`{shown}` is not HOST or HOST:PORT", shown = as_typed(.0))]
pub struct MalformedAuthority(String);

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Origin {
    /// The origin of a URL.
    ///
    /// # Errors
    /// If the scheme is another or there is no host.
    pub fn of(url: &Url) -> Result<Self, MalformedOrigin> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(MalformedOrigin),
        };
        let host = url.host().ok_or(MalformedOrigin)?.to_owned();
        let port = url.port_or_known_default().ok_or(MalformedOrigin)?;
        Ok(Self { scheme, host, port })
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address, if the host is one and needs no resolving.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// Whether this is the same host's step from http:80 to https:443.
    #[must_use]
    pub fn is_upgrade_of(&self, other: &Self) -> bool {
        self.host == other.host
            && (other.scheme, other.port) == (Scheme::Http, 80)
            && (self.scheme, self.port) == (Scheme::Https, 443)
    }
}

impl Authority {
    /// Whether the origin is covered: the same host, and the same port if one was named.
    #[must_use]
    pub fn covers(&self, origin: &Origin) -> bool {
        self.host == origin.host && self.port.is_none_or(|port| port == origin.port)
    }

    /// Whether every origin that `other` covers is covered.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.host == other.host && self.port.is_none_or(|port| other.port == Some(port))
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port, if one was named.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for Authority {
    type Err = MalformedAuthority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedAuthority(text.to_owned());
        // Only what can be an authority reaches the URL parser, which is lenient about much else.
        if text.is_empty() || text.contains(['/', '@', '?', '#', '\\', '*']) || text.contains(char::is_whitespace) {
            return Err(malformed());
        }
        // A scheme with no default port keeps apart `host` and `host:80`.
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| malformed())?;
        let host = url.host().ok_or_else(malformed)?.to_owned();
        let named = text.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let port = named.map(|(_, port)| port.parse().map_err(|_| malformed())).transpose()?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn however_an_address_is_written_it_is_the_same_origin() {
        for url in
            ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1:80/"]
        {
            assert_eq!(origin(url), origin("http://127.0.0.1"), "{url}");
            assert!(origin(url).address().is_some());
        }
    }

    #[test]
    fn an_origin_shows_its_port_only_where_it_matters() {
        assert_eq!(origin("https://A.example:443/x?y").to_string(), "https://a.example");
        assert_eq!(origin("https://[::1]:8443/").to_string(), "https://[::1]:8443");
        assert_eq!(origin("http://a.example:443/").to_string(), "http://a.example:443");
    }

    #[test]
    fn other_schemes_have_no_origin() {
        for url in ["ftp://a.example/", "file:///x", "data:,x"] {
            assert!(Origin::of(&Url::parse(url).unwrap()).is_err());
        }
    }

    #[test]
    fn an_authority_covers_its_port_or_all() {
        let covers = |authority: &str, url: &str| authority.parse::<Authority>().unwrap().covers(&origin(url));
        assert!(covers("localhost", "http://localhost:5000/"));
        assert!(covers("localhost:5000", "http://localhost:5000/"));
        assert!(covers("localhost:80", "http://localhost/"));
        assert!(covers("localhost:443", "https://localhost/"));
        assert!(covers("[::1]", "http://[::1]:5000/"));
        assert!(covers("[::1]:5000", "http://[::1]:5000/"));
        assert!(!covers("localhost:5001", "http://localhost:5000/"));
        assert!(!covers("127.0.0.1", "http://localhost/"));
    }

    #[test]
    fn anything_else_is_no_authority() {
        for text in ["", "http://a", "a/b", "u@a", "a:b", "a:99999", "a b", ":80", "[::1", "*.a", "*"] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_upgrade_is_the_same_host_from_80_to_443() {
        assert!(origin("https://a.example/").is_upgrade_of(&origin("http://a.example/")));
        assert!(!origin("https://a.example:8443/").is_upgrade_of(&origin("http://a.example/")));
        assert!(!origin("https://b.example/").is_upgrade_of(&origin("http://a.example/")));
        assert!(!origin("http://a.example/").is_upgrade_of(&origin("https://a.example/")));
    }
}
