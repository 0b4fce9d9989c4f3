//! `longshore serve`: disks that clients upload, whole and right, in every way they may come; and nothing of those that are
//! not.

use std::io::Write as _;
use std::process::{Command, Stdio};

use longshore_tests::layers::{crane, pull};
use longshore_tests::program::Ran;
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, noise, qcow2};
use longshore_tests::serving::{Answer, Serving, chunked, head};

/// The most memory of a service, and of each upload that runs, without filters, spool and compressor.
const MOST_OF_A_SERVICE: u64 = 32 << 20;
const MOST_OF_AN_UPLOAD: u64 = 16 << 20;

const ANONYMOUS: [&str; 2] = ["--without-tls", "--anonymous"];

/// A service for a registry of its own.
fn serving(registry: &Registry, more: &[&str]) -> Serving {
    let host = registry.host();
    let destination = registry.reference("vm:1");
    let all = [&[destination.as_str(), "--plain-http", &host][..], &ANONYMOUS, more].concat();
    Serving::start(all)
}

fn registry(scratch: &Scratch) -> Registry {
    Registry::start(scratch, "registry", Setup::default())
}

fn put(serving: &Serving, path: &str, disk: &[u8]) -> Answer {
    serving.ask(&head("PUT", path, &[("Content-Length", &disk.len().to_string())]), disk)
}

/// The disk in an image of the registry.
fn disk_in(registry: &Registry, tag: &str, name: &str) -> Vec<u8> {
    crane(None, &format!("{}/vm:{tag}", registry.host()), &format!("disk/{name}"))
}

#[test]
fn a_disk_is_put_and_posted_and_both_are_the_same_image() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &["--reports", &scratch.text("reports")]);
    let disk = qcow2(&scratch.path("disk.qcow2"));

    let answer = put(&serving, "/upload?name=disk.qcow2", &disk).is(201);
    let put = answer.json();
    assert_eq!((&put["schema"], &put["state"]), (&"longshore.upload/v1".into(), &"done".into()));
    assert_eq!((&put["disk"]["format"], &put["disk"]["name"]), (&"qcow2".into(), &"disk.qcow2".into()));
    assert_eq!(put["offset"], disk.len());
    assert_eq!(put["reference"], serving.reference(0));
    assert_eq!(disk_in(&registry, "1", "disk.qcow2"), disk);

    let length = disk.len().to_string();
    let posted = serving.ask(&head("POST", "/upload?name=disk.qcow2", &[("Content-Length", &length)]), &disk).is(201);
    assert_eq!(posted.json()["digest"], put["digest"]);

    let report = std::fs::read_to_string(scratch.path("reports").join(format!("{}.json", put["id"].as_str().unwrap())));
    let report: serde_json::Value = serde_json::from_str(&report.unwrap()).unwrap();
    assert_eq!((&report["outcome"], &report["image"]["digest"]), (&"done".into(), &put["digest"]));
    assert_eq!(report["source"]["location"], "the upload");
    let ran = serving.stop().done();
    assert_eq!(ran.stdout.lines().count(), 2);
}

#[test]
fn an_upload_is_the_image_that_an_import_makes() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &[]);
    let disk = noise(3_000_001);
    let uploaded = put(&serving, "/upload", &disk).is(201).json();
    let size = disk.len().to_string();
    let host = registry.host();
    let reference = registry.reference("other:1");
    let imported =
        longshore_tests::program::import_from(["-", &reference, "--plain-http", &host, "--size", &size], &disk);
    assert_eq!(uploaded["digest"], imported.done().digest());
    let pulled = pull(&scratch, "pulled", &["--src-tls-verify=false"], &registry.reference("vm:1"));
    assert_eq!(pulled.config["config"]["Labels"]["source-image-format"], "raw");
}

