//! The disk of a container disk back out of a registry or a layout: what stands under the wanted name is the disk, verified, or
//! nothing does; what broke goes on; what was there stays.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use longshore_tests::images::{LAYER, Made, digest, image};
use longshore_tests::loop_device::Loop;
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, finish, import, longshore, quick, ran, watched};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version};
use longshore_tests::scratch::{Scratch, noise, qcow2, raw, run};
use longshore_tests::wrapped::piped;
use serde_json::{Value, json};

fn export(arguments: &[&str]) -> Ran {
    finish(longshore(["export"]).args(arguments), b"")
}

/// An image whose layer has `disk` as `disk/vm.raw`.
fn made(scratch: &Scratch, disk: &[u8]) -> Made {
    fs::create_dir_all(scratch.path("root/disk")).unwrap();
    fs::write(scratch.path("root/disk/vm.raw"), disk).unwrap();
    run(Command::new("tar").args(["-C", &scratch.text("root"), "-cf", &scratch.text("tar"), "disk/vm.raw"]));
    let tar = fs::read(scratch.path("tar")).unwrap();
    image(scratch, "made", &[(LAYER, &tar, digest(&tar))])
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_imported_comes_back_from_wherever_it_went() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let disk = qcow2(&scratch.path("vm.qcow2"));
        let layout = format!("oci:{}", scratch.text("layout"));
        let plain = ["--plain-http", &*registry.host()];
        for (name, flags) in
            [("plain", &[][..]), ("gzip", &["--compressor", "gzip"]), ("zstd", &["--compressor", "zstd"])]
        {
            let (remote, local) = (registry.reference(&format!("vm:{name}")), format!("{layout}:{name}"));
            for to in [&remote, &local] {
                import([&[&*scratch.text("vm.qcow2"), to], flags, &plain].concat()).done();
                let out = scratch.folder("out");
                let file = out.join("a file.qcow2").display().to_string();
                let report = export(&[&[&**to, &*file, "--report", "-"], &plain[..]].concat()).done().report();
                assert!(fs::read(&file).unwrap() == disk, "{to}");
                assert_eq!(names(&out), ["a file.qcow2"], "and nothing beside it");
                assert_eq!(
                    (&report["schema"], &report["outcome"], &report["error"]),
                    (&json!("longshore.export/v1"), &json!("done"), &Value::Null)
                );
                let source = &report["source"];
                assert_eq!((&source["name"], &source["size"]), (&json!("vm.qcow2"), &json!(disk.len())), "{source}");
                let access = if name == "plain" { "ranged" } else { "restart" };
                assert_eq!(source["access"], access, "{to}");
                assert_eq!((&report["target"]["kind"], &report["target"]["verified"]), (&json!("file"), &json!(true)));
                fs::remove_dir_all(&out).unwrap();
                // And to standard output.
                let output = longshore(["export", to, "-"]).args(plain).stderr(Stdio::inherit()).output().unwrap();
                assert!(output.status.success() && output.stdout == disk, "{to}");
            }
        }
    }
}

#[test]
fn zeros_are_left_out_of_files() {
    let scratch = Scratch::new();
    let mut disk = vec![0; 8 << 20];
    disk[3_000_000..3_100_000].copy_from_slice(&noise(100_000));
    fs::write(scratch.path("vm.raw"), &disk).unwrap();
    let layout = format!("oci:{}", scratch.text("layout"));
    import([&*scratch.text("vm.raw"), &*layout]).done();
    for (when, sparse) in [("auto", true), ("always", true), ("never", false)] {
        let file = scratch.text(when);
        let report = export(&[&*layout, &*file, "--sparse", when, "--report", "-"]).done().report();
        assert!(fs::read(&file).unwrap() == disk, "{when}");
        let on_disk = fs::metadata(&file).unwrap().blocks() * 512;
        assert_eq!(on_disk < 1 << 20, sparse, "{when}: {on_disk}");
        assert_eq!(report["target"]["bytes_in_holes"].as_u64().unwrap() > 7 << 20, sparse, "{when}");
    }
    // A disk of nothing but zeros, and one of nothing.
    for (name, length) in [("zeros", 1 << 20), ("empty", 0)] {
        fs::write(scratch.path("disk"), vec![0; length]).unwrap();
        import([&*scratch.text("disk"), &*format!("{layout}:{name}")]).done();
        export(&[&*format!("{layout}:{name}"), &*scratch.text(name)]).done();
        assert_eq!(fs::read(scratch.path(name)).unwrap(), vec![0; length]);
    }
}

