//! The built-in filters: what the tools that people use have wrapped comes out as it was, by a filter that was named or one
//! that the bytes asked for, however the bytes arrive.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::layers::{assert_layout_empty, pull};
use longshore_tests::program::{Ran, finish, import, import_from, longshore};
use longshore_tests::scratch::{Scratch, qcow2};
use longshore_tests::script::{Handler, Script, streamed};
use longshore_tests::wrapped::{disk, in_folder, piped};
use serde_json::Value;

const DISK: usize = 1_500_007;

/// Imports a file of the folder into a layout beside it.
fn imported(scratch: &Scratch, source: &str, more: &[&str]) -> Ran {
    let (source, to) = (scratch.text(source), format!("oci:{}:1", scratch.text("layout")));
    import([&[&*source, &*to, "--report", "-"], more].concat())
}

/// The disk of that name in the layout.
fn pulled(scratch: &Scratch, name: &str) -> Vec<u8> {
    pull(scratch, "pulled", &[], &format!("oci:{}:1", scratch.text("layout"))).file(&format!("disk/{name}"))
}

fn filters(report: &Value) -> Vec<&str> {
    let stages = report["stages"].as_array().unwrap().iter();
    stages
        .filter(|stage| stage["stage"] == "filter")
        .map(|stage| stage["component"]["name"].as_str().unwrap())
        .collect()
}

#[test]
fn what_compressors_write_is_the_disk_again() {
    let disk = disk(DISK);
    let size = DISK.to_string();
    for (filter, ending, commands) in [
        ("gzip", "gz", &["gzip -1", "gzip -9", "gzip --no-name"][..]),
        (
            "xz",
            "xz",
            &[
                "xz -0",
                "xz -6",
                "xz -8",
                "xz --check=none",
                "xz --check=crc32",
                "xz --check=sha256",
                "xz --threads=2 --block-size=400000",
                "xz --x86 --lzma2=preset=1",
                "xz --delta=dist=4 --lzma2=preset=1",
            ],
        ),
        (
            "zstd",
            "zst",
            &["zstd -1", "zstd -19", "zstd --fast", "zstd --no-check", "zstd --threads=2 -B500000", "zstd --long=24"],
        ),
        ("bzip2", "bz2", &["bzip2 -1", "bzip2 -9"]),
    ] {
        for command in commands {
            let scratch = Scratch::new();
            let source = format!("vm.raw.{ending}");
            fs::write(scratch.path(&source), piped(command, &disk)).unwrap();
            let report = imported(&scratch, &source, &["--filter", filter, "--size", &size]).done().report();
            assert!(pulled(&scratch, "vm.raw") == disk, "{command}");
            assert_eq!(filters(&report), [format!("filter-{filter}")]);
        }
    }
}

#[test]
fn one_behind_the_other_is_one_disk() {
    let disk = disk(DISK);
    let (one, other) = disk.split_at(700_001);
    let (size, zeros) = (DISK.to_string(), vec![0; 4]);
    // Of a skippable frame: a magic number and a length (RFC 8878 §3.1.2).
    let skipped = b"\x5a\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    for (filter, tool, between, behind) in [
        ("gzip", "gzip", &[][..], &zeros[..]),
        ("xz", "xz", &zeros, &zeros),
        ("zstd", "zstd", &skipped, &skipped),
        ("bzip2", "bzip2", &[], &[]),
    ] {
        let scratch = Scratch::new();
        let wrapped = [&piped(tool, one), between, &piped(tool, other), behind].concat();
        fs::write(scratch.path("vm.raw"), wrapped).unwrap();
        imported(&scratch, "vm.raw", &["--filter", filter, "--size", &size]).done();
        assert!(pulled(&scratch, "vm.raw") == disk, "{filter}");
    }
}

