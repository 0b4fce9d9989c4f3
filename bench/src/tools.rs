//! Other people's tools, each doing what its users do to bring a disk that stands behind a URL into a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use longshore_tests::registry::Registry;

use crate::competitors::{Competitor, Done, done, download};
use crate::data::GIB;
use crate::measure::{Cost, run};
use crate::stand::{DISK, Peers, Stand};

/// The folder that each run gets empty.
const WORK: &str = "work";

/// Where a tool is that `./setup bench` builds.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin").join(name)
}

/// Everybody who pushes to distribution: longshore first, then the tools that are installed, and the names of those that
/// are not.
///
/// # Errors
/// If the layout for skopeo cannot be made.
pub fn all<'a>(
    stand: &'a Stand,
    peers: &'a Peers,
    registry: &'a Registry,
) -> Result<(Vec<Competitor<'a>>, Vec<&'static str>)> {
    let (mut found, mut absent) = (vec![longshore(stand, peers, registry)], Vec::new());
    let built: [(&'static str, Way<'a>); 3] = [("crane", crane), ("regctl", regctl), ("oras", oras)];
    for (name, way) in built {
        if path(name).is_file() { found.push(way(stand, peers, registry)) } else { absent.push(name) }
    }
    if Command::new("skopeo").arg("--version").output().is_ok() {
        directory(stand)?;
        found.push(skopeo(stand, registry));
    } else {
        absent.push("skopeo");
    }
    Ok((found, absent))
}

type Way<'a> = fn(&'a Stand, &'a Peers, &'a Registry) -> Competitor<'a>;

fn longshore<'a>(stand: &'a Stand, peers: &'a Peers, registry: &'a Registry) -> Competitor<'a> {
    let run = move || {
        emptied(stand, registry)?;
        let mut import = stand.import(&peers.source.url(DISK), &registry.reference("vm/longshore:1"), &[])?;
        pushed(vec![("longshore", run(&mut import)?.0)], registry)
    };
    Competitor { name: "longshore", does: "longshore import", run: Box::new(run) }
}

fn crane<'a>(stand: &'a Stand, peers: &'a Peers, registry: &'a Registry) -> Competitor<'a> {
    let run = move || {
        emptied(stand, registry)?;
        let work = stand.scratch.folder(WORK);
        let mut parts = vec![downloaded(stand, peers)?];
        let mut tar = Command::new("tar");
        // The same layer every time: without it the moment of the download would be in the archive.
        tar.args(["--mtime=@0", "--sort=name", "-C"]).arg(&work);
        tar.args(["-cf", &format!("{}/layer.tar", work.display()), "disk"]);
        parts.push(("tar", run(&mut tar)?.0));
        let mut append = built("crane", stand);
        append.args(["append", "--new_layer"]).arg(work.join("layer.tar"));
        append.args(["--new_tag", &format!("{}/vm/crane:1", registry.host())]);
        parts.push(("crane append", run(&mut append)?.0));
        pushed(parts, registry)
    };
    let does = "curl (TLS) to a file, tar, crane append (which compresses)";
    Competitor { name: "crane", does, run: Box::new(run) }
}

fn regctl<'a>(stand: &'a Stand, peers: &'a Peers, registry: &'a Registry) -> Competitor<'a> {
    let run = move || {
        emptied(stand, registry)?;
        let mut parts = vec![downloaded(stand, peers)?];
        let mut put = built("regctl", stand);
        put.args(["blob", "put", &format!("{}/vm/regctl", registry.host())]);
        put.stdin(Stdio::from(fs::File::open(stand.scratch.path(WORK).join("disk").join(DISK))?));
        parts.push(("regctl blob put", run(&mut put)?.0));
        pushed(parts, registry)
    };
    let does = "curl (TLS) to a file, regctl blob put: a blob, no image yet";
    Competitor { name: "regctl", does, run: Box::new(run) }
}

