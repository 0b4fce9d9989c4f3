//! A server that a test starts and stops.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::tls::Pair;

/// A running server, stopped by its pid.
pub struct Peer {
    child: Child,
    pub port: u16,
}

/// How long a server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

impl Peer {
    /// Starts a server and waits until it listens on `port`.
    pub fn start(command: &mut Command, port: u16) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        let child = child.unwrap_or_else(|why| panic!("{command:?} cannot be started: {why}; run `./setup test`"));
        let mut peer = Self { child, port };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = peer.child.try_wait().expect("a status");
            assert!(ended.is_none(), "{command:?} ended with {ended:?} before it listened");
            assert!(began.elapsed() < LISTENS_WITHIN, "{command:?} does not listen on {port}");
            sleep(Duration::from_millis(20));
        }
        peer
    }

    /// OpenSSL's server with the files of a folder, under that certificate, and its configuration if it is to have another
    /// than none.
    pub fn openssl(folder: &Path, pair: &Pair, arguments: &[&str], configuration: Option<&str>) -> Self {
        let port = free_port();
        let mut server = Command::new("openssl");
        server.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-WWW", "-quiet"]).args(arguments);
        server.arg("-cert").arg(&pair.certificate).arg("-key").arg(&pair.key);
        if let Some(configuration) = configuration {
            server.env("OPENSSL_CONF", configuration);
        }
        Self::start(server.current_dir(folder), port)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    listener.local_addr().expect("an address").port()
}
