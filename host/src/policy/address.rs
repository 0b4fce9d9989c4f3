//! What an address is: public, private, link-local, a metadata service, or a wrapped one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside link-local: AWS, its credentials for pods, Google Cloud, Oracle Cloud and Scaleway over IPv6,
/// Alibaba Cloud, Oracle Cloud, Azure's wire server.
const METADATA: [IpAddr; 8] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// The IPv4 address inside an IPv6 one that only wraps it: mapped and compatible (RFC 4291 §2.5.5), translated (RFC 2765 §2.1),
/// NAT64 under the well-known prefix (RFC 6052), 6to4 (RFC 3056).
pub(super) fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if v6.is_unspecified() || v6.is_loopback() {
        return address;
    }
    match v6.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
        | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, a, b, c, d]
        | [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0x20, 0x02, a, b, c, d, ..] => Ipv4Addr::new(a, b, c, d).into(),
        _ => address,
    }
}

/// What an address under the prefix of local translators (RFC 8215) may be translated to: how long the prefix of whoever
/// translates is cannot be seen, and with it changes where the IPv4 address stands (RFC 6052 §2.2). Nothing for any other.
pub(super) fn translated(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return Vec::new() };
    let [0x00, 0x64, 0xff, 0x9b, 0, 1, a, b, _, c, d, e, f, g, h, i] = v6.octets() else { return Vec::new() };
    // Behind a prefix of 48, 56, 64 and 96 bits.
    let readings = [[a, b, c, d], [b, c, d, e], [c, d, e, f], [f, g, h, i]];
    let readings = readings.into_iter().map(Ipv4Addr::from);
    // Zeros are what the other lengths leave there.
    readings.filter(|reading| reading.to_bits() >> 24 != 0).map(IpAddr::V4).collect()
}

/// Globally reachable unicast (the IANA special-purpose registries, RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
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

/// Link-local, which is where metadata services live (RFC 3927, RFC 4291).
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Unspecified, broadcast or multicast.
pub(super) fn is_nobodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    }
}

/// A metadata service outside the link-local ranges.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    METADATA.contains(&address)
}
