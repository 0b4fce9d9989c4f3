//! A plain HTTP peer at every address of the machine, which knows at which of them each connection came in.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What it says to a request, given its head and the address at which it came in.
pub type Answer = Arc<dyn Fn(&str, IpAddr) -> String + Send + Sync>;

/// A running peer. Its threads end with the test's process.
pub struct Listener {
    pub port: u16,
    came_in: Arc<Mutex<Vec<Came>>>,
}

/// A connection: where it came in, and from where.
struct Came {
    at: IpAddr,
    from: SocketAddr,
}

/// The most bytes of a head, and the longest wait for it.
const MAX_HEAD: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

impl Listener {
    /// Answers one request of each connection.
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let came_in: Arc<Mutex<Vec<Came>>> = Arc::default();
        let kept = Arc::clone(&came_in);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                let Ok(tcp) = tcp else { continue };
                let (Ok(local), Ok(from)) = (tcp.local_addr(), tcp.peer_addr()) else { continue };
                let at = local.ip().to_canonical();
                kept.lock().unwrap().push(Came { at, from });
                let answer = Arc::clone(&answer);
                thread::spawn(move || serve(tcp, at, &answer));
            }
        });
        Self { port, came_in }
    }

    /// The addresses at which connections came in so far, in order. Connections are accepted in the order in which they came, so one of our own that was
    /// accepted says that there are no more.
    pub fn came_in(&self) -> Vec<IpAddr> {
        let last = TcpStream::connect((Ipv6Addr::LOCALHOST, self.port)).expect("a connection of our own");
        let own = last.local_addr().expect("an address");
        let began = Instant::now();
        loop {
            let mut came_in = self.came_in.lock().unwrap();
            if let Some(place) = came_in.iter().position(|came| came.from == own) {
                came_in.remove(place);
                return came_in.iter().map(|came| came.at).collect();
            }
            drop(came_in);
            assert!(began.elapsed() < PATIENCE, "a connection of our own is not accepted");
            thread::sleep(Duration::from_millis(1));
        }
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
