//! What is connected to directly though there is a proxy: the list in `NO_PROXY`.
//!
//! Nothing standardises it. This is what Go's programs do, which are most of those around a registry; an entry that would mean
//! nothing is an error instead of nothing.

use std::str::FromStr;

use super::{AddressRange, Authority, HostPattern, Origin};

/// The list. Nothing, if it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// Every host, one and what is below it, or only what is below it; at a port or at all.
    Hosts(Vec<HostPattern>),
    /// Addresses as they stand in URLs: no name is resolved to find out.
    Addresses(AddressRange),
}

/// An entry that means nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("entry {0} is not HOST, .SUFFIX, ADDRESS or ADDRESS/PREFIX, the first three with or without :PORT, or *")]
pub struct MalformedNoProxy(usize);

/// The most entries: a cluster's list has dozens.
const MAX_ENTRIES: usize = 1024;

impl NoProxy {
    /// Whether `origin` is connected to directly.
    #[must_use]
    pub fn covers(&self, origin: &Origin) -> bool {
        self.0.iter().any(|entry| match entry {
            Entry::Hosts(patterns) => patterns.iter().any(|pattern| pattern.covers(origin)),
            Entry::Addresses(range) => origin.address().is_some_and(|address| range.covers_wrapped(address)),
        })
    }
}

/// Entries between commas and blanks.
impl FromStr for NoProxy {
    type Err = MalformedNoProxy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split([',', ' ', '\t', '\n', '\r']).filter(|part| !part.is_empty());
        let entry = |(at, part): (usize, &str)| {
            let malformed = MalformedNoProxy(at.saturating_add(1));
            if at >= MAX_ENTRIES { Err(malformed) } else { Entry::parse(part).ok_or(malformed) }
        };
        parts.enumerate().map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let pattern = |text: &str| text.parse::<HostPattern>().ok();
        if text == "*" {
            return Some(Self::Hosts(vec![pattern("*")?]));
        }
        if let Some((address, prefix)) = text.split_once('/') {
            return AddressRange::around(address.parse().ok()?, prefix).map(Self::Addresses);
        }
        if let Some(suffix) = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
            return Some(Self::Hosts(vec![pattern(&format!("*.{suffix}"))?]));
        }
        // An IPv6 address may stand there without the brackets that it needs elsewhere.
        if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
            return Some(Self::Hosts(vec![pattern(&format!("[{address}]"))?]));
        }
        let authority: Authority = text.parse().ok()?;
        let own = HostPattern::from(&authority);
        let below = matches!(authority.host(), url::Host::Domain(_)).then(|| pattern(&format!("*.{text}"))).flatten();
        Some(Self::Hosts([Some(own), below].into_iter().flatten().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(list: &str, url: &str) -> bool {
        let origin = Origin::of(&url::Url::parse(url).unwrap()).unwrap();
        list.parse::<NoProxy>().unwrap_or_else(|why| panic!("{list}: {why}")).covers(&origin)
    }

    #[test]
    fn what_is_connected_to_directly() {
        for (list, url) in [
            ("*", "https://a.example/"),
            ("b, *", "http://10.0.0.1:81/"),
            ("a.example", "https://a.example:8443/"),
            ("a.example", "https://deep.below.a.example/"),
            ("A.Example.", "https://a.example/"),
            ("a.example", "https://a.example./"),
            (".a.example", "https://b.a.example/"),
            ("*.a.example", "https://b.a.example/"),
            ("a.example:8443", "https://a.example:8443/"),
            ("a.example:8443", "https://b.a.example:8443/"),
            (".a.example:443", "https://b.a.example/"),
            ("x,a.example\ty", "https://a.example/"),
            ("10.0.0.0/8", "http://10.1.2.3/"),
            ("10.1.2.3/8", "http://10.9.9.9:5000/"),
            ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/"),
            ("10.1.2.3", "http://0x0a010203/"),
            ("10.1.2.3:5000", "http://10.1.2.3:5000/"),
            ("fd00::/8", "http://[fd12::1]/"),
            ("fd00::1", "http://[fd00::1]:5000/"),
            ("[fd00::1]", "http://[fd00:0::1]/"),
            ("[fd00::1]:5000", "http://[fd00::1]:5000/"),
        ] {
            assert!(covers(list, url), "{list} {url}");
        }
        for (list, url) in [
            ("", "https://a.example/"),
            (" , ,", "https://a.example/"),
            ("a.example", "https://bad-a.example.b/"),
            ("a.example", "https://xa.example/"),
            (".a.example", "https://a.example/"),
            ("*.a.example", "https://a.example/"),
            ("a.example:8443", "https://a.example/"),
            ("10.0.0.0/8", "http://11.0.0.1/"),
            ("10.0.0.0/8", "http://10.a.example/"),
            ("10.1.2.3:5000", "http://10.1.2.3/"),
            ("10.1.2.3", "http://x.10.1.2.3.example/"),
            ("fd00::/8", "http://[fe80::1]/"),
        ] {
            assert!(!covers(list, url), "{list} {url}");
        }
    }

    #[test]
    fn an_entry_that_means_nothing_is_an_error() {
        for list in
            ["10.*", "a*", "*a", "http://a", "a/b", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10/8", "a:b", "u@a"]
        {
            assert!(list.parse::<NoProxy>().is_err(), "{list}");
        }
        assert_eq!("a,b, c/d".parse::<NoProxy>(), Err(MalformedNoProxy(3)));
        assert!(vec!["a"; MAX_ENTRIES + 1].join(",").parse::<NoProxy>().is_err());
    }
}
