//! A way to a peer that counts what is sent over it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

/// A running forwarder. Its threads end with the test's process.
pub struct Counted {
    port: u16,
    sent: Arc<AtomicU64>,
}

impl Counted {
    /// Passes everything to `upstream`, a port of 127.0.0.1.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let sent = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming() {
                let sent = Arc::clone(&shared);
                let Ok(client) = client else { continue };
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else { continue };
                thread::spawn(move || {
                    let (from, to) = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                    thread::spawn(move || carry(&from, &to, |_| {}));
                    carry(&client, &server, |bytes| {
                        sent.fetch_add(bytes, SeqCst);
                    });
                });
            }
        });
        Self { port, sent }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Bytes sent to the peer so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, count: impl Fn(u64)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        count(bytes as u64);
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
