//! Listening: sockets that others connect to, TLS within the policy, HTTP/1.1 (RFC 9112), and what a peer may cost before it
//! has said anything worth it.
//!
//! `hyper` parses; it refuses heads whose end of body could be understood in two ways, and closes the connection behind the
//! one that RFC 9112 §6.1 allows to be understood in one.

mod arriving;
mod connection;
mod crowd;
mod patient;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use arriving::{Arriving, Broken};

use crowd::Crowd;

use crate::error::{Code, Error, Result, Stage};
use crate::policy::{ListenerTls, Policy};
use crate::tls::{Negotiated, TlsServer};

/// The most connections of one listener. Whoever comes then takes the place of another that asks for nothing.
const MAX_CONNECTIONS: usize = 256;
/// How long nothing is accepted after accepting has failed: there are no descriptors left, which others may give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to end once the listener is closed.
const CLOSING: Duration = Duration::from_secs(5);

/// A socket that others can connect to.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsServer>,
    head_within: Duration,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What TLS settled on; none without TLS.
    pub tls: Option<Negotiated>,
}

/// A request.
pub struct Call {
    /// Its head.
    pub head: http::request::Parts,
    /// Its body, as it arrives.
    pub body: Arriving,
    /// Who sent it.
    pub peer: Rc<Peer>,
}

/// An answer, with its whole body.
pub type Reply = http::Response<Bytes>;

/// Who answers.
pub trait Attendant: 'static {
    /// Somebody connected; TLS, if there is any, has settled.
    fn connected(&self, peer: &Peer);

    /// With somebody there was no TLS session within the policy.
    fn turned_away(&self, address: SocketAddr, why: &str);

    /// Answers a request. Dropped where it stands if the client goes away.
    fn answer(&self, call: Call) -> impl Future<Output = Reply>;
}

/// Ends what a listener does.
#[derive(Clone, Debug)]
pub struct Closing(watch::Receiver<bool>);

/// Makes the ends of [`Closing`]: once the sender has sent true, or is gone, it is to end.
#[must_use]
pub fn closing() -> (watch::Sender<bool>, Closing) {
    let (sender, receiver) = watch::channel(false);
    (sender, Closing(receiver))
}

impl Closing {
    async fn closed(&mut self) {
        // A sender that is gone closes as well.
        let _ = self.0.wait_for(|closed| *closed).await;
    }
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(why) if address.ip() == Ipv6Addr::UNSPECIFIED && why.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| why)
        }
        bound => bound,
    }
}

impl Listener {
    /// Opens a socket at `address`; without `tls` whatever is said there can be read on the way. `[::]` is every address of the
    /// machine, where it has none of IPv6 too.
    ///
    /// # Errors
    /// `local-file` if the address cannot be listened at; those of [`TlsServer::new`].
    pub async fn open(address: SocketAddr, tls: Option<&ListenerTls>, policy: &Policy) -> Result<Self> {
        let tls = tls.map(|listener| TlsServer::new(&policy.tls, listener)).transpose()?;
        let failed = |why: std::io::Error| {
            let message = format!("{address} cannot be listened at: {why}");
            Error::new(Code::LocalFile, Stage::Plan, message).caused_by(why)
        };
        let socket = bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, tls, head_within: policy.limits.client_head })
    }

    /// Where it listens: the port that was found, where none was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub const fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Has `attendant` answer whoever connects, until it is closed; then no more connections are accepted, and those that
    /// are there end behind the answer they wait for, or after a few seconds. Must run in a `LocalSet`.
    pub async fn serve(self, attendant: Rc<impl Attendant>, mut closing: Closing) {
        let mut connections = JoinSet::new();
        let crowd = Rc::<Crowd>::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = closing.closed() => break,
            };
            let Ok((socket, address)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            if connections.len() >= MAX_CONNECTIONS {
                // Where all are answered there is nobody to part with: this one waits until one of them has gone.
                crowd.make_room();
                tokio::select! {
                    _ = connections.join_next() => {}
                    () = closing.closed() => break,
                }
            }
            let (tls, attendant) = (self.tls.clone(), Rc::clone(&attendant));
            let place = crowd.enter(address.ip());
            let (head_within, closing) = (self.head_within, closing.clone());
            connections.spawn_local(async move {
                let connection =
                    connection::connection((socket, address), tls, attendant, head_within, closing, &place);
                tokio::select! {
                    () = connection => {}
                    () = place.is_wanted() => {}
                }
            });
        }
        drop(self.socket);
        let ended = async { while connections.join_next().await.is_some() {} };
        // What has not ended by then is dropped with the set.
        let _ = timeout(CLOSING, ended).await;
    }
}
