//! Checksum algorithms as users name them, and their running hashes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use md5::Md5;
use sha1::Sha1;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};
use streebog::{Streebog256, Streebog512};

use super::marks::{Marks, Midstate, Midway};

/// A checksum algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 1321.
    Md5,
    /// FIPS 180-4.
    Sha1,
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4.
    Sha512,
    /// GOST R 34.11-2012 (RFC 6986), 256 bits.
    Streebog256,
    /// GOST R 34.11-2012 (RFC 6986), 512 bits.
    Streebog512,
}

/// A checksum: an algorithm, and its value as lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sum {
    algorithm: Algorithm,
    hex: String,
}

/// A text that is no checksum.
#[derive(Debug, thiserror::Error)]
pub enum MalformedSum {
    /// There is no colon.
    #[error("`{0}` is not a checksum: expected ALGO:HEX")]
    Shape(String),
    /// Nobody knows the algorithm.
    #[error("`{0}` is not a checksum algorithm: expected md5, sha1, sha256, sha512, streebog256 or streebog512")]
    Algorithm(String),
    /// The value does not fit the algorithm.
    #[error("`{hex}` is not a value of {algorithm}: expected {} hexadecimal digits, got {}", algorithm.hex_digits(), hex.len())]
    Value {
        /// The algorithm.
        algorithm: Algorithm,
        /// What should have been its value.
        hex: String,
    },
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512, Self::Streebog256, Self::Streebog512];

    /// The name on the command line and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Streebog256 => "streebog256",
            Self::Streebog512 => "streebog512",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// How many hexadecimal digits its values have.
    #[must_use]
    pub const fn hex_digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 | Self::Streebog256 => 64,
            Self::Sha512 | Self::Streebog512 => 128,
        }
    }

    /// CPU time in tenths of a second per GiB, rounded, where the CPU has SHA instructions. Only ratios matter.
    pub(super) const fn cost(self) -> u32 {
        match self {
            Self::Sha1 => 5,
            Self::Sha256 => 6,
            Self::Sha512 => 15,
            Self::Md5 => 16,
            Self::Streebog256 | Self::Streebog512 => 69,
        }
    }
}

impl Sum {
    /// A value of an algorithm, in either case.
    ///
    /// # Errors
    /// If it has another number of digits, or something else than hexadecimal digits.
    pub fn new(algorithm: Algorithm, hex: &str) -> Result<Self, MalformedSum> {
        if hex.len() == algorithm.hex_digits() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self { algorithm, hex: hex.to_ascii_lowercase() })
        } else {
            Err(MalformedSum::Value { algorithm, hex: hex.to_owned() })
        }
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl FromStr for Sum {
    type Err = MalformedSum;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| MalformedSum::Shape(text.to_owned()))?;
        let algorithm = Algorithm::named(algorithm).ok_or_else(|| MalformedSum::Algorithm(algorithm.to_owned()))?;
        Self::new(algorithm, hex)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where hashes over the same bytes begin, and the marks they leave. By default they begin at the first byte and leave none.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    /// The offset of the first byte they get. Each has a mark there, unless it is 0.
    pub at: u64,
    /// The marks of each.
    pub marks: BTreeMap<Algorithm, Marks>,
}

/// Running hashes over the same bytes.
pub(super) struct Hashes {
    hashes: Vec<(Hash, Option<Marks>)>,
    at: u64,
}

enum Hash {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
    Streebog256(Streebog256),
    Streebog512(Streebog512),
}

impl Hashes {
    /// Hashes that begin there; none if one of them has no mark for it.
    pub(super) fn new(algorithms: &[Algorithm], begun: &Begun) -> Option<Self> {
        let hash = |algorithm: &Algorithm| {
            let marks = begun.marks.get(algorithm).cloned();
            let hash = match begun.at {
                0 => Hash::new(*algorithm),
                at => Hash::known(*algorithm, &marks.as_ref()?.at(at)?)?,
            };
            Some((hash, marks))
        };
        Some(Self { hashes: algorithms.iter().map(hash).collect::<Option<_>>()?, at: begun.at })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for (hash, marks) in &mut self.hashes {
            match marks {
                Some(marks) => marks.pass(hash, self.at, bytes),
                None => hash.update(bytes),
            }
        }
        self.at = self.at.saturating_add(bytes.len() as u64);
    }

    pub(super) fn finish(self) -> Vec<Sum> {
        let sum = |hash| match hash {
            Hash::Md5(hash) => (Algorithm::Md5, hex(&hash.finalize())),
            Hash::Sha1(hash) => (Algorithm::Sha1, hex(&hash.finalize())),
            Hash::Sha256(hash) => (Algorithm::Sha256, hex(&hash.finalize())),
            Hash::Sha512(hash) => (Algorithm::Sha512, hex(&hash.finalize())),
            Hash::Streebog256(hash) => (Algorithm::Streebog256, hex(&hash.finalize())),
            Hash::Streebog512(hash) => (Algorithm::Streebog512, hex(&hash.finalize())),
        };
        let hashes = self.hashes.into_iter().map(|(hash, _)| sum(hash));
        hashes.map(|(algorithm, hex)| Sum { algorithm, hex }).collect()
    }
}

