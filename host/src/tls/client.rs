//! Client sessions within the policy.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, Error as TlsError};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Negotiated, anchors, provider};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{Origin, TlsPolicy};

/// Opens TLS sessions as the policy says.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    offered: Arc<str>,
}

impl TlsClient {
    /// A client for that policy. Reads the system's trust store.
    ///
    /// # Errors
    /// `local-file` if the trust anchors cannot be used, `policy-invalid` if suites, groups and versions do not fit each
    /// other.
    pub fn new(policy: &TlsPolicy) -> Result<Self> {
        let roots = anchors::roots(&policy.anchors)?;
        let provider = provider::provider(policy);
        let suites: Vec<String> = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&provider::versions(policy))
            .map_err(|why| {
                Error::new(Code::PolicyInvalid, Stage::Plan, format!("the TLS policy cannot be met: {why}"))
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), offered: suites.join(", ").into() })
    }

    /// Opens a session with `origin` over `io`. `stage` is for the error.
    ///
    /// # Errors
    /// `tls-certificate` if the peer's certificate is not trusted, `tls-handshake` for everything else that stands in the
    /// way of a session within the policy.
    pub async fn connect<I>(&self, origin: &Origin, io: I, stage: Stage) -> Result<(TlsStream<I>, Negotiated)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match origin.address() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(origin.host().to_string()).map_err(|why| {
                Error::new(Code::TlsHandshake, stage, format!("`{}` is no name for TLS: {why}", origin.host()))
            })?,
        };
        let stream = self.connector.connect(name, io).await.map_err(|why| self.error(origin, why, stage))?;
        let negotiated = Negotiated::of(stream.get_ref().1)
            .ok_or_else(|| Error::internal(stage, "a TLS session without parameters"))?;
        Ok((stream, negotiated))
    }

    fn error(&self, origin: &Origin, why: io::Error, stage: Stage) -> Error {
        let tls = why.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        if let Some(TlsError::InvalidCertificate(reason)) = tls {
            let message = format!("the certificate of {origin} is not trusted: {reason}");
            return Error::new(Code::TlsCertificate, stage, message)
                .hint("if the server is the right one, name its CA with --ca FILE");
        }
        let account = match tls {
            Some(TlsError::AlertReceived(alert)) => format!("it answered with the alert {alert:?}"),
            Some(other) => other.to_string(),
            None => why.to_string(),
        };
        Error::new(Code::TlsHandshake, stage, format!("no TLS session with {origin} within the policy: {account}"))
            .context(format!("offered: {}", self.offered))
            .hint("the server must speak TLS 1.2 or 1.3 with an AES-GCM suite")
    }
}
