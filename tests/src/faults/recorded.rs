//! Registries that cannot be installed, with the manners recorded of them (reference: registry uploads A3, A4): what they
//! do with a body that breaks off, what they say about it afterwards, which requests they refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, HeaderValue, LOCATION, RANGE};
use hyper::http::request::Parts;
use hyper::{Method, Response};
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};

use super::odd::Oddity;
use crate::script::{Body, Handler, Script, broken, empty, full};

/// Whose manners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manner {
    /// A broken body deletes the session, a request that takes too long is cut, the body of a chunked PUT is dropped, and
    /// `Range` tells the size of the last request alone.
    Zot,
    /// A broken body changes nothing, what overlaps is skipped, `Range` has its unit and is off by one, and the status has no
    /// `Location`.
    Quay,
    /// A chunk has at most 4 MiB. What it does with a broken body is not recorded: it forgets the session here.
    Ghcr,
    /// 201 for each PATCH, `Range` sticks at the first one's end, the status is 404 always, a chunk but the last has at
    /// least 5 MiB.
    Ecr,
    /// The `Location` has the state in it, and an old one is 404: a broken body ends the session. Strict about fields.
    Acr,
    /// One that keeps what arrives, behind a proxy that takes a body of at most 1 MiB, as nginx by default.
    Capped,
    /// What no registry is known to do.
    Odd(Oddity),
}

/// The body that a proxy takes.
const CAP: u64 = 1 << 20;
/// How long zot lets a request take: 60 s, scaled down below the limits of the trials' policy.
const ZOT_REQUEST: Duration = Duration::from_secs(15);
const GHCR_CHUNK: u64 = 4 << 20;
const ECR_CHUNK: u64 = 5 << 20;
/// The most bytes that ACR takes with a PUT.
const ACR_PUT: u64 = 20_000_000;

/// What it holds.
#[derive(Default)]
pub struct Held {
    pub sessions: BTreeMap<String, Session>,
    /// By the digest they were committed as.
    pub blobs: BTreeMap<String, Bytes>,
    /// Media type and bytes, by the digest that their bytes have.
    pub manifests: BTreeMap<String, (String, Bytes)>,
    /// Digests by tag.
    pub tags: BTreeMap<String, String>,
    opened: u64,
    /// Whether a clumsy one has just lost a session.
    lost: bool,
}

/// One upload.
#[derive(Default)]
pub struct Session {
    bytes: Vec<u8>,
    /// Where the first PATCH ended.
    first_end: Option<usize>,
    /// Grows with everything that happens to it.
    state: u64,
    /// How often it was asked what it has.
    looks: u64,
    /// Whether one of its requests broke off.
    broke: bool,
    /// Whether what an odd registry does once was done.
    done: bool,
}

/// A running registry of one repository, which may have any name.
pub struct Recorded {
    pub script: Script,
    pub held: Arc<Mutex<Held>>,
}

impl Recorded {
    /// `scheme` is what it is reached by, which somebody before it may see to.
    pub fn start(tls: Option<Arc<ServerConfig>>, scheme: &'static str, manner: Manner) -> Self {
        let held = Arc::<Mutex<Held>>::default();
        let shared = Arc::clone(&held);
        let handler: Handler = Arc::new(move |request| {
            let held = Arc::clone(&shared);
            Box::pin(async move {
                let (parts, body) = request.into_parts();
                let mut answer = answer(&At { held: &held, manner, scheme, parts: &parts }, body).await;
                if manner == Manner::Odd(Oddity::Brief) {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            })
        });
        Self { script: Script::start(tls, handler), held }
    }
}

/// One request and where it came to.
struct At<'a> {
    held: &'a Mutex<Held>,
    manner: Manner,
    scheme: &'static str,
    parts: &'a Parts,
}

