//! The peers that all trials share, and what a registry holds after one.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::leg::Carriage;
use super::recorded::{Held, Manner, Recorded};
use crate::program::import;
use crate::registry::{Registry, Setup, Version};
use crate::scratch::{Scratch, raw};
use crate::script::{Body, Handler, Script, empty, streamed};
use crate::tls::Authority;

/// Bytes of the disk.
pub const DISK: usize = 3_000_001;
/// How much of it the source sends at once.
const CHUNK: usize = 64 * 1024;

/// Every registry that there is to push to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegistryKind {
    Distribution2,
    Distribution3,
    Recorded(Manner),
}

impl RegistryKind {
    /// But for the odd ones.
    pub const KNOWN: [Self; 8] = [
        Self::Distribution2,
        Self::Distribution3,
        Self::Recorded(Manner::Zot),
        Self::Recorded(Manner::Quay),
        Self::Recorded(Manner::Ghcr),
        Self::Recorded(Manner::Ecr),
        Self::Recorded(Manner::Acr),
        Self::Recorded(Manner::Capped),
    ];
}

/// The shared peers.
pub struct Stage {
    pub scratch: Scratch,
    pub authority: Authority,
    /// `sha256:…` of the disk.
    pub checksum: String,
    /// `sha256:…` of the layer that has it: of its bytes, its name and its owner alone.
    pub layer: String,
    disk: Bytes,
    sources: Mutex<HashMap<(bool, bool), Script>>,
    registries: Mutex<HashMap<(Version, Carriage), Arc<Registry>>>,
}

/// A registry of one trial.
pub enum Target {
    Shared(Arc<Registry>),
    Own(Recorded),
}

/// What a repository holds.
#[derive(Debug, Default)]
pub struct Holds {
    /// The digest that each tag names.
    pub tags: BTreeMap<String, String>,
    /// By the digest they stand under.
    pub manifests: BTreeMap<String, Vec<u8>>,
    /// The digest that their bytes have, by the digest they stand under.
    pub blobs: BTreeMap<String, String>,
    /// Uploads that are open or left.
    pub uploads: Vec<String>,
}

impl Stage {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let disk: Bytes = raw(&scratch.path("disk.raw"), DISK).into();
        let checksum = digest(&disk);
        let layer = layer(&scratch, &disk);
        Self { scratch, authority, checksum, layer, disk, sources: Mutex::default(), registries: Mutex::default() }
    }

    /// The port of a source.
    pub fn source(&self, ranged: bool, tls: bool) -> u16 {
        let mut sources = self.sources.lock().unwrap();
        let script = sources.entry((ranged, tls)).or_insert_with(|| {
            let disk = self.disk.clone();
            let handler: Handler = Arc::new(move |request| {
                let answer = serve(&disk, ranged, &request);
                Box::pin(async move { answer })
            });
            Script::start(tls.then(|| self.authority.server_config()), handler)
        });
        script.port
    }

    /// A registry that is reached that way.
    pub fn registry(&self, kind: RegistryKind, carriage: Carriage) -> Target {
        let (version, manner) = match kind {
            RegistryKind::Distribution2 => (Version::V2, None),
            RegistryKind::Distribution3 => (Version::V3, None),
            RegistryKind::Recorded(manner) => (Version::V2, Some(manner)),
        };
        if let Some(manner) = manner {
            let tls = carriage.is_tls_behind().then(|| self.authority.server_config());
            return Target::Own(Recorded::start(tls, if carriage.is_tls() { "https" } else { "http" }, manner));
        }
        let mut registries = self.registries.lock().unwrap();
        let registry = registries.entry((version, carriage)).or_insert_with(|| {
            let name = format!("{version:?}-{carriage:?}");
            let setup = Setup {
                version,
                tls: carriage.is_tls_behind().then_some(&self.authority),
                // It does not know that somebody ends TLS for it.
                more: if carriage == Carriage::Terminated { "  relativeurls: true\n" } else { "" },
                ..Setup::default()
            };
            Arc::new(Registry::start(&self.scratch, &name, setup))
        });
        Target::Shared(Arc::clone(registry))
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Target {
    pub fn port(&self) -> u16 {
        match self {
            Self::Shared(registry) => registry.port(),
            Self::Own(recorded) => recorded.script.port,
        }
    }

    /// What it holds of `repository`.
    pub fn holds(&self, repository: &str) -> Holds {
        match self {
            Self::Shared(registry) => stored(registry.storage(), repository),
            Self::Own(recorded) => Holds::of(&recorded.held.lock().unwrap()),
        }
    }
}

impl Holds {
    fn of(held: &Held) -> Self {
        Self {
            tags: held.tags.clone(),
            manifests: held.manifests.iter().map(|(digest, (_, bytes))| (digest.clone(), bytes.to_vec())).collect(),
            blobs: held.blobs.iter().map(|(name, bytes)| (name.clone(), digest(bytes))).collect(),
            uploads: held.sessions.keys().cloned().collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.manifests.is_empty() && self.blobs.is_empty() && self.uploads.is_empty()
    }
}

/// `sha256:…` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The digest of the layer as it is without a network, once tar has found the disk in it.
fn layer(scratch: &Scratch, disk: &[u8]) -> String {
    let layout = scratch.path("layout");
    import([scratch.text("disk.raw"), format!("oci:{}:1", layout.display())]).done();
    let blob = |digest: &Value| {
        let digest = digest.as_str().expect("a digest");
        layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    };
    let document = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).expect("a document")).expect("JSON");
    let manifest = document(&blob(&document(&layout.join("index.json"))["manifests"][0]["digest"]));
    let digest = &manifest["layers"][0]["digest"];
    let tar = Command::new("tar").args(["-xO", "disk/disk.raw", "-f"]).arg(blob(digest)).output().expect("tar");
    assert!(tar.status.success() && tar.stdout == disk, "the layer has another disk");
    digest.as_str().expect("a digest").to_owned()
}

