//! One side of a transfer, with somebody on the way who does harm at given bytes.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::strike::{Front, carry};

/// How longshore reaches the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carriage {
    /// Plain HTTP all the way.
    Plain,
    /// The leg ends TLS with the tests' authority: faults strike in HTTP. Behind it is plain HTTP.
    Terminated,
    /// TLS all the way: faults strike in its records.
    Under,
}

impl Carriage {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Terminated, Self::Under];

    /// Whether longshore speaks TLS.
    pub fn is_tls(self) -> bool {
        self != Self::Plain
    }

    /// Whether the peer does.
    pub fn is_tls_behind(self) -> bool {
        self == Self::Under
    }
}

/// From longshore to the peer, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// What is done to a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Both connections are closed; it gets no further.
    Drop,
    /// Both are reset.
    Reset,
    /// Nothing travels any more, and nothing is closed.
    HalfOpen,
    /// It waits.
    Stall { milliseconds: u64 },
    /// It and what follows trickle for a while.
    Throttle,
    /// Its direction ends before it, the other one goes on.
    Truncate,
    /// One of its bits is flipped.
    Corrupt { bit: u8 },
    /// So many bytes up to it come twice.
    Duplicate { bytes: usize },
    /// The peer does not see it; this status is the answer to its request.
    Status(u16),
}

impl Kind {
    /// Whether bytes arrive that nobody sent.
    pub fn garbles(self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Duplicate { .. })
    }

    /// Whether a transfer may take this and not even notice.
    pub fn only_delays(self) -> bool {
        matches!(self, Self::Stall { .. } | Self::Throttle)
    }
}

/// One fault, at the byte with this number in its direction, all connections of the leg counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub way: Way,
    pub at: u64,
    pub kind: Kind,
}

/// What a leg carried, by [`Way`].
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pub bytes: [u64; 2],
    /// Where a direction took its turn in a conversation: requests begin there, and answers.
    pub turns: [Vec<u64>; 2],
    /// How much had gone up when each connection began.
    pub begins: Vec<u64>,
}

#[derive(Default)]
pub(super) struct Watch {
    traffic: Traffic,
    /// Still to come, by direction, in order.
    pending: [VecDeque<Fault>; 2],
    hits: Vec<Fault>,
}

/// A running leg.
pub struct Leg {
    pub port: u16,
    watch: Arc<Mutex<Watch>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Leg {
    /// Carries everything to `upstream`, a port of 127.0.0.1, but for these faults. `tls` is what it ends TLS with.
    pub fn start(upstream: u16, tls: Option<Arc<ServerConfig>>, faults: &[Fault]) -> Self {
        let watch = Arc::new(Mutex::new(Watch::default()));
        for fault in faults {
            watch.lock().unwrap().pending[fault.way as usize].push_back(*fault);
        }
        let (stop, stopped) = oneshot::channel();
        let (port_sender, port) = std::sync::mpsc::channel();
        let shared = Arc::clone(&watch);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
                port_sender.send(listener.local_addr().expect("an address").port()).expect("the test");
                let acceptor = tls.map(TlsAcceptor::from);
                let serve = async {
                    loop {
                        let (client, _) = listener.accept().await.expect("a connection");
                        tokio::spawn(connection(client, upstream, acceptor.clone(), Arc::clone(&shared)));
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port: port.recv().expect("a port"), watch, stop: Some(stop), thread: Some(thread) }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it carried so far.
    pub fn traffic(&self) -> Traffic {
        self.watch.lock().unwrap().traffic.clone()
    }

    /// The faults that struck, in order.
    pub fn hits(&self) -> Vec<Fault> {
        self.watch.lock().unwrap().hits.clone()
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Watch {
    /// Another connection.
    fn begins(&mut self) {
        self.traffic.begins.push(self.traffic.bytes[Way::Up as usize]);
    }

    /// `count` more bytes go this way. The first fault among them, and how many bytes are before it: those and, if there
    /// is a fault, its byte are counted.
    pub(super) fn pass(&mut self, way: Way, count: usize, is_turn: bool) -> Option<(usize, Kind)> {
        let at = self.traffic.bytes[way as usize];
        if is_turn {
            self.traffic.turns[way as usize].push(at);
        }
        let due = self.pending[way as usize].front().filter(|fault| fault.at < at + count as u64).copied();
        let Some(fault) = due else {
            self.traffic.bytes[way as usize] += count as u64;
            return None;
        };
        self.pending[way as usize].pop_front();
        self.hits.push(fault);
        // Two faults may have been put at one byte.
        let before = fault.at.saturating_sub(at) as usize;
        self.traffic.bytes[way as usize] += before as u64 + 1;
        Some((before, fault.kind))
    }
}

async fn connection(client: TcpStream, upstream: u16, acceptor: Option<TlsAcceptor>, watch: Arc<Mutex<Watch>>) {
    watch.lock().unwrap().begins();
    let front = match acceptor {
        None => Front::Plain(client),
        Some(acceptor) => match acceptor.accept(client).await {
            Ok(tls) => Front::Tls(Box::new(tls)),
            Err(_) => return,
        },
    };
    // A peer that is gone refuses through the leg too: the connection closes.
    if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await {
        carry(front, server, &watch).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_at_their_byte_and_bytes_are_counted_once() {
        let fault = |at, kind| Fault { way: Way::Up, at, kind };
        let mut watch = Watch::default();
        watch.pending[0].extend([fault(5, Kind::Throttle), fault(5, Kind::Drop), fault(90, Kind::Reset)]);
        assert_eq!(watch.pass(Way::Up, 4, true), None);
        assert_eq!(watch.pass(Way::Up, 10, false), Some((1, Kind::Throttle)));
        assert_eq!(watch.traffic.bytes, [6, 0]);
        assert_eq!(
            watch.pass(Way::Up, 8, false),
            Some((0, Kind::Drop)),
            "the second one at that byte strikes the next"
        );
        assert_eq!(watch.pass(Way::Up, 7, false), None);
        assert_eq!((watch.traffic.bytes, watch.hits.len()), ([14, 0], 2));
        assert_eq!(watch.traffic.turns, [vec![0], vec![]]);
    }
}