async fn answer(at: &At<'_>, body: Incoming) -> Response<Body> {
    let path = at.parts.uri.path();
    let last = path.rsplit('/').next().unwrap_or_default();
    let session = path.contains("/blobs/uploads/") && !last.is_empty();
    match (&at.parts.method, session) {
        (&Method::POST, _) if path.contains("/blobs/uploads") => at.open(),
        (&Method::PATCH, true) => at.patch(last, body).await,
        (&Method::PUT, true) => at.commit(last, body).await,
        (&Method::GET, true) => at.status(last),
        (&Method::DELETE, true) => {
            let gone = at.is_current(last) && at.held.lock().unwrap().sessions.remove(last).is_some();
            if gone { empty(204) } else { said(404, "BLOB_UPLOAD_UNKNOWN", "no such upload") }
        }
        (&Method::PUT, false) if path.contains("/manifests/") => at.manifest(last, body).await,
        (&Method::GET | &Method::HEAD, false) => at.read(path, last),
        _ => empty(405),
    }
}

impl At<'_> {
    fn field(&self, name: hyper::header::HeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn length(&self) -> Option<u64> {
        self.field(CONTENT_LENGTH).and_then(|length| length.parse().ok())
    }

    fn query(&self, key: &str) -> Option<String> {
        let pair = self.parts.uri.query()?.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
        Some(pair.replace("%3A", ":"))
    }

    fn open(&self) -> Response<Body> {
        let mut held = self.held.lock().unwrap();
        held.opened += 1;
        if std::mem::take(&mut held.lost) {
            return broken();
        }
        let id = format!("{:08x}", held.opened);
        held.sessions.insert(id.clone(), Session::default());
        self.located(202, &id, 0)
    }

    /// Whether a location is not out of date: ACR's carry what state they are of.
    fn is_current(&self, id: &str) -> bool {
        let held = self.held.lock().unwrap();
        let Some(session) = held.sessions.get(id) else { return false };
        self.manner != Manner::Acr || self.query("_state") == Some(session.state.to_string())
    }

    fn located(&self, status: u16, id: &str, state: u64) -> Response<Body> {
        let path = self.parts.uri.path();
        let folder = path.split("/blobs/uploads").next().unwrap_or_default();
        let mut location = format!("{folder}/blobs/uploads/{id}");
        if self.manner == Manner::Acr {
            location.push_str(&format!("?_nouploadcache=false&_state={state}"));
        }
        if matches!(self.manner, Manner::Quay | Manner::Ghcr) {
            let host = self.field(HOST).unwrap_or_default();
            location = format!("{}://{host}{location}", self.scheme);
        }
        let mut answer = empty(status);
        answer.headers_mut().insert(LOCATION, location.parse().expect("a location"));
        answer
    }

    async fn patch(&self, id: &str, body: Incoming) -> Response<Body> {
        if !self.is_current(id) {
            return said(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
        }
        if self.manner == Manner::Capped && self.length().is_none_or(|length| length > CAP) {
            return empty(413);
        }
        let start = match self.range() {
            Err(refused) => return *refused,
            Ok(range) => range,
        };
        let (bytes, whole) = match self.manner {
            Manner::Zot => match tokio::time::timeout(ZOT_REQUEST, collect(body)).await {
                Ok(read) => read,
                Err(_) => {
                    self.held.lock().unwrap().sessions.remove(id);
                    return broken();
                }
            },
            _ => collect(body).await,
        };
        let mut held = self.held.lock().unwrap();
        let Some(session) = held.sessions.get_mut(id) else { return said(404, "BLOB_UPLOAD_UNKNOWN", "gone") };
        session.state += 1;
        session.broke |= !whole;
        if !whole {
            match self.manner {
                Manner::Quay => {}
                Manner::Zot | Manner::Ghcr => drop(held.sessions.remove(id)),
                Manner::Odd(Oddity::Clumsy) => {
                    held.sessions.remove(id);
                    held.lost = true;
                }
                Manner::Ecr | Manner::Acr | Manner::Capped | Manner::Odd(_) => session.bytes.extend(bytes),
            }
            return said(500, "UNKNOWN", "the body broke off");
        }
        let have = session.bytes.len();
        let goes_on = start.is_some_and(|start| start > 0);
        let first = goes_on && !std::mem::replace(&mut session.done, true);
        if self.manner == Manner::Odd(Oddity::Terse) && first {
            return self.located(416, id, session.state);
        }
        if let Some(start) = start.filter(|start| *start != have) {
            // Quay skips what it has.
            let skip = have.checked_sub(start).filter(|_| self.manner == Manner::Quay);
            let Some(skip) = skip else {
                let mut refused = self.located(416, id, session.state);
                refused.headers_mut().insert(RANGE, self.told(session, 0).parse().expect("a range"));
                return refused;
            };
            session.bytes.extend(bytes.get(skip..).unwrap_or_default());
        } else {
            session.bytes.extend(&bytes);
        }
        if self.manner == Manner::Odd(Oddity::Mute) && first {
            return broken();
        }
        session.first_end.get_or_insert(session.bytes.len());
        let mut answer = self.located(if self.manner == Manner::Ecr { 201 } else { 202 }, id, session.state);
        answer.headers_mut().insert(RANGE, self.told(session, bytes.len()).parse().expect("a range"));
        answer
    }

    /// Where a PATCH says that it starts; none if it is streamed.
    fn range(&self) -> Result<Option<usize>, Box<Response<Body>>> {
        let Some(text) = self.field(CONTENT_RANGE) else { return Ok(None) };
        let Some(length) = self.length() else {
            return match self.manner {
                Manner::Acr => Err(Box::new(said(400, "CONTENT_LENGTH_INVALID", "a range needs a length"))),
                _ => Ok(None),
            };
        };
        let parsed = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let Some((first, last)) = parsed.filter(|(first, last): &(u64, u64)| first <= last) else {
            return Err(Box::new(said(400, "BLOB_UPLOAD_INVALID", "header format is invalid")));
        };
        if last + 1 - first != length {
            return Err(Box::new(said(400, "SIZE_INVALID", "the range has another length than the body")));
        }
        match self.manner {
            Manner::Ghcr if length > GHCR_CHUNK => {
                Err(Box::new(said(416, "BLOB_UPLOAD_INVALID", "exceeds the maximum permissible limit of 4.00MiB")))
            }
            // It is the next one that finds out about a short part.
            Manner::Ecr if first != 0 && first < ECR_CHUNK => {
                Err(Box::new(said(400, "BLOB_UPLOAD_INVALID", "LayerPartTooSmall")))
            }
            _ => Ok(Some(first as usize)),
        }
    }

    /// What `Range` says after a request of so many bytes.
    fn told(&self, session: &Session, request: usize) -> String {
        let last = |bytes: usize| (bytes as i64 - 1).to_string();
        match self.manner {
            Manner::Zot => format!("0-{}", last(request)),
            Manner::Quay => format!("bytes=0-{}", session.bytes.len()),
            Manner::Ecr => format!("0-{}", last(session.first_end.unwrap_or(1))),
            Manner::Ghcr | Manner::Acr | Manner::Capped | Manner::Odd(_) => {
                format!("0-{}", last(session.bytes.len().max(1)))
            }
        }
    }

    fn status(&self, id: &str) -> Response<Body> {
        if self.manner == Manner::Ecr || !self.is_current(id) {
            return said(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
        }
        let mut held = self.held.lock().unwrap();
        let Some(session) = held.sessions.get_mut(id) else { return empty(404) };
        let mut answer = self.located(204, id, session.state);
        let mut told = self.told(session, session.bytes.len());
        if let Manner::Odd(oddity) = self.manner {
            session.looks += 1;
            let Some(claims) = oddity.claims(session.bytes.len(), session.looks) else { return empty(503) };
            told = format!("0-{}", claims.saturating_sub(1));
        }
        answer.headers_mut().insert(RANGE, told.parse().expect("a range"));
        if self.manner == Manner::Quay {
            answer.headers_mut().remove(LOCATION);
        }
        answer
    }

    async fn commit(&self, id: &str, body: Incoming) -> Response<Body> {
        if !self.is_current(id) {
            return said(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
        }
        if self.manner == Manner::Acr && self.length().is_some_and(|length| length > ACR_PUT) {
            return empty(413);
        }
        let (mut bytes, whole) = collect(body).await;
        if !whole {
            return said(500, "UNKNOWN", "the body broke off");
        }
        if self.manner == Manner::Zot && self.length().is_none() && self.field(CONTENT_RANGE).is_none() {
            bytes.clear();
        }
        let wanted = self.query("digest").unwrap_or_default();
        let mut held = self.held.lock().unwrap();
        let Some(session) = held.sessions.get_mut(id) else { return empty(404) };
        if self.manner == Manner::Odd(Oddity::Reluctant) && std::mem::take(&mut session.broke) {
            return said(500, "UNKNOWN", "not yet");
        }
        let all = [&session.bytes[..], &bytes].concat();
        if digest(&all) != wanted {
            return said(400, "DIGEST_INVALID", "the content has another digest");
        }
        held.sessions.remove(id);
        held.blobs.insert(wanted.clone(), all.into());
        digested(empty(201), &wanted)
    }

    async fn manifest(&self, reference: &str, body: Incoming) -> Response<Body> {
        let kind = self.field(CONTENT_TYPE).unwrap_or_default().to_owned();
        if self.manner == Manner::Zot && kind.contains("docker") {
            return said(415, "MANIFEST_INVALID", "docker's media types are not switched on");
        }
        let (bytes, whole) = collect(body).await;
        let own = digest(&bytes);
        if !whole {
            return said(500, "UNKNOWN", "the body broke off");
        }
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_err() {
            return said(400, "MANIFEST_INVALID", "no manifest");
        }
        let mut held = self.held.lock().unwrap();
        if reference.starts_with("sha256:") {
            if reference != own {
                return said(400, "DIGEST_INVALID", "the manifest has another digest");
            }
        } else {
            held.tags.insert(reference.to_owned(), own.clone());
        }
        held.manifests.insert(own.clone(), (kind, bytes.into()));
        digested(empty(201), &own)
    }

    fn read(&self, path: &str, last: &str) -> Response<Body> {
        let held = self.held.lock().unwrap();
        let is_head = self.parts.method == Method::HEAD;
        if path == "/v2/" {
            return empty(200);
        }
        // Its tokens are good for everything, and so is none.
        if path == "/token" {
            return full(200, r#"{"token":"t","expires_in":300}"#);
        }
        let (digest, kind, bytes) = if path.contains("/manifests/") {
            let digest = held.tags.get(last).map_or(last, String::as_str);
            let Some((kind, bytes)) = held.manifests.get(digest) else { return empty(404) };
            (digest, kind.as_str(), bytes)
        } else {
            let Some(bytes) = held.blobs.get(last) else { return empty(404) };
            (last, "application/octet-stream", bytes)
        };
        let mut answer = digested(if is_head { empty(200) } else { full(200, bytes.clone()) }, digest);
        answer.headers_mut().insert(CONTENT_TYPE, kind.parse().expect("a media type"));
        answer.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
        answer
    }
}

/// The body, and whether it came to its end.
async fn collect(mut body: Incoming) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |chunk| chunk)),
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn digested(mut answer: Response<Body>, digest: &str) -> Response<Body> {
    if let Ok(digest) = digest.parse() {
        answer.headers_mut().insert("docker-content-digest", digest);
    }
    answer
}

fn said(status: u16, code: &str, message: &str) -> Response<Body> {
    full(status, serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string())
}
