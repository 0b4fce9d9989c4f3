//! A registry that forgets the layer: it counts what it gets, and can be told to fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use rustls::ServerConfig;

use crate::script::{Body, Handler, Script, empty, full};

/// What a sink has seen.
#[derive(Default)]
pub struct Seen {
    /// Bytes of the layer so far.
    pub received: AtomicU64,
    /// Requests, as `METHOD path`, queries left out.
    pub requests: Mutex<Vec<String>>,
    blobs: Mutex<BTreeMap<String, u64>>,
    manifests: Mutex<BTreeMap<String, (String, Bytes)>>,
}

/// Where a sink fails, and with what: `("PATCH", 500)`.
pub type Failing = Option<(&'static str, u16)>;

/// Starts a sink.
pub fn start(tls: Option<Arc<ServerConfig>>, failing: Failing) -> (Script, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let handler: Handler = Arc::new(move |request| {
        let seen = Arc::clone(&shared);
        Box::pin(async move { answer(&seen, failing, request).await })
    });
    (Script::start(tls, handler), seen)
}

impl Seen {
    /// Whether anything was committed: a blob or a manifest.
    pub fn committed(&self) -> bool {
        !self.blobs.lock().unwrap().is_empty() || !self.manifests.lock().unwrap().is_empty()
    }

    /// Requests with that method.
    pub fn count(&self, method: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.starts_with(method)).count()
    }
}

async fn answer(seen: &Seen, failing: Failing, request: Request<Incoming>) -> Response<Body> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let path = uri.path().to_owned();
    seen.requests.lock().unwrap().push(format!("{method} {path}"));
    if let Some((at, status)) = failing
        && method.as_str() == at
    {
        return full(status, r#"{"errors":[{"code":"UNKNOWN","message":"the script says no"}]}"#);
    }
    let digest = uri.query().and_then(|query| query.split("digest=").nth(1)).map(|digest| digest.replace("%3A", ":"));
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    match method {
        Method::GET if path == "/v2/" => empty(200),
        Method::POST => with(202, "location", "/v2/vm/blobs/uploads/1?state=x"),
        Method::PATCH => {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                        seen.received.fetch_add(bytes, SeqCst);
                    }
                    Err(_) => return empty(400),
                }
            }
            with(202, "location", "/v2/vm/blobs/uploads/1?state=y")
        }
        Method::PUT if path.contains("/blobs/") => {
            let sent = collect(request).await.len() as u64;
            let size = if sent > 0 { sent } else { seen.received.load(SeqCst) };
            seen.blobs.lock().unwrap().insert(digest.unwrap_or_default(), size);
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

fn with(status: u16, name: &'static str, value: &str) -> Response<Body> {
    let mut answer = empty(status);
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}
