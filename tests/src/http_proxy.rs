//! An HTTP proxy: tunnels and whole URLs, over TCP or TLS, or whatever it is told to say instead. Names lead where its routes
//! say, so that targets need no resolver.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::wire::Act;

/// How it behaves.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// It wants this Proxy-Authorization, and says 407 to everybody else.
    pub wants: Option<&'static str>,
    /// What it does in the place of any answer.
    pub instead: Option<Vec<Act>>,
    /// Where `host:port` leads, a port of 127.0.0.1.
    pub routes: Vec<(&'static str, u16)>,
}

/// A running proxy.
pub struct HttpProxy {
    port: u16,
    tls: bool,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The most bytes of a head.
const MAX_HEAD: usize = 64 * 1024;

impl HttpProxy {
    /// Serves until it is dropped, over TLS if it has something to show.
    pub fn start(tls: Option<Arc<ServerConfig>>, manner: Manner) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (port_sender, port) = std::sync::mpsc::channel();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, is_tls) = (Arc::clone(&heads), tls.is_some());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
                port_sender.send(listener.local_addr().expect("an address").port()).expect("the test");
                let acceptor = tls.map(TlsAcceptor::from);
                let manner = Arc::new(manner);
                let serve = async {
                    loop {
                        let (tcp, _) = listener.accept().await.expect("a connection");
                        let (manner, kept, acceptor) = (Arc::clone(&manner), Arc::clone(&kept), acceptor.clone());
                        tokio::spawn(async move {
                            // A client that breaks off is no concern of a proxy.
                            match acceptor {
                                None => drop(connection(tcp, &manner, &kept).await),
                                Some(acceptor) => {
                                    if let Ok(tls) = acceptor.accept(tcp).await {
                                        drop(connection(tls, &manner, &kept).await);
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port: port.recv().expect("a port"), tls: is_tls, heads, stop: Some(stop), thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a variable says to have it used, with that user information.
    pub fn variable(&self, user_info: &str) -> String {
        format!("{}://{user_info}127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    /// The heads of the requests so far, in order.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn connection<I>(mut io: I, manner: &Manner, heads: &Mutex<Vec<String>>) -> std::io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = io.read_u8().await?;
        assert!(head.len() < MAX_HEAD, "a head without end");
        head.push(byte);
    }
    let head = String::from_utf8(head).expect("a head of text");
    heads.lock().unwrap().push(head.clone());
    if let Some(acts) = &manner.instead {
        for act in acts {
            match act {
                Act::Say(bytes) => io.write_all(bytes).await?,
                Act::Flood(bytes) => {
                    let mut left = *bytes;
                    while left > 0 {
                        let now = left.min(64 * 1024);
                        io.write_all(&vec![b'x'; usize::try_from(now).expect("a size")]).await?;
                        left -= now;
                    }
                }
                Act::Reset => return Ok(()),
                Act::Hang => drop(tokio::io::copy(&mut io, &mut tokio::io::sink()).await?),
            }
        }
        io.shutdown().await?;
        return tokio::io::copy(&mut io, &mut tokio::io::sink()).await.map(drop);
    }
    let field = |name: &str| {
        let named = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        head.lines().find(named).and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
    };
    if manner.wants.is_some_and(|wants| field("proxy-authorization").as_deref() != Some(wants)) {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        io.write_all(answer.as_bytes()).await?;
        return io.shutdown().await;
    }
    let (line, fields) = head.split_once("\r\n").expect("a request line");
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("a request line: {line}") };
    if method == "CONNECT" {
        let Some(mut far) = manner.connect(target).await else {
            return io.write_all(b"HTTP/1.1 502 No way there\r\n\r\n").await;
        };
        io.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n").await?;
        return copy_bidirectional(&mut io, &mut far).await.map(drop);
    }
    let rest = target.strip_prefix("http://").unwrap_or_else(|| panic!("no whole URL: {line}"));
    let (authority, path) = rest.split_once('/').expect("a path");
    let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let Some(mut far) = manner.connect(&authority).await else {
        return io.write_all(b"HTTP/1.1 502 No way there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    };
    let kept = fields.lines().filter(|field| !field.to_ascii_lowercase().starts_with("proxy-"));
    let kept: String = kept.take_while(|field| !field.is_empty()).map(|field| format!("{field}\r\n")).collect();
    // One request for each connection: the next one would have to be looked at too.
    far.write_all(format!("{method} /{path} {version}\r\n{kept}Connection: close\r\n\r\n").as_bytes()).await?;
    copy_bidirectional(&mut io, &mut far).await.map(drop)
}

impl Manner {
    async fn connect(&self, authority: &str) -> Option<TcpStream> {
        let (_, port) = self.routes.iter().find(|(route, _)| *route == authority)?;
        TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await.ok()
    }
}
