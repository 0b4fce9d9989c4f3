//! A plain HTTP peer that says exactly the bytes it is told to: heads and manners that no HTTP library would send.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What a peer does next on a connection, once it has read the head of a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Sends so many bytes of nothing.
    Flood(u64),
    /// Resets the connection. Without it the connection is closed in order after the last act.
    Reset,
    /// Keeps silent and takes whatever comes, until the other side closes.
    Hang,
}

type Play = Arc<dyn Fn(&str) -> Vec<Act> + Send + Sync>;

/// A running peer. It reads one request of each connection.
pub struct Wire {
    port: u16,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    heads: Mutex<Vec<String>>,
    flooded: AtomicU64,
}

impl Wire {
    /// Does with each connection what `play` says of the head it got.
    pub fn start(play: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (port_sender, port) = std::sync::mpsc::channel();
        let seen = Arc::new(Seen::default());
        let (play, kept): (Play, _) = (Arc::new(play), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
                port_sender.send(listener.local_addr().expect("an address").port()).expect("the test");
                let serve = async {
                    loop {
                        let (tcp, _) = listener.accept().await.expect("a connection");
                        tokio::spawn(connection(tcp, Arc::clone(&play), Arc::clone(&kept)));
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port: port.recv().expect("a port"), seen, stop: Some(stop), thread: Some(thread) }
    }

    /// The same answer to everybody.
    pub fn saying(answer: impl AsRef<[u8]>) -> Self {
        let acts = vec![Act::Say(answer.as_ref().to_vec())];
        Self::start(move |_| acts.clone())
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.host())
    }

    /// The heads of the requests so far, in order.
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// How many bytes of floods the other side let it send.
    pub fn flooded(&self) -> u64 {
        self.seen.flooded.load(SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The most bytes of a head.
const MAX_HEAD: usize = 64 * 1024;

async fn connection(mut tcp: TcpStream, play: Play, seen: Arc<Seen>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read_u8().await {
            Ok(byte) if head.len() < MAX_HEAD => head.push(byte),
            // Somebody who connects and says nothing.
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("a head of text");
    seen.heads.lock().unwrap().push(head.clone());
    for act in play(&head) {
        // A client that breaks off is what half the tests are about.
        let done = match act {
            Act::Say(bytes) => tcp.write_all(&bytes).await.is_ok(),
            Act::Flood(bytes) => flood(&mut tcp, bytes, &seen).await,
            Act::Reset => tcp.set_zero_linger().is_err(),
            Act::Hang => tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await.is_ok(),
        };
        if !done {
            return;
        }
    }
    // Closed with something unread it would be reset.
    let _ = tcp.shutdown().await;
    let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
}

async fn flood(tcp: &mut TcpStream, bytes: u64, seen: &Seen) -> bool {
    let chunk = vec![0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        match tcp.write(&chunk[..now]).await {
            Ok(sent) => {
                left -= sent as u64;
                seen.flooded.fetch_add(sent as u64, SeqCst);
            }
            Err(_) => return false,
        }
    }
    true
}
