//! A scripted HTTP/1.1 server, plain or TLS, in a thread of its own.

use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
pub type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// Bytes that a paced answer sends at once.
const PACED: u64 = 32 * 1024;

/// A send buffer of few bytes.
const NARROW: u32 = 16 * 1024;

/// A running script.
pub struct Script {
    pub port: u16,
    tls: bool,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Script {
    /// Serves with `handler` until it is dropped.
    pub fn start(tls: Option<Arc<ServerConfig>>, handler: Handler) -> Self {
        Self::serve(tls, None, handler)
    }

    /// The same with little room for what was written and not yet received: what it has sent has nearly arrived.
    pub fn start_narrow(handler: Handler) -> Self {
        Self::serve(None, Some(NARROW), handler)
    }

    fn serve(tls: Option<Arc<ServerConfig>>, send_buffer: Option<u32>, handler: Handler) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (port_sender, port) = std::sync::mpsc::channel();
        let is_tls = tls.is_some();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = listen(send_buffer);
                port_sender.send(listener.local_addr().expect("an address").port()).expect("the test");
                let acceptor = tls.map(TlsAcceptor::from);
                let serve = async {
                    loop {
                        let (tcp, _) = listener.accept().await.expect("a connection");
                        tokio::spawn(connection(tcp, acceptor.clone(), Arc::clone(&handler)));
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        let port = port.recv().expect("a port");
        Self { port, tls: is_tls, stop: Some(stop), thread: Some(thread) }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}/{path}", self.host())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(send_buffer: Option<u32>) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = send_buffer {
        // Connections inherit it.
        socket.set_send_buffer_size(bytes).expect("a send buffer");
    }
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("an address");
    socket.listen(64).expect("a listener")
}

async fn connection(tcp: TcpStream, acceptor: Option<TlsAcceptor>, handler: Handler) {
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move {
            let answer = answer.await;
            match answer.extensions().get::<Broken>() {
                None => Ok(answer),
                Some(Broken) => Err(std::io::Error::other("the script breaks off")),
            }
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // A client that breaks off is what half the tests are about.
    match acceptor {
        None => drop(http.serve_connection(TokioIo::new(tcp), service).await),
        Some(acceptor) => {
            if let Ok(tls) = acceptor.accept(tcp).await {
                drop(http.serve_connection(TokioIo::new(tls), service).await);
            }
        }
    }
}

/// Marks an answer that never comes: the connection is closed instead.
#[derive(Clone, Copy)]
struct Broken;

/// No answer: the connection is closed.
pub fn broken() -> Response<Body> {
    let mut answer = empty(500);
    answer.extensions_mut().insert(Broken);
    answer
}

/// An answer without a body, with one field.
pub fn with(status: u16, name: &'static str, value: &str) -> Response<Body> {
    let mut answer = empty(status);
    answer.headers_mut().insert(name, value.parse().expect("a field's value"));
    answer
}

/// An answer without a body.
pub fn empty(status: u16) -> Response<Body> {
    full(status, Bytes::new())
}

/// An answer with these bytes.
pub fn full(status: u16, bytes: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).expect("an answer")
}

/// An answer whose body is this stream; `length` sets Content-Length, none sends chunks.
pub fn streamed<S>(length: Option<u64>, stream: S) -> Response<Body>
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let frames = futures_util::StreamExt::map(stream, |chunk| chunk.map(Frame::data));
    let mut answer = Response::builder().status(200);
    if let Some(length) = length {
        answer = answer.header("content-length", length);
    }
    answer.body(StreamBody::new(frames).boxed_unsync()).expect("an answer")
}

/// The same, but no more than so many bytes per second.
pub fn paced_zeros(length: u64, bytes_per_second: u64) -> Response<Body> {
    let chunk = Bytes::from(vec![0; PACED as usize]);
    let chunks = futures_util::stream::iter(0..length / PACED);
    let pause = Duration::from_secs_f64(PACED as f64 / bytes_per_second as f64);
    streamed(
        Some(length),
        futures_util::StreamExt::then(chunks, move |_| {
            let chunk = chunk.clone();
            async move {
                tokio::time::sleep(pause).await;
                Ok(chunk)
            }
        }),
    )
}

/// An answer of that many zero bytes, a multiple of 256 KiB, which nobody holds at once.
pub fn zeros(length: u64) -> Response<Body> {
    let chunk = Bytes::from(vec![0; 256 * 1024]);
    let chunks = length / chunk.len() as u64;
    streamed(Some(length), futures_util::stream::iter((0..chunks).map(move |_| Ok(chunk.clone()))))
}