#[test]
fn what_archivers_write_holds_the_disk_and_says_how_long_it_is() {
    let disk = disk(DISK);
    for (archive, command) in [
        ("vm.tar", "tar -cf vm.tar vm README.md"),
        ("vm.tar", "tar --format=ustar -cf vm.tar vm README.md"),
        ("vm.tar", "tar --format=pax -cf vm.tar vm README.md"),
        ("vm.tar", "tar --format=gnu --blocking-factor=1 -cf vm.tar README.md vm"),
        ("vm.tar", "tar --format=v7 -cf vm.tar vm README.md"),
        ("vm.tar", "bsdtar --format=pax -cf vm.tar vm README.md"),
        ("vm.zip", "zip -q -r -0 vm.zip vm README.md"),
        ("vm.zip", "zip -q -r -9 vm.zip vm README.md"),
        ("vm.zip", "zip -q -r -fz vm.zip vm README.md"),
        ("vm.zip", "bsdtar --format=zip --options=zip:compression=store -cf vm.zip vm"),
    ] {
        let scratch = Scratch::new();
        // A name that does not fit into 100 bytes.
        let inside = format!("vm/{}", "long".repeat(24));
        fs::create_dir_all(scratch.path(&inside)).unwrap();
        let name = if command.contains("v7") { "disk.raw".to_owned() } else { format!("{}.raw", "disk".repeat(20)) };
        let at = if command.contains("v7") { "vm/disk.raw".to_owned() } else { format!("{inside}/{name}") };
        fs::write(scratch.path(&at), &disk).unwrap();
        fs::write(scratch.path("README.md"), "what it is").unwrap();
        in_folder(&scratch.path("."), command);
        // bsdtar's zip states its sizes behind the data.
        let size = DISK.to_string();
        let size = if command.contains("format=zip") { &["--size", &*size][..] } else { &[] };
        let ran = imported(&scratch, archive, &[&["--filter", "archive"], size].concat());
        if command.contains("store") {
            ran.failed(11, "disk-invalid", &["is stored with its length behind it"]);
            continue;
        }
        let report = ran.done().report();
        assert!(pulled(&scratch, &name) == disk, "{command}");
        assert_eq!(report["disk"]["name"], name);
        // In one pass, with its length behind it.
        if archive == "vm.zip" {
            let scratch = Scratch::new();
            fs::write(scratch.path("vm.zip"), piped("zip -q - -", &disk)).unwrap();
            let says = ["does not say how long the disk is", "--size BYTES"];
            imported(&scratch, "vm.zip", &["--filter", "archive"]).failed(11, "source-length-unknown", &says);
            imported(&scratch, "vm.zip", &["--filter", "archive", "--size", &DISK.to_string()]).done();
            assert!(pulled(&scratch, "-") == disk);
        }
    }
}

