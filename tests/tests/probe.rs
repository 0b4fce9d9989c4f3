//! What a probe sees: the same whenever the bytes come, never more than it asked for, and nothing but what is pushed.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_tests::fixtures::Fixture;
use longshore_tests::layers::assert_layout_empty;
use longshore_tests::program::{Ran, import, import_from, probe, probe_from};
use longshore_tests::ranges::{Asked, Content, Manner, Pace, serve, serve_paced, serve_wide, serve_wide_over};
use longshore_tests::scratch::{Scratch, attempts, noise, qcow2, raw, run};
use longshore_tests::script::Script;
use longshore_tests::sink;
use longshore_tests::tls::Authority;
use probe_disk::samples::{self, legal};
use probe_disk::{MAX_BYTES, MAX_MEMORY};
use serde_json::{Value, json};

/// A disk that begins with a script for `probe-script`.
fn scripted(lines: &[String], size: usize) -> Bytes {
    let mut disk = noise(size);
    let script = format!("{}\nend\n", lines.join("\n"));
    assert!(script.len() <= 4096);
    disk[..script.len()].copy_from_slice(script.as_bytes());
    disk.into()
}

fn probed(url: &str, script: &Script, more: &[&str]) -> Ran {
    let scratch = Scratch::new();
    // What becomes of a request is what counts here, not what comes of asking again.
    let policy = attempts(&scratch, &script.host(), 1);
    probe([&[url, "--policy", &*policy, "--json"], more].concat())
}

/// `longshore import` of the same into a layout.
fn imported(scratch: &Scratch, url: &str, script: &Script, more: &[&str]) -> Ran {
    let to = format!("oci:{}", scratch.text("layout"));
    let policy = attempts(scratch, &script.host(), 1);
    import([&[url, &*to, "--policy", &*policy, "--report", "-"], more].concat())
}

/// Panics if there is a blob or an index in the layout.
fn assert_nothing_committed(scratch: &Scratch) {
    assert_layout_empty(&scratch.path("layout"));
}

/// Length and sum of bytes, as `probe-script` tells them.
fn seen(bytes: &[u8]) -> String {
    let sum = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{} {:016x}", bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, sum))
}

fn details(report: &Value) -> Vec<(String, String)> {
    serde_json::from_value(report["disk"]["details"].clone()).expect("details")
}

const SIZE: usize = 300_000;

/// Requests and what must come of them on a disk that is read in order.
fn in_order(disk: &[u8]) -> Vec<(&'static str, String)> {
    vec![
        ("size", format!("Some({SIZE})")),
        ("at 5000 1000", seen(&disk[5000..6000])),
        ("at 5999 1", "Gone".to_owned()),
        ("at 6000 0", seen(b"")),
        ("two 7000 100", format!("{} then Invalid", seen(&disk[7000..7100]))),
        ("drop 20000 50000", "dropped".to_owned()),
        ("at 69999 1", "Gone".to_owned()),
        ("at 70000 10", seen(&disk[70_000..70_010])),
        ("at 70010 1048577", "Invalid".to_owned()),
        ("at 18446744073709551615 1", "Invalid".to_owned()),
        ("at 250000 40000", seen(&disk[250_000..290_000])),
        ("tail 1048577", "Invalid".to_owned()),
        ("tail 100", seen(&disk[SIZE - 100..])),
        ("tail 1048576", seen(disk)),
        ("at 299999 1", "Gone".to_owned()),
        ("at 300000 1", seen(b"")),
        ("tail 0", seen(b"")),
    ]
}

/// The same requests on a disk with ranges.
fn by_range(disk: &[u8]) -> Vec<(&'static str, String)> {
    let ranged = |(line, came): (&'static str, String)| {
        let words: Vec<&str> = line.split(' ').collect();
        match (words[0], came.as_str()) {
            ("at", "Gone") => {
                let at: usize = words[1].parse().unwrap();
                (line, seen(&disk[at..at + 1]))
            }
            _ => (line, came),
        }
    };
    in_order(disk).into_iter().map(ranged).collect()
}

/// A disk with those requests, and waits of random length between them.
fn with_waits(random: &mut impl FnMut(u64) -> u64) -> Bytes {
    let mut lines = Vec::new();
    for (line, _) in in_order(&noise(SIZE)) {
        lines.push(format!("wait {}", random(200)));
        lines.push(line.to_owned());
    }
    scripted(&lines, SIZE)
}

#[test]
fn delays_anywhere_change_nothing() {
    const SEED: u64 = 0x5EED_0004;
    const RUNS: u64 = 24;
    println!("seed {SEED:#x}");
    std::thread::scope(|scope| {
        for run in 0..RUNS {
            scope.spawn(move || {
                let mut state = SEED ^ (run + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let mut random = |most: u64| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state % most
                };
                let disk = with_waits(&mut random);
                // The first run is as fast as it can be; the others wait up to 50 ms before each chunk.
                let paces: Vec<(Duration, usize)> = (0..64)
                    .map(|_| {
                        let pause = if run == 0 { 0 } else { random(51) };
                        (Duration::from_millis(pause), 1 + random(60_000) as usize)
                    })
                    .collect();
                let pace: Pace = Arc::new(move |chunk| paces[chunk as usize % paces.len()]);
                let manner = if run % 3 == 2 { Manner::Honest } else { Manner::InOrder };
                let expected: Vec<(String, String)> =
                    if manner == Manner::Honest { by_range(&disk) } else { in_order(&disk) }
                        .into_iter()
                        .map(|(line, came)| (line.to_owned(), came))
                        .collect();
                let (server, _) = serve_paced(Content::Bytes(disk), manner, pace);
                let url = server.url("disk.raw");
                let script = Fixture::ProbeScript.path();
                let what = format!("seed {SEED:#x}, run {run}");
                let ran = probed(&url, &server, &["--probe", &script]).done();
                assert_eq!(details(&ran.report()), expected, "{what}");
                let scratch = Scratch::new();
                let ran = imported(&scratch, &url, &server, &["--probe", &script]).done();
                assert_eq!(details(&ran.report()), expected, "{what}, import");
            });
        }
    });
}

