//! Ranges of addresses (CIDR, RFC 4632 and RFC 4291).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::{embedded, is_public};

/// `ADDRESS` or `ADDRESS/PREFIX`, IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange {
    /// Every bit behind the prefix is zero.
    first: IpAddr,
    prefix: u8,
}

/// A text that is no range.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MalformedAddressRange(String);

/// The shortest prefixes from which on a range whose two ends are not public holds no public address: 240.0.0.0/4 and
/// everything outside 2000::/3.
const NOT_PUBLIC_FROM: (u8, u8) = (4, 3);

impl AddressRange {
    /// Whether the address, freed of what it is wrapped in, lies in the range.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        masked(address, self.prefix) == Some(self.first)
    }

    /// The range of that prefix, in digits, around an address, whatever it is wrapped in; none if the prefix is no prefix of it.
    pub(super) fn around(address: IpAddr, prefix: &str) -> Option<Self> {
        let prefix = prefix.parse().ok().filter(|_| prefix.bytes().all(|byte| byte.is_ascii_digit()))?;
        Some(Self { first: masked(address, prefix)?, prefix })
    }

    /// Whether the address lies in the range as it is, or freed of what it is wrapped in.
    pub(super) fn covers_wrapped(&self, address: IpAddr) -> bool {
        self.covers(address) || self.covers(embedded(address))
    }

    /// Whether every address of `other` lies in the range.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.covers(other.first)
    }

    /// Whether it is one address.
    #[must_use]
    pub const fn is_one_address(&self) -> bool {
        self.prefix == width(self.first)
    }

    /// Whether it holds no public address.
    #[must_use]
    pub fn is_not_public(&self) -> bool {
        let from = if self.first.is_ipv4() { NOT_PUBLIC_FROM.0 } else { NOT_PUBLIC_FROM.1 };
        self.prefix >= from && !is_public(self.first) && !is_public(self.last())
    }

    fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let rest = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                IpAddr::V4((first.to_bits() | rest).into())
            }
            IpAddr::V6(first) => {
                let rest = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                IpAddr::V6((first.to_bits() | rest).into())
            }
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with nothing behind the prefix; none if the prefix is longer than the address.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let behind = u32::from(width(address).checked_sub(prefix)?);
    Some(match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(behind).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(behind).unwrap_or(0)).into()),
    })
}

impl FromStr for AddressRange {
    type Err = MalformedAddressRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedAddressRange(format!("`{text}` is not ADDRESS or ADDRESS/PREFIX"));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let prefix = match prefix {
            None => width(address),
            // `u8::from_str` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| malformed())?
            }
            Some(_) => return Err(malformed()),
        };
        let first = masked(address, prefix).ok_or_else(malformed)?;
        if first != address {
            let words = format!("`{text}` has bits behind its prefix: expected `{first}/{prefix}`");
            return Err(MalformedAddressRange(words));
        }
        // Such an address is checked as the one it wraps: the range would never cover anything.
        let inside = embedded(address);
        if inside != address {
            let words = format!("`{text}` is an IPv4 range in IPv6 clothes: write it as IPv4, beginning with {inside}");
            return Err(MalformedAddressRange(words));
        }
        Ok(Self { first, prefix })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.is_one_address() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_covers_what_shares_its_prefix() {
        for (text, address) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("0.0.0.0/0", "8.8.8.8"),
            ("127.0.0.1", "127.0.0.1"),
            ("fd00::/8", "fdff::1"),
            ("::/0", "2001:db8::1"),
        ] {
            assert!(range(text).covers(address.parse().unwrap()), "{text} {address}");
        }
        for (text, address) in [("10.0.0.0/8", "11.0.0.0"), ("::/0", "10.0.0.1"), ("0.0.0.0/0", "::1"), ("::1", "::2")]
        {
            assert!(!range(text).covers(address.parse().unwrap()), "{text} {address}");
        }
        assert!(range("10.0.0.0/8").contains(&range("10.1.0.0/16")));
        assert!(!range("10.1.0.0/16").contains(&range("10.0.0.0/8")));
        assert!(!range("::/0").contains(&range("10.0.0.0/8")));
    }

    #[test]
    fn whether_it_holds_a_public_address() {
        for text in
            ["10.0.0.0/8", "127.0.0.0/8", "240.0.0.0/4", "100.64.0.0/10", "fc00::/7", "::1", "2001:db8::/32", "::/3"]
        {
            assert!(range(text).is_not_public(), "{text}");
        }
        for text in
            ["0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/7", "192.0.0.0/8", "::/0", "::/1", "::/2", "2000::/3", "8.8.8.8"]
        {
            assert!(!range(text).is_not_public(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_range() {
        for text in [
            "",
            "a",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10/8",
            "::/129",
            "::ffff:10.0.0.0/104",
            "64:ff9b::/96",
            "2002::/16",
            "[::1]",
            "010.0.0.1",
        ] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
        assert!("10.0.0.1/8".parse::<AddressRange>().unwrap_err().to_string().contains("expected `10.0.0.0/8`"));
    }

    #[test]
    fn it_is_shown_as_it_is_read() {
        for text in ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "::/0"] {
            assert_eq!(range(text).to_string(), text);
        }
    }
}
