//! Ways to bring the disk from the source into the registry.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::measure::{Cost, run};
use crate::peers::{beside, text};
use crate::stand::{DISK, Peers, Stand};
use crate::tls::SUITE;

/// What a way did.
pub struct Done {
    /// All its programs, one after the other.
    pub cost: Cost,
    /// Their costs one by one, in order.
    pub parts: Vec<(&'static str, Cost)>,
    /// The SHA-256 it found of the disk, or of the layer it pushed: the same in every round.
    pub digest: Option<String>,
}

/// A way.
pub struct Competitor<'a> {
    /// As the table names it.
    pub name: &'static str,
    /// What it does, for the notes.
    pub does: &'static str,
    /// Does it once.
    pub run: Box<dyn Fn() -> Result<Done> + 'a>,
}

/// The well-known tools that each do one part and nothing else: the floor.
#[must_use]
pub fn floor<'a>(stand: &'a Stand, peers: &'a Peers) -> Competitor<'a> {
    let run = move || {
        let mut parts = Vec::new();
        let (cost, _) = run(&mut download(stand, &peers.source.url(DISK), "/dev/null"))?;
        parts.push(("curl download", cost));
        let (cost, said) = run(&mut hash(stand))?;
        parts.push(("openssl sha256", cost));
        let (cost, _) = run(&mut upload(stand, &peers.storage.url("stored.raw")))?;
        parts.push(("curl upload", cost));
        // The next one starts with as much memory as this one did.
        std::fs::remove_file(stand.scratch.path("www/stored.raw"))?;
        Ok(done(parts, said.split_whitespace().next_back().map(str::to_owned)))
    };
    let does = "curl (TLS) to /dev/null, then openssl dgst -sha256, then curl -T (TLS) to nginx";
    Competitor { name: "floor", does, run: Box::new(run) }
}

/// The loop without components.
#[must_use]
pub fn native<'a>(stand: &'a Stand, peers: &'a Peers) -> Competitor<'a> {
    let run = move || {
        let mut command = Command::new(beside("bench-native")?);
        command.args([peers.source.url(DISK), format!("https://{}/v2/vm/native", peers.sink.host())]);
        command.arg(stand.authority.ca());
        let (cost, said) = run(&mut command)?;
        Ok(done(vec![("bench-native", cost)], said.trim().strip_prefix("sha256:").map(str::to_owned)))
    };
    let does = "reqwest, rustls and aws-lc-rs in one thread, the hash as the chunks pass: POST, PATCH, PUT";
    Competitor { name: "native", does, run: Box::new(run) }
}

/// What all this is about.
#[must_use]
pub fn longshore<'a>(stand: &'a Stand, peers: &'a Peers) -> Competitor<'a> {
    let run = move || {
        let destination = format!("docker://{}/vm/longshore:1", peers.sink.host());
        let (cost, said) = run(&mut stand.import(&peers.source.url(DISK), &destination, &[])?)?;
        Ok(done(vec![("longshore", cost)], said.trim().split_once("@sha256:").map(|(_, digest)| digest.to_owned())))
    };
    let does = "longshore import, nothing but --ca set: probed, framed, hashed, pushed, manifest read back, tagged";
    Competitor { name: "longshore", does, run: Box::new(run) }
}

/// curl to a file.
#[must_use]
pub fn download(stand: &Stand, url: &str, to: &str) -> Command {
    let mut command = curl(stand);
    command.args(["--output", to, url]);
    command
}

/// openssl over the disk.
#[must_use]
pub fn hash(stand: &Stand) -> Command {
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha256"]).arg(stand.scratch.path("www").join(DISK));
    command
}

/// curl from a file.
#[must_use]
pub fn upload(stand: &Stand, url: &str) -> Command {
    let mut command = curl(stand);
    command.args(["--upload-file", &text(&stand.scratch.path("www").join(DISK)), url]);
    command
}

fn curl(stand: &Stand) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--http1.1", "--tlsv1.3", "--tls13-ciphers", SUITE]);
    command.args(["--cacert", &stand.authority.ca()]);
    command
}

/// The sum of the parts.
pub(crate) fn done(parts: Vec<(&'static str, Cost)>, digest: Option<String>) -> Done {
    let cost = parts.iter().fold(Cost::default(), |sum, (_, part)| sum.then(*part));
    Done { cost, parts, digest }
}

/// Fails unless the same digest came out every time.
///
/// # Errors
/// Then, or if there was none.
pub fn agreed(name: &str, digests: &[Option<String>]) -> Result<String> {
    let first = digests.first().cloned().flatten().with_context(|| format!("{name} says no digest"))?;
    ensure!(digests.iter().all(|digest| digest.as_ref() == Some(&first)), "{name} found several digests: {digests:?}");
    Ok(first)
}