#[test]
fn standard_input_and_a_file_are_seen_alike() {
    let scratch = Scratch::new();
    let lines: Vec<String> = in_order(&noise(SIZE)).iter().map(|(line, _)| (*line).to_owned()).collect();
    let disk = scripted(&lines, SIZE);
    fs::write(scratch.path("disk.raw"), &disk).unwrap();
    let script = Fixture::ProbeScript.path();
    let size = SIZE.to_string();
    let came = |ran: Ran| -> Vec<String> { details(&ran.report()).into_iter().map(|(_, came)| came).collect() };
    let expected = |all: Vec<(&str, String)>| -> Vec<String> { all.into_iter().map(|(_, came)| came).collect() };
    let ran = probe([&*scratch.text("disk.raw"), "--json", "--probe", &script]).done();
    assert_eq!(came(ran), expected(by_range(&disk)));
    let ran = probe_from(["-", "--json", "--probe", &script, "--size", &size], &disk).done();
    assert_eq!(came(ran), expected(in_order(&disk)));
    // Without a size it is not known, and everything else is as before.
    let mut unknown = expected(in_order(&disk));
    unknown[0] = "None".to_owned();
    let ran = probe_from(["-", "--json", "--probe", &script], &disk).done();
    assert_eq!(came(ran), unknown);
    let says = ["sent 300000 bytes, expected 300001"];
    probe_from(["-", "--probe", &script, "--size", "300001"], &disk).failed(11, "source-length-mismatch", &says);
}

#[test]
fn a_flow_goes_no_further_than_the_probe_asks() {
    // What stands in the pipe and in the buffers of two sockets may be more than was asked for.
    const AHEAD: u64 = 1 << 20;
    let (server, asked) = serve(Content::Bytes(scripted(&["at 8000 1".to_owned()], 64 << 20)), Manner::InOrder);
    let ran = probed(&server.url("disk.raw"), &server, &["--probe", &Fixture::ProbeScript.path()]).done();
    assert_eq!(ran.report()["source"]["bytes_probed"], 4096 + 1);
    let (requests, sent) = asked.sum();
    assert_eq!(requests, 1);
    assert!(sent < AHEAD, "{sent} bytes were sent");

    // The pipe from which standard input comes stands open: nobody waits for its end.
    let mut command = longshore_tests::program::longshore(["probe", "-", "--json"]);
    command.args(["--probe", &Fixture::ProbeScript.path()]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &scripted(&["at 8000 1".to_owned()], 8001)).unwrap();
    let ran = longshore_tests::program::ran(&child.wait_with_output().unwrap()).done();
    assert_eq!(ran.report()["source"]["bytes_probed"], 4096 + 1);
    drop(input);
}

#[test]
fn nobody_passes_with_other_bytes_than_are_pushed() {
    let disk = scripted(&["at 100000 1000".to_owned(), "tail 1000".to_owned()], SIZE);
    let script = Fixture::ProbeScript.path();
    for (at, answered) in [(0, true), (100_500, true), (SIZE as u64 - 1, true), (4096, false), (200_000, false)] {
        let scratch = Scratch::new();
        // The first byte is the script's.
        let manner = if at == 0 { Manner::Flips(4000) } else { Manner::Flips(at) };
        let (server, _) = serve(Content::Bytes(disk.clone()), manner);
        let ran = imported(&scratch, &server.url("disk.raw"), &server, &["--probe", &script]);
        if answered {
            let at = if at == 0 { 4000 } else { at };
            let (answered, streamed) = (disk[at as usize] ^ 0xFF, disk[at as usize]);
            let says = format!("at {at} it answered {answered:#04x} and streamed {streamed:#04x}");
            let ran = ran.failed(11, "source-inconsistent", &[&says]);
            let ran = if at == 4000 { ran.golden("source-inconsistent") } else { ran };
            assert_eq!(ran.report()["error"]["blame"], "content");
            assert_nothing_committed(&scratch);
        } else {
            ran.done();
        }
    }
    // A head that is clean only where the built-in probe looks by range.
    let scratch = Scratch::new();
    let mut overlay = qcow2(&scratch.path("disk.qcow2"));
    overlay[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 11]);
    let (server, _) = serve(Content::Bytes(overlay.into()), Manner::Flips(9));
    let ran = imported(&scratch, &server.url("disk.qcow2"), &server, &[]);
    assert_eq!(ran.code, Some(11), "{}", ran.stderr);
    assert_nothing_committed(&scratch);
}

