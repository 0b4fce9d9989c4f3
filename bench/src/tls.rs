//! The one cipher suite of every peer: TLS 1.3 with AES-128-GCM, so that everybody pays for the same.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Its name, for tools that are told.
pub const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// A server that offers nothing else.
///
/// # Errors
/// If certificate or key cannot be read or do not fit.
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from_pem_file(certificate)?], PrivateKeyDer::from_pem_file(key)?)?;
    Ok(Arc::new(config))
}
