//! A proxy that fails once, at a place in the protocol that a real registry never fails at on demand.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

/// Where it fails, the first time a request with that method passes.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The request does not reach the registry: both connections close.
    Before(&'static str),
    /// So many bytes of it do, then both connections close.
    After(&'static str, usize),
    /// It reaches the registry, whose answer is lost.
    Answer(&'static str),
}

/// A running proxy in front of a plain registry. Its threads end with the test's process.
pub struct Proxy {
    pub port: u16,
    failed: Arc<AtomicBool>,
}

impl Proxy {
    /// Passes everything to `upstream`, a port of 127.0.0.1, but for one fault.
    pub fn start(upstream: u16, fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let failed = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&failed);
        thread::spawn(move || {
            for client in listener.incoming() {
                let failed = Arc::clone(&shared);
                let Ok(client) = client else { continue };
                // A registry that is gone refuses through the proxy too: the connection closes.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else { continue };
                thread::spawn(move || carry(&client, &server, fault, &failed));
            }
        });
        Self { port, failed }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whether the fault has happened.
    pub fn failed(&self) -> bool {
        self.failed.load(SeqCst)
    }
}

fn carry(client: &TcpStream, server: &TcpStream, fault: Fault, failed: &Arc<AtomicBool>) {
    let muted = Arc::new(AtomicBool::new(false));
    let (mut from, mut to) = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
    let silent = Arc::clone(&muted);
    let back = thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if silent.load(SeqCst) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (client, server);
    let mut buffer = vec![0; 64 * 1024];
    // How many bytes of the request may still pass, once it is the one.
    let mut left = None;
    while let Ok(mut count @ 1..) = from.read(&mut buffer) {
        let starts = |method: &str| buffer.starts_with(format!("{method} ").as_bytes());
        let first = |method: &str| starts(method) && !failed.swap(true, SeqCst);
        match fault {
            Fault::Before(method) if first(method) => break,
            Fault::Answer(method) if first(method) => muted.store(true, SeqCst),
            Fault::After(method, bytes) if first(method) => left = Some(bytes),
            _ => {}
        }
        if let Some(left) = &mut left {
            count = count.min(*left);
            *left -= count;
        }
        if to.write_all(&buffer[..count]).is_err() || left == Some(0) {
            break;
        }
    }
    if !muted.load(SeqCst) {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
    let _ = back.join();
}