#[test]
fn a_stream_of_unknown_length_goes_through_the_spool() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let spooled = serving(&registry, &["--spool", &scratch.text("spool"), "--spool-max", "8MiB"]);
    std::fs::create_dir(scratch.path("spool")).unwrap();
    let disk = noise(5_000_000);
    // As `curl -T -` sends it.
    let url = format!("http://{}/upload?name=streamed.raw", spooled.address);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "-T", "-", &url]);
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl; run `./setup test`");
    curl.stdin.take().unwrap().write_all(&disk).unwrap();
    let output = curl.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(disk_in(&registry, "1", "streamed.raw"), disk);
    // More than the spool may take.
    let large = chunked(&noise(9 << 20), 65_536);
    spooled.ask(&head("PUT", "/upload", &[("Transfer-Encoding", "chunked")]), &large).refused(413, "spool-full");
    drop(spooled);

    let without = serving(&registry, &[]);
    let body = chunked(&disk, 100_000);
    let fields = [("Transfer-Encoding", "chunked")];
    let answer = without.ask(&head("PUT", "/upload", &fields), &body).refused(411, "length-required");
    assert!(answer.json()["error"]["hint"].as_str().unwrap().contains("size="), "{}", answer.text());
    // Its length is named.
    let named = format!("/upload?size={}", disk.len());
    without.ask(&head("PUT", &named, &fields), &body).is(201);
    for wrong in [disk.len() - 1, disk.len() + 1] {
        let answer = without.ask(&head("PUT", &format!("/upload?size={wrong}"), &fields), &body);
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
    }
    assert_eq!(disk_in(&registry, "1", "disk.img"), disk, "what failed changed nothing");
}

#[test]
fn what_is_demanded_of_the_disk_is_demanded_before_there_is_an_image() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &["--format", "raw"]);
    let disk = noise(1 << 20);
    let wrong = format!("sha256:{}", "00".repeat(32));
    let answer = put(&serving, &format!("/upload?checksum={wrong}"), &disk).refused(422, "checksum-mismatch");
    let error = &answer.json()["error"];
    assert_eq!((&error["exit"], &error["stage"], &error["blame"]), (&11.into(), &"checksum".into(), &"content".into()));
    assert!(error["message"].as_str().unwrap().contains(&wrong), "{error}");
    put(&serving, "/upload", &qcow2(&scratch.path("disk.qcow2"))).refused(422, "disk-format");
    registry.assert_empty();
    put(&serving, "/upload?checksum=sha256:zz", &disk).refused(400, "request-malformed");
    put(&serving, "/upload?frobnicate=1", &disk).refused(400, "request-malformed");
    put(&serving, "/upload?tag=2", &disk).refused(403, "tag-denied");
    registry.assert_empty();
    let sum = longshore_tests::scratch::run(Command::new("sh").arg("-c").arg(format!(
        "head -c {} '{}' | sha256sum",
        disk.len(),
        {
            std::fs::write(scratch.path("d"), &disk).unwrap();
            scratch.text("d")
        }
    )));
    let sum = sum.split(' ').next().unwrap();
    put(&serving, &format!("/upload?checksum=sha256:{sum}"), &disk).is(201);
}

#[test]
fn an_upload_over_the_cap_is_refused_before_or_as_it_goes_over() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    std::fs::create_dir(scratch.path("spool")).unwrap();
    let spool = scratch.text("spool");
    let serving = serving(&registry, &["--max-size", "1MiB", "--spool", &spool, "--spool-max", "8MiB"]);
    let disk = noise((1 << 20) + 1);
    // Its length is known: not a byte of it is asked for.
    let announced = head("PUT", "/upload", &[("Content-Length", "1048577"), ("Expect", "100-continue")]);
    serving.ask(&announced, b"").refused(413, "source-too-large");
    // It is not known.
    let fields = [("Transfer-Encoding", "chunked")];
    let answer = serving.ask(&head("PUT", "/upload", &fields), &chunked(&disk, 4096));
    assert!(answer.refused(413, "source-too-large").text().contains("1048576"), "the bound is named");
    registry.assert_empty();
    put(&serving, "/upload", &disk[1..]).is(201);
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &[]);
    let disk = noise(4 << 20);
    let mut client = serving.connect();
    client.say(head("PUT", "/upload", &[("Content-Length", &disk.len().to_string())]).as_bytes());
    client.say(&disk[..3 << 20]);
    drop(client);
    let failed = serving.wait_for("error[source-truncated]");
    assert!(failed.contains("went away after") && failed.contains("of 4194304 bytes"), "{failed}");
    registry.assert_empty();
    // Its place is free again.
    put(&serving, "/upload", &disk).is(201);
}

