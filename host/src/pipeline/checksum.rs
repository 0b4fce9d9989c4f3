//! Checksums that the user demands: of the bytes as received, and of the disk after the filters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Code, Error, Result, Stage};
use crate::observe::Meter;
use crate::stream::{Algorithm, Begun, Checksums, Flow, Sum, checksummed};

/// A demanded checksum: `ALGO:HEX` or `disk:ALGO:HEX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    place: Place,
    sum: Sum,
    named_by: Option<String>,
}

/// Where in the flow a checksum is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of the source's bytes as they are received.
    Received,
    /// Of the disk, after the filters.
    Disk,
}

/// What `--checksum` puts before a checksum of the disk.
const DISK: &str = "disk:";

impl Checksum {
    /// A checksum of the bytes received that `named_by` names.
    pub(super) fn named_by(sum: Sum, named_by: String) -> Self {
        Self { place: Place::Received, sum, named_by: Some(named_by) }
    }

    /// Where it is taken.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// The expected value, as `ALGO:HEX`.
    #[must_use]
    pub const fn expected(&self) -> &Sum {
        &self.sum
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (place, rest) = match text.strip_prefix(DISK) {
            Some(rest) => (Place::Disk, rest),
            None => (Place::Received, text),
        };
        let sum = rest.parse().map_err(|why| Error::new(Code::Usage, Stage::Plan, format!("--checksum: {why}")))?;
        Ok(Self { place, sum, named_by: None })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place == Place::Disk { DISK } else { "" };
        write!(f, "{place}{}", self.sum)
    }
}

/// The checksums demanded at one place of the flow.
pub(super) struct Demanded {
    checksums: Vec<Checksum>,
    computed: Checksums,
}

/// Watches a flow for the checksums demanded of it there, which begin as `begun` says; `meter` has what that costs. Without
/// any, it is left alone.
///
/// # Errors
/// `internal` if one of them cannot begin there.
pub(super) fn demanded(
    flow: Flow,
    checksums: &[Checksum],
    place: Place,
    begun: &Begun,
    meter: &Arc<Meter>,
) -> Result<(Flow, Demanded)> {
    let checksums: Vec<Checksum> = checksums.iter().filter(|checksum| checksum.place == place).cloned().collect();
    let (flow, computed) = checksummed(flow, &algorithms(&checksums, place), begun, meter)?;
    Ok((flow, Demanded { checksums, computed }))
}

/// The algorithms that are demanded there.
pub(super) fn algorithms(checksums: &[Checksum], place: Place) -> Vec<Algorithm> {
    checksums.iter().filter(|checksum| checksum.place == place).map(|checksum| checksum.sum.algorithm()).collect()
}

impl Demanded {
    /// What was computed, one for each algorithm; nothing before the flow's end.
    pub(super) fn computed(&self) -> Vec<Sum> {
        self.computed.get().unwrap_or_default()
    }
}

/// Compares at every place, once the flow has ended. Every checksum that does not match is named.
pub(super) fn verify(places: &[&Demanded]) -> Result<()> {
    let mut wrong = Vec::new();
    for place in places {
        let Some(computed) = place.computed.get() else {
            return Err(Error::internal(Stage::Checksum, "a checksum was compared before the end of the flow"));
        };
        for checksum in &place.checksums {
            let got = computed.iter().find(|sum| sum.algorithm() == checksum.sum.algorithm());
            match got {
                Some(got) if *got == checksum.sum => {}
                Some(got) => wrong.push(mismatch(checksum, got)),
                None => return Err(Error::internal(Stage::Checksum, "a checksum that was demanded was not computed")),
            }
        }
    }
    let error = |message: String| Err(Error::new(Code::ChecksumMismatch, Stage::Checksum, message));
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => error(one.clone()),
        several => {
            let total: usize = places.iter().map(|place| place.checksums.len()).sum();
            let message = format!("{} of {total} checksums do not match", several.len());
            error(message).map_err(|error| wrong.into_iter().fold(error, Error::context))
        }
    }
}

fn mismatch(checksum: &Checksum, got: &Sum) -> String {
    let whose = if checksum.place == Place::Disk { "disk" } else { "source" };
    let by = checksum.named_by.as_ref().map_or_else(String::new, |name| format!(" as {name} says"));
    format!("the {whose} has the checksum {got}, expected {}{by}", checksum.sum)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::stream::{Chunks, outcome};

    const MD5_OF_HELLO: &str = "md5:5d41402abc4b2a76b9719d911017c592";
    const SHA1_OF_HELLO: &str = "sha1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";

    struct Hello(Option<Bytes>);

    impl Chunks for Hello {
        fn poll_chunk(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<Result<Bytes>>> {
            std::task::Poll::Ready(self.0.take().map(Ok))
        }
    }

    async fn checked(texts: &[&str]) -> Result<()> {
        let checksums: Vec<Checksum> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let (setter, outcome) = outcome(Stage::Source, "test");
        setter.set(Ok(()));
        let flow = Flow::new(Hello(Some(Bytes::from_static(b"hello"))), outcome, None);
        let (flow, received) = demanded(flow, &checksums, Place::Received, &Begun::default(), &Arc::default()).unwrap();
        let (mut flow, disk) = demanded(flow, &checksums, Place::Disk, &Begun::default(), &Arc::default()).unwrap();
        while flow.next().await?.is_some() {}
        verify(&[&received, &disk])
    }

    #[tokio::test]
    async fn every_checksum_must_match_and_all_that_do_not_are_named() {
        checked(&[]).await.unwrap();
        checked(&[MD5_OF_HELLO, &format!("disk:{SHA1_OF_HELLO}"), &MD5_OF_HELLO.to_uppercase().replace("MD5", "md5")])
            .await
            .unwrap();
        let zeros = format!("md5:{}", "0".repeat(32));
        let error = checked(&[MD5_OF_HELLO, &zeros]).await.unwrap_err();
        assert_eq!(error.code(), Code::ChecksumMismatch);
        assert_eq!(error.to_string(), format!("the source has the checksum {MD5_OF_HELLO}, expected {zeros}"));
        let error = checked(&[&zeros, SHA1_OF_HELLO, &format!("disk:{zeros}")]).await.unwrap_err();
        assert_eq!(error.to_string(), "2 of 3 checksums do not match");
        assert_eq!(
            error.causes(),
            [
                format!("the source has the checksum {MD5_OF_HELLO}, expected {zeros}"),
                format!("the disk has the checksum {MD5_OF_HELLO}, expected {zeros}"),
            ]
        );
    }

    #[test]
    fn a_checksum_is_shown_as_it_is_typed() {
        for text in [MD5_OF_HELLO, &format!("disk:{SHA1_OF_HELLO}")] {
            assert_eq!(text.parse::<Checksum>().unwrap().to_string(), *text);
        }
        for text in ["", "md5", "md5:", "md5:5d41", "disk:", "disk:md5", "disk:disk:md5:00", "crc32:00000000"] {
            assert_eq!(text.parse::<Checksum>().unwrap_err().code(), Code::Usage, "{text}");
        }
    }
}
