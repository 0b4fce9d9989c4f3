//! Whom TLS is trusted to: the system store and what the user adds.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::{Code, Error, Result, Stage};
use crate::policy::TrustAnchor;

/// The system store (`SSL_CERT_FILE` and `SSL_CERT_DIR` honoured) and the policy's anchors.
pub(super) fn roots(anchors: &[TrustAnchor]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        add(&mut roots, anchor)?;
    }
    let system = rustls_native_certs::load_native_certs();
    // Stores hold certificates that nobody can parse any more; what cannot be read simply is not trusted.
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        let why: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        return Err(Error::new(Code::LocalFile, Stage::Plan, "there are no trust anchors: the system store is empty")
            .context(why.join("; "))
            .hint("install the package ca-certificates, or name a file of certificates with --ca"));
    }
    Ok(roots)
}

fn add(roots: &mut RootCertStore, anchor: &TrustAnchor) -> Result<()> {
    let unusable = |why: String| {
        Error::new(
            Code::LocalFile,
            Stage::Plan,
            format!("`{}` does not hold usable certificates: {why}", anchor.origin),
        )
        .hint("--ca expects certificates in PEM form")
    };
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&anchor.pem) {
        let certificate = certificate.map_err(|why| unusable(why.to_string()))?;
        roots.add(certificate).map_err(|why| unusable(why.to_string()))?;
        found = true;
    }
    if found { Ok(()) } else { Err(unusable("there is no certificate in it".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let anchor = TrustAnchor { origin: "ca.pem".to_owned(), pem: pem.as_bytes().to_vec() };
            let error = roots(&[anchor]).unwrap_err();
            assert_eq!(error.code(), Code::LocalFile);
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
    }
}
