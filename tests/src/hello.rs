//! A peer that keeps the ClientHello of whoever connects (RFC 8446 §4.1.2), says what it is told to, and ends.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a client offers, by the codes of IANA's registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    pub suites: Vec<u16>,
    pub groups: Vec<u16>,
    pub versions: Vec<u16>,
    /// The groups that it has sent a key of its own for already.
    pub shares: Vec<u16>,
    pub protocols: Vec<String>,
    /// Every extension, by its code.
    pub extensions: Vec<u16>,
}

/// A running peer. Its threads end with the test's process.
pub struct Greeter {
    pub port: u16,
    heard: Arc<Mutex<Vec<Offered>>>,
}

/// The alert `handshake_failure`.
pub const FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

/// The longest wait for a hello.
const PATIENCE: Duration = Duration::from_secs(20);

impl Greeter {
    /// Answers every hello with these bytes.
    pub fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let heard: Arc<Mutex<Vec<Offered>>> = Arc::default();
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for mut tcp in listener.incoming().flatten() {
                if let Some(offered) = hello(&mut tcp) {
                    kept.lock().unwrap().push(offered);
                    let _ = tcp.write_all(&answer);
                }
                let _ = tcp.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut tcp, &mut std::io::sink());
            }
        });
        Self { port, heard }
    }

    /// What was offered so far, in order; nothing is left of it.
    pub fn take(&self) -> Vec<Offered> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }
}

/// A ServerHello that chooses this, in a record of its own (RFC 8446 §4.1.3).
pub fn server_hello(version: u16, suite: u16, extensions: &[u8]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(0);
    if !extensions.is_empty() {
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
    }
    let length = u16::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 3];
    record.extend((length + 4).to_be_bytes());
    record.extend([2, 0]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

fn hello(tcp: &mut TcpStream) -> Option<Offered> {
    tcp.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut message = Vec::new();
    loop {
        let mut head = [0; 5];
        tcp.read_exact(&mut head).ok()?;
        assert_eq!(head[0], 22, "not a handshake: {head:?}");
        let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        tcp.read_exact(&mut record).ok()?;
        message.extend(record);
        let length = u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize;
        if message.len() >= 4 + length {
            return Some(parsed(&message[4..4 + length]));
        }
    }
}

fn parsed(body: &[u8]) -> Offered {
    let mut rest = &body[34..];
    let _session = piece(&mut rest, 1);
    let mut offered = Offered { suites: numbers(piece(&mut rest, 2)), ..Offered::default() };
    let _compression = piece(&mut rest, 1);
    let mut extensions = piece(&mut rest, 2);
    while !extensions.is_empty() {
        let kind = u16::from_be_bytes([extensions[0], extensions[1]]);
        extensions = &extensions[2..];
        let mut content = piece(&mut extensions, 2);
        offered.extensions.push(kind);
        match kind {
            10 => offered.groups = numbers(piece(&mut content, 2)),
            16 => {
                let mut names = piece(&mut content, 2);
                while !names.is_empty() {
                    offered.protocols.push(String::from_utf8_lossy(piece(&mut names, 1)).into_owned());
                }
            }
            43 => offered.versions = numbers(piece(&mut content, 1)),
            51 => {
                let mut shares = piece(&mut content, 2);
                while !shares.is_empty() {
                    offered.shares.push(u16::from_be_bytes([shares[0], shares[1]]));
                    shares = &shares[2..];
                    let _key = piece(&mut shares, 2);
                }
            }
            _ => {}
        }
    }
    offered
}

/// What stands behind a length of that many bytes.
fn piece<'a>(rest: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let length = rest[..bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (piece, behind) = rest[bytes..].split_at(length);
    *rest = behind;
    piece
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}