#[test]
fn four_mebibytes_by_range_are_the_limit() {
    const DISK: usize = 8 << 20;
    let lines = |word: &str, count: u64| -> Vec<String> {
        (1..=count).map(|part| format!("{word} {} 1048576", part << 20)).collect()
    };
    let script = Fixture::ProbeScript.path();
    // With the 4 KiB of the script the fourth MiB is beyond it.
    let (server, asked) = serve(Content::Bytes(scripted(&lines("at", 5), DISK)), Manner::Honest);
    let ran = probed(&server.url("disk.raw"), &server, &["--probe", &script]).done();
    let came: Vec<String> = details(&ran.report()).into_iter().map(|(_, came)| came).collect();
    assert_eq!(came.iter().filter(|came| came.starts_with("1048576 ")).count(), 3);
    assert_eq!(came[3..], ["Limit", "Limit"]);
    // The one that opens it is for a part, and not the one that is wanted.
    assert_eq!(asked.ranges().len(), 1 + 4, "what is beyond the limit is not asked for");
    // A probe that passes the failure on has the disk refused.
    let scratch = Scratch::new();
    let (server, _) = serve(Content::Bytes(scripted(&lines("must", 5), DISK)), Manner::Honest);
    let url = server.url("disk.raw");
    let says = ["more than 4194304 bytes were asked for by range"];
    imported(&scratch, &url, &server, &["--probe", &script]).failed(11, "disk-invalid", &says);
    assert_nothing_committed(&scratch);
    probed(&url, &server, &["--probe", &script]).failed(11, "disk-invalid", &says);
    // In order there is no such limit: nothing is kept.
    let (server, _) = serve(Content::Bytes(scripted(&lines("at", 5), DISK)), Manner::InOrder);
    let ran = probed(&server.url("disk.raw"), &server, &["--probe", &script]).done();
    assert!(details(&ran.report()).iter().all(|(_, came)| came.starts_with("1048576 ")));
}

#[test]
fn a_range_that_fails_is_told_as_the_host_saw_it() {
    for (manner, exit, code, says) in [
        (Manner::Ignores, 11, "source-changed", "answered a range with the whole"),
        (Manner::ConditionFails, 11, "source-changed", "answered a range with the whole"),
        (Manner::AnotherTag, 11, "source-changed", "another revision"),
        (Manner::Status(503), 10, "source-failed", "the server answered 503"),
        (Manner::Status(404), 10, "source-not-found", "the server answered 404"),
        (Manner::Status(403), 16, "source-denied", "the server answered 403"),
        (Manner::Status(416), 11, "source-changed", "the server answered 416"),
        (Manner::BreaksOff, 10, "source-truncated", "expected 65536"),
        (Manner::Short, 11, "source-invalid", "the server sent the range `bytes 0-65534/"),
    ] {
        let scratch = Scratch::new();
        let (server, _) = serve(Content::Bytes(noise(SIZE).into()), manner);
        let url = server.url("disk.raw");
        probed(&url, &server, &[]).failed(exit, code, &[says]);
        let ran = imported(&scratch, &url, &server, &[]).failed(exit, code, &[says]);
        assert_eq!(ran.report()["error"]["stage"], "source", "{manner:?}");
        assert_nothing_committed(&scratch);
    }
}

#[test]
fn what_could_not_be_read_counts_whatever_the_probe_makes_of_it() {
    // The probe is content with less than the disk's tail, which cannot be had; the host is not.
    let disk = scripted(&["tail 10".to_owned()], SIZE);
    let (server, _) = serve(Content::Bytes(disk), Manner::BreaksOff);
    let url = server.url("disk.raw");
    let scratch = Scratch::new();
    for ran in [
        probed(&url, &server, &["--probe", &Fixture::ProbeScript.path()]),
        imported(&scratch, &url, &server, &["--probe", &Fixture::ProbeScript.path()]),
    ] {
        ran.failed(10, "source-truncated", &[]);
    }
    assert_nothing_committed(&scratch);
}

#[test]
fn a_source_that_carries_its_bytes_itself_serves_ranges_beside_its_flow() {
    let scratch = Scratch::new();
    let lines: Vec<String> = in_order(&noise(SIZE)).iter().map(|(line, _)| (*line).to_owned()).collect();
    let disk = scripted(&lines, SIZE);
    fs::write(scratch.path("disk.raw"), &disk).unwrap();
    let (script, source) = (Fixture::ProbeScript.path(), Fixture::SourceRanged.path());
    let expected: Vec<String> = by_range(&disk).into_iter().map(|(_, came)| came).collect();
    let came = |ran: &Ran| -> Vec<String> { details(&ran.report()).into_iter().map(|(_, came)| came).collect() };
    let (from, to) = (scratch.text("disk.raw"), format!("oci:{}:1", scratch.text("layout")));
    assert_eq!(came(&probe([&*from, "--json", "--probe", &script, "--source", &source]).done()), expected);
    let ran = import([&*from, &to, "--report", "-", "--probe", &script, "--source", &source]).done();
    assert_eq!(came(&ran), expected);
    let pushed = longshore_tests::layers::pull(&scratch, "pulled", &[], &to).file("disk/disk.raw");
    assert!(pushed == disk[..]);
}

#[test]
fn a_source_that_fails_in_a_range_is_at_fault_although_its_flow_is_not() {
    let rows = [
        (111_111, "component-trapped", "component-trapped"),
        // While its flow is held back the source's tasks have not ended, so that it may still be about to go on.
        (222_222, "component-stalled", "component-contract"),
        (233_333, "component-stalled", "component-stalled"),
    ];
    let says = ["the source `source-ranged`"];
    std::thread::scope(|scope| {
        for (offset, in_import, in_probe) in rows {
            scope.spawn(move || {
                let scratch = Scratch::new();
                fs::write(scratch.path("disk.raw"), scripted(&[format!("at {offset} 10")], SIZE)).unwrap();
                let (script, source) = (Fixture::ProbeScript.path(), Fixture::SourceRanged.path());
                let (from, to) = (scratch.text("disk.raw"), format!("oci:{}", scratch.text("layout")));
                import([&*from, &to, "--probe", &script, "--source", &source]).failed(14, in_import, &says);
                assert_nothing_committed(&scratch);
                probe([&*from, "--probe", &script, "--source", &source]).failed(14, in_probe, &says);
            });
        }
    });
}

