//! Whether a server's certificate is trusted, and if not, why in words.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::pins::NotPinned;

/// Verifies certificates against trust anchors (RFC 5280, RFC 6125).
///
/// # Errors
/// If there are no anchors.
pub(super) fn verifying(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let inner = verifier.build().map_err(|why| why.to_string())?;
    Ok(Arc::new(Explaining { inner, provider: Arc::clone(provider) }))
}

/// Verifies no certificate: only that the peer has the key of the one it presents.
pub(super) fn trusting_anybody(provider: &Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Unverified { provider: Arc::clone(provider) })
}

/// Why a certificate is not trusted, and what to do about it.
pub(super) fn explained(why: &CertificateError) -> (String, &'static str) {
    const CLOCK: &str = "the server needs a certificate that is valid now; or the clock of this machine is wrong";
    const NAME: &str = "ask for the server by a name that its certificate has, or give it a certificate for this one";
    const ISSUER: &str =
        "if the server is the right one, name its CA: --ca FILE, or `ca` in an entry `[[tls.host]]` of the policy";
    const OWN: &str = "if the server is the right one, name its certificate: --ca FILE, or `ca` in an entry `[[tls.host]]` of the policy";
    const ALGORITHM: &str =
        "the server needs a certificate that is signed with SHA-256 or better, by RSA, ECDSA or Ed25519";
    match why {
        CertificateError::Expired => ("it has expired".to_owned(), CLOCK),
        CertificateError::ExpiredContext { not_after, .. } => (format!("it expired at {}", date(*not_after)), CLOCK),
        CertificateError::NotValidYet => ("it is not valid yet".to_owned(), CLOCK),
        CertificateError::NotValidYetContext { not_before, .. } => {
            (format!("it is not valid before {}", date(*not_before)), CLOCK)
        }
        CertificateError::NotValidForName => ("it is for another name".to_owned(), NAME),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let has = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
            (format!("it is for {has}, not for {}", expected.to_str()), NAME)
        }
        CertificateError::UnknownIssuer => ("its issuer is unknown".to_owned(), ISSUER),
        CertificateError::BadSignature => (
            "its signature does not hold: the trusted CA of its issuer's name did not sign it, or has a key that is too weak"
                .to_owned(),
            "if the server is the right one, name its CA: --ca FILE, or `ca` in an entry `[[tls.host]]` of the policy; RSA keys need 2048 bits at least",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            let algorithm = dotted(signature_algorithm_id);
            (format!("it is signed by an algorithm that is not accepted ({algorithm})"), ALGORITHM)
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            ("the trusted CA of its issuer's name has another kind of key than it is signed with".to_owned(), ISSUER)
        }
        CertificateError::Other(other) if other.0.downcast_ref::<SelfSigned>().is_some() => {
            ("it is self-signed".to_owned(), OWN)
        }
        CertificateError::Other(other) if other.0.downcast_ref::<NotPinned>().is_some() => (
            other.0.to_string(),
            "if the server has got a new key on purpose, whoever keeps the policy has to pin the new one",
        ),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "it is the certificate of a CA (basicConstraints CA:TRUE), which may not be a server's own".to_owned(),
            "issue the server a certificate of its own, signed by that CA or by itself, with CA:FALSE",
        ),
        other => (other.to_string(), ISSUER),
    }
}

/// Nobody but itself has issued it.
#[derive(Debug)]
struct SelfSigned;

/// webpki's verdict, with self-signed told apart from an unknown issuer.
#[derive(Debug)]
struct Explaining {
    inner: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Explaining {
    /// Whether the certificate is good in the eyes of whoever trusts nobody but itself.
    fn is_self_signed(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let mut itself = RootCertStore::empty();
        if itself.add(certificate.clone().into_owned()).is_err() {
            return false;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(itself), Arc::clone(&self.provider)).build();
        let verdict = verifier.map(|verifier| verifier.verify_server_cert(certificate, &[], name, &[], now));
        match verdict {
            // The name is checked after the path.
            Ok(Ok(_)) => true,
            Ok(Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ))) => true,
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verdict = self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verdict {
            Err(TlsError::InvalidCertificate(CertificateError::UnknownIssuer))
                if self.is_self_signed(certificate, name, now) =>
            {
                Err(TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(SelfSigned)))))
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("self-signed")
    }
}

impl std::error::Error for SelfSigned {}

fn date(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    time.map_or_else(|| "an impossible date".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// An object identifier as people write it (X.690 §8.19).
fn dotted(encoded: &[u8]) -> String {
    // With the head of an AlgorithmIdentifier's first element, or without.
    let content = match encoded {
        [6, length, content @ ..] => content.get(..usize::from(*length)).unwrap_or(content),
        content => content,
    };
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in content {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.extend([first, arc.saturating_sub(first * 40)]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// The name in webpki's `DnsName("a.example")` or `IpAddress(127.0.0.1)`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext { time: time(2), not_after: time(1) };
        assert_eq!(explained(&expired).0, "it expired at 1970-01-01T00:00:01Z");
        let name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("b.example").unwrap(),
            presented: vec!["DnsName(\"a.example\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()],
        };
        assert_eq!(explained(&name).0, "it is for a.example, 127.0.0.1, not for b.example");
        let sha1 = [6, 9, 42, 134, 72, 134, 247, 13, 1, 1, 5, 5, 0];
        assert_eq!(dotted(&sha1), "1.2.840.113549.1.1.5");
        assert_eq!(dotted(&[0x2b, 101, 112]), "1.3.101.112");
        let own = CertificateError::Other(OtherError(Arc::new(SelfSigned)));
        assert_eq!(explained(&own).0, "it is self-signed");
        assert_eq!(explained(&CertificateError::UnknownIssuer).0, "its issuer is unknown");
    }
}
