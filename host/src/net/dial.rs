//! From an origin to a connected socket, under the egress policy: no gap between check and dial.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::connector::Io;
use super::metered::Metered;
use super::record::{Connection, Connections};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{Origin, Policy, Provenance, Rule, Scheme, Side};
use crate::tls::TlsClient;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Opens connections for one side.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) side: Side,
    pub(super) stage: Stage,
    pub(super) policy: Arc<Policy>,
    /// Origins the user typed for this side.
    pub(super) typed: Arc<[Origin]>,
    pub(super) tls: TlsClient,
    pub(super) record: Arc<Connections>,
}

impl Dialer {
    /// Whether the policy allows to speak to `origin` at all, before anything is resolved.
    ///
    /// # Errors
    /// `plain-http-denied`, or `egress-denied` for a host, or for an address that stands in the URL itself.
    pub(super) fn check(&self, origin: &Origin) -> Result<()> {
        self.policy.egress.check_origin(self.side, origin).map_err(|why| {
            Error::new(Code::EgressDenied, self.stage, format!("{origin} must not be connected to: {why}"))
        })?;
        if !self.policy.egress.allows_scheme(origin) {
            let host = match (origin.scheme(), origin.port()) {
                (Scheme::Http, 80) => origin.host().to_string(),
                (_, port) => format!("{}:{port}", origin.host()),
            };
            let message = format!("plain HTTP to {origin} is not allowed");
            let error = Error::new(Code::PlainHttpDenied, self.stage, message);
            return Err(match &self.policy.document {
                Some(document) => {
                    error.hint(format!("`egress.plain-http` of the policy `{document}` would have to list {host}"))
                }
                None => error.hint(format!("if it must be, name the host: --plain-http {host}")),
            });
        }
        if let (Side::Registry, Scheme::Http, Some(site)) =
            (self.side, origin.scheme(), &self.policy.require.encrypted_uploads)
        {
            let rule = Rule { key: "require.encrypted-uploads", site: site.clone() };
            let message = format!("plain HTTP to {origin} is not allowed: the policy's {rule} demands TLS");
            return Err(Error::new(Code::PlainHttpDenied, self.stage, message));
        }
        match origin.address() {
            Some(address) => self.check_address(origin, address),
            None => Ok(()),
        }
    }

    /// A connection to `origin`, on record.
    pub(super) async fn dial(&self, origin: &Origin) -> Result<Box<dyn Io>> {
        self.check(origin)?;
        let (tcp, address) = self.connect(origin).await?;
        let traffic = self.record.traffic(self.side);
        let tcp = Metered::socket(tcp, self.side, traffic);
        if origin.scheme() == Scheme::Http {
            self.record.add(Connection {
                side: self.side,
                origin: origin.clone(),
                address,
                tls: None,
                handshake: None,
            });
            return Ok(Box::new(tcp));
        }
        let began = Instant::now();
        let handshake = self.tls.connect(self.side, origin, tcp, self.stage);
        let (stream, negotiated) = match timeout(self.limit(), handshake).await {
            Ok(done) => done?,
            Err(_) => {
                let what = format!("did not finish the TLS handshake within {} s", self.limit().as_secs());
                return Err(self.unreachable(origin, &what, std::io::ErrorKind::TimedOut.into()));
            }
        };
        let handshake = Some(began.elapsed());
        traffic.speaks(&negotiated.suite);
        let tls = Some(negotiated);
        self.record.add(Connection { side: self.side, origin: origin.clone(), address, tls, handshake });
        Ok(Box::new(Metered::tls(stream, traffic)))
    }

    /// A TCP connection to an address of `origin` that the policy allows; [`Self::check`] comes first.
    pub(super) async fn connect(&self, origin: &Origin) -> Result<(TcpStream, SocketAddr)> {
        let mut last = None;
        for address in self.resolve(origin).await? {
            match self.within(TcpStream::connect(address)).await {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(|why| self.unreachable(origin, "cannot be connected to", why))?;
                    return Ok((tcp, address));
                }
                Err(why) => last = Some((address, why)),
            }
        }
        match last {
            Some((address, why)) => Err(self.unreachable(origin, &format!("cannot be connected to at {address}"), why)),
            None => Err(self.unreachable(origin, "has no address", std::io::ErrorKind::NotFound.into())),
        }
    }

    /// The addresses of `origin` that the policy allows; if it allows none, that is the error.
    async fn resolve(&self, origin: &Origin) -> Result<Vec<SocketAddr>> {
        if let Some(address) = origin.address() {
            return Ok(vec![SocketAddr::new(address, origin.port())]);
        }
        let name = origin.host().to_string();
        let found = self
            .within(lookup_host((name.as_str(), origin.port())))
            .await
            .map_err(|why| self.unreachable(origin, "cannot be resolved", why))?;
        let mut allowed = Vec::new();
        let mut denied = None;
        for address in found.take(MAX_ADDRESSES) {
            match self.check_address(origin, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => denied = Some(error),
            }
        }
        match denied {
            Some(error) if allowed.is_empty() => Err(error),
            _ => Ok(allowed),
        }
    }

    fn check_address(&self, origin: &Origin, address: IpAddr) -> Result<()> {
        self.policy.egress.check_address(self.side, origin, self.provenance(origin), address).map_err(|why| {
            Error::new(Code::EgressDenied, self.stage, format!("{origin} must not be connected to at {address}: {why}"))
        })
    }

    fn provenance(&self, origin: &Origin) -> Provenance {
        let typed = self.typed.iter().any(|typed| typed == origin || origin.is_upgrade_of(typed));
        if typed { Provenance::Typed } else { Provenance::Learned }
    }

    pub(super) fn limit(&self) -> Duration {
        self.policy.limits.connect
    }

    async fn within<T>(&self, step: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
        match timeout(self.limit(), step).await {
            Ok(done) => done,
            Err(_) => Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", self.limit().as_secs()),
            )),
        }
    }

    pub(super) fn unreachable(&self, origin: &Origin, what: &str, why: std::io::Error) -> Error {
        let code = match self.side {
            Side::Source => Code::SourceUnreachable,
            Side::Registry => Code::RegistryUnreachable,
        };
        Error::new(code, self.stage, format!("{origin} {what}: {why}")).caused_by(why)
    }
}
