//! Whom TLS is trusted to: the system store and what policy and user name.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::{Code, Error, Result, Stage};
use crate::policy::{Side, Site, TlsPolicy, TrustAnchor};

/// Whom every host of a side is trusted to unless the policy says otherwise: the system store (`SSL_CERT_FILE` and
/// `SSL_CERT_DIR` honoured) if the policy has it count, and the policy's anchors for that side.
pub(super) fn usual(policy: &TlsPolicy, side: Side) -> Result<RootCertStore> {
    let mut roots = of(policy.anchors.iter().filter(|anchor| anchor.side.is_none_or(|meant| meant == side)))?;
    if !policy.system_store {
        if roots.is_empty() {
            let message = "there are no trust anchors: `tls.system-store` is false and `tls.ca` names none";
            return Err(Error::new(Code::TlsCertificate, Stage::Plan, message)
                .hint("name anchors for this host in an entry `[[tls.host]]`, or for all in `tls.ca`"));
        }
        return Ok(roots);
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

/// These anchors and no others.
pub(super) fn only(anchors: &[TrustAnchor]) -> Result<RootCertStore> {
    of(anchors.iter())
}

fn of<'a>(anchors: impl Iterator<Item = &'a TrustAnchor>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        add(&mut roots, anchor)?;
    }
    Ok(roots)
}

fn add(roots: &mut RootCertStore, anchor: &TrustAnchor) -> Result<()> {
    let unusable = |why: String| {
        let message = format!("`{}` does not hold usable certificates: {why}", anchor.file);
        let hint = "certificates are expected in PEM form";
        match &anchor.site {
            Site::Document { .. } => {
                Error::new(Code::PolicyInvalid, Stage::Plan, format!("{}: {message}", anchor.site)).hint(hint)
            }
            Site::BuiltIn | Site::Flag(_) => Error::new(Code::LocalFile, Stage::Plan, message).hint(hint),
        }
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

    fn anchor(pem: &str, site: Site) -> TrustAnchor {
        TrustAnchor { file: "ca.pem".to_owned(), pem: pem.as_bytes().to_vec(), site, side: None }
    }

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = only(&[anchor(pem, Site::Flag("--ca"))]).unwrap_err();
            assert_eq!(error.code(), Code::LocalFile);
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
        let error = only(&[anchor("", Site::Document { file: "p.toml".into(), line: 3 })]).unwrap_err();
        assert_eq!(error.code(), Code::PolicyInvalid);
        assert!(error.to_string().starts_with("p.toml:3: "), "{error}");
    }

    #[test]
    fn a_policy_that_trusts_nobody_says_so() {
        let policy = TlsPolicy { system_store: false, ..TlsPolicy::default() };
        assert_eq!(usual(&policy, Side::Source).unwrap_err().code(), Code::TlsCertificate);
    }
}
