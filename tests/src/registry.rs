//! distribution, the registry that most others are made of: 2.8 as Debian ships it, 3 as `./setup` builds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peer::{Peer, free_port};
use crate::scratch::{Scratch, run};
use crate::tls::Authority;

/// A running registry with storage of its own.
pub struct Registry {
    peer: Peer,
    storage: PathBuf,
    version: Version,
    configuration: PathBuf,
}

/// Which distribution. They differ in what they do with a broken upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    #[default]
    V2,
    V3,
}

/// Both.
pub const VERSIONS: [Version; 2] = [Version::V2, Version::V3];

/// How a registry is set up.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    /// Which distribution.
    pub version: Version,
    /// Over TLS with this certificate; else plain.
    pub tls: Option<&'a Authority>,
    /// Demands this user and password.
    pub basic: Option<(&'a str, &'a str)>,
    /// More of its configuration, as YAML.
    pub more: &'a str,
}

impl Registry {
    pub fn start(scratch: &Scratch, name: &str, setup: Setup<'_>) -> Self {
        Self::storing(scratch, name, setup, "")
    }

    /// The same with more settings of its storage, as YAML.
    pub fn storing(scratch: &Scratch, name: &str, setup: Setup<'_>, storage_more: &str) -> Self {
        let folder = scratch.folder(name);
        let storage = folder.join("storage");
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n{storage_more}\
             http:\n  addr: 127.0.0.1:{port}\n  secret: longshore\n",
            storage.display()
        );
        if let Some(tls) = setup.tls {
            config.push_str(&format!(
                "  tls:\n    certificate: {}\n    key: {}\n",
                tls.certificate.display(),
                tls.key.display()
            ));
        }
        if let Some((user, password)) = setup.basic {
            let users = folder.join("htpasswd");
            fs::write(&users, run(Command::new("htpasswd").args(["-Bbn", user, password]))).expect("users");
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", users.display()));
        }
        config.push_str(setup.more);
        let path = folder.join("config.yml");
        fs::write(&path, config).expect("a configuration");
        let peer = serve(setup.version, &path, port);
        Self { peer, storage, version: setup.version, configuration: path }
    }

    /// Ends the registry, as a crash does, and starts it again at the same place with what it stored.
    pub fn restart(&mut self) {
        self.peer.kill();
        self.peer = serve(self.version, &self.configuration, self.peer.port);
    }

    /// Ends the registry, as a crash does.
    pub fn kill(&mut self) {
        self.peer.kill();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }

    /// Where it keeps everything.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.peer.port
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.peer.port)
    }

    /// A reference in it.
    pub fn reference(&self, rest: &str) -> String {
        format!("docker://{}/{rest}", self.host())
    }

    /// Panics if the storage holds a blob, a layer link, a manifest or a tag.
    pub fn assert_empty(&self) {
        let mut found = Vec::new();
        walk(&self.storage, &mut found);
        let committed = |path: &&PathBuf| {
            let text = path.display().to_string();
            ["/blobs/", "/_layers/", "/_manifests/"].iter().any(|part| text.contains(part))
        };
        let committed: Vec<_> = found.iter().filter(committed).collect();
        assert!(committed.is_empty(), "the registry's storage holds {committed:?}");
    }

    /// Whether the storage has a tag.
    pub fn has_tag(&self, repository: &str, tag: &str) -> bool {
        let tags = self.storage.join("docker/registry/v2/repositories").join(repository).join("_manifests/tags");
        tags.join(tag).is_dir()
    }
}

fn serve(version: Version, configuration: &Path, port: u16) -> Peer {
    let mut registry = match version {
        Version::V2 => Command::new("docker-registry"),
        Version::V3 => built("registry"),
    };
    // distribution 3 would send its traces somewhere.
    registry.env("OTEL_TRACES_EXPORTER", "none");
    Peer::start(registry.arg("serve").arg(configuration), port)
}

/// A peer that `./setup` builds from Go modules.
pub fn built(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin").join(name);
    assert!(path.is_file(), "{} is not there: run `./setup test`", path.display());
    Command::new(path)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}