#[test]
fn what_is_there_stays_unless_it_may_be_written_over() {
    let scratch = Scratch::new();
    let disk = raw(&scratch.path("vm.raw"), 100_000);
    let layout = format!("oci:{}", scratch.text("layout"));
    import([&*scratch.text("vm.raw"), &*layout]).done();
    let out = scratch.folder("out");
    let file = out.join("vm").display().to_string();
    fs::write(&file, "mine").unwrap();
    export(&[&*layout, &*file]).failed(20, "local-file", &["is there already", "--force"]);
    assert_eq!((fs::read(&file).unwrap(), names(&out)), (b"mine".to_vec(), vec!["vm".to_owned()]));
    export(&[&*layout, &*file, "--force"]).done();
    assert!(fs::read(&file).unwrap() == disk && names(&out) == ["vm"]);
    // What only its owner could read stays so.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    export(&[&*layout, &*file, "--force"]).done();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = format!("{}/", out.join("new").display());
    export(&[&*layout, &*folder]).failed(2, "usage", &["is not the name of a file"]);
    // A link is no file: neither is it replaced, nor is what it leads to.
    fs::write(scratch.path("other"), "other").unwrap();
    fs::remove_file(&file).unwrap();
    for target in ["other", "nothing"] {
        symlink(scratch.path(target), &file).unwrap();
        export(&[&*layout, &*file]).failed(2, "usage", &["is a link"]);
        export(&[&*layout, &*file, "--force"]).failed(2, "usage", &["is a link"]);
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        fs::remove_file(&file).unwrap();
    }
    assert_eq!(fs::read(scratch.path("other")).unwrap(), b"other");
    assert!(!scratch.path("nothing").exists());
    // What no disk is written to.
    run(Command::new("mkfifo").arg(&file));
    for path in [&*file, &*out.display().to_string(), "/dev/null"] {
        export(&[&*layout, path, "--force"]).failed(2, "usage", &["neither a file nor a block device"]);
    }
    let absent = scratch.text("absent/vm");
    export(&[&*layout, &*absent]).failed(20, "local-file", &["cannot be made"]);
    // A folder that nobody may write to, whoever runs this test.
    fs::set_permissions(&out, fs::Permissions::from_mode(0o500)).unwrap();
    let ran = export(&[&*layout, &*out.join("new").display().to_string()]);
    fs::set_permissions(&out, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(ran.code, Some(0 | 20)), "{}", ran.stderr);
}

#[test]
fn a_block_device_is_written_directly_and_only_if_the_disk_fits() {
    let scratch = Scratch::new();
    let mut disk = noise(300 * 512);
    disk[100_000..120_000].fill(0);
    fs::write(scratch.path("vm.raw"), &disk).unwrap();
    let layout = format!("oci:{}", scratch.text("layout"));
    import([&*scratch.text("vm.raw"), &*layout]).done();
    for (sectors, sparse, expected) in [(400, "auto", Some(0)), (300, "always", Some(7)), (299, "auto", None)] {
        let backing = scratch.path("backing");
        fs::write(&backing, vec![7; sectors * 512]).unwrap();
        let device = Loop::attach(&backing, "rw");
        let arguments = [&*layout, device.path(), "--sparse", sparse];
        export(&arguments).failed(20, "local-file", &["is there already", "--force"]);
        let ran = export(&[&arguments[..], &["--force", "--report", "-"]].concat());
        match expected {
            // Where zeros were left out is what was there.
            Some(hole) => {
                let report = ran.done();
                assert!(report.stderr.contains("is a device and is written directly"), "{}", report.stderr);
                assert_eq!(report.report()["target"]["kind"], "device");
                let mut there = disk.clone();
                if hole != 0 {
                    there[102_400..118_784].fill(hole);
                }
                there.resize(sectors * 512, 7);
                assert!(fs::read(&backing).unwrap() == there, "{sparse}");
            }
            None => {
                ran.failed(20, "local-file", &["has 153088 bytes, the disk 153600"]);
                assert!(fs::read(&backing).unwrap() == vec![7; sectors * 512]);
            }
        }
    }
}