impl Hash {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            Algorithm::Streebog256 => Self::Streebog256(Streebog256::new()),
            Algorithm::Streebog512 => Self::Streebog512(Streebog512::new()),
        }
    }

    /// The hash that knew that much; none if it is no midstate of that algorithm.
    fn known(algorithm: Algorithm, midstate: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Md5 => Self::Md5(restored(midstate)?),
            Algorithm::Sha1 => Self::Sha1(restored(midstate)?),
            Algorithm::Sha256 => Self::Sha256(restored(midstate)?),
            Algorithm::Sha512 => Self::Sha512(restored(midstate)?),
            Algorithm::Streebog256 => Self::Streebog256(restored(midstate)?),
            Algorithm::Streebog512 => Self::Streebog512(restored(midstate)?),
        })
    }
}

impl Midway for Hash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(bytes),
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => sha2::Digest::update(hash, bytes),
            Self::Sha512(hash) => hash.update(bytes),
            Self::Streebog256(hash) => hash.update(bytes),
            Self::Streebog512(hash) => hash.update(bytes),
        }
    }

    fn midstate(&self) -> Midstate {
        match self {
            Self::Md5(hash) => hash.serialize().to_vec(),
            Self::Sha1(hash) => hash.serialize().to_vec(),
            Self::Sha256(hash) => hash.serialize().to_vec(),
            Self::Sha512(hash) => hash.serialize().to_vec(),
            Self::Streebog256(hash) => hash.serialize().to_vec(),
            Self::Streebog512(hash) => hash.serialize().to_vec(),
        }
    }
}

/// A hash from its midstate.
pub(super) fn restored<H: SerializableState>(midstate: &[u8]) -> Option<H> {
    H::deserialize(midstate.try_into().ok()?).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::marks::MARK_EVERY;
    use super::*;

    fn computed(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hashes = Hashes::new(&[algorithm], &Begun::default()).unwrap();
        hashes.update(bytes);
        hashes.finish().remove(0).to_string()
    }

    #[test]
    fn values_are_those_of_the_standards() {
        // RFC 1321 A.5, FIPS 180-4 examples, RFC 6986 section 10 (message 1, bytes in the order they are hashed).
        for known in [
            "md5:900150983cd24fb0d6963f7d28e17f72",
            "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ] {
            let sum: Sum = known.parse().unwrap();
            assert_eq!(computed(sum.algorithm(), b"abc"), known);
        }
        let message = b"012345678901234567890123456789012345678901234567890123456789012";
        for known in [
            "streebog256:9d151eefd8590b89daa6ba6cb74af9275dd051026bb149a452fd84e5e57b5500",
            "streebog512:1b54d01a4af5b9d5cc3d86d68d285462b19abc2475222f35c085122be4ba1ffa00ad30f8767b3a82384c6574f024c311e2a481332b08ef7f41797891c1646f48",
        ] {
            let sum: Sum = known.parse().unwrap();
            assert_eq!(computed(sum.algorithm(), message), known);
        }
    }

    #[test]
    fn every_hash_goes_on_from_a_mark() {
        let bytes: Vec<u8> = (0..2 * MARK_EVERY + 77).map(|at| (at / 251) as u8).collect();
        for algorithm in Algorithm::ALL {
            let marks = Marks::default();
            let mut begun = Begun { at: 0, marks: BTreeMap::from([(algorithm, marks.clone())]) };
            let mut whole = Hashes::new(&[algorithm], &begun).unwrap();
            bytes.chunks(100_003).for_each(|chunk| whole.update(chunk));
            let whole = whole.finish();
            assert_eq!(whole[0].to_string(), computed(algorithm, &bytes));
            for at in [MARK_EVERY, 2 * MARK_EVERY] {
                begun.at = at;
                let mut rest = Hashes::new(&[algorithm], &begun).unwrap();
                bytes[usize::try_from(at).unwrap()..].chunks(65_537).for_each(|chunk| rest.update(chunk));
                assert_eq!(rest.finish(), whole, "from {at}");
            }
            begun.at = MARK_EVERY + 1;
            assert!(Hashes::new(&[algorithm], &begun).is_none(), "there is no mark");
            let cut = BTreeMap::from([(MARK_EVERY, marks.at(MARK_EVERY).unwrap()[1..].to_vec())]);
            begun = Begun { at: MARK_EVERY, marks: BTreeMap::from([(algorithm, Marks::new(0, cut))]) };
            assert!(Hashes::new(&[algorithm], &begun).is_none(), "that is no midstate");
        }
    }

    #[test]
    fn a_value_must_fit_its_algorithm() {
        for algorithm in Algorithm::ALL {
            let right = "Ab".repeat(algorithm.hex_digits() / 2);
            let sum: Sum = format!("{algorithm}:{right}").parse().unwrap();
            assert_eq!(sum.to_string(), format!("{algorithm}:{}", right.to_lowercase()));
            for wrong in [right[1..].to_owned(), format!("{right}0"), format!("g{}", &right[1..]), String::new()] {
                let refused = format!("{algorithm}:{wrong}").parse::<Sum>().unwrap_err().to_string();
                assert!(refused.contains(&format!("expected {} hex", algorithm.hex_digits())), "{refused}");
            }
        }
        for text in ["", "sha256", "crc32:00000000", "SHA256:00", ":00"] {
            assert!(text.parse::<Sum>().is_err(), "{text}");
        }
    }
}