#[test]
fn one_upload_at_a_time_or_as_many_as_are_wanted() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let one = serving(&registry, &["--health-listen", "127.0.0.1:0"]);
    let disk = noise(1 << 20);
    let length = disk.len().to_string();
    let mut first = one.connect();
    first.say(head("PUT", "/upload", &[("Content-Length", &length)]).as_bytes());
    one.wait_for("begun by");
    one.ask(&head("GET", "/upload", &[]), b"").refused(503, "busy");
    let busy = put(&one, "/upload", &disk).refused(503, "busy");
    assert_eq!(busy.field("retry-after"), Some("10"));
    assert_eq!(one.health("/readyz").status, 200, "busy is no reason to be taken out of service");
    first.stream.write_all(&disk).unwrap();
    first.answer().is(201);
    one.ask(&head("GET", "/upload", &[]), b"").is(200);
    drop(one);

    let two = serving(&registry, &["--uploads", "2", "--client-tags"]);
    let mut first = two.connect();
    first.say(head("PUT", "/upload?tag=a", &[("Content-Length", &length)]).as_bytes());
    two.wait_for("begun by");
    put(&two, "/upload?tag=a", &disk).refused(409, "tag-busy");
    put(&two, "/upload?tag=b", &disk).is(201);
    first.stream.write_all(&disk).unwrap();
    first.answer().is(201);
    for tag in ["a", "b"] {
        assert!(disk_in(&registry, tag, "disk.img") == disk, "{tag}");
    }
}

#[test]
fn many_slow_uploads_take_no_more_memory_than_is_said() {
    const UPLOADS: usize = 8;
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &["--uploads", &UPLOADS.to_string(), "--client-tags"]);
    let disk = noise(12 << 20);
    let length = disk.len().to_string();
    let mut clients: Vec<_> = (0..UPLOADS).map(|_| serving.connect()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        // Of the same image pushed twice at once, distribution 3 makes errors of its own.
        let path = format!("/upload?tag=v{at}&name=v{at}.raw");
        client.say(head("PUT", &path, &[("Content-Length", &length)]).as_bytes());
    }
    // All of them at the same time, a little of each, so that what is held of one is held of all.
    let mut peak = 0;
    let (parts, last) = disk.split_at(disk.len() - (1 << 20));
    for part in parts.chunks(1 << 20) {
        for client in &mut clients {
            client.say(part);
            peak = peak.max(serving.memory());
        }
    }
    // Whoever says nothing besides costs little.
    let idle: Vec<_> = (0..200).map(|_| serving.connect()).collect();
    serving.ask(&head("GET", "/healthz", &[]), b"").is(200);
    for client in &mut clients {
        client.say(last);
        peak = peak.max(serving.memory());
    }
    for client in &mut clients {
        client.answer().is(201);
        peak = peak.max(serving.memory());
    }
    drop(idle);
    let most = MOST_OF_A_SERVICE + UPLOADS as u64 * MOST_OF_AN_UPLOAD;
    println!("{} MiB at most, {} MiB are said", peak >> 20, most >> 20);
    assert!(peak <= most, "{} MiB for {UPLOADS} uploads, expected at most {} MiB", peak >> 20, most >> 20);
    let page = include_str!("../../docs/serve.md");
    let row = format!(
        "| memory of its own | {} MiB, and {} MiB for each upload",
        MOST_OF_A_SERVICE >> 20,
        MOST_OF_AN_UPLOAD >> 20
    );
    assert!(page.contains(&row), "docs/serve.md says something else than {row}");
}