fn oras<'a>(stand: &'a Stand, peers: &'a Peers, registry: &'a Registry) -> Competitor<'a> {
    let run = move || {
        emptied(stand, registry)?;
        let mut parts = vec![downloaded(stand, peers)?];
        let mut push = built("oras", stand);
        push.current_dir(stand.scratch.path(WORK).join("disk"));
        push.args(["push", "--no-tty", &format!("{}/vm/oras:1", registry.host()), DISK]);
        parts.push(("oras push", run(&mut push)?.0));
        pushed(parts, registry)
    };
    Competitor { name: "oras", does: "curl (TLS) to a file, oras push: an artifact", run: Box::new(run) }
}

fn skopeo<'a>(stand: &'a Stand, registry: &'a Registry) -> Competitor<'a> {
    let run = move || {
        emptied(stand, registry)?;
        let mut copy = Command::new("skopeo");
        copy.args(["--tmpdir", &stand.scratch.text("."), "copy", "--quiet", "--insecure-policy"]);
        copy.args(["--dest-cert-dir", &stand.scratch.text("tls/skopeo")]);
        copy.arg(format!("dir:{}", stand.scratch.text("image"))).arg(registry.reference("vm/skopeo:1"));
        pushed(vec![("skopeo copy", run(&mut copy)?.0)], registry)
    };
    let does = "skopeo copy from a directory (which compresses); download and layout are not counted";
    Competitor { name: "skopeo", does, run: Box::new(run) }
}

/// An image in a directory, as `skopeo copy dir:` reads it: made by skopeo itself from what longshore writes.
fn directory(stand: &Stand) -> Result<()> {
    let layout = stand.scratch.text("layout");
    let disk = stand.scratch.path("www").join(DISK);
    let mut import = stand.import(&disk.display().to_string(), &format!("oci:{layout}:1"), &[])?;
    run(&mut import)?;
    let mut copy = Command::new("skopeo");
    copy.args(["--tmpdir", &stand.scratch.text("."), "copy", "--quiet", "--insecure-policy"]);
    copy.args(["--dest-decompress", &format!("oci:{layout}:1"), &format!("dir:{}", stand.scratch.text("image"))]);
    run(&mut copy)?;
    fs::remove_dir_all(&layout)?;
    let certificates = stand.scratch.folder("tls/skopeo");
    fs::copy(&stand.authority.ca, certificates.join("ca.crt"))?;
    Ok(())
}

fn downloaded(stand: &Stand, peers: &Peers) -> Result<(&'static str, Cost)> {
    let file = stand.scratch.folder(&format!("{WORK}/disk")).join(DISK);
    let (cost, _) = run(&mut download(stand, &peers.source.url(DISK), &file.display().to_string()))?;
    Ok(("curl download", cost))
}

/// A tool written in Go that trusts our certificates and nobody else's.
fn built(name: &str, stand: &Stand) -> Command {
    let mut command = Command::new(path(name));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", stand.scratch.folder("home"));
    command.env("SSL_CERT_FILE", &stand.authority.ca).env("TMPDIR", stand.scratch.folder("tmp"));
    command
}

/// A registry that has nothing yet, and no files of a run before.
fn emptied(stand: &Stand, registry: &Registry) -> Result<()> {
    for folder in [registry.storage().to_path_buf(), stand.scratch.path(WORK)] {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
        }
    }
    Ok(())
}

/// What was pushed, by the registry's own account: the digest of its largest blob, which must be nearly the disk's size or
/// more, compressed or not.
fn pushed(parts: Vec<(&'static str, Cost)>, registry: &Registry) -> Result<Done> {
    let mut found: Option<(u64, String)> = None;
    let blobs = registry.storage().join("docker/registry/v2/blobs/sha256");
    for shard in fs::read_dir(&blobs).with_context(|| format!("{} has no blob", registry.host()))? {
        for blob in fs::read_dir(shard?.path())? {
            let blob = blob?;
            let bytes = fs::metadata(blob.path().join("data"))?.len();
            if found.as_ref().is_none_or(|(most, _)| bytes > *most) {
                found = Some((bytes, blob.file_name().to_string_lossy().into_owned()));
            }
        }
    }
    let (bytes, digest) = found.context("the registry has no blob")?;
    ensure!(bytes > GIB / 10 * 9, "the registry's largest blob has only {bytes} bytes");
    Ok(done(parts, Some(digest)))
}