#[test]
fn an_ova_gives_the_disk_that_its_descriptor_names() {
    let disk = disk(DISK);
    let scratch = Scratch::new();
    let ovf = |disks: &str| {
        format!(
            r#"<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
            xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File ovf:id="f1" ovf:href="vm-disk1.raw"/>
            <File ovf:id="f2" ovf:href="vm-disk2.raw"/></References><DiskSection>{disks}</DiskSection></Envelope>"#
        )
    };
    let one = r#"<Disk ovf:diskId="d1" ovf:fileRef="f1"/>"#;
    fs::write(scratch.path("vm-disk1.raw"), &disk).unwrap();
    fs::write(scratch.path("vm-disk2.raw"), b"another one").unwrap();
    fs::write(scratch.path("vm.ovf"), ovf(one)).unwrap();
    in_folder(&scratch.path("."), "tar --format=ustar -cf vm.ova vm.ovf vm-disk2.raw vm-disk1.raw");
    imported(&scratch, "vm.ova", &["--filter", "auto"]).done();
    assert!(pulled(&scratch, "vm-disk1.raw") == disk);
    let scratch_two = Scratch::new();
    fs::write(scratch.path("vm.ovf"), ovf(&(one.to_owned() + r#"<Disk ovf:diskId="d2" ovf:fileRef="f2"/>"#))).unwrap();
    in_folder(&scratch.path("."), "tar --format=ustar -cf vm.ova vm.ovf vm-disk1.raw vm-disk2.raw");
    let to = format!("oci:{}:1", scratch_two.text("layout"));
    let says = ["names 2 disks: `vm-disk1.raw`, `vm-disk2.raw`"];
    import([&*scratch.text("vm.ova"), &to, "--filter", "archive"]).failed(11, "disk-invalid", &says);
    assert_layout_empty(&scratch_two.path("layout"));
}

#[test]
fn a_length_that_is_known_is_announced_and_what_is_not_is_found_out() {
    let disk = disk(DISK);
    let wrap = |tool: &str| {
        let scratch = Scratch::new();
        fs::write(scratch.path("vm.raw"), &disk).unwrap();
        in_folder(&scratch.path("."), &format!("{tool} vm.raw"));
        scratch
    };
    let scratch = wrap("zstd -q");
    let report = imported(&scratch, "vm.raw.zst", &["--filter", "zstd"]).done().report();
    assert_eq!(report["disk"]["name"], "vm.raw");
    imported(&scratch, "vm.raw.zst", &["--filter", "zstd", "--size", "5"]).failed(
        11,
        "disk-length-mismatch",
        &["`filter-zstd` announces 1500007 bytes, expected 5 as --size says"],
    );
    for (tool, ending) in [("gzip", "gz"), ("xz -T1", "xz"), ("bzip2", "bz2")] {
        let scratch = wrap(tool);
        let source = format!("vm.raw.{ending}");
        let says = ["does not say how long the disk is", "--size BYTES; else --spool DIR"];
        imported(&scratch, &source, &["--filter", "auto"]).failed(11, "source-length-unknown", &says);
        let spool = scratch.folder("spool").display().to_string();
        let more = ["--filter", "auto", "--spool", &*spool, "--spool-max", "1GiB"];
        imported(&scratch, &source, &more).done();
        assert!(pulled(&scratch, "vm.raw") == disk, "{tool}");
    }
}

#[test]
fn auto_takes_off_what_there_is_and_says_what_that_was() {
    let disk = disk(DISK);
    let scratch = Scratch::new();
    fs::write(scratch.path("vm.raw"), &disk).unwrap();
    in_folder(&scratch.path("."), "tar -cf vm.tar vm.raw");
    let tar = fs::read(scratch.path("vm.tar")).unwrap();
    let wrapped = piped("bzip2", &piped("zstd -q", &piped("xz", &tar)));
    fs::write(scratch.path("vm.tar.xz.zst.bz2"), &wrapped).unwrap();
    let ran = imported(&scratch, "vm.tar.xz.zst.bz2", &["--filter", "auto", "--progress", "json"]).done();
    assert!(pulled(&scratch, "vm.raw") == disk);
    let expected = ["filter-bzip2", "filter-zstd", "filter-xz", "filter-archive"];
    let report = ran.report();
    assert_eq!(filters(&report), expected);
    let events: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told =
        events.iter().filter(|event| event["type"] == "filter").map(|event| event["component"].as_str().unwrap());
    assert_eq!(told.collect::<Vec<_>>(), expected);
    // One more is too many.
    fs::write(scratch.path("more.gz"), piped("gzip", &wrapped)).unwrap();
    let fresh = format!("oci:{}:1", scratch.text("fresh"));
    let arguments = [&*scratch.text("more.gz"), &fresh, "--filter", "auto"];
    let says = ["wrapped more than 4 times", "`filter-archive` would be the next", "--filter NAME"];
    let ran = import(arguments).failed(11, "disk-invalid", &says);
    assert!(ran.stderr.contains("the bytes go through `filter-gzip`"), "{}", ran.stderr);
    assert_layout_empty(&scratch.path("fresh"));
    // Named, there may be as many as anybody likes.
    let named = ["gzip", "bzip2", "zstd", "xz", "archive"].map(|name| ["--filter", name]).concat();
    import([&arguments[..2], &named].concat()).done();
}

#[test]
fn auto_leaves_a_disk_that_is_not_wrapped_as_it_is() {
    let scratch = Scratch::new();
    let disk = qcow2(&scratch.path("vm.qcow2"));
    let digest = |ran: Ran| ran.done().report()["image"]["digest"].clone();
    let plain = digest(imported(&scratch, "vm.qcow2", &[]));
    let ran = imported(&scratch, "vm.qcow2", &["--filter", "auto"]).done();
    assert!(filters(&ran.report()).is_empty());
    assert_eq!(digest(ran), plain);
    assert_eq!(digest(imported(&scratch, "vm.qcow2", &["--filter", "auto", "--size", &disk.len().to_string()])), plain);
    let short = (disk.len() - 1).to_string();
    let says = ["expected", "as --size says"];
    imported(&scratch, "vm.qcow2", &["--filter", "auto", "--size", &short]).failed(11, "source-length-mismatch", &says);
    // From where nobody says how long it is, and shorter than what decides.
    let run = |size: &str, bytes: &[u8]| {
        let to = format!("oci:{}:1", Scratch::new().text("layout"));
        import_from(["-", &to, "--filter", "auto", "--size", size], bytes)
    };
    run("3", b"abc").done();
    run("4", b"abc").failed(11, "source-length-mismatch", &["the source sent 3 bytes, expected 4 as --size says"]);
}

#[test]
fn it_does_not_matter_how_the_bytes_arrive() {
    let disk = disk(40_001);
    let scratch = Scratch::new();
    fs::write(scratch.path("vm.raw"), &disk).unwrap();
    in_folder(&scratch.path("."), "zip -q vm.zip vm.raw");
    in_folder(&scratch.path("."), "tar -cf vm.tar vm.raw");
    let read = |name: &str| fs::read(scratch.path(name)).unwrap();
    for (wrapped, size) in [
        (piped("gzip", &disk), true),
        (piped("xz", &disk), true),
        (piped("zstd -q", &disk), true),
        (piped("bzip2", &disk), true),
        (read("vm.tar"), false),
        (read("vm.zip"), false),
    ] {
        let wrapped = Bytes::from(wrapped);
        for piece in [1, 7, 4096] {
            let wrapped = wrapped.clone();
            let handler: Handler = Arc::new(move |_| {
                let pieces: Vec<_> = wrapped.chunks(piece).map(|piece| Ok(wrapped.slice_ref(piece))).collect();
                let length = wrapped.len() as u64;
                Box::pin(async move { streamed(Some(length), stream::iter(pieces)) })
            });
            let source = Script::start(None, handler);
            let to = format!("oci:{}:1", scratch.text("layout"));
            let url = source.url("vm.raw");
            let mut command = longshore(["import", &*url, &to, "--filter", "auto", "--plain-http", &source.host()]);
            if size {
                command.args(["--size", "40001"]);
            }
            finish(&mut command, b"").done();
            assert!(pulled(&scratch, "vm.raw") == disk);
        }
    }
}
