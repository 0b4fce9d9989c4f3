//! Checksums that the user demands of the bytes as received.

use std::str::FromStr;

use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;
use crate::stream::{DigestHandle, Flow, hashed};

/// A demanded checksum. `ALGO:HEX`; only sha256 so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(Digest);

/// Algorithms of the contract that are not built yet.
const NOT_YET: [&str; 5] = ["md5", "sha1", "sha512", "streebog256", "streebog512"];

impl Checksum {
    /// The expected digest.
    #[must_use]
    pub const fn expected(&self) -> &Digest {
        &self.0
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let usage = |words: String| Error::new(Code::Usage, Stage::Plan, words);
        let unsupported = |what: &str| {
            let message = format!("{what} checksums are not supported yet");
            Error::new(Code::Unsupported, Stage::Plan, message)
                .hint("sha256 over the bytes received is: --checksum sha256:HEX")
        };
        let (algorithm, hex) =
            text.split_once(':').ok_or_else(|| usage(format!("`{text}` is not a checksum: expected ALGO:HEX")))?;
        match algorithm {
            "sha256" => Digest::from_hex(hex)
                .map(Self)
                .map_err(|_| usage(format!("`{hex}` is not a sha256: expected 64 hexadecimal digits"))),
            "disk" => Err(unsupported("disk:")),
            other if NOT_YET.contains(&other) => Err(unsupported(other)),
            other => Err(usage(format!("`{other}` is not a checksum algorithm"))),
        }
    }
}

/// The checksums of one flow.
pub(super) struct Demanded {
    checksums: Vec<Checksum>,
    computed: Option<DigestHandle>,
}

/// Watches a flow for the checksums demanded of it. Without any, nothing is computed.
pub(super) fn demanded(flow: Flow, checksums: &[Checksum]) -> (Flow, Demanded) {
    let checksums = checksums.to_vec();
    if checksums.is_empty() {
        return (flow, Demanded { checksums, computed: None });
    }
    let (flow, handle) = hashed(flow);
    (flow, Demanded { checksums, computed: Some(handle) })
}

impl Demanded {
    /// What was computed; none before the flow's end or if nothing was demanded.
    pub(super) fn computed(&self) -> Option<Digest> {
        self.computed.as_ref().and_then(DigestHandle::get).map(|(digest, _)| digest)
    }

    /// Compares, once the flow has ended.
    pub(super) fn verify(&self) -> Result<()> {
        if self.checksums.is_empty() {
            return Ok(());
        }
        let Some(got) = self.computed() else {
            return Err(Error::internal(Stage::Checksum, "a checksum was compared before the end of the flow"));
        };
        match self.checksums.iter().find(|checksum| checksum.0 != got) {
            None => Ok(()),
            Some(Checksum(expected)) => {
                let message = format!("the source has the checksum {got}, expected {expected}");
                Err(Error::new(Code::ChecksumMismatch, Stage::Checksum, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_is_accepted_and_the_rest_is_refused_by_name() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(format!("sha256:{hex}").parse::<Checksum>().is_ok());
        assert!(format!("sha256:{}", hex.to_uppercase()).parse::<Checksum>().is_ok());
        let code = |text: &str| text.parse::<Checksum>().unwrap_err().code();
        for text in ["", hex, "sha256:", "sha256:xyz", "crc32:00000000"] {
            assert_eq!(code(text), Code::Usage, "{text}");
        }
        for text in ["md5:d41d8cd98f00b204e9800998ecf8427e", "disk:sha256:00", "streebog256:00"] {
            assert_eq!(code(text), Code::Unsupported, "{text}");
        }
    }
}