#[test]
fn it_ends_behind_the_uploads_that_run() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &["--health-listen", "127.0.0.1:0"]);
    let disk = noise(1 << 20);
    assert_eq!(serving.health("/healthz").is(200).text(), "OK\n");
    serving.health("/readyz").is(200);
    serving.health("/upload").refused(404, "not-found");
    let mut running = serving.connect();
    running.say(head("PUT", "/upload", &[("Content-Length", &disk.len().to_string())]).as_bytes());
    serving.wait_for("begun by");
    serving.signal("TERM");
    serving.wait_for("no more uploads are taken in; 1 running");
    serving.health("/readyz").refused(503, "draining");
    serving.health("/healthz").is(200);
    put(&serving, "/upload", &disk).refused(503, "draining");
    running.stream.write_all(&disk).unwrap();
    running.answer().is(201);
    serving.ended().done();
    assert!(disk_in(&registry, "1", "disk.img") == disk);
}

#[test]
fn the_second_signal_ends_what_runs() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &[]);
    let mut running = serving.connect();
    running.say(head("PUT", "/upload", &[("Content-Length", "1000000")]).as_bytes());
    running.say(&noise(500_000));
    serving.wait_for("begun by");
    serving.signal("TERM");
    serving.wait_for("no more uploads are taken in");
    serving.signal("TERM");
    running.answer().refused(503, "terminated");
    serving.ended().failed(143, "terminated", &["1 uploads were ended"]);
    registry.assert_empty();
}

#[test]
fn with_once_it_ends_as_its_one_import_ends() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let good = serving(&registry, &["--once"]);
    let disk = noise(100_000);
    let answer = put(&good, "/upload", &disk).is(201).json();
    let ran = good.ended().done();
    assert_eq!(answer["reference"], ran.stdout);
    let bad = serving(&registry, &["--once", "--format", "qcow2"]);
    put(&bad, "/upload", &disk).refused(422, "disk-format");
    bad.ended().failed(11, "disk-format", &["qcow2"]);
    let spool = scratch.folder("spool").display().to_string();
    let large = serving(&registry, &["--once", "--max-size", "1KiB", "--spool", &spool, "--spool-max", "1MiB"]);
    let chunks = chunked(&disk, 2048);
    large.ask(&head("PUT", "/upload", &[("Transfer-Encoding", "chunked")]), &chunks).refused(413, "source-too-large");
    let ran = large.ended();
    let (_, error) = ran.stderr.split_at(ran.stderr.find("error[").expect("an error"));
    Ran { stderr: error.to_owned(), ..ran }.golden("upload-too-large");
}

#[test]
fn nobody_listens_unprotected_by_mistake() {
    let scratch = Scratch::new();
    let serve = |arguments: &[&str]| {
        let mut command = longshore_tests::program::longshore(["serve", "oci:out"]);
        longshore_tests::program::finish(command.args(arguments), b"")
    };
    let token = |text: &str| {
        std::fs::write(scratch.path("token"), text).unwrap();
        scratch.text("token")
    };
    assert_eq!(serve(&["--anonymous"]).code, Some(2), "neither TLS nor --without-tls");
    serve(&["--without-tls"]).failed(2, "usage", &["nothing says who may", "--token-file"]);
    serve(&["--without-tls", "--anonymous", "--uploads", "2"]).failed(2, "usage", &["--client-tags"]);
    for (text, why) in
        [("short", "5 characters"), ("has spaces in its middle", "other characters"), ("", "0 characters")]
    {
        let ran = serve(&["--without-tls", "--token-file", &token(text)]);
        let ran = ran.failed(16, "credentials-unreadable", &[why]);
        assert!(text.is_empty() || !ran.stderr.contains(text), "{}", ran.stderr);
    }
    std::fs::write(scratch.path("policy.toml"), "schema = \"longshore.policy/v1\"\n").unwrap();
    let ran = serve(&["--without-tls", "--anonymous", "--policy", &scratch.text("policy.toml")]);
    ran.failed(13, "flag-denied", &["--without-tls", "flags.allow"]);
}