#[test]
fn what_is_not_the_disk_never_has_its_name() {
    let scratch = Scratch::new();
    let made = made(&scratch, &noise(3_000_000));
    let out = scratch.folder("out");
    let file = out.join("vm").display().to_string();
    let layer = made.folder.join(&digest(&fs::read(scratch.path("tar")).unwrap())[7..]);
    let mut bytes = fs::read(&layer).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&layer, &bytes).unwrap();
    for ranges in [true, false] {
        let served = made.served(ranges, |_| None);
        let source = format!("docker://{}/vm:1", served.script.host());
        let plain = ["--plain-http", &*served.script.host()];
        let report = scratch.text("report");
        let ran = export(&[&[&*source, &*file, "--report", &*report], &plain[..]].concat());
        ran.failed(11, "checksum-mismatch", &["expected sha256:", "left behind: nothing in"]);
        assert!(names(&out).is_empty(), "{:?}", names(&out));
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        assert_eq!((&report["outcome"], &report["target"]["verified"]), (&json!("failed"), &json!(false)));
        // Standard output cannot be taken back: it is shorter than the disk, and the exit code says it.
        let output = longshore(["export", &*source, "-"]).args(plain).output().unwrap();
        assert!(output.stdout.len() < 3_000_000, "{}", output.stdout.len());
        let said = "that nobody has verified: whoever took them must not use them";
        longshore_tests::program::ran(&output).failed(11, "checksum-mismatch", &[said]);
    }
    // One that is shorter than its manifest says.
    fs::write(&layer, &bytes[..2_000_000]).unwrap();
    let served = made.served(true, |_| None);
    let source = format!("docker://{}/vm:1", served.script.host());
    let policy = quick(&scratch);
    let ran = export(&[&*source, &*file, "--plain-http", &*served.script.host(), "--policy", &*policy]);
    ran.failed(11, "source-invalid", &["2000000"]);
    assert!(names(&out).is_empty());
}

#[test]
fn what_broke_goes_on_in_one_run_and_in_the_next() {
    let scratch = Scratch::new();
    let disk = noise(5_000_000);
    let made = made(&scratch, &disk);
    let out = scratch.folder("out");
    let file = out.join("vm").display().to_string();
    let policy = quick(&scratch);
    // In one run. The headers, what is in front of the disk and what is behind it are three requests, the disk is the fourth.
    let served = made.served(true, |number| (number == 3).then_some(1_500_000));
    let source = format!("docker://{}/vm:1", served.script.host());
    let host = served.script.host();
    let report =
        export(&[&*source, &*file, "--plain-http", &*host, "--policy", &*policy, "--report", "-"]).done().report();
    assert!(fs::read(&file).unwrap() == disk);
    assert_eq!((&report["transfer"]["attempts"], &report["transfer"]["resumes"]), (&json!(2), &json!(1)));
    fs::remove_file(&file).unwrap();

    // In two: one that breaks for good leaves a part, and the next asks only for what is missing.
    let cut = |more: &[&str]| {
        let served = made.served(true, |number| match number {
            0..=2 => None,
            3 => Some(2_000_000),
            _ => Some(1000),
        });
        let (source, host) = (format!("docker://{}/vm:1", served.script.host()), served.script.host());
        let ran = export(&[&[&*source, &*file, "--plain-http", &*host, "--policy", &*policy], more].concat());
        assert_eq!(ran.code, Some(10), "{}", ran.stderr);
        ran
    };
    let failed = cut(&[]);
    assert!(
        failed.stderr.contains("that nobody has verified; the same command goes on behind them"),
        "{}",
        failed.stderr
    );
    let [part] = &names(&out)[..] else { panic!("{:?}", names(&out)) };
    assert!(part.starts_with(".vm.") && part.ends_with(".part"), "{part}");
    let part = out.join(part);
    let there = fs::metadata(&part).unwrap().len();
    assert!(there > 0 && there <= 2_000_000, "{there}");
    let served = made.served(true, |_| None);
    let (source, host) = (format!("docker://{}/vm:1", served.script.host()), served.script.host());
    let whole = |more: &[&str]| export(&[&[&*source, &*file, "--plain-http", &*host, "--report", "-"], more].concat());
    let report = whole(&[]).done().report();
    assert!(fs::read(&file).unwrap() == disk && names(&out) == ["vm"]);
    assert_eq!(report["target"]["continued_from"], there);
    assert!(report["transfer"]["bytes_received"].as_u64().unwrap() == 5_000_000 - there, "{report}");
    fs::remove_file(&file).unwrap();

    // A part that somebody changed is found out, and all of it is read again.
    cut(&[]);
    let mut bytes = fs::read(&part).unwrap();
    bytes[7] ^= 1;
    fs::write(&part, bytes).unwrap();
    let again = whole(&[]).done();
    assert!(again.stderr.contains("part-discarded"), "{}", again.stderr);
    assert!(fs::read(&file).unwrap() == disk && names(&out) == ["vm"]);
    fs::remove_file(&file).unwrap();

    // One of which all bytes are there only has to be verified.
    fs::write(&part, &disk).unwrap();
    let report = whole(&[]).done().report();
    assert!(fs::read(&file).unwrap() == disk && names(&out) == ["vm"]);
    assert_eq!(report["transfer"]["bytes_received"], 0);
}

