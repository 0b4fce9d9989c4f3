//! A plain HTTP peer at every address of the machine, which knows at which of them each connection came in.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What it says to a request, given its head and the address at which it came in.
pub type Answer = Arc<dyn Fn(&str, IpAddr) -> String + Send + Sync>;

/// A running peer. Its threads end with the test's process.
pub struct Listener {
    pub port: u16,
    came_in: Arc<Mutex<Vec<IpAddr>>>,
}

/// The most bytes of a head, and the longest wait for it.
const MAX_HEAD: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

impl Listener {
    /// Answers one request of each connection.
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let came_in: Arc<Mutex<Vec<IpAddr>>> = Arc::default();
        let kept = Arc::clone(&came_in);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                let Ok(tcp) = tcp else { continue };
                let Ok(local) = tcp.local_addr() else { continue };
                let at = local.ip().to_canonical();
                kept.lock().unwrap().push(at);
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(tcp, at, &answer));
            }
        });
        Self { port, came_in }
    }

    /// The addresses at which connections came in, in order.
    pub fn came_in(&self) -> Vec<IpAddr> {
        self.came_in.lock().unwrap().clone()
    }
}

fn serve(mut tcp: TcpStream, at: IpAddr, answer: &Answer) {
    let _ = tcp.set_read_timeout(Some(PATIENCE));
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read(&mut byte) {
            // What begins so is TLS, which is not spoken here.
            Ok(1) if head.is_empty() && byte == [0x16] => return,
            Ok(1) if head.len() < MAX_HEAD => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    // Who answers before the whole of a request is there says something else by that.
    let _ = std::io::copy(&mut (&mut tcp).take(length.unwrap_or(0)), &mut std::io::sink());
    let said = answer(&head, at);
    let _ = tcp.write_all(said.as_bytes());
    let _ = tcp.shutdown(std::net::Shutdown::Write);
    // Closed with something unread it would be reset.
    let _ = std::io::copy(&mut tcp, &mut std::io::sink());
}
