//! Where each side may connect: origins that the user typed, origins that a peer named, and the addresses they resolve to.

use std::fmt;
use std::net::IpAddr;

use super::address::{embedded, is_link_local, is_metadata, is_nobodys, is_public, translated};
use super::{AddressRange, Authority, HostPattern, Origin, Proxies, Proxy, ProxyUse, Rule, Scheme, Site, Sited, names};

/// Which end of the flow a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where the disk comes from.
    Source,
    /// Where it goes.
    Registry,
}

/// How an origin became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The user typed it, for this side.
    Typed,
    /// A peer named it: a redirect, an upload location.
    Learned,
}

/// The egress policy: the built-in rule, what the document says, and what the command line adds.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Hosts that may be spoken to without TLS, on either side.
    pub plain_http: Vec<Sited<Authority>>,
    /// The most redirects of one `open` or `read` of a source.
    pub redirects: usize,
    /// Where proxies come from, for a side that says nothing else.
    pub proxy: Sited<ProxyUse>,
    /// The proxies that the environment names; none unless a side takes them from there.
    pub proxies: Proxies,
    /// Rules for the source's side.
    pub source: Rules,
    /// Rules for the registry's side.
    pub registry: Rules,
}

/// What is said about one side. Nothing, if it is empty.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Hosts that may be reached; if there are any, no other may.
    pub hosts: Vec<Sited<HostPattern>>,
    /// Hosts that may not.
    pub denied_hosts: Vec<Sited<HostPattern>>,
    /// Addresses that may be connected to; if there are any, no other may.
    pub addresses: Vec<Sited<AddressRange>>,
    /// Addresses that may not.
    pub denied_addresses: Vec<Sited<AddressRange>>,
    /// Hosts that this side, besides those of both, may speak to without TLS. No document says so.
    pub plain_http: Vec<Sited<Authority>>,
    /// Where this side's proxies come from; none is as for both.
    pub proxy: Option<Sited<ProxyUse>>,
}

/// Why an origin is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginDenied {
    /// The policy lists hosts, and not this one.
    NotListed(Rule),
    /// A pattern of the policy denies it.
    Denied(HostPattern, Rule),
    /// It is the proxy: what asks there in our name would have our credentials.
    Proxy(&'static str),
}

/// Why an address is not connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressDenied {
    /// Link-local, which is where metadata services live: only a policy that names the address allows it.
    LinkLocal,
    /// A metadata service outside the link-local ranges.
    Metadata,
    /// Not a public address, and the origin was named by a peer.
    NotPublic,
    /// Unspecified, broadcast or multicast: nobody's address.
    NotUnicast,
    /// The policy lists addresses, and not this one.
    NotListed(Rule),
    /// A range of the policy denies it.
    Denied(AddressRange, Rule),
}

/// Redirects of one `open` or `read` unless the document says otherwise.
pub(super) const DEFAULT_REDIRECTS: usize = 10;

impl Egress {
    /// Whether the scheme is allowed for that origin on that side: TLS always is, plain HTTP where it was asked for.
    #[must_use]
    pub fn allows_scheme(&self, side: Side, origin: &Origin) -> bool {
        origin.scheme() == Scheme::Https || self.plain(Some(side)).any(|authority| authority.value.covers(origin))
    }

    /// The hosts that may be spoken to without TLS on that side; without one, on both.
    pub(super) fn plain(&self, side: Option<Side>) -> impl Iterator<Item = &Sited<Authority>> {
        self.plain_http.iter().chain(side.into_iter().flat_map(|side| &self.rules(side).plain_http))
    }

    /// Whether an origin may be spoken to at all. Its addresses are checked on their own.
    ///
    /// # Errors
    /// With the rule of the document that forbids it; what is denied is denied even where it is allowed too.
    pub fn check_origin(&self, side: Side, origin: &Origin) -> Result<(), OriginDenied> {
        if let Some(proxy) = self.proxies.at(origin) {
            return Err(OriginDenied::Proxy(proxy.variable));
        }
        let rules = self.rules(side);
        if let Some(denied) = rules.denied_hosts.iter().find(|pattern| pattern.value.covers(origin)) {
            let key = side.key("egress.source.denied-hosts", "egress.registry.denied-hosts");
            return Err(OriginDenied::Denied(denied.value.clone(), Rule { key, site: denied.site.clone() }));
        }
        match rules.hosts.first() {
            Some(first) if !rules.hosts.iter().any(|pattern| pattern.value.covers(origin)) => {
                let key = side.key("egress.source.hosts", "egress.registry.hosts");
                Err(OriginDenied::NotListed(Rule { key, site: first.site.clone() }))
            }
            _ => Ok(()),
        }
    }