#[test]
fn a_compressed_layer_that_breaks_for_good_leaves_nothing() {
    let scratch = Scratch::new();
    let disk = noise(3_000_000);
    made(&scratch, &disk);
    let tar = fs::read(scratch.path("tar")).unwrap();
    let gzip = piped("gzip -1", &tar);
    let made = image(&scratch, "gzip", &[(&format!("{LAYER}+gzip"), &gzip, digest(&tar))]);
    let out = scratch.folder("out");
    let file = out.join("vm").display().to_string();
    let policy = quick(&scratch);
    let served = made.served(true, |number| (number > 0).then_some(100_000));
    let (source, host) = (format!("docker://{}/vm:1", served.script.host()), served.script.host());
    let ran = export(&[&*source, &*file, "--plain-http", &*host, "--policy", &*policy]);
    assert!(ran.code == Some(10) && names(&out).is_empty(), "{} {:?}", ran.stderr, names(&out));
    let served = made.served(true, |number| (number == 1).then_some(1_000_000));
    let (source, host) = (format!("docker://{}/vm:1", served.script.host()), served.script.host());
    export(&[&*source, &*file, "--plain-http", &*host, "--policy", &*policy]).done();
    assert!(fs::read(&file).unwrap() == disk);
}

#[test]
fn a_hostile_name_in_an_image_is_no_path() {
    let scratch = Scratch::new();
    let disk = noise(10_000);
    let out = scratch.folder("out/in");
    for (at, name) in ["disk/../../../evil", "disk//etc/passwd", "disk/a\u{1b}[2Jb"].iter().enumerate() {
        let mut builder = vec![];
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", disk.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        builder.extend(header);
        builder.extend(&disk);
        builder.resize(builder.len().next_multiple_of(512) + 1024, 0);
        let made = image(&scratch, &format!("hostile-{at}"), &[(LAYER, &builder, digest(&builder))]);
        let served = made.served(true, |_| None);
        let file = out.join(format!("vm-{at}"));
        let (source, host) = (format!("docker://{}/vm:1", served.script.host()), served.script.host());
        let ran = export(&[&*source, &*file.display().to_string(), "--plain-http", &*host, "--report", "-"]).done();
        assert!(fs::read(&file).unwrap() == disk, "{name}");
        let told = ran.report()["source"]["name"].as_str().unwrap().to_owned();
        assert!(!told.contains('/') && !told.contains(".."), "{told}");
        assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
    }
    assert_eq!(names(&scratch.path("out")), ["in"]);
    assert_eq!(names(&out).len(), 3);
}

#[test]
fn whoever_takes_standard_output_may_go_away() {
    let scratch = Scratch::new();
    raw(&scratch.path("vm.raw"), 20_000_000);
    let layout = format!("oci:{}", scratch.text("layout"));
    import([&*scratch.text("vm.raw"), &*layout]).done();
    let mut child = longshore(["export", &*layout, "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut taken = vec![0; 1000];
    child.stdout.take().unwrap().read_exact(&mut taken).unwrap();
    let output = child.wait_with_output().unwrap();
    ran(&output).failed(20, "local-file", &["standard output", "cannot be written to", "must not use them"]);
    let twice = export(&[&*layout, "-", "--report", "-"]);
    twice.failed(2, "usage", &["the disk and the report"]);
}

#[test]
fn memory_is_bounded_whatever_the_size() {
    let scratch = Scratch::new();
    raw(&scratch.path("vm.raw"), 200_000_000);
    let layout = format!("oci:{}", scratch.text("layout"));
    import([&*scratch.text("vm.raw"), &*layout]).done();
    let (done, memory) = watched(&mut longshore(["export", &*layout, &*scratch.text("out")]));
    done.done();
    assert!(memory <= MOST_OF_ITS_OWN, "{memory} bytes");
}

#[test]
fn what_is_not_there_is_said() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    raw(&scratch.path("vm.raw"), 1000);
    let layout = format!("oci:{}", scratch.text("layout"));
    import([&*scratch.text("vm.raw"), &*format!("{layout}:1")]).done();
    let file = scratch.text("out");
    export(&[&*format!("{layout}:2"), &*file]).failed(12, "registry-not-found", &["has no `2`"]);
    export(&["oci:/nonexistent", &*file]).failed(20, "local-file", &["not an image layout"]);
    let plain = ["--plain-http", &*registry.host()];
    let absent = registry.reference("vm:1");
    export(&[&[&*absent, &*file], &plain[..]].concat()).failed(10, "source-not-found", &["404"]);
    export(&["nonsense", &*file]).failed(2, "usage", &[]);
    assert!(!scratch.path("out").exists());
    // A blob that is gone, or that is no file.
    let blobs = scratch.path("layout/blobs/sha256");
    for blob in fs::read_dir(&blobs).unwrap() {
        fs::remove_file(blob.unwrap().path()).unwrap();
    }
    export(&[&*format!("{layout}:1"), &*file]).failed(10, "source-not-found", &[]);
}
