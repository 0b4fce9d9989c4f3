//! Where each side may connect: origins that the user typed, origins that a peer named, and the addresses they resolve to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Authority, Origin, Scheme};

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

/// The egress policy: the built-in rule and what the command line adds.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Hosts that may be spoken to without TLS.
    pub plain_http: Vec<Authority>,
}

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressDenied {
    /// Link-local, which is where metadata services live: only a policy that names the address allows it.
    LinkLocal,
    /// A metadata service outside the link-local ranges.
    Metadata,
    /// Not a public address, and the origin was named by a peer.
    NotPublic,
    /// Unspecified, broadcast or multicast: nobody's address.
    NotUnicast,
}

/// Metadata services outside link-local: AWS over IPv6, Alibaba Cloud, Oracle Cloud, Azure's wire server.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

impl Egress {
    /// Whether the scheme is allowed for that origin: TLS always is, plain HTTP where it was asked for.
    #[must_use]
    pub fn allows_scheme(&self, origin: &Origin) -> bool {
        origin.scheme() == Scheme::Https || self.plain_http.iter().any(|authority| authority.covers(origin))
    }

    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn check_address(&self, address: IpAddr, provenance: Provenance) -> Result<(), AddressDenied> {
        let address = embedded(address);
        if METADATA.contains(&address) {
            return Err(AddressDenied::Metadata);
        }
        let (link_local, not_unicast) = match address {
            IpAddr::V4(v4) => (v4.is_link_local(), v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast()),
            IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.is_unspecified() || v6.is_multicast()),
        };
        if link_local {
            return Err(AddressDenied::LinkLocal);
        }
        if not_unicast {
            return Err(AddressDenied::NotUnicast);
        }
        match provenance {
            Provenance::Typed => Ok(()),
            Provenance::Learned if is_public(address) => Ok(()),
            Provenance::Learned => Err(AddressDenied::NotPublic),
        }
    }
}

/// The IPv4 address inside an IPv6 one that only wraps it: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.octets() {
        [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] | [0x20, 0x02, a, b, c, d, ..] => {
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => address,
    }
}

/// Globally reachable unicast (the IANA special-purpose registries, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let special = v4.is_private()
                || v4.is_loopback()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a, b, c) == (192, 0, 0)
                || (a, b, c) == (192, 88, 99)
                || (a == 198 && (b == 18 || b == 19));
            !special
        }
        // Only 2000::/3 is handed out, less documentation, benchmarking, ORCHID and Teredo.
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            let special = (a == 0x2001 && b < 0x0200) || (a, b) == (0x2001, 0x0db8) || (a == 0x3fff && b < 0x1000);
            (0x2000..0x4000).contains(&a) && !special
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, provenance: Provenance) -> Result<(), AddressDenied> {
        Egress::default().check_address(address.parse().unwrap(), provenance)
    }

    #[test]
    fn a_typed_origin_may_be_anywhere_but_link_local() {
        for address in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert_eq!(check(address, Provenance::Typed), Ok(()), "{address}");
        }
        for address in
            ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"]
        {
            assert_eq!(check(address, Provenance::Typed), Err(AddressDenied::LinkLocal), "{address}");
        }
        for address in ["fd00:ec2::254", "100.100.100.200", "168.63.129.16"] {
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
        ] {
            assert_eq!(check(address, Provenance::Learned), Err(AddressDenied::NotPublic), "{address}");
        }
    }

    #[test]
    fn plain_http_is_for_hosts_that_were_named() {
        let origin = |url: &str| Origin::of(&url::Url::parse(url).unwrap()).unwrap();
        let none = Egress::default();
        assert!(none.allows_scheme(&origin("https://a.example/")));
        assert!(!none.allows_scheme(&origin("http://127.0.0.1/")), "loopback too");
        let some = Egress { plain_http: vec!["127.0.0.1:5000".parse().unwrap()] };
        assert!(some.allows_scheme(&origin("http://127.0.0.1:5000/")));
        assert!(!some.allows_scheme(&origin("http://127.0.0.1:5001/")));
    }
}