    /// Whether an address of `origin` may be connected to.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn check_address(
        &self,
        side: Side,
        origin: &Origin,
        provenance: Provenance,
        address: IpAddr,
    ) -> Result<(), AddressDenied> {
        let address = embedded(address);
        if is_nobodys(address) {
            return Err(AddressDenied::NotUnicast);
        }
        // Whatever is wrong with one of the addresses that it may become is wrong with it.
        let readings: Vec<IpAddr> = std::iter::once(address).chain(translated(address)).collect();
        let rules = self.rules(side);
        let covers = |range: &&Sited<AddressRange>| readings.iter().any(|reading| range.value.covers(*reading));
        if let Some(denied) = rules.denied_addresses.iter().find(covers) {
            let key = side.key("egress.source.denied-addresses", "egress.registry.denied-addresses");
            return Err(AddressDenied::Denied(denied.value, Rule { key, site: denied.site.clone() }));
        }
        let covering: Vec<AddressRange> =
            rules.addresses.iter().map(|range| range.value).filter(|range| range.covers(address)).collect();
        // Naming the address itself opens what no range does.
        if covering.iter().any(AddressRange::is_one_address) {
            return Ok(());
        }
        if readings.iter().copied().any(is_metadata) {
            return Err(AddressDenied::Metadata);
        }
        if readings.iter().copied().any(is_link_local) {
            return Err(AddressDenied::LinkLocal);
        }
        if let (Some(first), true) = (rules.addresses.first(), covering.is_empty()) {
            let key = side.key("egress.source.addresses", "egress.registry.addresses");
            return Err(AddressDenied::NotListed(Rule { key, site: first.site.clone() }));
        }
        // A range like 0.0.0.0/0 does not mean that a peer may send us into the private networks.
        let opened = covering.iter().any(AddressRange::is_not_public);
        if provenance == Provenance::Typed || opened || self.names(side, origin) || is_public(address) {
            Ok(())
        } else {
            Err(AddressDenied::NotPublic)
        }
    }

    /// Whether `origin` may be named to a proxy, which resolves it where we cannot look on. Metadata services, and what cannot be
    /// public and was named by a peer, may only where the policy names the host.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn check_unresolved(&self, side: Side, origin: &Origin, provenance: Provenance) -> Result<(), AddressDenied> {
        if origin.address().is_some() || self.names(side, origin) {
            return Ok(());
        }
        let name = origin.host().to_string();
        if names::is_metadata(&name) {
            Err(AddressDenied::Metadata)
        } else if provenance == Provenance::Learned && names::is_local(&name) {
            Err(AddressDenied::NotPublic)
        } else {
            Ok(())
        }
    }

    /// The proxy over which that side connects to `origin`; none for a direct connection.
    #[must_use]
    pub fn proxy_to(&self, side: Side, origin: &Origin) -> Option<&Proxy> {
        let used = self.rules(side).proxy.as_ref().map_or(self.proxy.value, |own| own.value);
        self.proxies.to(origin).filter(|_| used == ProxyUse::Environment)
    }

    /// Whether any side takes its proxies from the environment.
    #[must_use]
    pub fn wants_proxies(&self) -> bool {
        let own = |rules: &Rules| rules.proxy.as_ref().map_or(self.proxy.value, |own| own.value);
        [own(&self.source), own(&self.registry)].contains(&ProxyUse::Environment)
    }

    /// The rule that says where that side's proxies come from.
    #[must_use]
    pub fn proxy_rule(&self, side: Side) -> Rule {
        match &self.rules(side).proxy {
            Some(own) => Rule { key: side.key("egress.source.proxy", "egress.registry.proxy"), site: own.site.clone() },
            None => Rule { key: "egress.proxy", site: self.proxy.site.clone() },
        }
    }

    /// The rule that lets an origin be spoken to that [`Self::check_origin`] found to be allowed.
    #[must_use]
    pub fn allowing(&self, side: Side, origin: &Origin) -> Rule {
        let listed = self.rules(side).hosts.iter().find(|pattern| pattern.value.covers(origin));
        let site = listed.map_or(Site::BuiltIn, |pattern| pattern.site.clone());
        Rule { key: side.key("egress.source.hosts", "egress.registry.hosts"), site }
    }

    /// The rule that lets it be spoken to without TLS, if [`Self::allows_scheme`] says that it may.
    #[must_use]
    pub fn allowing_plain_http(&self, side: Side, origin: &Origin) -> Rule {
        let listed = self.plain(Some(side)).find(|authority| authority.value.covers(origin));
        let site = listed.map_or(Site::BuiltIn, |authority| authority.site.clone());
        Rule { key: "egress.plain-http", site }
    }

    /// The rule that decides about the addresses that a name turns out to have.
    #[must_use]
    pub fn addresses_rule(&self, side: Side) -> Rule {
        let rules = self.rules(side);
        match (rules.addresses.first(), rules.denied_addresses.first()) {
            (None, Some(denied)) => {
                let key = side.key("egress.source.denied-addresses", "egress.registry.denied-addresses");
                Rule { key, site: denied.site.clone() }
            }
            (listed, _) => {
                let key = side.key("egress.source.addresses", "egress.registry.addresses");
                Rule { key, site: listed.map_or(Site::BuiltIn, |range| range.site.clone()) }
            }
        }
    }

    /// Whether the policy names the host itself, not by a pattern.
    fn names(&self, side: Side, origin: &Origin) -> bool {
        let named = |pattern: &Sited<HostPattern>| pattern.value.names_one_host() && pattern.value.covers(origin);
        self.rules(side).hosts.iter().any(named)
    }

    pub(super) const fn rules(&self, side: Side) -> &Rules {
        match side {
            Side::Source => &self.source,
            Side::Registry => &self.registry,
        }
    }

    pub(super) const fn rules_mut(&mut self, side: Side) -> &mut Rules {
        match side {
            Side::Source => &mut self.source,
            Side::Registry => &mut self.registry,
        }
    }
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            redirects: DEFAULT_REDIRECTS,
            proxy: Sited::new(ProxyUse::None, Site::BuiltIn),
            proxies: Proxies::default(),
            source: Rules::default(),
            registry: Rules::default(),
        }
    }
}

