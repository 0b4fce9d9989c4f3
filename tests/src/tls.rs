//! A certificate authority and certificates for 127.0.0.1.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::scratch::Scratch;

/// A CA with one server certificate for 127.0.0.1 and localhost, as files and as a server's configuration.
pub struct Authority {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(scratch: &Scratch) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "longshore test CA");
        let ca_key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&ca_key).expect("a CA");
        let issuer = Issuer::new(params, ca_key);

        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer).expect("signed");

        let folder = scratch.folder("tls");
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).expect("a PEM file");
            path
        };
        Self {
            ca: write("ca.crt", ca.pem()),
            certificate: write("server.crt.pem", certificate.pem()),
            key: write("server.key.pem", key.serialize_pem()),
        }
    }

    /// The CA's file, for `--ca`.
    pub fn ca(&self) -> String {
        self.ca.display().to_string()
    }

    /// What a scripted server speaks TLS with.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = CertificateDer::from_pem_file(&self.certificate).expect("the certificate");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("the key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate that fits its key");
        Arc::new(config)
    }
}
