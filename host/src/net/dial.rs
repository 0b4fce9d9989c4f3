//! From an origin to a connected socket, under the egress policy: no gap between check and dial.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::connector::Io;
use super::metered::Metered;
use super::record::{Connection, Connections, Via};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::spoken;
use crate::policy::{Origin, Policy, Provenance, Proxy, Rule, Scheme, Side};
use crate::tls::{Negotiated, TlsClient, TlsSession};

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

/// Whom a socket is opened to.
#[derive(Clone, Copy)]
pub(super) enum Hop<'a> {
    Origin(&'a Origin),
    Proxy(&'a Proxy),
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
        if !self.policy.egress.allows_scheme(self.side, origin) {
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
        if self.policy.egress.proxy_to(self.side, origin).is_some() {
            let judged = self.policy.egress.check_unresolved(self.side, origin, self.provenance(origin));
            judged.map_err(|why| {
                let message = format!("{origin} must not be named to a proxy, which would resolve it: {why}");
                Error::new(Code::EgressDenied, self.stage, message)
            })?;
        }
        match origin.address() {
            Some(address) => self.check_address(Hop::Origin(origin), address),
            None => Ok(()),
        }
    }

    /// A connection to `origin`, on record: direct, or over the proxy that the policy and the environment have for it.
    pub(super) async fn dial(&self, origin: &Origin) -> Result<Box<dyn Io>> {
        self.check(origin)?;
        match self.policy.egress.proxy_to(self.side, origin) {
            None => {
                let (tcp, address) = self.connect(Hop::Origin(origin)).await?;
                let tcp = Metered::socket(tcp, self.side, self.record.traffic(self.side));
                self.speak(origin, tcp, address, None).await
            }
            Some(proxy) => {
                let (io, address, via) = self.over(proxy, origin).await?;
                self.speak(origin, io, address, Some(via)).await
            }
        }
    }

    /// A way for bytes to `origin`, which is not on record; [`Self::check`] comes first.
    pub(super) async fn way(&self, origin: &Origin) -> Result<Box<dyn Io>> {
        Ok(match self.policy.egress.proxy_to(self.side, origin) {
            None => Box::new(self.connect(Hop::Origin(origin)).await?.0),
            Some(proxy) => self.over(proxy, origin).await?.0,
        })
    }

    /// The origin's own scheme over a way to it.
    async fn speak<I>(&self, origin: &Origin, io: I, address: SocketAddr, via: Option<Via>) -> Result<Box<dyn Io>>
    where
        I: Io + 'static,
    {
        let (side, origin) = (self.side, origin.clone());
        if origin.scheme() == Scheme::Http {
            self.record.traffic(side).sessions.add(spoken(None));
            self.record.add(Connection { side, origin, address, via, tls: None, handshake: None, failed: None });
            return Ok(Box::new(io));
        }
        let began = Instant::now();
        let session = self.handshake(&origin, io).await;
        let handshake = Some(began.elapsed());
        let (stream, negotiated) = match session {
            Ok(session) => session,
            Err(error) => {
                let failed = Some(error.code());
                self.record.add(Connection { side, origin, address, via, tls: None, handshake, failed });
                return Err(error);
            }
        };
        let traffic = self.record.traffic(side);
        traffic.speaks(&negotiated.suite);
        traffic.sessions.add(negotiated.spoken());
        self.record.add(Connection { side, origin, address, via, tls: Some(negotiated), handshake, failed: None });
        Ok(Box::new(Metered::tls(stream, traffic)))
    }

    pub(super) async fn handshake<I: Io>(&self, origin: &Origin, io: I) -> Result<(TlsSession<I>, Negotiated)> {
        match timeout(self.limit(), self.tls.connect(self.side, origin, io, self.stage)).await {
            Ok(done) => done,
            Err(_) => {
                let what = format!("did not finish the TLS handshake within {} s", self.limit().as_secs());
                Err(self.unreachable(origin, &what, std::io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// A TCP connection to an address that the policy allows.
    pub(super) async fn connect(&self, hop: Hop<'_>) -> Result<(TcpStream, SocketAddr)> {
        let mut last = None;
        for address in self.resolve(hop).await? {
            match self.within(TcpStream::connect(address)).await {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(|why| self.unreachable(hop, "cannot be connected to", why))?;
                    return Ok((tcp, address));
                }
                Err(why) => last = Some((address, why)),
            }
        }
        match last {
            Some((address, why)) => Err(self.unreachable(hop, &format!("cannot be connected to at {address}"), why)),
            None => Err(self.unreachable(hop, "has no address", std::io::ErrorKind::NotFound.into())),
        }
    }

    /// The addresses that the policy allows; if it allows none, that is the error.
    async fn resolve(&self, hop: Hop<'_>) -> Result<Vec<SocketAddr>> {
        let found = self.addresses(hop).await?;
        let mut allowed = Vec::new();
        let mut denied = None;
        for address in found {
            match self.check_address(hop, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => denied = Some(error),
            }
        }
        if let Some(error) = denied.filter(|_| allowed.is_empty()) {
            return Err(error);
        }
        if let Hop::Origin(origin) = hop {
            self.check_no_proxy_among(origin, &allowed).await?;
        }
        Ok(allowed)
    }

    pub(super) async fn addresses(&self, hop: Hop<'_>) -> Result<Vec<SocketAddr>> {
        let origin = hop.origin();
        if let Some(address) = origin.address() {
            return Ok(vec![SocketAddr::new(address, origin.port())]);
        }
        let name = origin.host().to_string();
        let found = self.within(lookup_host((name.as_str(), origin.port()))).await;
        Ok(found.map_err(|why| self.unreachable(hop, "cannot be resolved", why))?.take(MAX_ADDRESSES).collect())
    }

    fn check_address(&self, hop: Hop<'_>, address: IpAddr) -> Result<()> {
        let (origin, provenance) = match hop {
            Hop::Origin(origin) => (origin, self.provenance(origin)),
            // Whoever lets the environment name it has named it.
            Hop::Proxy(proxy) => (&proxy.origin, Provenance::Typed),
        };
        self.policy.egress.check_address(self.side, origin, provenance, address).map_err(|why| {
            Error::new(Code::EgressDenied, self.stage, format!("{hop} must not be connected to at {address}: {why}"))
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

    pub(super) fn unreachable(&self, whom: impl fmt::Display, what: &str, why: std::io::Error) -> Error {
        Error::new(self.unreachable_code(), self.stage, format!("{whom} {what}: {why}")).caused_by(why)
    }

    pub(super) const fn unreachable_code(&self) -> Code {
        match self.side {
            Side::Source => Code::SourceUnreachable,
            Side::Registry => Code::RegistryUnreachable,
        }
    }
}

impl Hop<'_> {
    const fn origin(&self) -> &Origin {
        match self {
            Self::Origin(origin) => origin,
            Self::Proxy(proxy) => &proxy.origin,
        }
    }
}

impl fmt::Display for Hop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => origin.fmt(f),
            Self::Proxy(proxy) => write!(f, "the proxy {proxy}"),
        }
    }
}
