//! The layer's tar headers as other people's readers see them: GNU tar, libarchive's bsdtar, and Go's archive/tar, which
//! containerd, docker and crane read layers with.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use longshore_tests::memory::{KEPT, Memory};
use longshore_tests::program::import;
use longshore_tests::registry::built;
use longshore_tests::scratch::{Scratch, raw, run};
use serde_json::Value;

/// One entry: mode, owner, size, name.
type Entry = (String, String, u64, String);

fn gnu(layer: &Path) -> Vec<Entry> {
    let mut tar = Command::new("tar");
    tar.args([
        "--numeric-owner",
        "--utc",
        "--full-time",
        "--quoting-style=literal",
        "--show-transformed-names",
        "-tvf",
    ]);
    let listing = run(tar.arg(layer).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8"));
    let entry = |line: &str| {
        let (mode, rest) = word(line);
        let (owner, rest) = word(rest);
        let (size, rest) = word(rest);
        let name = rest.strip_prefix("1970-01-01 00:00:00 ").unwrap_or_else(|| panic!("another time: {line}"));
        (mode.to_owned(), owner.to_owned(), size.parse().unwrap(), name.to_owned())
    };
    listing.lines().map(entry).collect()
}

fn bsd(layer: &Path) -> Vec<Entry> {
    let mut tar = Command::new("bsdtar");
    tar.args(["--numeric-owner", "-tvf"]).arg(layer);
    let listing = run(tar.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TZ", "UTC"));
    let entry = |line: &str| {
        let (mode, rest) = word(line);
        let (_links, rest) = word(rest);
        let (uid, rest) = word(rest);
        let (gid, rest) = word(rest);
        let (size, rest) = word(rest);
        let name = rest.strip_prefix("Jan  1  1970 ").unwrap_or_else(|| panic!("another time: {line}"));
        (mode.to_owned(), format!("{uid}/{gid}"), size.parse().unwrap(), name.to_owned())
    };
    listing.lines().map(entry).collect()
}

fn go(layer: &Path) -> Vec<Entry> {
    let listing = run(built("tarlist").arg(layer));
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["mtime"], 0, "{entry}");
        assert_ne!(entry["format"], "GNU", "base-256 is GNU's: {entry}");
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        (text("mode"), format!("{}/{}", entry["uid"], entry["gid"]), entry["size"].as_u64().unwrap(), text("name"))
    };
    listing.lines().map(entry).collect()
}

/// The first word, and what stands behind the spaces behind it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or_else(|| panic!("too short: {text}"));
    (word, rest.trim_start_matches(' '))
}

/// Panics unless every reader sees the folder and the one file.
fn assert_read(layer: &Path, name: &str, size: u64) {
    let expected = [
        ("drwxr-xr-x".to_owned(), "107/107".to_owned(), 0, "disk/".to_owned()),
        ("-rw-r--r--".to_owned(), "107/107".to_owned(), size, format!("disk/{name}")),
    ];
    assert_eq!(gnu(layer), expected, "GNU tar");
    assert_eq!(bsd(layer), expected, "bsdtar");
    // Go's FileInfo marks a folder in its mode, as the others do.
    assert_eq!(go(layer), expected, "Go");
}

/// The one layer of a layout's only image.
fn layer(layout: &Path) -> PathBuf {
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let blob =
        |digest: &Value| layout.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap());
    let index = read(layout.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]["digest"]));
    blob(&manifest["layers"][0]["digest"])
}

#[test]
fn names_long_and_short_in_any_script() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), 1000);
    let longest = format!("{}.raw", "n".repeat(251));
    let names = [
        "disk.raw".to_owned(),
        "with space.raw".to_owned(),
        "диск-ä-磁盘.qcow2".to_owned(),
        // With `disk/` before them: 100 bytes, the most that fit, 101, and the longest name of a file.
        "n".repeat(95),
        "n".repeat(96),
        longest,
        // Where a cut at 100 bytes would go through a character.
        format!("{}ä-{}", "n".repeat(94), "ö".repeat(70)),
        "磁".repeat(85),
    ];
    for (number, name) in names.iter().enumerate() {
        let layout = scratch.path(&number.to_string());
        let to = format!("oci:{}", layout.display());
        import([&*scratch.text("disk.raw"), &to, "--name", name]).done();
        assert_read(&layer(&layout), name, 1000);
    }
}

/// A sparse disk of 8 GiB and a byte goes through the whole program; the registry keeps both ends of the layer, which
/// make a sparse archive again.
#[test]
fn a_disk_of_more_than_8_gib() {
    const DISK: u64 = (8 << 30) + 1;
    let scratch = Scratch::new();
    File::create(scratch.path("large.raw")).unwrap().set_len(DISK).unwrap();
    let registry = Memory::start(None, Arc::new(|_, _| None));
    let host = registry.script.host();
    import([&*scratch.text("large.raw"), &format!("docker://{host}/vm:1"), "--plain-http", &host]).done();
    let held = registry.held.lock().unwrap();
    // Two headers and a pax header with its body; the padded payload; two zero blocks.
    assert_eq!(held.received, 4 * 512 + DISK.next_multiple_of(512) + 1024);
    let archive = scratch.path("layer.tar");
    let file = File::create(&archive).unwrap();
    file.set_len(held.received).unwrap();
    file.write_all_at(&held.head, 0).unwrap();
    file.write_all_at(&held.tail, held.received - KEPT as u64).unwrap();
    assert_read(&archive, "large.raw", DISK);
    // The size is in a pax record, and nowhere else.
    assert!(held.head.windows(19).any(|window| window == format!("19 size={DISK}\n").as_bytes()));
}
