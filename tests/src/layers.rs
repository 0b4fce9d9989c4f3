//! An image as consumers see it: pulled by skopeo, its layer read by GNU tar; exported by crane; unpacked by umoci.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::registry::built;
use crate::scratch::{Scratch, run};

/// A pulled image.
pub struct Pulled {
    folder: PathBuf,
    pub manifest: Value,
    pub config: Value,
}

/// Pulls an image with skopeo. `reference` is in skopeo's notation; `arguments` go before it.
pub fn pull(scratch: &Scratch, name: &str, arguments: &[&str], reference: &str) -> Pulled {
    let folder = scratch.path(name);
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet"]).args(arguments).arg(reference);
    run(skopeo.arg(format!("dir:{}", folder.display())));
    let manifest: Value = read(&folder.join("manifest.json"));
    let config = read(&folder.join(hex(&manifest["config"]["digest"])));
    Pulled { folder, manifest, config }
}

/// A file of an image in a registry as crane exports it, once crane found manifest and config right. `reference` is in
/// crane's notation.
pub fn crane(ca: Option<&Path>, reference: &str, name: &str) -> Vec<u8> {
    let crane = || {
        let mut crane = built("crane");
        crane.env_clear().env("HOME", "/nonexistent");
        if let Some(ca) = ca {
            crane.env("SSL_CERT_FILE", ca);
        }
        crane
    };
    // Without `--fast` it takes every layer for gzip.
    run(crane().args(["validate", "--fast", "--remote", reference]));
    let exported = crane().args(["export", reference, "-"]).output().expect("crane");
    assert!(exported.status.success(), "crane: {}", String::from_utf8_lossy(&exported.stderr));
    let mut tar = Command::new("tar");
    tar.args(["-xOf", "-", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tar = tar.spawn().expect("tar");
    let mut input = tar.stdin.take().expect("standard input");
    let feed = std::thread::spawn(move || {
        // tar stops reading behind the archive's end.
        let _ = input.write_all(&exported.stdout);
    });
    let output = tar.wait_with_output().expect("tar");
    feed.join().expect("the feeder");
    assert!(output.status.success(), "tar does not read what crane exports");
    output.stdout
}

/// Puts an index of these images under a reference, with crane; all in a plain registry and in crane's notation.
pub fn crane_push_index(reference: &str, images: &[String]) {
    let mut crane = built("crane");
    crane.env_clear().env("HOME", "/nonexistent").args(["index", "append", "-t", reference]);
    for image in images {
        crane.args(["-m", image]);
    }
    run(&mut crane);
}

/// A file of an image as umoci unpacks it, from a layout that skopeo copies it to if it is elsewhere. `reference` is in
/// skopeo's notation; `arguments` go before it.
pub fn umoci(scratch: &Scratch, work: &str, arguments: &[&str], reference: &str, name: &str) -> Vec<u8> {
    let layout = match reference.strip_prefix("oci:") {
        Some(layout) => layout.to_owned(),
        None => {
            let layout = format!("{}:x", scratch.text(&format!("{work}-layout")));
            let mut skopeo = Command::new("skopeo");
            skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]);
            run(skopeo.args(arguments).arg(reference).arg(format!("oci:{layout}")));
            layout
        }
    };
    let rootfs = scratch.path(&format!("{work}-rootfs"));
    run(Command::new("umoci").args(["raw", "unpack", "--image", &layout]).arg(&rootfs));
    let file = rootfs.join(name);
    let metadata = fs::metadata(&file).expect("the file that umoci unpacked");
    assert_eq!((metadata.uid(), metadata.gid()), (107, 107));
    let bytes = fs::read(&file).expect("the file that umoci unpacked");
    fs::remove_dir_all(&rootfs).expect("the unpacked files");
    bytes
}

/// Panics if there is a blob or an index in the layout.
pub fn assert_layout_empty(layout: &Path) {
    assert!(!layout.join("index.json").exists());
    if let Ok(blobs) = fs::read_dir(layout.join("blobs/sha256")) {
        let left: Vec<_> = blobs.map(|blob| blob.unwrap().file_name()).collect();
        assert!(left.is_empty(), "the layout holds {left:?}");
    }
}

impl Pulled {
    /// The one layer's file.
    pub fn layer(&self) -> PathBuf {
        let layers = self.manifest["layers"].as_array().expect("layers");
        assert_eq!(layers.len(), 1);
        self.folder.join(hex(&layers[0]["digest"]))
    }

    /// What GNU tar lists: mode, owner, size, date, name.
    pub fn listing(&self) -> Vec<String> {
        let mut tar = Command::new("tar");
        tar.args(["--utc", "--full-time", "--numeric-owner", "-tvf"]).arg(self.layer());
        let lines = run(&mut tar);
        lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// The content of a file in the layer, as GNU tar extracts it.
    pub fn file(&self, name: &str) -> Vec<u8> {
        let output = Command::new("tar").arg("-xOf").arg(self.layer()).arg(name).output().expect("tar");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "tar: {said}");
        output.stdout
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a document")).expect("JSON")
}

fn hex(digest: &Value) -> &str {
    digest.as_str().and_then(|text| text.strip_prefix("sha256:")).expect("a digest")
}
