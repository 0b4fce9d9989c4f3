//! A registry that counts the layer and forgets it; what is small it keeps, to be read back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use longshore_tests::script::{Body, Handler, empty, full, with};

/// Bodies up to this size are kept: configs and manifests.
const SMALL_BYTES: usize = 1 << 20;
/// What is kept at once; a long series of runs shall not fill the memory.
const KEPT_ENTRIES: usize = 256;

#[derive(Default)]
struct Held {
    sessions: BTreeMap<String, u64>,
    opened: u64,
    blobs: BTreeMap<String, (u64, Bytes)>,
    manifests: BTreeMap<String, Bytes>,
}

/// Answers as a registry does.
pub(crate) fn handler() -> Handler {
    let held = Arc::new(Mutex::new(Held::default()));
    Arc::new(move |request| {
        let held = Arc::clone(&held);
        Box::pin(async move { answer(&held, request).await })
    })
}

async fn answer(held: &Mutex<Held>, request: Request<Incoming>) -> Response<Body> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let path = uri.path().to_owned();
    let digest = uri.query().and_then(|query| query.split("digest=").nth(1)).map(|text| text.replace("%3A", ":"));
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let (blob, manifest) = (path.contains("/blobs/"), path.contains("/manifests/"));
    match method {
        Method::GET if path == "/v2/" => empty(200),
        Method::POST if path.ends_with("/uploads/") => {
            drop(drain(request).await);
            let mut held = lock(held);
            held.opened += 1;
            let session = held.opened.to_string();
            let location = format!("{path}{session}");
            held.sessions.insert(session, 0);
            with(202, "location", &location)
        }
        Method::PATCH => {
            let Some((bytes, _)) = drain(request).await else { return empty(400) };
            *lock(held).sessions.entry(last).or_default() += bytes;
            with(202, "location", &path)
        }
        Method::PUT if blob => {
            let Some((bytes, kept)) = drain(request).await else { return empty(400) };
            let Some(digest) = digest else { return empty(400) };
            let mut held = lock(held);
            let before = held.sessions.remove(&last).unwrap_or_default();
            held.bounded();
            held.blobs.insert(digest, (before + bytes, kept));
            empty(201)
        }
        Method::PUT if manifest => {
            let Some((_, kept)) = drain(request).await else { return empty(400) };
            let mut held = lock(held);
            held.bounded();
            held.manifests.insert(last, kept);
            empty(201)
        }
        // Each run must send its layer again: only what can be read back is there.
        Method::HEAD if blob => match lock(held).blobs.get(&last) {
            Some((bytes, _)) => with(200, "content-length", &bytes.to_string()),
            None => empty(404),
        },
        Method::GET if blob => found(lock(held).blobs.get(&last).map(|(_, kept)| kept.clone())),
        Method::GET | Method::HEAD if manifest => found(lock(held).manifests.get(&last).cloned()),
        Method::DELETE => {
            let mut held = lock(held);
            held.blobs.clear();
            held.manifests.clear();
            empty(204)
        }
        _ => empty(405),
    }
}

impl Held {
    fn bounded(&mut self) {
        if self.blobs.len() + self.manifests.len() >= KEPT_ENTRIES {
            self.blobs.clear();
            self.manifests.clear();
        }
    }
}

/// How many bytes a body had, and the bytes of a small one; none if it broke off.
async fn drain(request: Request<Incoming>) -> Option<(u64, Bytes)> {
    let mut body = request.into_body();
    let (mut bytes, mut kept) = (0, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes <= SMALL_BYTES as u64 {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
    }
    Some((bytes, kept.freeze()))
}

fn found(bytes: Option<Bytes>) -> Response<Body> {
    bytes.map_or_else(|| empty(404), |bytes| full(200, bytes))
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
