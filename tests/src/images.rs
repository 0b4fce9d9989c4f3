//! Images made of given bytes, as others make them, and registries that serve such images as a test wants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::loop_device::as_root;
use crate::registry::Registry;
use crate::scratch::{Scratch, run};
use crate::script::{Script, empty, full, streamed};

/// The media type of an OCI layer that is a plain tar; `+gzip` or `+zstd` behind it for others.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image in a folder, in skopeo's `dir:` notation.
pub struct Made {
    pub folder: PathBuf,
    pub manifest: Value,
}

/// `sha256:…` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

/// An image with these layers, by media type, bytes and diffID.
pub fn image(scratch: &Scratch, name: &str, layers: &[(&str, &[u8], String)]) -> Made {
    let folder = scratch.folder(&format!("image-{name}"));
    let put = |media_type: &str, bytes: &[u8]| {
        fs::write(folder.join(hex(bytes)), bytes).expect("a blob");
        json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
    };
    let blobs: Vec<Value> = layers.iter().map(|(media_type, bytes, _)| put(media_type, bytes)).collect();
    let diff_ids: Vec<&String> = layers.iter().map(|(_, _, diff_id)| diff_id).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": blobs,
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).expect("a manifest");
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").expect("a version");
    Made { folder, manifest }
}

impl Made {
    /// Pushes it as it is into a plain registry.
    pub fn push(&self, registry: &Registry, reference: &str) {
        let from = format!("dir:{}", self.folder.display());
        skopeo(&["--preserve-digests"], &from, &registry.reference(reference));
    }

    /// Serves it as every image of every repository. `broken` says how many bytes of the answer with that number to a request
    /// for a blob over 100 kB are sent before the connection breaks; requests count from 0.
    pub fn served(&self, ranges: bool, broken: impl Fn(usize) -> Option<usize> + Send + Sync + 'static) -> Served {
        self.forged(ranges, broken, |_, _| ())
    }

    /// The same, where `forge` has its hands in the bytes of the answers that requests are counted of.
    pub fn forged(
        &self,
        ranges: bool,
        broken: impl Fn(usize) -> Option<usize> + Send + Sync + 'static,
        forge: impl Fn(usize, &mut [u8]) + Send + Sync + 'static,
    ) -> Served {
        let folder = self.folder.clone();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        let script = Script::start(
            None,
            Arc::new(move |request| {
                let path = request.uri().path().to_owned();
                let file = match path.rsplit_once("sha256:") {
                    Some((_, hex)) if path.contains("/blobs/") => folder.join(hex),
                    _ if path.contains("/manifests/") => folder.join("manifest.json"),
                    _ => return Box::pin(async { empty(200) }),
                };
                let range = request.headers().get("range").filter(|_| ranges);
                let range = range.map(|range| range.to_str().expect("a range").to_owned());
                let answer = part(&file, range.as_deref(), |length, bytes| {
                    let mut log = log.lock().expect("no panic");
                    if length <= 100_000 {
                        return None;
                    }
                    forge(log.len(), bytes);
                    let before = broken(log.len());
                    log.push(range.clone().unwrap_or_default());
                    before
                });
                Box::pin(async { answer })
            }),
        );
        Served { script, asked }
    }
}

/// An image that is served, and the ranges of large blobs that were asked for; empty for the whole.
pub struct Served {
    pub script: Script,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// Copies an image with skopeo, in its notation, between plain registries, layouts and folders. `arguments` go before it.
pub fn skopeo(arguments: &[&str], from: &str, to: &str) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    run(skopeo.args(arguments).args([from, to]));
}

/// Makes an image of nothing but that file in `/disk` with buildah, and pushes it, in its notation, with these arguments. In vfs and
/// without a container that runs, so that neither mounts nor namespaces are needed; but root, or sudo without a password.
pub fn buildah(scratch: &Scratch, file: &Path, arguments: &[&str], to: &str) {
    let storage = scratch.text("buildah");
    let run_root = format!("{storage}/run");
    let call = |arguments: &[&str]| {
        let mut buildah = as_root("buildah");
        buildah.args(["--root", &storage, "--runroot", &run_root, "--storage-driver", "vfs"]);
        run(buildah.args(arguments)).trim().to_owned()
    };
    let container = call(&["from", "scratch"]);
    call(&["copy", "--quiet", &container, &file.display().to_string(), "/disk/"]);
    // A layer that is in the registry already is not pushed as is wanted now.
    fs::write(scratch.path("way"), format!("{arguments:?}")).expect("a file");
    call(&["copy", "--quiet", &container, &scratch.text("way"), "/etc/way"]);
    let image = call(&["commit", "--quiet", &container]);
    call(&[&["push", "--quiet", "--tls-verify=false"], arguments, &[&image, to]].concat());
    run(as_root("rm").args(["-rf", &storage]));
}

fn part(
    file: &Path,
    range: Option<&str>,
    before: impl FnOnce(usize, &mut [u8]) -> Option<usize>,
) -> hyper::Response<crate::script::Body> {
    let Ok(mut bytes) = fs::read(file) else { return empty(404) };
    let size = bytes.len();
    let (first, end) = match range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
        Some((first, last)) => {
            let last = last.parse::<usize>().map_or(size, |last| last + 1);
            (first.parse().expect("a number"), last.min(size))
        }
        None => (0, size),
    };
    let before = before(size, &mut bytes[first..end]);
    let bytes = Bytes::from(bytes).slice(first..end);
    let mut answer = match before.filter(|before| *before < bytes.len()) {
        Some(before) => {
            let chunks = [Ok(bytes.slice(..before)), Err(std::io::Error::other("the connection breaks"))];
            streamed(Some(bytes.len() as u64), futures_util::stream::iter(chunks))
        }
        None => full(200, bytes),
    };
    if range.is_some() {
        *answer.status_mut() = hyper::StatusCode::PARTIAL_CONTENT;
        let field = format!("bytes {first}-{}/{size}", end - 1);
        answer.headers_mut().insert("content-range", field.parse().expect("a field"));
    }
    answer
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