/// An ISO image of a folder with a file, by `tool`.
fn iso(scratch: &Scratch, name: &str, tool: &[&str]) -> String {
    let folder = scratch.folder("content");
    raw(&folder.join("readme.txt"), 100_000);
    raw(&folder.join("boot.img"), 4096);
    raw(&folder.join("efi.img"), 1 << 20);
    let path = scratch.text(name);
    run(Command::new(tool[0]).args(&tool[1..]).args(["-o", &path]).arg(&folder));
    path
}

#[test]
fn an_iso_is_what_other_tools_say_it_is() {
    let scratch = Scratch::new();
    let boot = ["-b", "boot.img", "-no-emul-boot", "-c", "boot.cat"];
    let genisoimage = ["genisoimage", "-quiet", "-V", "PLAIN"];
    let xorriso = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "HYBRID", "-J"];
    let (partition, template) = (scratch.text("part"), scratch.text("template"));
    let cases = [
        ("plain.iso", [&genisoimage[..], &[]].concat(), "PLAIN", "false", false, None),
        ("boot.iso", [&genisoimage[..], &["-J", "-R"], &boot].concat(), "PLAIN", "true", true, None),
        ("udf.iso", [&genisoimage[..], &["-udf"]].concat(), "PLAIN", "false", false, None),
        ("xorriso.iso", [&xorriso[..], &boot].concat(), "HYBRID", "true", true, None),
        (
            "hybrid.iso",
            [&xorriso[..], &["-partition_offset", "16", "-append_partition", "2", "0x83"], &[&partition]].concat(),
            "HYBRID",
            "true",
            false,
            Some("mbr"),
        ),
        (
            "isohybrid.iso",
            [&xorriso[..], &boot, &["-boot-info-table", "-isohybrid-mbr", &template]].concat(),
            "HYBRID",
            "true",
            true,
            Some("mbr"),
        ),
        (
            "isohybrid-gpt.iso",
            [
                &xorriso[..],
                &boot,
                &["-isohybrid-mbr", &template, "-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"],
                &["-isohybrid-gpt-basdat"],
            ]
            .concat(),
            "HYBRID",
            "true",
            true,
            Some("gpt"),
        ),
        (
            "gpt.iso",
            [
                &xorriso[..],
                &["-appended_part_as_gpt", "-partition_offset", "16", "-append_partition", "2", "0xef"],
                &[&partition],
            ]
            .concat(),
            "HYBRID",
            "true",
            false,
            Some("gpt"),
        ),
    ];
    raw(&scratch.path("part"), 65_536);
    // What the first sector of a hybrid begins with is code; whose does not matter.
    fs::write(&template, [&noise(430)[..], &[0, 0]].concat()).unwrap();
    for (name, tool, volume, joliet, bootable, table) in cases {
        let path = iso(&scratch, name, &tool);
        let size = fs::metadata(&path).unwrap().len();
        let said = run(Command::new("file").args(["-b", &path]));
        let named = if name == "udf.iso" { "UDF" } else { "ISO 9660" };
        assert!(said.contains(named) && said.contains(volume), "{name}: {said}");
        assert_eq!(said.contains("(bootable)"), bootable, "{name}: {said}");
        let seen_by_qemu = run(Command::new("qemu-img").args(["info", "-f", "raw", "--output=json", &path]));
        let seen_by_qemu: Value = serde_json::from_str(&seen_by_qemu).unwrap();
        let report = probe([&*path, "--json"]).done().report();
        assert_eq!((&report["schema"], &report["outcome"]), (&json!("longshore.probe/v1"), &json!("accepted")));
        let disk = &report["disk"];
        assert_eq!((&disk["format"], &disk["hazards"]), (&json!("iso9660"), &json!([])), "{name}");
        assert_eq!(disk["virtual_size"], size, "{name}");
        assert_eq!(disk["virtual_size"], seen_by_qemu["virtual-size"], "{name}");
        let details = details(&report);
        let detail = |wanted: &str| details.iter().find(|(found, _)| found == wanted).map(|(_, value)| value.as_str());
        assert_eq!((detail("volume-id"), detail("joliet")), (Some(volume), Some(joliet)), "{name}");
        assert_eq!(detail("el-torito").is_some(), bootable, "{name}");
        assert_eq!(detail("udf").is_some(), name == "udf.iso", "{name}");
        assert_eq!(detail("partition-table"), table, "{name}");
        let volume_size: u64 = detail("volume-size").unwrap().parse().unwrap();
        assert!(volume_size <= size && volume_size + (1 << 20) > size, "{name}: {volume_size} of {size}");
    }
    // A second session has descriptors of its own, behind those of the first one.
    let (disc, more) = (scratch.text("sessions.iso"), scratch.folder("more"));
    raw(&more.join("second.txt"), 50_000);
    for (folder, volume) in [(scratch.path("content"), "FIRST"), (more, "SECOND")] {
        let folder = folder.display().to_string();
        let to = format!("stdio:{disc}");
        run(Command::new("xorriso").args([
            "-dev",
            &to,
            "-close",
            "off",
            "-volid",
            volume,
            "-map",
            &folder,
            &format!("/{volume}"),
        ]));
    }
    let report = probe([&*disc, "--json"]).done().report();
    assert_eq!((&report["disk"]["format"], &report["disk"]["hazards"]), (&json!("iso9660"), &json!([])));
    assert_eq!(report["disk"]["virtual_size"], fs::metadata(&disc).unwrap().len());
    // Imported it is an ISO too; cut short it is refused, and so is one that claims to be a qcow2 as well.
    let to = format!("oci:{}", scratch.text("layout"));
    let iso = scratch.text("boot.iso");
    let report = import([&*iso, &to, "--report", "-"]).done().report();
    assert_eq!(report["disk"]["format"], "iso9660");
    let whole = fs::read(&iso).unwrap();
    let cut = scratch.text("cut.iso");
    fs::write(&cut, &whole[..whole.len() / 2048 / 2 * 2048]).unwrap();
    probe([&*cut]).failed(11, "disk-refused", &["iso9660-truncated"]);
    let mut both = whole;
    both[..512].copy_from_slice(&qcow2(&scratch.path("disk.qcow2"))[..512]);
    let path = scratch.text("both.iso");
    fs::write(&path, &both).unwrap();
    let says = ["`CD001` at 0x8001 is the mark of ISO 9660", "format-ambiguous"];
    probe([&*path]).failed(11, "disk-refused", &says);
    import([&*path, &to]).failed(11, "disk-refused", &says);
}

