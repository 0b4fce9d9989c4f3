//! Dialling over a proxy, and keeping everybody else away from it.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::time::timeout;

use super::connector::Io;
use super::dial::{Dialer, Hop};
use super::metered::Metered;
use super::proxy::{NoTunnel, tunnel};
use super::record::Via;
use crate::error::{Code, Error, Result, Retryable};
use crate::policy::{Origin, Proxy, Scheme};

impl Dialer {
    /// A way to `origin` over a proxy: a tunnel if it speaks TLS, else the proxy itself, which takes whole URLs.
    pub(super) async fn over(&self, proxy: &Proxy, origin: &Origin) -> Result<(Box<dyn Io>, SocketAddr, Via)> {
        let traffic = self.record.traffic(self.side);
        let (tcp, address) = self.connect(Hop::Proxy(proxy)).await?;
        if origin.address().is_some_and(|own| is_same(SocketAddr::new(own, origin.port()), address)) {
            return Err(self.is_proxy(origin, proxy));
        }
        let tcp = Metered::socket(tcp, self.side, traffic);
        let mut via = Via { origin: proxy.origin.clone(), tls: None, handshake: None };
        let mut io: Box<dyn Io> = match proxy.origin.scheme() {
            Scheme::Http => Box::new(tcp),
            Scheme::Https => {
                let began = Instant::now();
                let session = self.handshake(&proxy.origin, tcp).await;
                let (stream, negotiated) =
                    session.map_err(|error| error.context(format!("{} is meant", Hop::Proxy(proxy))))?;
                via.handshake = Some(began.elapsed());
                traffic.speaks(&negotiated.suite);
                via.tls = Some(negotiated);
                // Of two sessions, one in the other, the outer one's cost is metered with the inner one's.
                match origin.scheme() {
                    Scheme::Http => Box::new(Metered::tls(stream, traffic)),
                    Scheme::Https => Box::new(stream),
                }
            }
        };
        if origin.scheme() == Scheme::Https {
            let opened = timeout(self.limit(), tunnel(&mut *io, proxy, origin)).await;
            opened
                .unwrap_or_else(|_| Err(NoTunnel::Silent(self.limit())))
                .map_err(|why| self.no_tunnel(proxy, origin, why))?;
        }
        Ok((io, address, via))
    }

    /// Why a proxy leads nowhere.
    pub(super) fn no_tunnel(&self, proxy: &Proxy, origin: &Origin, why: NoTunnel) -> Error {
        let whom = Hop::Proxy(proxy);
        if why == NoTunnel::Credentials {
            let what = match &proxy.credentials {
                Some(_) => "does not accept the credentials that it got (407)",
                None => "wants credentials, and has got none (407)",
            };
            let hint =
                format!("{}=http://USER:PASSWORD@HOST:PORT, percent-encoded, is where they belong", proxy.variable);
            return Error::new(Code::ProxyDenied, self.stage, format!("{whom} {what}")).hint(hint);
        }
        let target = format!("{}:{}", origin.host(), origin.port());
        let message = format!("{whom} opens no tunnel to {target}: {why}");
        let retryable = if why.is_temporary() { Retryable::Yes } else { Retryable::No };
        let error = Error::new(self.unreachable_code(), self.stage, message.trim_end()).retryable_as(retryable);
        match why {
            NoTunnel::Refused(..) if !why.is_temporary() => error
                .hint("whoever keeps the proxy decides where it leads; what is reached without it belongs in NO_PROXY"),
            NoTunnel::Improper(_) => error.hint(format!("is what {} names a proxy for HTTP?", proxy.variable)),
            _ => error,
        }
    }

    fn is_proxy(&self, origin: &Origin, proxy: &Proxy) -> Error {
        let message = format!(
            "{origin} must not be connected to: it is the proxy that {} names, which is for longshore alone",
            proxy.variable
        );
        Error::new(Code::EgressDenied, self.stage, message)
    }

    /// A proxy under another of its names is the proxy still.
    pub(super) async fn check_no_proxy_among(&self, origin: &Origin, addresses: &[SocketAddr]) -> Result<()> {
        for proxy in self.policy.egress.proxies.all().filter(|proxy| proxy.origin.port() == origin.port()) {
            let own = self.addresses(Hop::Proxy(proxy)).await?;
            if addresses.iter().any(|address| own.iter().any(|own| is_same(*own, *address))) {
                return Err(self.is_proxy(origin, proxy));
            }
        }
        Ok(())
    }
}

/// Whether two addresses lead to the same socket, mapped or not.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip().to_canonical(), one.port()) == (other.ip().to_canonical(), other.port())
}
