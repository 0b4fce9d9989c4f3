//! Proxies as the environment names them: which one leads to an origin, and whether the policy lets it.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::address::embedded;
use super::{NoProxy, Origin, Scheme};

/// Where a side's proxies come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyUse {
    /// There are none: every connection is direct, whatever the environment says.
    #[default]
    None,
    /// The environment names them.
    Environment,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Scheme, host and port at which it listens. Over `https` it is spoken to under the TLS policy like every peer.
    pub origin: Origin,
    /// What it is told about who asks, if the URL says so.
    pub credentials: Option<ProxyCredentials>,
    /// The variable that names it.
    pub variable: &'static str,
}

/// A user name and a password for a proxy (RFC 7617). They cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    user: String,
    password: String,
}

/// The proxies that the environment names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<Proxy>,
    /// For `https` URLs.
    pub https: Option<Proxy>,
    /// What is connected to directly all the same.
    pub no_proxy: NoProxy,
}

/// Why a variable names no proxy. It never quotes the value, in which a password may stand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct MalformedProxy(String);

/// What the schemes of other kinds of proxies are called.
const SOCKS: [&str; 6] = ["socks", "socks4", "socks4a", "socks5", "socks5h", "socks6"];

impl ProxyUse {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::None, Self::Environment];

    /// As it stands in a document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Environment => "environment",
        }
    }
}

impl Proxy {
    /// Reads `[http[s]://][USER[:PASSWORD]@]HOST[:PORT]`. Without a scheme it is `http`, without a port 80 or 443.
    ///
    /// # Errors
    /// If it is anything else, SOCKS among it, or has a path, a query or a fragment.
    pub fn parse(text: &str, variable: &'static str) -> Result<Self, MalformedProxy> {
        let malformed = |why: &str| MalformedProxy(format!("{variable} names no proxy: {why}"));
        let expected = "expected http://HOST:PORT or https://HOST:PORT";
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(malformed("it has blanks, control characters or backslashes"));
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let scheme = whole.split("://").next().unwrap_or_default().to_ascii_lowercase();
        if let Some(socks) = SOCKS.iter().find(|socks| **socks == scheme) {
            return Err(malformed(&format!("longshore speaks no SOCKS, and its scheme is `{socks}`: {expected}")));
        }
        if !["http", "https"].contains(&scheme.as_str()) {
            return Err(malformed(&format!("its scheme is neither `http` nor `https`: {expected}")));
        }
        let url = Url::parse(&whole).map_err(|_| malformed(&format!("it is no URL: {expected}")))?;
        let origin = Origin::of(&url).map_err(|_| malformed(&format!("it is no URL: {expected}")))?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(malformed(&format!("there is something behind its port: {expected}")));
        }
        let credentials = ProxyCredentials::of(&url).map_err(malformed)?;
        Ok(Self { origin, credentials, variable })
    }
}

impl ProxyCredentials {
    fn of(url: &Url) -> Result<Option<Self>, &'static str> {
        if url.username().is_empty() && url.password().is_none() {
            return Ok(None);
        }
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| "its user information is not UTF-8")?;
            if text.contains(char::is_control) {
                return Err("its user information has control characters");
            }
            Ok(text.into_owned())
        };
        let (user, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
        if user.contains(':') {
            return Err("its user name has a colon");
        }
        Ok(Some(Self { user, password }))
    }

    /// `user:password`, for whoever must send it.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{}:{}", self.user, self.password)
    }
}

impl Proxies {
    /// The proxy that leads to `origin`; none for what is connected to directly. This machine itself never is over a proxy,
    /// which would be another machine's.
    #[must_use]
    pub fn to(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = match origin.scheme() {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        };
        proxy.filter(|_| !is_this_machine(origin) && !self.no_proxy.covers(origin))
    }

