//! Pinned keys: besides being trusted, a server's certificate must lead through a key that the policy knows.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::oci::Digest;
use crate::policy::{Pins, Rule};

/// `usual`, and then: one of the certificates on a path to one of `roots` has a pinned key. What a server only presents
/// beside such a path does not count.
pub(super) fn pinned(
    usual: Arc<dyn ServerCertVerifier>,
    roots: RootCertStore,
    pins: Pins,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Pinned { usual, roots, pins, provider: Arc::clone(provider) })
}

/// No certificate of the path has a key that is pinned.
#[derive(Debug)]
pub(super) struct NotPinned {
    /// What pins.
    rule: Rule,
    /// The digest of the server's own key.
    key: Digest,
}

#[derive(Debug)]
struct Pinned {
    usual: Arc<dyn ServerCertVerifier>,
    roots: RootCertStore,
    pins: Pins,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn has(&self, spki: &[u8]) -> bool {
        let digest = Digest::of(spki);
        self.pins.keys.iter().any(|pin| pin.value == digest)
    }

    fn is_on(&self, path: &VerifiedPath<'_>) -> bool {
        self.has(&path.end_entity().subject_public_key_info())
            || path.intermediate_certificates().any(|certificate| self.has(&certificate.subject_public_key_info()))
            || self.has(&sequence(&path.anchor().subject_public_key_info))
    }

    /// Whether there is a path with a pinned key among those that lead to an anchor.
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let malformed = |_| TlsError::InvalidCertificate(CertificateError::BadEncoding);
        let leaf = EndEntityCert::try_from(certificate).map_err(malformed)?;
        let with_pin = |path: &VerifiedPath<'_>| match self.is_on(path) {
            true => Ok(()),
            false => Err(webpki::Error::UnknownIssuer),
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let found = leaf.verify_for_usage(
            algorithms,
            &self.roots.roots,
            intermediates,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&with_pin),
        );
        found.map(|_| ()).map_err(|_| {
            let key = Digest::of(&leaf.subject_public_key_info());
            let why = NotPinned { rule: self.pins.rule(), key };
            TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verified = self.usual.verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        self.check(certificate, intermediates, now)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// The SEQUENCE around what an anchor has of its key, in DER (X.690 §8.1.3).
fn sequence(content: &[u8]) -> Vec<u8> {
    let mut der = vec![0x30];
    let length = content.len().to_be_bytes();
    let length = length.get(length.iter().take_while(|byte| **byte == 0).count()..).unwrap_or_default();
    match length {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        long => {
            der.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, key } = self;
        write!(f, "the policy's {rule} pins no key of its verified path, its own is {key}")
    }
}

impl std::error::Error for NotPinned {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_has_its_length_before_it() {
        assert_eq!(sequence(&[]), [0x30, 0]);
        assert_eq!(sequence(&[7; 0x7f])[..3], [0x30, 0x7f, 7]);
        assert_eq!(sequence(&[7; 0x80])[..4], [0x30, 0x81, 0x80, 7]);
        assert_eq!(sequence(&[7; 0x126])[..5], [0x30, 0x82, 0x01, 0x26, 7]);
    }
}
