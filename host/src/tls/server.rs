//! Sessions that others open with us, within the policy.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, OtherError, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use super::{ClientCertificate, Negotiated, anchors, client, client_name, identity, provider};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{ClientDemand, ListenerTls, TlsPolicy};

/// Accepts TLS sessions as the policy says. Nothing is resumed: every session verifies its client's certificate as it is then.
#[derive(Clone)]
pub struct TlsServer(TlsAcceptor);

/// A session and what it settled on.
pub type Accepted<I> = (TlsStream<I>, Negotiated);

impl TlsServer {
    /// A server under that policy.
    ///
    /// # Errors
    /// `credentials-unreadable` for the listener's certificate and key, `local-file` for the anchors of clients,
    /// `policy-invalid` if the policy has nothing in common with either.
    pub fn new(policy: &TlsPolicy, listener: &ListenerTls) -> Result<Self> {
        let policy = &listener.spoken(policy);
        let provider = Arc::new(provider::provider(policy));
        let impossible = |why: String| {
            Error::new(Code::PolicyInvalid, Stage::Plan, format!("the TLS policy cannot be met by a listener: {why}"))
        };
        if policy.versions.is_empty() {
            return Err(impossible("of what it offers nothing is left".to_owned()));
        }
        client::in_module(policy, &provider)?;
        let certified = identity::certified(&listener.identity, &provider)?;
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&provider::versions(policy))
            .map_err(|why| impossible(why.to_string()))?;
        let config = match &listener.clients {
            None => config.with_no_client_auth(),
            Some(demand) => config.with_client_cert_verifier(verifier(demand, &provider)?),
        };
        let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        if policy.fips.is_some() {
            // SP 800-52r2 §3.5, as for clients.
            config.require_ems = true;
        }
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Opens a session with whoever is at the other end of `io`.
    ///
    /// # Errors
    /// Why there is none, in words for the operator. The client has its alert.
    pub async fn accept<I>(&self, io: I) -> Result<Accepted<I>, String>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.0.accept(io).await.map_err(|why| said(&why))?;
        let state = stream.get_ref().1;
        let presented = match state.peer_certificates() {
            Some(_) => ClientCertificate::Presented,
            None => ClientCertificate::NotAsked,
        };
        let negotiated =
            Negotiated::of_state(state, presented, presented == ClientCertificate::Presented).ok_or("no parameters")?;
        Ok((stream, negotiated))
    }
}

fn said(why: &io::Error) -> String {
    let tls = why.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidCertificate(CertificateError::Other(other))) => other.0.to_string(),
        Some(TlsError::NoCertificatesPresented) => "the client presented no certificate".to_owned(),
        Some(tls) => tls.to_string(),
        None => why.to_string(),
    }
}

fn verifier(demand: &ClientDemand, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>> {
    let roots = Arc::new(anchors::only(&demand.anchors)?);
    let usual = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|why| Error::new(Code::LocalFile, Stage::Plan, format!("clients cannot be verified: {why}")))?;
    if demand.names.is_empty() {
        return Ok(usual);
    }
    Ok(Arc::new(Named { usual, names: demand.names.clone() }))
}

/// `usual`, and then: the certificate has one of the names.
#[derive(Debug)]
struct Named {
    usual: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

/// The certificate is trusted, and nobody's whom we want.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate has none of the names that are wanted")]
struct OtherName;

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.usual.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let verified = self.usual.verify_client_cert(certificate, intermediates, now)?;
        let leaf = EndEntityCert::try_from(certificate)
            .map_err(|_| TlsError::InvalidCertificate(CertificateError::BadEncoding))?;
        if client_name::has_one_of(&leaf, &self.names) {
            return Ok(verified);
        }
        let why: Arc<dyn StdError + Send + Sync> = Arc::new(OtherName);
        Err(TlsError::InvalidCertificate(CertificateError::Other(OtherError(why))))
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