#[test]
fn a_cloned_block_device_comes_as_snappy_frames() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let spool = scratch.folder("spool").display().to_string();
    let disk = [noise(3_000_000), vec![0; 1 << 20]].concat();
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(&disk).unwrap();
    let frames = encoder.into_inner().unwrap();
    let fields = [("Transfer-Encoding", "chunked"), ("x-cdi-content-type", "blockdevice-clone")];
    let body = chunked(&frames, 100_000);
    // Without a spool, the size of the device is named; with one, it is found out.
    let without = serving(&registry, &[]);
    let named = format!("/upload?size={}&name=device.raw", disk.len());
    let one = without.ask(&head("PUT", &named, &fields), &body).is(201).json();
    assert!(disk_in(&registry, "1", "device.raw") == disk);
    without.ask(&head("PUT", "/upload", &fields), &body).refused(411, "source-length-unknown");
    let mut damaged = frames.clone();
    damaged[2_000_000] ^= 1;
    without.ask(&head("PUT", &named, &fields), &chunked(&damaged, 100_000)).refused(422, "disk-invalid");
    let cut = &frames[..frames.len() - 1];
    without.ask(&head("PUT", &named, &fields), &chunked(cut, 100_000)).refused(422, "disk-invalid");
    drop(without);
    let with = serving(&registry, &["--spool", &spool, "--spool-max", "8MiB"]);
    let two = with.ask(&head("POST", "/upload?name=device.raw", &fields), &body).is(201).json();
    assert_eq!(one["digest"], two["digest"]);
    drop(with);

    // What the operator wants to come off comes off all the same, and frames are what the client says that they are.
    let unwrapping = serving(&registry, &["--spool", &spool, "--spool-max", "8MiB", "--filter", "auto"]);
    let framed = |bytes: &[u8]| {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        chunked(&encoder.into_inner().unwrap(), 100_000)
    };
    let compressed = longshore_tests::wrapped::piped("gzip -1", &disk);
    for bytes in [&disk[..], &compressed] {
        unwrapping.ask(&head("PUT", "/upload?name=device.raw", &fields), &framed(bytes)).is(201);
        assert!(disk_in(&registry, "1", "device.raw") == disk);
    }
    let refused =
        unwrapping.ask(&head("PUT", "/upload", &fields), &chunked(&disk, 100_000)).refused(422, "disk-invalid");
    assert!(refused.text().contains("snappy"), "{}", refused.text());
}

#[test]
fn a_form_is_no_disk() {
    let scratch = Scratch::new();
    let registry = registry(&scratch);
    let serving = serving(&registry, &[]);
    let disk = scratch.text("disk.raw");
    std::fs::write(&disk, [noise(1000), b"\r\n\n".to_vec(), noise(1000)].concat()).unwrap();
    let url = format!("http://{}/upload", serving.address);
    let curl = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        let output = curl.args(["--silent", "--show-error", "--write-out", "%{http_code}"]).args(arguments).arg(&url);
        let output = output.output().expect("curl; run `./setup test`");
        String::from_utf8(output.stdout).unwrap()
    };
    // Of the first, curl has taken the line feeds out.
    for form in [["-d", &*format!("@{disk}")], ["--data-binary", &format!("@{disk}")], ["-F", &format!("disk=@{disk}")]]
    {
        let said = curl(&form);
        assert!(said.ends_with("400") && said.contains("the body is a form"), "{form:?}: {said}");
        assert!(said.contains("curl -T FILE") && said.contains("application/octet-stream"), "{form:?}: {said}");
    }
    registry.assert_empty();
    let plain = ["--data-binary", &*format!("@{disk}"), "-H", "Content-Type: application/octet-stream"];
    assert!(curl(&plain).ends_with("201"));
    assert!(disk_in(&registry, "1", "disk.img") == std::fs::read(&disk).unwrap());
    assert!(curl(&["-T", &disk]).ends_with("201"));
}
