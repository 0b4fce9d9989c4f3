//! A registry that forgets the layer: it counts what it gets, and can be told to fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use rustls::ServerConfig;

use crate::script::{Body, Handler, Script, broken, empty, full, with};

/// What a sink has seen.
#[derive(Default)]
pub struct Seen {
    /// Bytes of the layer so far.
    pub received: AtomicU64,
    /// Bytes of the layer in the upload that was opened last.
    session: AtomicU64,
    /// Requests, as `METHOD path`, queries left out.
    pub requests: Mutex<Vec<String>>,
    pace: Option<u64>,
    blobs: Mutex<BTreeMap<String, u64>>,
    /// Blobs that came with their commit, as small ones do.
    small: Mutex<BTreeMap<String, Bytes>>,
    manifests: Mutex<BTreeMap<String, (String, Bytes)>>,
}

/// Where a sink fails, and with what: `("PATCH", 500)`.
pub type Failing = Option<(&'static str, u16)>;

/// What becomes of a request that a test has its hands in.
pub enum Turn {
    /// The sink answers.
    Sink,
    /// This is the answer; the sink does not see the request. A body is read before: an answer to half a body may be lost.
    Answer(Response<Body>),
    /// The sink does what it is asked, and then the connection breaks.
    LoseAnswer,
    /// The sink does what it is asked, so long after this answer.
    Later(Response<Body>, Duration),
}

/// A test's hands: a request without its body, and how often one of that method was seen, this one included.
pub type Turning = Arc<dyn Fn(&Parts, usize) -> Turn + Send + Sync>;

/// Starts a sink.
pub fn start(tls: Option<Arc<ServerConfig>>, failing: Failing) -> (Script, Arc<Seen>) {
    let said = r#"{"errors":[{"code":"UNKNOWN","message":"the script says no"}]}"#;
    let turning: Turning = Arc::new(move |request, _| match failing {
        Some((at, status)) if request.method.as_str() == at => Turn::Answer(full(status, said)),
        _ => Turn::Sink,
    });
    start_turned(tls, turning)
}

/// Starts a sink that takes no more than so many bytes of a layer per second.
pub fn start_slow(bytes_per_second: u64) -> (Script, Arc<Seen>) {
    start_with(None, Arc::new(|_, _| Turn::Sink), Some(bytes_per_second))
}

/// Starts a sink whose requests go through a test's hands first.
pub fn start_turned(tls: Option<Arc<ServerConfig>>, turning: Turning) -> (Script, Arc<Seen>) {
    start_with(tls, turning, None)
}

fn start_with(tls: Option<Arc<ServerConfig>>, turning: Turning, pace: Option<u64>) -> (Script, Arc<Seen>) {
    let seen = Arc::new(Seen { pace, ..Seen::default() });
    let shared = Arc::clone(&seen);
    let handler: Handler = Arc::new(move |request| {
        let (seen, turning) = (Arc::clone(&shared), Arc::clone(&turning));
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let method = parts.method.as_str();
            seen.requests.lock().unwrap().push(format!("{method} {}", parts.uri.path()));
            match turning(&parts, seen.count(method)) {
                Turn::Sink => answer(&seen, Request::from_parts(parts, body)).await,
                Turn::Answer(answer) => {
                    let mut body = body;
                    while let Some(Ok(_)) = body.frame().await {}
                    answer
                }
                Turn::Later(answer_now, after) => {
                    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        answer_late(&seen, &parts, body);
                    });
                    answer_now
                }
                Turn::LoseAnswer => {
                    answer(&seen, Request::from_parts(parts, body)).await;
                    broken()
                }
            }
        })
    });
    (Script::start(tls, handler), seen)
}

impl Seen {
    /// Whether anything was committed: a blob or a manifest.
    pub fn committed(&self) -> bool {
        !self.blobs.lock().unwrap().is_empty() || !self.manifests.lock().unwrap().is_empty()
    }

    /// Starts counting anew; what was pushed stays.
    pub fn forget_requests(&self) {
        self.requests.lock().unwrap().clear();
        self.received.store(0, SeqCst);
    }

    /// Requests with that method.
    pub fn count(&self, method: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.split(' ').next() == Some(method)).count()
    }
}

/// A commit that takes longer than somebody in between waits for it.
fn answer_late(seen: &Seen, parts: &Parts, sent: Bytes) {
    let digest = parts.uri.query().and_then(|query| query.split("digest=").nth(1)).unwrap_or_default();
    let digest = digest.replace("%3A", ":");
    let size = if sent.is_empty() { seen.session.load(SeqCst) } else { sent.len() as u64 };
    seen.blobs.lock().unwrap().insert(digest.clone(), size);
    seen.small.lock().unwrap().insert(digest, sent);
}

async fn answer(seen: &Seen, request: Request<Incoming>) -> Response<Body> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let path = uri.path().to_owned();
    let digest = uri.query().and_then(|query| query.split("digest=").nth(1)).map(|digest| digest.replace("%3A", ":"));
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    match method {
        Method::GET if path == "/v2/" => empty(200),
        Method::POST => {
            seen.session.store(0, SeqCst);
            with(202, "location", "/v2/vm/blobs/uploads/1?state=x")
        }
        Method::PATCH => {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                        seen.received.fetch_add(bytes, SeqCst);
                        seen.session.fetch_add(bytes, SeqCst);
                        if let Some(pace) = seen.pace {
                            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / pace as f64)).await;
                        }
                    }
                    Err(_) => return empty(400),
                }
            }
            with(202, "location", "/v2/vm/blobs/uploads/1?state=y")
        }
        Method::PUT if path.contains("/blobs/") => {
            let (digest, sent) = (digest.unwrap_or_default(), collect(request).await);
            let size = if sent.is_empty() { seen.session.load(SeqCst) } else { sent.len() as u64 };
            seen.blobs.lock().unwrap().insert(digest.clone(), size);
            seen.small.lock().unwrap().insert(digest, sent);
            empty(201)
        }
        Method::HEAD => match seen.blobs.lock().unwrap().get(&last) {
            Some(size) => with(200, "content-length", &size.to_string()),
            None => empty(404),
        },
        Method::PUT => {
            let kind = request.headers()["content-type"].to_str().unwrap().to_owned();
            let bytes = collect(request).await;
            seen.manifests.lock().unwrap().insert(last, (kind, bytes));
            empty(201)
        }
        Method::GET if path.contains("/blobs/") => match seen.small.lock().unwrap().get(&last) {
            Some(bytes) => full(200, bytes.clone()),
            None => empty(404),
        },
        Method::GET => match seen.manifests.lock().unwrap().get(&last) {
            Some((_, bytes)) => full(200, bytes.clone()),
            None => empty(404),
        },
        Method::DELETE => empty(204),
        _ => empty(405),
    }
}

async fn collect(request: Request<Incoming>) -> Bytes {
    request.into_body().collect().await.map(|all| all.to_bytes()).unwrap_or_default()
}
