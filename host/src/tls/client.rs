//! Client sessions within the policy.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{AlertDescription, ClientConfig, Error as TlsError};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::heard::Heard;
use super::hello::{Picked, picked};
use super::identity::{ASKED, Asked, ClientCertificate, Presenting};
use super::{Negotiated, anchors, identity, pins, provider, verifier};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{Origin, Side, TlsPolicy, Trust};

/// A session over a connection.
pub type TlsSession<I> = TlsStream<Heard<I>>;

/// Opens TLS sessions as the policy says.
#[derive(Clone)]
pub struct TlsClient(Arc<Inner>);

struct Inner {
    policy: TlsPolicy,
    provider: Arc<CryptoProvider>,
    /// One configuration for each entry of the policy and client certificate: sessions are resumed only within one.
    configs: Mutex<HashMap<Which, Arc<ClientConfig>>>,
}

/// The side, if one is trusted to others than the other is; the policy's entry; the files of the client certificate.
type Which = (Option<Side>, Option<usize>, Option<(String, String)>);

/// Whether the policy can be met: whether the cryptography is what it demands, and the files that it names can be used, which
/// are trust anchors, client certificates and their keys. The system's trust store is not read.
///
/// # Errors
/// `policy-invalid` for what a document names, `local-file` and `credentials-unreadable` for what flags do.
pub fn check(policy: &TlsPolicy) -> Result<()> {
    let provider = provider::provider(policy);
    in_module(policy, &provider)?;
    anchors::only(&policy.anchors)?;
    for entry in &policy.hosts {
        if let Trust::Only(only) = &entry.trust {
            anchors::only(only)?;
        }
        if let Some(identity) = &entry.identity {
            identity::certified(identity, &provider)?;
        }
    }
    for flag in &policy.identities {
        identity::certified(&flag.identity, &provider)?;
    }
    Ok(())
}

/// Whether the cryptography is that of a FIPS module, if the policy demands it.
pub(super) fn in_module(policy: &TlsPolicy, provider: &CryptoProvider) -> Result<()> {
    let Some(demanded) = &policy.fips else { return Ok(()) };
    let invalid = |why: String| Error::new(Code::PolicyInvalid, Stage::Plan, format!("`tls.fips` ({demanded}): {why}"));
    if !cfg!(feature = "fips") {
        let why = "this build's cryptography is not that of a FIPS module".to_owned();
        return Err(
            invalid(why).hint("build longshore with `cargo build --release --locked -p longshore --features fips`")
        );
    }
    let outside = provider::outside_of_module(policy).join("`, `");
    if !provider.fips() || !outside.is_empty() {
        return Err(invalid(format!("the FIPS module does not do all that is offered: `{outside}`")));
    }
    Ok(())
}

/// What a peer asked of us, and what to do if that is why it refused; none if it asked for nothing.
#[must_use]
pub const fn client_certificate_advice(state: ClientCertificate) -> Option<(&'static str, &'static str)> {
    match state {
        ClientCertificate::NotAsked => None,
        ClientCertificate::NotPresented => Some((
            "the peer asked for a client certificate and got none",
            "if the peer needs a client certificate, name it with --cert [HOST=]FILE and --key [HOST=]FILE, or in an entry \
             `[[tls.host]]` of the policy",
        )),
        ClientCertificate::Presented => Some((
            "the peer asked for a client certificate and was shown one",
            "is the client certificate valid now, and of a CA that the peer trusts?",
        )),
    }
}

/// The alert by which a peer ended a session after the handshake, if that is why `error` happened: in TLS 1.3 a client
/// learns only then that its certificate is not accepted.
#[must_use]
pub fn late_alert(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<TlsError>());
        if let Some(TlsError::AlertReceived(alert)) = tls {
            return Some(format!("{alert:?}"));
        }
        next = error.source();
    }
    None
}

impl TlsClient {
    /// A client for that policy. Trust anchors and certificates are read at the first session that needs them.
    #[must_use]
    pub fn new(policy: &TlsPolicy) -> Self {
        let provider = Arc::new(provider::provider(policy));
        Self(Arc::new(Inner { policy: policy.clone(), provider, configs: Mutex::default() }))
    }

    /// Opens a session with `origin`, which is on `side`, over `io`. `stage` is for the error.
    ///
    /// # Errors
    /// `tls-certificate` if the peer's certificate is not trusted, `tls-handshake` for everything else that stands in the
    /// way of a session within the policy, `source-unreachable` or `registry-unreachable` if the connection breaks; those of [`check`]; `local-file` if the system's trust store cannot be used.
    pub async fn connect<I>(
        &self,
        side: Side,
        origin: &Origin,
        io: I,
        stage: Stage,
    ) -> Result<(TlsSession<I>, Negotiated)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match origin.address() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(origin.host().to_string()).map_err(|why| {
                Error::new(Code::TlsHandshake, stage, format!("`{}` is no name for TLS: {why}", origin.host()))
            })?,
        };
        let connector = TlsConnector::from(self.0.config(side, origin)?);
        let asked = Arc::new(Asked::default());
        let handshake = connector.connect(name, Heard::new(io)).into_fallible();
        let mut stream = ASKED.scope(Arc::clone(&asked), handshake).await.map_err(|(why, mut io)| {
            let chosen = picked(&io.heard());
            self.0.error((side, origin), why, stage, (asked.state(), chosen))
        })?;
        drop(stream.get_mut().0.heard());
        let verified = !matches!(self.0.policy.entry(side, origin).map(|entry| &entry.trust), Some(Trust::Anybody(_)));
        let negotiated = Negotiated::of(stream.get_ref().1, asked.state(), verified)
            .ok_or_else(|| Error::internal(stage, "a TLS session without parameters"))?;
        Ok((stream, negotiated))
    }
}