impl Side {
    const fn key(self, source: &'static str, registry: &'static str) -> &'static str {
        match self {
            Self::Source => source,
            Self::Registry => registry,
        }
    }
}

impl fmt::Display for OriginDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed(rule) => write!(f, "the policy's {rule} does not list it"),
            Self::Denied(pattern, rule) => write!(f, "the policy's {rule} denies `{pattern}`"),
            Self::Proxy(variable) => write!(f, "it is the proxy that {variable} names, which is for longshore alone"),
        }
    }
}

impl fmt::Display for AddressDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkLocal => "it is link-local, where metadata services live",
            Self::Metadata => "it is a metadata service",
            Self::NotPublic => "it is not public and was named by a peer, not by the user",
            Self::NotUnicast => "it is not an address of one host",
            Self::NotListed(rule) => return write!(f, "the policy's {rule} does not list it"),
            Self::Denied(range, rule) => return write!(f, "the policy's {rule} denies `{range}`"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url::Url::parse(url).unwrap()).unwrap()
    }

    fn sited<T: std::str::FromStr>(texts: &[&str]) -> Vec<Sited<T>> {
        let sited = |text: &&str| Sited::new(text.parse().unwrap_or_else(|_| panic!("{text}")), Site::BuiltIn);
        texts.iter().map(sited).collect()
    }

    fn check(address: &str, provenance: Provenance) -> Result<(), AddressDenied> {
        let address = address.parse().unwrap();
        Egress::default().check_address(Side::Source, &origin("https://a.example"), provenance, address)
    }

    #[test]
    fn a_typed_origin_may_be_anywhere_but_link_local() {
        for address in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert_eq!(check(address, Provenance::Typed), Ok(()), "{address}");
        }
        for address in [
            "169.254.169.254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00:808:808",
            "64:ff9b:1:a9:fe:a9fe::",
            "64:ff9b:1:0:a9:fea9:fe00:0",
            "2002:a9fe:a9fe::",
        ] {
            assert_eq!(check(address, Provenance::Typed), Err(AddressDenied::LinkLocal), "{address}");
        }
        for address in
            ["fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "100.100.100.200", "192.0.0.192", "168.63.129.16"]
        {
            assert_eq!(check(address, Provenance::Typed), Err(AddressDenied::Metadata), "{address}");
        }
        for address in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
            assert_eq!(check(address, Provenance::Typed), Err(AddressDenied::NotUnicast), "{address}");
        }
    }

    #[test]
    fn a_learned_origin_must_be_public() {
        for address in ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert_eq!(check(address, Provenance::Learned), Ok(()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "0.1.2.3",
            "192.0.0.8",
            "::1",
            "fc00::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "64:ff9b:1::1",
            "64:ff9b:1::808:808",
            "64:ff9b:1:808:8:800::",
        ] {
            assert_eq!(check(address, Provenance::Learned), Err(AddressDenied::NotPublic), "{address}");
        }
    }

    #[test]
    fn a_local_translator_is_judged_by_all_that_it_may_make_of_an_address() {
        let denied = Rules { denied_addresses: sited(&["10.0.0.0/8"]), ..Rules::default() };
        let listed = Rules { addresses: sited(&["10.0.0.0/8"]), ..Rules::default() };
        let opened = Rules { addresses: sited(&["64:ff9b:1::/48"]), ..Rules::default() };
        for address in ["64:ff9b:1::a00:1", "64:ff9b:1:a00:0:100::", "64:ff9b:1:a:0:1::", "64:ff9b:1:0:a:0:100:0"] {
            let check = |source: &Rules, provenance| {
                let egress = Egress { source: source.clone(), ..Egress::default() };
                egress.check_address(Side::Source, &origin("https://a.example"), provenance, address.parse().unwrap())
            };
            assert!(matches!(check(&denied, Provenance::Typed), Err(AddressDenied::Denied(..))), "{address}");
            assert!(matches!(check(&listed, Provenance::Typed), Err(AddressDenied::NotListed(_))), "{address}");
            assert_eq!(check(&opened, Provenance::Learned), Ok(()), "{address}");
            assert_eq!(check(&Rules::default(), Provenance::Typed), Ok(()), "{address}");
        }
    }

    #[test]
    fn a_proxy_is_used_only_by_a_side_that_may_and_is_no_peer_itself() {
        let proxy = Proxy::parse("http://u:p@10.0.0.9:3128", "HTTPS_PROXY").unwrap();
        let proxies = Proxies { https: Some(proxy), ..Proxies::default() };
        let own = Rules { proxy: Some(Sited::new(ProxyUse::Environment, Site::BuiltIn)), ..Rules::default() };
        let egress = Egress { proxies, source: own, ..Egress::default() };
        let to = |side, url| egress.proxy_to(side, &origin(url)).is_some();
        assert!(egress.wants_proxies() && !Egress::default().wants_proxies());
        assert!(to(Side::Source, "https://a.example/") && !to(Side::Registry, "https://a.example/"));
        assert!(!to(Side::Source, "http://a.example/"));
        for side in [Side::Source, Side::Registry] {
            for own in ["http://10.0.0.9:3128/", "https://10.0.0.9:3128/", "http://[::ffff:10.0.0.9]:3128/"] {
                let denied = egress.check_origin(side, &origin(own));
                assert_eq!(denied, Err(OriginDenied::Proxy("HTTPS_PROXY")), "{own}");
            }
            assert_eq!(egress.check_origin(side, &origin("http://10.0.0.9/")), Ok(()));
        }
        assert_eq!(egress.proxy_rule(Side::Source).key, "egress.source.proxy");
        assert_eq!(egress.proxy_rule(Side::Registry).key, "egress.proxy");
    }

    #[test]
    fn names_that_a_proxy_would_resolve_are_judged_by_what_they_say() {
        let egress = Egress::default();
        let check = |url, provenance| egress.check_unresolved(Side::Source, &origin(url), provenance);
        for provenance in [Provenance::Typed, Provenance::Learned] {
            for url in ["http://metadata.google.internal/", "http://METADATA./", "http://instance-data/"] {
                assert_eq!(check(url, provenance), Err(AddressDenied::Metadata), "{url}");
            }
            assert_eq!(check("https://a.example/", provenance), Ok(()));
        }
        for url in ["https://intranet/", "https://r.ns.svc.cluster.local/"] {
            assert_eq!(check(url, Provenance::Typed), Ok(()), "{url}");
            assert_eq!(check(url, Provenance::Learned), Err(AddressDenied::NotPublic), "{url}");
        }
        let named = Rules { hosts: sited(&["metadata.google.internal"]), ..Rules::default() };
        let egress = Egress { source: named, ..Egress::default() };
        let own = origin("http://metadata.google.internal/");
        assert_eq!(egress.check_unresolved(Side::Source, &own, Provenance::Learned), Ok(()));
    }

    #[test]
    fn plain_http_is_for_hosts_that_were_named() {
        let none = Egress::default();
        assert!(none.allows_scheme(Side::Source, &origin("https://a.example/")));
        assert!(!none.allows_scheme(Side::Source, &origin("http://127.0.0.1/")), "loopback too");
        let some = Egress { plain_http: sited(&["127.0.0.1:5000"]), ..Egress::default() };
        assert!(some.allows_scheme(Side::Source, &origin("http://127.0.0.1:5000/")));
        assert!(!some.allows_scheme(Side::Source, &origin("http://127.0.0.1:5001/")));
    }

    #[test]
    fn hosts_are_those_listed_less_those_denied() {
        let rules = Rules {
            hosts: sited(&["*.example:443", "10.0.0.1"]),
            denied_hosts: sited(&["old.example"]),
            ..Rules::default()
        };
        let egress = Egress { source: rules, ..Egress::default() };
        let allowed = |side, url| egress.check_origin(side, &origin(url));
        for url in ["https://a.example/", "http://10.0.0.1:81/"] {
            assert_eq!(allowed(Side::Source, url), Ok(()), "{url}");
        }
        for url in ["https://a.example:8443/", "https://example/", "https://10.0.0.2/"] {
            assert!(matches!(allowed(Side::Source, url), Err(OriginDenied::NotListed(_))), "{url}");
        }
        for url in ["https://old.example/", "https://OLD.example./"] {
            assert!(matches!(allowed(Side::Source, url), Err(OriginDenied::Denied(..))), "{url}");
        }
        assert_eq!(allowed(Side::Registry, "https://old.example/"), Ok(()), "the other side");
    }

    #[test]
    fn addresses_are_those_listed_less_those_denied() {
        let address = |rules: &Rules, provenance, address: &str| {
            let egress = Egress { registry: rules.clone(), ..Egress::default() };
            egress.check_address(Side::Registry, &origin("https://a.example"), provenance, address.parse().unwrap())
        };
        let rules = Rules {
            addresses: sited(&["10.0.0.0/8", "169.254.169.254", "169.254.0.0/16", "0.0.0.0/0"]),
            denied_addresses: sited(&["10.1.0.0/16", "127.0.0.0/8"]),
            ..Rules::default()
        };
        let (typed, learned) = (Provenance::Typed, Provenance::Learned);
        for allowed in ["10.0.0.1", "::ffff:10.0.0.1", "169.254.169.254", "8.8.8.8"] {
            assert_eq!(address(&rules, learned, allowed), Ok(()), "{allowed}");
        }
        assert_eq!(address(&rules, typed, "192.168.0.1"), Ok(()));
        assert_eq!(
            address(&rules, learned, "192.168.0.1"),
            Err(AddressDenied::NotPublic),
            "0.0.0.0/0 opens no network"
        );
        assert_eq!(address(&rules, typed, "169.254.0.1"), Err(AddressDenied::LinkLocal), "a range is no name");
        for denied in ["10.1.2.3", "127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"] {
            assert!(matches!(address(&rules, typed, denied), Err(AddressDenied::Denied(..))), "{denied}");
        }
        assert!(matches!(address(&rules, typed, "2001:4860::1"), Err(AddressDenied::NotListed(_))));
        let named = Rules { hosts: sited(&["a.example", "*.b.example"]), ..Rules::default() };
        assert_eq!(address(&named, learned, "10.0.0.1"), Ok(()), "the policy names the host");
        let below = Rules { hosts: sited(&["*.example"]), ..Rules::default() };
        assert_eq!(address(&below, learned, "10.0.0.1"), Err(AddressDenied::NotPublic), "a pattern does not");
    }
}
