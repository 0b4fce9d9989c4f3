//! An image as consumers see it: pulled by skopeo, its layer read by GNU tar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

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