impl Inner {
    fn config(&self, side: Side, origin: &Origin) -> Result<Arc<ClientConfig>> {
        let entry = self.policy.entry_at(side, origin);
        let identity = self.policy.identity(side, origin);
        let files = identity.map(|identity| (identity.certificate_file.clone(), identity.key_file.clone()));
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let of_side = self.policy.anchors.iter().any(|anchor| anchor.side.is_some()).then_some(side);
        if let Some(config) = configs.get(&(of_side, entry, files.clone())) {
            return Ok(Arc::clone(config));
        }
        let impossible =
            |why: String| Error::new(Code::PolicyInvalid, Stage::Plan, format!("the TLS policy cannot be met: {why}"));
        let roots = match entry.and_then(|entry| self.policy.hosts.get(entry)).map(|entry| &entry.trust) {
            Some(Trust::Only(only)) => Some(anchors::only(only)?),
            Some(Trust::Anybody(site)) => {
                tracing::warn!(
                    "the certificate of {origin} is NOT verified, anybody could answer in its name: \
                     `insecure-skip-verification` at {site}"
                );
                None
            }
            Some(Trust::AsUsual) | None => Some(anchors::usual(&self.policy, side)?),
        };
        let verifier = match (roots, self.policy.pins(side, origin)) {
            (Some(roots), Some(keys)) => {
                let usual = verifier::verifying(roots.clone(), &self.provider).map_err(impossible)?;
                pins::pinned(usual, roots, keys, &self.provider)
            }
            (Some(roots), None) => verifier::verifying(roots, &self.provider).map_err(impossible)?,
            (None, _) => verifier::trusting_anybody(&self.provider),
        };
        let key = identity.map(|identity| identity::certified(identity, &self.provider)).transpose()?;
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&provider::versions(&self.policy))
            .map_err(|why| impossible(why.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(Presenting(key)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if !self.policy.session_tickets {
            config.resumption = Resumption::disabled();
        }
        if self.policy.fips.is_some() {
            // SP 800-52r2 §3.5: without the extended master secret (RFC 7627) a session of TLS 1.2 is not approved.
            config.require_ems = true;
            in_module(&self.policy, &self.provider)?;
        }
        let config = Arc::new(config);
        configs.insert((of_side, entry, files), Arc::clone(&config));
        Ok(config)
    }

    fn error(
        &self,
        (side, origin): (Side, &Origin),
        why: io::Error,
        stage: Stage,
        (asked, chosen): (ClientCertificate, Option<Picked>),
    ) -> Error {
        let tls = why.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        if let Some(TlsError::InvalidCertificate(reason)) = tls {
            let (reason, hint) = verifier::explained(reason);
            let message = format!("the certificate of {origin} is not trusted: {reason}");
            return Error::new(Code::TlsCertificate, stage, message).hint(hint);
        }
        if tls.is_none() {
            let code = match side {
                Side::Source => Code::SourceUnreachable,
                Side::Registry => Code::RegistryUnreachable,
            };
            let message = format!("the connection to {origin} broke during the TLS handshake: {why}");
            return Error::new(code, stage, message).caused_by(why);
        }
        let account = match (tls, chosen) {
            (Some(TlsError::AlertReceived(alert)), _) => format!("it answered with the alert {alert:?}"),
            (
                Some(TlsError::PeerMisbehaved(_) | TlsError::PeerIncompatible(_)),
                Some(Picked::Session { version, suite, group }),
            ) => {
                let with = group.map_or_else(String::new, |group| format!(" with {group}"));
                format!("it chose {version} {suite}{with}")
            }
            (Some(other), _) => other.to_string(),
            (None, _) => why.to_string(),
        };
        let error =
            Error::new(Code::TlsHandshake, stage, format!("no TLS session with {origin} within the policy: {account}"))
                .context(format!("offered: {}", self.offered()));
        let about_certificate = match tls {
            Some(TlsError::AlertReceived(AlertDescription::HandshakeFailure)) => client_certificate_advice(asked),
            Some(TlsError::AlertReceived(alert)) if is_about_client(*alert) => client_certificate_advice(asked),
            _ => None,
        };
        match (about_certificate, tls) {
            (Some((asked, advice)), _) => error.context(asked).hint(advice),
            (None, Some(TlsError::InvalidMessage(_))) => {
                error.hint("what answered does not speak TLS: is it a server of plain HTTP, or something in between?")
            }
            (None, _) => error.hint(format!(
                "the server must speak one of the versions, suites and groups offered: {}",
                self.decided()
            )),
        }
    }

    /// Who decided what is offered.
    fn decided(&self) -> String {
        let rules: Vec<String> = self.policy.offered_by.iter().map(ToString::to_string).collect();
        match rules.split_last() {
            Some((last, [])) => format!("{last} decides"),
            Some((last, others)) => format!("{} and {last} decide", others.join(", ")),
            None => "they are built in".to_owned(),
        }
    }

    fn offered(&self) -> String {
        let TlsPolicy { versions, suites, groups, .. } = &self.policy;
        let versions: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
        let suites: Vec<&str> = suites.iter().map(|suite| suite.as_str()).collect();
        let groups: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
        format!("{}; {}; {}", versions.join(", "), suites.join(", "), groups.join(", "))
    }
}

/// Whether an alert is about the client's certificate (RFC 8446 §6.2).
fn is_about_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}
