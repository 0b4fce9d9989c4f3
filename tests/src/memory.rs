//! A registry in memory that knows exactly what it holds, and that a test can stop at any request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};

use crate::script::{Body, Handler, Script, empty, full};

/// How much of the start and the end of what was sent last is kept.
pub const KEPT: usize = 64 * 1024;
/// Blobs up to this size can be read back.
const SMALL: usize = 1 << 20;

/// What it holds, and what it was asked.
#[derive(Default)]
pub struct Held {
    /// `METHOD path`, in order.
    pub requests: Vec<String>,
    /// Upload sessions that are open.
    pub sessions: BTreeSet<String>,
    /// Sizes of blobs, by digest.
    pub blobs: BTreeMap<String, u64>,
    /// Manifests by digest.
    pub manifests: BTreeMap<String, (String, Bytes)>,
    /// Digests by tag.
    pub tags: BTreeMap<String, String>,
    /// The first and the last bytes of the last upload, and how many there were.
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
    pub received: u64,
    small: BTreeMap<String, Bytes>,
}

/// Where a request is stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing is done.
    Before,
    /// It is done, and nobody is told.
    After,
}

/// Whether a request is stopped: its number, from 1, and `METHOD path`.
pub type Stops = Arc<dyn Fn(usize, &str) -> Option<Stop> + Send + Sync>;

/// A running registry.
pub struct Memory {
    pub script: Script,
    pub held: Arc<Mutex<Held>>,
    stopped: Arc<AtomicBool>,
}

impl Memory {
    pub fn start(tls: Option<Arc<ServerConfig>>, stops: Stops) -> Self {
        let (held, stopped) = (Arc::<Mutex<Held>>::default(), Arc::<AtomicBool>::default());
        let shared = (Arc::clone(&held), Arc::clone(&stopped));
        let handler: Handler = Arc::new(move |request| {
            let ((held, stopped), stops) = (shared.clone(), Arc::clone(&stops));
            Box::pin(async move {
                let asked = format!("{} {}", request.method(), request.uri().path());
                let number = {
                    let mut held = held.lock().unwrap();
                    held.requests.push(asked.clone());
                    held.requests.len()
                };
                let stop = stops(number, &asked);
                let answer = if stop == Some(Stop::Before) { empty(500) } else { answer(&held, request).await };
                if stop.is_some() {
                    stopped.store(true, SeqCst);
                    std::future::pending::<()>().await;
                }
                answer
            })
        });
        Self { script: Script::start(tls, handler), held, stopped }
    }

    /// Whether a request has been stopped.
    pub fn stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// Whether it was ever asked with this method.
    pub fn asked(&self, method: &str) -> bool {
        self.held.lock().unwrap().requests.iter().any(|asked| asked.split(' ').next() == Some(method))
    }
}

impl Held {
    /// Panics if it holds something that these words do not name, or nothing that they claim.
    pub fn assert_named(&self, words: &str, what: &str) {
        let named = |name: &str| assert!(words.contains(name), "{what}: it holds {name}, which is not in\n{words}");
        for tag in self.tags.keys() {
            assert!(
                words.lines().any(|line| line.contains("the tag ") && line.ends_with(&format!(":{tag}"))),
                "{what}: {words}"
            );
        }
        self.blobs.keys().for_each(|digest| named(digest));
        self.manifests.keys().for_each(|digest| named(digest));
        if !self.sessions.is_empty() {
            named("upload in");
        }
        if words.contains("left behind: nothing") {
            assert!(self.is_empty(), "{what}: it is not empty, but\n{words}");
        }
    }

    /// Whether nothing was left.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.blobs.is_empty() && self.manifests.is_empty() && self.tags.is_empty()
    }
}

async fn answer(held: &Mutex<Held>, request: Request<Incoming>) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let digest = parts.uri.query().and_then(|query| query.split("digest=").nth(1)).map(|text| text.replace("%3A", ":"));
    let is_blob = path.contains("/blobs/");
    if parts.method == Method::PATCH {
        held.lock().unwrap().received = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return empty(400) };
            let mut held = held.lock().unwrap();
            keep(&mut held, frame.data_ref().map_or(&[], |data| data));
        }
        return located(202, &path);
    }
    let bytes = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
    let mut held = held.lock().unwrap();
    match (parts.method, is_blob) {
        (Method::GET, false) if last.is_empty() => empty(200),
        (Method::POST, true) => {
            let session = format!("{}", held.requests.len());
            held.sessions.insert(session.clone());
            located(202, &format!("/v2/vm/blobs/uploads/{session}"))
        }
        (Method::PUT, true) => {
            let digest = digest.unwrap_or_default();
            held.sessions.remove(&last);
            let size = if bytes.is_empty() { held.received } else { bytes.len() as u64 };
            held.blobs.insert(digest.clone(), size);
            if (1..=SMALL).contains(&bytes.len()) {
                held.small.insert(digest, bytes);
            }
            empty(201)
        }
        (Method::DELETE, true) => empty(if held.sessions.remove(&last) { 204 } else { 404 }),
        (Method::HEAD, true) => match held.blobs.get(&last) {
            Some(size) => with(200, "content-length", &size.to_string()),
            None => empty(404),
        },
        (Method::GET, true) => held.small.get(&last).map_or_else(|| empty(404), |bytes| full(200, bytes.clone())),
        (Method::PUT, false) => {
            let kind = parts.headers["content-type"].to_str().unwrap().to_owned();
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let digest = format!("sha256:{digest}");
            if last != digest {
                held.tags.insert(last, digest.clone());
            }
            held.manifests.insert(digest, (kind, bytes));
            empty(201)
        }
        (Method::GET, false) => {
            let digest = held.tags.get(&last).unwrap_or(&last);
            held.manifests.get(digest).map_or_else(
                || empty(404),
                |(kind, bytes)| {
                    let mut answer = full(200, bytes.clone());
                    answer.headers_mut().insert("content-type", kind.parse().unwrap());
                    answer
                },
            )
        }
        _ => empty(404),
    }
}

fn keep(held: &mut Held, bytes: &[u8]) {
    if held.received == 0 {
        held.head.clear();
        held.tail.clear();
    }
    let room = KEPT - held.head.len();
    held.head.extend(bytes.iter().take(room));
    held.tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(KEPT)..).unwrap());
    let too_many = held.tail.len().saturating_sub(KEPT);
    held.tail.drain(..too_many);
    held.received += bytes.len() as u64;
}

fn located(status: u16, path: &str) -> Response<Body> {
    with(status, "location", path)
}

fn with(status: u16, name: &'static str, value: &str) -> Response<Body> {
    let mut answer = empty(status);
    answer.headers_mut().insert(name, value.parse().unwrap());
    answer
}