    /// The proxy that listens at `origin`'s host and port, whatever the scheme.
    #[must_use]
    pub fn at(&self, origin: &Origin) -> Option<&Proxy> {
        self.all().find(|proxy| same_host(&proxy.origin, origin) && proxy.origin.port() == origin.port())
    }

    /// Both, if they are two.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.http.iter().chain(self.https.iter().filter(|https| Some(*https) != self.http.as_ref()))
    }
}

fn is_this_machine(origin: &Origin) -> bool {
    match (origin.address(), origin.host()) {
        (Some(address), _) => embedded(address).is_loopback(),
        (None, Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        (None, _) => false,
    }
}

fn same_host(one: &Origin, other: &Origin) -> bool {
    match (one.address(), other.address()) {
        (Some(one), Some(other)) => embedded(one) == embedded(other),
        (None, None) => {
            let bare = |origin: &Origin| {
                let host = origin.host().to_string();
                host.strip_suffix('.').map(str::to_owned).unwrap_or(host)
            };
            bare(one) == bare(other)
        }
        _ => false,
    }
}

impl fmt::Debug for ProxyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where it listens and which variable says so; never the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.origin, self.variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Proxy, MalformedProxy> {
        Proxy::parse(text, "HTTPS_PROXY")
    }

    fn origin(url: &str) -> Origin {
        Origin::of(&Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for (text, at) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("proxy.example:3128", "http://proxy.example:3128"),
            ("PROXY.example", "http://proxy.example"),
            ("https://proxy.example/", "https://proxy.example"),
            ("10.0.0.1:8080", "http://10.0.0.1:8080"),
            ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
        ] {
            let proxy = parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((proxy.origin.to_string(), proxy.credentials), (at.to_owned(), None), "{text}");
        }
        for text in
            ["", "http://", "proxy:x", "proxy:99999", "http://proxy/path", "http://proxy?q", "http://a b", "a\\b"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_kinds_of_proxies_are_refused_by_name() {
        for scheme in ["socks", "socks4", "socks4a", "socks5", "SOCKS5h"] {
            let why = parse(&format!("{scheme}://u:hunter2@proxy:1080")).unwrap_err().to_string();
            assert!(why.contains(&format!("its scheme is `{}`", scheme.to_ascii_lowercase())), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(parse("ftp://u:hunter2@proxy").unwrap_err().to_string().contains("neither"));
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let proxy = parse("http://user:p%40ss:w%25rd@proxy:1").unwrap();
        assert_eq!(proxy.credentials.as_ref().unwrap().expose(), "user:p@ss:w%rd");
        for shown in [format!("{proxy:?}"), proxy.to_string()] {
            assert!(!shown.contains("p@ss") && !shown.contains("p%40ss") && !shown.contains("user"), "{shown}");
        }
        assert_eq!(parse("http://user@proxy:1").unwrap().credentials.unwrap().expose(), "user:");
        for text in ["http://a%3Ahunter2:b@p", "http://a:hunter2%0A@p", "http://a:hunter2%ff@p"] {
            let why = parse(text).unwrap_err().to_string();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn which_proxy_leads_where() {
        let proxies = Proxies {
            http: Some(parse("http://one:1").unwrap()),
            https: Some(parse("http://two:2").unwrap()),
            no_proxy: "direct.example".parse().unwrap(),
        };
        let to = |url: &str| proxies.to(&origin(url)).map(|proxy| proxy.origin.port());
        assert_eq!((to("http://a.example/"), to("https://a.example/")), (Some(1), Some(2)));
        for direct in [
            "https://direct.example/",
            "http://localhost:5000/",
            "http://a.localhost./",
            "http://127.8.8.8/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert_eq!(to(direct), None, "{direct}");
        }
        assert!(proxies.at(&origin("https://one.:1/")).is_some() && proxies.at(&origin("http://one:2/")).is_none());
        assert_eq!(proxies.all().count(), 2);
        assert_eq!(Proxies::default().to(&origin("https://a.example/")), None);
    }
}