#[test]
fn a_verdict_is_the_same_however_the_bytes_are_split() {
    /// Bytes of a disk that is sent in the smallest pieces.
    const SMALL: usize = 200 << 10;
    const PIECES: [usize; 5] = [1, 7, 512, 64 << 10, 1 << 20];
    let mut formats = std::collections::BTreeMap::new();
    for disk in legal().into_iter().filter(|disk| !disk.image.is_empty()) {
        // One of each format, the smallest, and all that VHDX and GPT can have where their tables lie far away.
        let far = matches!(disk.name, "vhdx: metadata anywhere" | "raw: GPT of 4096" | "vmdk: stream");
        let other = formats.entry((disk.format, far.then_some(disk.name))).or_insert_with(|| disk.clone());
        if disk.image.len() < other.image.len() {
            *other = disk;
        }
    }
    let mut tried = [0; PIECES.len()];
    for disk in formats.values() {
        let small = disk.image.len() <= SMALL;
        let mut verdicts = vec![];
        for (number, piece) in PIECES.into_iter().enumerate().filter(|(_, piece)| small || *piece >= 512) {
            let pace: Pace = Arc::new(move |_| (Duration::ZERO, piece));
            let (server, asked) = serve_paced(Content::Bytes(disk.image.clone().into()), Manner::InOrder, pace);
            let report = probed(&server.url("disk"), &server, &[]).done().report();
            assert_eq!(asked.ranges(), ["bytes=0-65535"], "which opens it, and is answered with the whole");
            verdicts.push(report["disk"].clone());
            tried[number] += 1;
        }
        let first = &verdicts[0];
        assert_eq!(
            (&first["format"], &first["virtual_size"]),
            (&json!(disk.format), &json!(disk.size)),
            "{}",
            disk.name
        );
        assert!(verdicts.iter().all(|other| other == first), "{}: {verdicts:?}", disk.name);
    }
    // Those that are refused, and what qemu-img makes: over standard input, where a piece is what was written at once.
    let scratch = Scratch::new();
    let mut images: Vec<(String, Vec<u8>, bool)> = vec![];
    for (format, options) in [
        ("qcow", ""),
        ("qcow2", "cluster_size=512"),
        ("qcow2", "extended_l2=on"),
        ("qed", "cluster_size=4096"),
        ("vmdk", ""),
        ("vmdk", "subformat=streamOptimized"),
        ("vdi", ""),
        ("vpc", ""),
        ("vpc", "subformat=fixed"),
        ("parallels", "cluster_size=4096"),
    ] {
        let path = scratch.text("image");
        let options = if options.is_empty() { vec![] } else { vec!["-o", options] };
        run(Command::new("qemu-img").args(["create", "-q", "-f", format]).args(&options).args([&path, "1M"]));
        images.push((format!("{format} {options:?}"), fs::read(&path).unwrap(), true));
    }
    images.push(("dmg".to_owned(), samples::dmg(), false));
    for command in ["gzip", "xz", "zstd -q", "bzip2"] {
        images.push((command.to_owned(), longshore_tests::wrapped::piped(command, &noise(100_000)), false));
    }
    let hostile =
        ["qcow2: backing file by path", "vmdk: parent file in a comment", "vpc: differencing", "qcow2 and VHD footer"];
    for disk in samples::hostile().into_iter().filter(|disk| hostile.contains(&disk.name)) {
        images.push((disk.name.to_owned(), disk.image, false));
    }
    assert_eq!(images.len(), 10 + 5 + hostile.len());
    for (name, image, legal) in images {
        let size = image.len().to_string();
        let mut verdicts = PIECES.into_iter().map(|piece| {
            let ran = in_pieces(&["-", "--json", "--size", &size], &image, piece);
            assert_eq!(ran.code, Some(if legal { 0 } else { 11 }), "{name}: {}", ran.stderr);
            ran.report()["disk"].clone()
        });
        let first = verdicts.next().unwrap();
        assert!(first["format"].is_string(), "{name}: {first}");
        assert!(verdicts.all(|other| other == first), "{name}: {first}");
    }
    assert!(formats.len() >= 14 && tried.iter().all(|tried| *tried >= 6), "{tried:?} of {} formats", formats.len());
}

