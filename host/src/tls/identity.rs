//! As whom we present ourselves to a peer that asks for a certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Code, Error, Result, Stage};
use crate::policy::{ClientIdentity, Site};

/// Whether a session presented a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// The peer did not ask for one.
    NotAsked,
    /// The peer asked, and there was none for it.
    NotPresented,
    /// It got one.
    Presented,
}

tokio::task_local! {
    /// What the handshake of this task has come to. The library asks for certificates while it is polled.
    pub(super) static ASKED: Arc<Asked>;
}

/// What became of the peer's question during one handshake.
#[derive(Debug, Default)]
pub(super) struct Asked(AtomicU8);

/// The certificate for whoever asks, if there is one.
#[derive(Debug)]
pub(super) struct Presenting(pub(super) Option<Arc<CertifiedKey>>);

impl Asked {
    const NOT_PRESENTED: u8 = 1;
    const PRESENTED: u8 = 2;

    pub(super) fn state(&self) -> ClientCertificate {
        match self.0.load(Ordering::Relaxed) {
            Self::NOT_PRESENTED => ClientCertificate::NotPresented,
            Self::PRESENTED => ClientCertificate::Presented,
            _ => ClientCertificate::NotAsked,
        }
    }
}

impl ResolvesClientCert for Presenting {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = self.0.as_ref().filter(|key| key.key.choose_scheme(schemes).is_some());
        let state = if usable.is_some() { Asked::PRESENTED } else { Asked::NOT_PRESENTED };
        // Outside of a handshake of ours nobody wants to know.
        let _ = ASKED.try_with(|asked| asked.0.store(state, Ordering::Relaxed));
        usable.cloned()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// A certificate with the key that fits it.
///
/// # Errors
/// `credentials-unreadable`, or `policy-invalid` if a document named them.
pub(super) fn certified(identity: &ClientIdentity, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>> {
    let (certificate_file, key_file) = (&identity.certificate_file, &identity.key_file);
    let failed = |message: String| match &identity.site {
        Site::Document { .. } => Error::new(Code::PolicyInvalid, Stage::Plan, format!("{}: {message}", identity.site)),
        Site::BuiltIn | Site::Flag(_) => Error::new(Code::CredentialsUnreadable, Stage::Plan, message),
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&identity.certificate)
        .collect::<Result<_, _>>()
        .map_err(|why| failed(format!("the certificate in `{certificate_file}` cannot be read: {why}")))?;
    if chain.is_empty() {
        let message = format!("there is no certificate in `{certificate_file}`");
        return Err(failed(message).hint("a certificate is expected in PEM form, with what leads to its CA"));
    }
    // PKCS #8 (RFC 5958) has a label of its own for it, the older forms a header (RFC 1421).
    if identity.key.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        let message = format!("the key in `{key_file}` is encrypted, and longshore cannot ask for its passphrase");
        return Err(failed(message).hint("decrypt it: openssl pkey -in KEY -out KEY.plain"));
    }
    let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|why| match why {
        rustls_pki_types::pem::Error::NoItemsFound => failed(format!("there is no private key in `{key_file}`"))
            .hint("a private key is expected in PEM form: PKCS #8, PKCS #1 or SEC 1"),
        why => failed(format!("the key in `{key_file}` cannot be read: {why}")),
    })?;
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(failed(format!("the key in `{key_file}` does not fit the certificate in `{certificate_file}`")))
        }
        Err(why) => Err(failed(format!("`{certificate_file}` and `{key_file}` cannot be used: {why}"))),
    }
}

const ENCRYPTED: &[u8] = b"ENCRYPTED";

#[cfg(test)]
mod tests {
    use super::super::provider::provider;
    use super::*;
    use crate::policy::TlsPolicy;

    #[test]
    fn what_is_no_certificate_or_key_is_said() {
        let said = |certificate: &str, key: &str, site| {
            let identity = ClientIdentity {
                certificate_file: "c.pem".to_owned(),
                certificate: certificate.as_bytes().to_vec(),
                key_file: "k.pem".to_owned(),
                key: key.as_bytes().to_vec(),
                site,
            };
            certified(&identity, &provider(&TlsPolicy::default())).unwrap_err()
        };
        let some = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let flag = || Site::Flag("--cert");
        assert!(said("", "", flag()).to_string().contains("no certificate in `c.pem`"));
        assert!(said(some, "", flag()).to_string().contains("no private key in `k.pem`"));
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(said(some, locked, flag()).to_string().contains("`k.pem` is encrypted"));
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(said(some, key, flag()).code(), Code::CredentialsUnreadable);
        let document = Site::Document { file: "p.toml".into(), line: 7 };
        let error = said(some, key, document);
        assert_eq!(error.code(), Code::PolicyInvalid);
        assert!(error.to_string().starts_with("p.toml:7: "), "{error}");
    }
}
