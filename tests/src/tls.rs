//! A certificate authority, and the certificates it issues: good ones for 127.0.0.1, flawed ones, and ones for clients.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::scratch::Scratch;

/// A CA with one server certificate for 127.0.0.1, localhost and two names that only proxies and tests resolve, as files and as a server's configuration.
pub struct Authority {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug)]
pub enum Flaw {
    /// It was valid in the year 2000.
    Expired,
    /// It will be valid in the year 2100.
    NotYet,
    /// It is for a.example.
    OtherName,
    /// Nobody but itself has issued it.
    SelfSigned,
    /// It is the CA's own.
    OfAuthority,
}

impl Authority {
    pub fn new(scratch: &Scratch) -> Self {
        Self::named(scratch, "tls")
    }

    /// Another one beside the first, with its files in a folder of that name.
    pub fn named(scratch: &Scratch, name: &str) -> Self {
        let folder = scratch.folder(name);
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("longshore test CA {name}"));
        let ca_key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&ca_key).expect("a CA");
        let path = folder.join("ca.crt");
        fs::write(&path, ca.pem()).expect("a PEM file");
        let mut authority = Self {
            ca: path,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            folder,
            issuer: Issuer::new(params, ca_key),
        };
        let Pair { certificate, key } = authority.issue("server", server());
        (authority.certificate, authority.key) = (certificate, key);
        authority
    }

    /// The good certificate and its key.
    pub fn good(&self) -> Pair {
        Pair { certificate: self.certificate.clone(), key: self.key.clone() }
    }

    /// The CA's file, for `--ca`.
    pub fn ca(&self) -> String {
        self.ca.display().to_string()
    }

    /// A server's certificate for 127.0.0.1 and localhost with something wrong about it.
    pub fn flawed(&self, flaw: Flaw) -> Pair {
        let mut params = server();
        match flaw {
            Flaw::Expired => {
                params.not_before = date_time_ymd(2000, 1, 1);
                params.not_after = date_time_ymd(2000, 12, 31);
            }
            Flaw::NotYet => {
                params.not_before = date_time_ymd(2100, 1, 1);
                params.not_after = date_time_ymd(2101, 1, 1);
            }
            Flaw::OtherName => params = CertificateParams::new(vec!["a.example".to_owned()]).expect("parameters"),
            Flaw::SelfSigned => {
                let key = KeyPair::generate().expect("a key");
                let certificate = params.self_signed(&key).expect("signed");
                return self.write("SelfSigned", certificate.pem(), key.serialize_pem());
            }
            Flaw::OfAuthority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        }
        self.issue(&format!("{flaw:?}"), params)
    }

    /// A certificate for a client.
    pub fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, params)
    }

    /// The same with a DNS name besides its common name.
    pub fn client_called(&self, name: &str, dns: &str) -> Pair {
        let mut params = CertificateParams::new(vec![dns.to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&format!("{name} called {dns}"), params)
    }

    /// A certificate for a client that was valid in the year 2000.
    pub fn expired_client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2000, 12, 31);
        self.issue(&format!("{name} expired"), params)
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

    fn issue(&self, name: &str, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        self.write(name, certificate.pem(), key.serialize_pem())
    }

    fn write(&self, name: &str, certificate: String, key: String) -> Pair {
        let write = |ending: &str, text: String| {
            let path = self.folder.join(format!("{name}.{ending}"));
            fs::write(&path, text).expect("a PEM file");
            path
        };
        Pair { certificate: write("crt.pem", certificate), key: write("key.pem", key) }
    }
}

fn server() -> CertificateParams {
    let names = ["127.0.0.1", "localhost", "images.example", "registry.example"];
    CertificateParams::new(names.map(str::to_owned)).expect("parameters")
}