/// distribution's storage, by its own layout.
fn stored(storage: &Path, repository: &str) -> Holds {
    let root = storage.join("docker/registry/v2");
    let folder = root.join("repositories").join(repository);
    let content = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        fs::read(root.join("blobs/sha256").join(&hex[..2]).join(hex).join("data")).unwrap_or_default()
    };
    // A folder whose link is not written yet is none.
    let linked = |kind: &str| {
        let kind = folder.join(kind);
        names(&kind).into_iter().filter(move |name| kind.join(name).join("link").is_file())
    };
    let uploads = folder.join("_uploads");
    let named = |hex: String| format!("sha256:{hex}");
    let tag = |tag: String| {
        let link = fs::read_to_string(folder.join("_manifests/tags").join(&tag).join("current/link")).ok()?;
        Some((tag, link.trim().to_owned()))
    };
    Holds {
        tags: names(&folder.join("_manifests/tags")).into_iter().filter_map(tag).collect(),
        manifests: linked("_manifests/revisions/sha256")
            .map(named)
            .map(|name| (name.clone(), content(&name)))
            .collect(),
        blobs: linked("_layers/sha256").map(named).map(|name| (name.clone(), digest(&content(&name)))).collect(),
        uploads: names(&uploads).into_iter().filter(|upload| is_upload(&uploads.join(upload))).collect(),
    }
}

/// A request that broke off may write 108 bytes of hash state into the folder of an upload that has been cancelled since:
/// distribution's own race, and no upload.
fn is_upload(folder: &Path) -> bool {
    ["startedat", "data"].iter().any(|file| folder.join(file).is_file())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The disk, or a range of it. A request that somebody on the way has changed is refused like any other.
fn serve(disk: &Bytes, ranged: bool, request: &Request<Incoming>) -> Response<Body> {
    let field = |name| request.headers().get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    let size = disk.len() as u64;
    let condition = field("if-range").is_none_or(|tag| tag == "\"one\"");
    let (first, last) = match field("range").filter(|_| ranged && condition) {
        None => (0, size - 1),
        Some(text) => match range(text, size) {
            Some(range) => range,
            None => return empty(416),
        },
    };
    let part = disk.slice(first as usize..=last as usize);
    let length = part.len() as u64;
    let chunks: Vec<_> =
        (0..part.len()).step_by(CHUNK).map(|at| Ok(part.slice(at..part.len().min(at + CHUNK)))).collect();
    let mut answer = streamed(Some(length), stream::iter(chunks));
    answer.headers_mut().insert("etag", "\"one\"".parse().expect("a tag"));
    if ranged {
        answer.headers_mut().insert("accept-ranges", "bytes".parse().expect("a unit"));
    }
    if length < size {
        *answer.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
        let field = format!("bytes {first}-{last}/{size}");
        answer.headers_mut().insert("content-range", field.parse().expect("a range"));
    }
    answer
}

fn range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { size - 1 } else { last.parse::<u64>().ok()?.min(size - 1) };
    (first <= last).then_some((first, last))
}