/// `longshore probe` of a disk that is written to its standard input in pieces of a size, as far as it reads.
fn in_pieces(arguments: &[&str], disk: &[u8], piece: usize) -> Ran {
    /// Single bytes are written that often; the rest follows as it comes.
    const PIECES: usize = 20_000;
    let mut command = longshore_tests::program::longshore([&["probe"], arguments].concat());
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let (split, rest) = disk.split_at(disk.len().min(PIECES * piece));
    let pieces: Vec<Vec<u8>> = split.chunks(piece).map(<[u8]>::to_vec).chain([rest.to_vec()]).collect();
    let writing = std::thread::spawn(move || {
        for piece in pieces {
            // It reads no further than it must.
            if std::io::Write::write_all(&mut input, &piece).is_err() {
                return;
            }
        }
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    longshore_tests::program::ran(&output)
}

#[test]
fn no_disk_makes_a_probe_take_more_memory_than_it_may() {
    let scratch = Scratch::new();
    let policy = scratch.text("policy.toml");
    let bound = format!("schema = \"longshore.policy/v1\"\n[limits]\ncomponent-memory = \"{}MiB\"\n", MAX_MEMORY >> 20);
    fs::write(&policy, bound).unwrap();
    // What makes each format read and keep the most that it does.
    let mut large_extensions = vec![0; 8 << 20];
    large_extensions[..112].copy_from_slice(&samples::qcow2()[..112]);
    large_extensions[23] = 21;
    for (at, value) in [(40, 2_u64 << 21), (48, 1 << 21)] {
        large_extensions[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }
    let mut at = 104;
    while at + 400_008 < 2 << 20 {
        large_extensions[at..at + 8].copy_from_slice(&[0x12, 0x34, 0x56, 0x78, 0, 6, 0x1A, 0x80]);
        at += 400_008;
    }
    let extents = format!("version=1\n{}", "RW 1 FLAT \"a\"\n".repeat(16_000));
    let lines = format!("version=1\n{}", "createType=\"monolithicFlat\"\n".repeat(16_000));
    let segment = "\"1\":{\"offset\":\"4194304\",\"size\":\"512\"},";
    let segments =
        format!("{{\"segments\":{{{}\"0\":{{\"offset\":\"4194304\",\"size\":\"512\"}}}}}}", segment.repeat(20_000));
    let mut luks = samples::luks2("dynamic");
    luks.resize(8 << 20, 0);
    luks[8..16].copy_from_slice(&(4_u64 << 20).to_be_bytes());
    luks[4096..4096 + segments.len()].copy_from_slice(segments.as_bytes());
    let larger = samples::large().into_iter().map(|(name, disk, refused)| match refused {
        Some(_) => (name, disk, 11, "disk-refused"),
        None => (name, disk, 0, ""),
    });
    let all = [
        ("qcow2", large_extensions, 0, ""),
        ("extents", extents.into_bytes(), 11, "disk-refused"),
        ("lines", lines.into_bytes(), 11, "disk-refused"),
        ("luks", luks, 0, ""),
        ("vhdx", samples::vhdx(9), 0, ""),
        ("gpt", samples::gpt(4096), 0, ""),
        ("iso", samples::iso(), 0, ""),
    ];
    for (name, disk, exit, code) in all.into_iter().chain(larger) {
        let path = scratch.text(name);
        fs::write(&path, &disk).unwrap();
        let size = disk.len().to_string();
        let judged = |ran: Ran| if exit == 0 { ran.done() } else { ran.failed(exit, code, &[]) };
        let report = judged(probe([&*path, "--json", "--policy", &policy])).report();
        assert!(report["source"]["bytes_probed"].as_u64().unwrap() <= MAX_BYTES, "{name}");
        judged(probe_from(["-", "--json", "--policy", &policy, "--size", &size], &disk));
    }
}

/// A disk of some format whose file has as many bytes as its guest's disk would.
fn large(scratch: &Scratch, format: &str, options: &str) -> String {
    let name = format!("disk-{}.{format}", options.len());
    let path = scratch.text(&name);
    let create = ["create", "-q", "-f", format];
    let options = if options.is_empty() { vec![] } else { vec!["-o", options] };
    let secret = ["--object", "secret,id=key,data=secret"];
    // To make a key qemu-img measures its own speed, and gives up if its clock has not moved meanwhile.
    let mut created = false;
    for _ in 0..20 {
        let mut qemu = Command::new("qemu-img");
        let output = qemu.args(create).args(secret).args(&options).args([&path, LARGE]).output().expect("qemu-img");
        let said = String::from_utf8_lossy(&output.stderr);
        created = output.status.success();
        if created {
            break;
        }
        assert!(said.contains("Unable to get accurate CPU usage"), "{said}");
    }
    assert!(created, "qemu-img never measured its speed");
    run(Command::new("truncate").args(["-s", &format!(">{LARGE}"), &path]));
    name
}

/// Writes what a format has at its end to the end of a file that was made larger.
fn ends_with(path: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let end = file.metadata().unwrap().len();
    file.write_all_at(bytes, end - bytes.len() as u64).unwrap();
}

const LARGE: &str = "64G";

#[test]
fn a_large_remote_disk_costs_few_requests_and_little() {
    const MIB: u64 = 1 << 20;
    let scratch = Scratch::new();
    let mut disks = vec![];
    for (format, options, most) in [
        ("raw", "", MIB),
        ("qcow2", "preallocation=metadata", MIB),
        ("qcow2", "cluster_size=2M,extended_l2=on", MIB),
        ("qcow2", "cluster_size=64K,compat=0.10", MIB),
        ("vmdk", "", MIB),
        ("qcow", "", 4 * MIB),
        ("qed", "", 4 * MIB),
        ("vdi", "", 4 * MIB),
        ("vhdx", "", 4 * MIB),
        ("vpc", "subformat=fixed,force_size=on", 4 * MIB),
        ("parallels", "", 4 * MIB),
        ("luks", "key-secret=key,iter-time=10", 4 * MIB),
    ] {
        disks.push((large(&scratch, format, options), format, most));
    }
    let stream = large(&scratch, "vmdk", "subformat=streamOptimized");
    // The footer has the header again, with another place of the grain directory.
    let mut footer = vec![0; 1536];
    let mut header = fs::File::open(scratch.path(&stream)).unwrap();
    std::io::Read::read_exact(&mut header, &mut footer[512..1024]).unwrap();
    (footer[0], footer[12]) = (1, 3);
    footer[512 + 56..512 + 64].copy_from_slice(&1_u64.to_le_bytes());
    ends_with(&scratch.path(&stream), &footer);
    disks.push((stream, "vmdk", MIB));
    let dynamic = large(&scratch, "vpc", "force_size=on");
    let mut footer = [0; 512];
    let mut copy = fs::File::open(scratch.path(&dynamic)).unwrap();
    std::io::Read::read_exact(&mut copy, &mut footer).unwrap();
    ends_with(&scratch.path(&dynamic), &footer);
    disks.push((dynamic, "vpc", 4 * MIB));
    iso(
        &scratch,
        "disk.iso",
        &["xorriso", "-as", "mkisofs", "-quiet", "-b", "boot.img", "-no-emul-boot", "-c", "boot.cat"],
    );
    run(Command::new("truncate").args(["-s", LARGE, &scratch.text("disk.iso")]));
    disks.push(("disk.iso".to_owned(), "iso9660", MIB));
    // Those that are refused cost as little.
    let mut made =
        vec![("udf", samples::udf(2048)), ("dmg", vec![7; 70_000]), ("bochs", b"Bochs Virtual HD Image".to_vec())];
    for (format, command) in [("gzip", "gzip"), ("xz", "xz"), ("zstd", "zstd -q"), ("bzip2", "bzip2")] {
        made.push((format, longshore_tests::wrapped::piped(command, &noise(100_000))));
    }
    for (format, magic) in
        [("lz4", &b"\x04\x22\x4d\x18\x64\0"[..]), ("zip", b"PK\x03\x04"), ("7z", b"7z\xbc\xaf\x27\x1c")]
    {
        made.push((format, magic.to_vec()));
    }
    made.extend([("lzip", b"LZIP\x01".to_vec()), ("ova", samples::tar("vm.ovf")), ("tar", samples::tar("disk.raw"))]);
    made.extend([
        ("lzma", b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("cloop", b"#!/bin/sh\n#V2.0 Format\n".to_vec()),
    ]);
    for (format, image) in made {
        let name = format!("made.{format}");
        fs::write(scratch.path(&name), image).unwrap();
        run(Command::new("truncate").args(["-s", LARGE, &scratch.text(&name)]));
        disks.push((name, format, 4 * MIB));
    }
    ends_with(&scratch.path("made.dmg"), &samples::dmg()[70_000..]);
    let covered: std::collections::BTreeSet<_> = disks.iter().map(|(_, format, _)| *format).collect();
    assert_eq!(covered.len(), probe_disk::FORMATS.len(), "every format: {covered:?}");
    for (name, format, most) in disks {
        // What the server has handed to its connections, which hold as much as those of any server.
        let (server, asked) = serve_wide(Content::file(&scratch.path(&name)), Manner::Honest);
        let ran = probed(&server.url(&name), &server, &[]);
        let report = ran.report();
        let runs = !matches!(ran.code, Some(11));
        assert_eq!((&report["disk"]["format"], runs), (&json!(format), report["outcome"] == "accepted"), "{name}");
        assert!(runs || report["error"]["code"] == "disk-refused", "{name}: {}", ran.stderr);
        if runs {
            assert_eq!(report["disk"]["virtual_size"], 64_u64 << 30, "{name}");
        }
        costs_at_most(&name, &asked, most);
    }
}

/// Panics if a disk has cost more than ten requests, or more bytes than so many.
fn costs_at_most(name: &str, asked: &Asked, most: u64) {
    let (requests, sent) = asked.sum();
    println!("{name}: {requests} requests, {sent} bytes; ranges {:?}", asked.ranges());
    assert!(requests <= 10, "{name}: {requests} requests");
    assert!(sent <= most, "{name}: {sent} bytes");
    assert_eq!(asked.ranges().len(), requests, "nobody asks for the whole");
}

#[test]
fn a_large_disk_costs_no_more_over_tls() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let policy = scratch.text("policy.toml");
    fs::write(&policy, format!("schema = \"longshore.policy/v1\"\n[tls]\nca = [\"{}\"]\n", authority.ca())).unwrap();
    for (format, options) in [("raw", ""), ("qcow2", "preallocation=metadata"), ("vmdk", ""), ("vhdx", "")] {
        let name = large(&scratch, format, options);
        let content = Content::file(&scratch.path(&name));
        let (server, asked) = serve_wide_over(Some(authority.server_config()), content, Manner::Honest);
        let url = server.url(&name);
        assert!(url.starts_with("https://"), "{url}");
        let report = probe([&*url, "--policy", &policy, "--json"]).done().report();
        assert_eq!((&report["disk"]["format"], &report["outcome"]), (&json!(format), &json!("accepted")), "{name}");
        costs_at_most(&name, &asked, if format == "vhdx" { 4 << 20 } else { 1 << 20 });
    }
}

#[test]
fn a_disk_of_any_length_is_opened_by_its_first_part() {
    // Shorter than the first part, as long, and longer; a server without ranges answers with the whole.
    for size in [0, 1, 65_535, 65_536, 65_537, SIZE] {
        for manner in [Manner::Honest, Manner::InOrder] {
            let (server, asked) = serve(Content::Bytes(noise(size).into()), manner);
            let report = probed(&server.url("disk.raw"), &server, &[]).done().report();
            let virtual_size = (size as u64).next_multiple_of(512);
            let disk = &report["disk"];
            assert_eq!((&disk["format"], &disk["virtual_size"]), (&json!("raw"), &json!(virtual_size)), "{size}");
            let (requests, sent) = asked.sum();
            let most = if manner == Manner::Honest && size > 0 { 2 } else { 1 + usize::from(size == 0) };
            assert!(requests <= most && sent <= size as u64 + 4096, "{size}, {manner:?}: {requests} of {sent} bytes");
        }
    }
}

#[test]
fn what_stands_at_the_end_of_a_disk_without_ranges_ends_the_upload() {
    let scratch = Scratch::new();
    let mut disk = qcow2(&scratch.path("disk.qcow2"));
    let fixed = scratch.text("fixed.vpc");
    run(Command::new("qemu-img").args([
        "create",
        "-q",
        "-f",
        "vpc",
        "-o",
        "subformat=fixed,force_size=on",
        &fixed,
        "1M",
    ]));
    let fixed = fs::read(fixed).unwrap();
    disk.extend_from_slice(&fixed[fixed.len() - 512..]);
    let says = ["`conectix` at 512 bytes before the end is the mark of VHD", "format-ambiguous"];
    let pace = |size| -> Pace { Arc::new(move |_| (Duration::ZERO, size)) };
    for (manner, size) in
        [(Manner::InOrder, 1000), (Manner::InOrder, 65_536), (Manner::InOrder, 1 << 20), (Manner::Honest, 65_536)]
    {
        let (server, _) = serve_paced(Content::Bytes(disk.clone().into()), manner, pace(size));
        let url = server.url("disk.qcow2");
        imported(&scratch, &url, &server, &[]).failed(11, "disk-refused", &says);
        assert_nothing_committed(&scratch);
        probed(&url, &server, &[]).failed(11, "disk-refused", &says);
    }
    // What is refused by its head does not flow to its end.
    let mut overlay = disk;
    overlay[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 11]);
    let says = ["qcow2-backing-file", "tail-not-inspected"];
    let ran = probe_from(["-", "--json"], &overlay).failed(11, "disk-refused", &says);
    assert_eq!(ran.report()["source"]["bytes_probed"], 65_536);
    // A fixed VHD is one although nothing but its end says so.
    let size = fixed.len().to_string();
    let report = probe_from(["-", "--json", "--size", &size], &fixed).done().report();
    assert_eq!((&report["disk"]["format"], &report["disk"]["virtual_size"]), (&json!("vpc"), &json!(1 << 20)));
}

#[test]
fn what_stands_at_the_end_is_known_before_a_registry_has_a_blob() {
    const DISK: usize = 6 << 20;
    let scratch = Scratch::new();
    let mut disk = qcow2(&scratch.path("disk.qcow2"));
    disk.resize(DISK, 0);
    disk.extend_from_slice(&samples::vpc_footer(1 << 30, 2));
    let (registry, seen) = sink::start(None, None);
    let (host, size) = (registry.host(), disk.len().to_string());
    let to = format!("docker://{host}/vm:1");
    let says = ["`conectix` at 512 bytes before the end", "format-ambiguous"];
    let ran = import_from(["-", &*to, "--size", &size, "--plain-http", &host], &disk);
    ran.failed(11, "disk-refused", &says);
    assert!(!seen.committed());
    assert_eq!((seen.count("POST"), seen.count("PUT"), seen.count("DELETE")), (1, 0, 1));
    // The upload was under way: all of it had to flow for its end to be seen.
    assert!(seen.received.load(std::sync::atomic::Ordering::SeqCst) > DISK as u64 / 2);
}

#[test]
fn the_verdict_is_data_and_what_is_wrong_is_said_beside_it() {
    let scratch = Scratch::new();
    let disk = scratch.text("disk.qcow2");
    qcow2(&scratch.path("disk.qcow2"));
    let ran = probe([&*disk]).done();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("format ") && lines[0].ends_with(" qcow2"), "{}", ran.stdout);
    assert!(lines[1].ends_with(" 64.00 MiB (67108864 bytes)"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");

    let overlay = scratch.text("overlay.qcow2");
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-b", &disk, "-F", "qcow2", &overlay]));
    let ran = probe([&*overlay]).failed(11, "disk-refused", &["qcow2-backing-file"]);
    assert!(ran.stdout.contains("refuse: backing file"), "{}", ran.stdout);
    let ran = probe([&*overlay, "--json"]).failed(11, "disk-refused", &[]);
    let report = ran.report();
    assert_eq!((&report["outcome"], &report["error"]["code"]), (&json!("refused"), &json!("disk-refused")));
    assert_eq!(report["disk"]["hazards"][0]["code"], "qcow2-backing-file");
    assert_eq!(report["components"]["probe"]["name"], "probe-disk");

    let report = probe(["/nonexistent", "--json"]).failed(10, "source-not-found", &[]).report();
    assert_eq!((&report["outcome"], &report["disk"]["format"]), (&json!("failed"), &Value::Null));
    let ran = probe(["/nonexistent"]).failed(10, "source-not-found", &[]);
    assert_eq!(ran.stdout, "");
    probe([&*disk, "--size", "7"]).failed(11, "source-length-mismatch", &["expected 7"]);
    probe([&*disk, "--framing", "framing-tar"]).code.filter(|code| *code == 2).expect("no framing without an import");
}
