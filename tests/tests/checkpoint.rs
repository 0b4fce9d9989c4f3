//! A process that is killed, and the same command once more: the same image, without sending what the registry has.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use longshore_tests::counted::Counted;
use longshore_tests::fixtures::Fixture;
use longshore_tests::memory::{Memory, Stop, Stops};
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{Ran, finish, longshore, ran};
use longshore_tests::registry::{Registry, Setup, Version};
use longshore_tests::scratch::{Scratch, noise, qcow2, raw, run};
use longshore_tests::tls::Authority;
use longshore_tests::wrapped::in_folder;
use serde_json::Value;

const MIB: u64 = 1 << 20;
const DISK: u64 = 96 * MIB;
/// What a kill may cost: what was on its way. 64 MiB are allowed for what flows faster than here.
const MOST_TWICE: u64 = 32 * MIB;
/// How often CI kills; `LONGSHORE_KILLS` for more.
const KILLS: u32 = 12;
/// How long anything may take that is waited for.
const WITHIN: Duration = Duration::from_secs(60);

/// A disk on a server with ranges, a registry that keeps uploads, and the way to it.
struct Stage {
    scratch: Scratch,
    authority: Authority,
    nginx: Nginx,
    registry: Registry,
    way: Counted,
}

impl Stage {
    fn new(version: Version) -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let nginx = Nginx::start(&scratch, &authority);
        raw(&scratch.folder("www").join("disk.raw"), usize::try_from(DISK).unwrap());
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let way = Counted::start(registry.port());
        Self { scratch, authority, nginx, registry, way }
    }

    fn checkpoint(&self) -> std::path::PathBuf {
        self.scratch.path("checkpoint")
    }

    /// The import of the disk to that tag.
    fn import(&self, tag: &str, more: &[&str]) -> Command {
        let host = self.way.host();
        let (url, to) = (self.nginx.url("disk.raw"), format!("docker://{host}/vm:{tag}"));
        let mut command = longshore(["import", &url, &to, "--ca", &self.authority.ca(), "--plain-http", &host]);
        command.args(["--report", "-", "--checkpoint", &self.checkpoint().display().to_string()]).args(more);
        command
    }

    fn start(&self, tag: &str, more: &[&str]) -> Child {
        self.import(tag, more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts it and kills it once that many bytes were sent to the registry. Panics if it ends before.
    fn killed_after(&self, bytes: u64, more: &[&str]) {
        let before = self.way.sent();
        let mut child = self.start("1", more);
        wait(&mut child, || self.way.sent() - before >= bytes);
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had handed to the kernel still arrives.
        let mut sent = 0;
        while sent != self.way.sent() {
            sent = self.way.sent();
            sleep(Duration::from_millis(50));
        }
    }

    fn saved(&self) -> Value {
        serde_json::from_slice(&fs::read(self.checkpoint()).unwrap()).unwrap()
    }
}

/// Waits until it holds; panics if the program ends before.
fn wait(child: &mut Child, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        assert!(began.elapsed() < WITHIN, "it does not come so far");
        sleep(Duration::from_millis(2));
    }
}

fn end(command: &mut Command) -> Ran {
    finish(command, b"")
}

fn image(report: &Value) -> (String, String) {
    let of = |name: &str| report["image"][name].as_str().unwrap().to_owned();
    (of("digest"), of("layer_digest"))
}

/// What the same import without a kill gives.
fn undisturbed(stage: &Stage, more: &[&str]) -> (String, String) {
    let report = end(&mut stage.import("undisturbed", more)).done().report();
    assert!(!stage.checkpoint().exists(), "of an image that stands there is nothing to continue");
    assert_eq!(report["transfer"]["continued_from"], Value::Null);
    fs::remove_dir_all(stage.registry.storage().join("docker")).unwrap();
    image(&report)
}

#[test]
fn killed_at_random_moments() {
    let kills = std::env::var("LONGSHORE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let stage = Stage::new(Version::V3);
    let limit = ["--limit-rate", "80MiB"];
    let expected = undisturbed(&stage, &limit);
    let (mut killed, mut chance, mut continued) = (0, 0x9e37_79b9_u64, 0_u32);
    let (mut twice, mut worst, mut in_a_row) = (0, 0, 0_u64);
    let mut before = stage.way.sent();
    for _ in 0..kills * 10 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = stage.start("1", &limit);
        sleep(Duration::from_millis((chance >> 33) % 1500));
        if killed < kills && child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            (killed, in_a_row) = (killed + 1, in_a_row + 1);
            let output = child.wait_with_output().unwrap();
            assert!(output.stdout.is_empty(), "it was killed, and said that it was done");
            continue;
        }
        let report = ran(&child.wait_with_output().unwrap()).done().report();
        assert_eq!(image(&report), expected);
        continued += u32::from(report["transfer"]["continued_from"].as_u64().is_some_and(|from| from > 0));
        let more = (stage.way.sent() - before).saturating_sub(DISK);
        // And what is said besides.
        assert!(more <= MIB + MOST_TWICE * in_a_row, "{more} bytes twice after {in_a_row} kills");
        (twice, worst) = (twice + more, worst.max(more / in_a_row.max(1)));
        if killed == kills {
            println!(
                "{killed} kills, {continued} continued uploads, {twice} bytes twice, {worst} at most for one kill"
            );
            assert!(continued > 0, "none of the kills left anything to continue");
            return;
        }
        fs::remove_dir_all(stage.registry.storage().join("docker")).unwrap();
        (before, in_a_row) = (stage.way.sent(), 0);
    }
    panic!("{killed} kills only");
}

#[test]
fn two_processes_do_not_share_one() {
    let stage = Stage::new(Version::V3);
    let slow = ["--limit-rate", "8MiB"];
    let mut child = stage.start("1", &slow);
    wait(&mut child, || stage.way.sent() >= 4 * MIB);
    end(&mut stage.import("1", &slow)).failed(20, "checkpoint-refused", &["is in use by another process"]);
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock ended with it.
    end(&mut stage.import("1", &[]))
        .failed(20, "checkpoint-refused", &["differs in: transfer"])
        .golden("checkpoint-of-another-import");
}

#[test]
fn it_begins_where_the_registry_is_and_reads_no_more_than_it_must() {
    let stage = Stage::new(Version::V3);
    let sums = ["--checksum", &format!("md5:{}", md5(&stage)), "--checksum", &format!("disk:sha1:{}", sha1(&stage))];
    // Slower than the checkpoint is written.
    let more = [&sums[..], &["--limit-rate", "24MiB"]].concat();
    stage.killed_after(72 * MIB, &more);
    assert_eq!(fs::metadata(stage.checkpoint()).unwrap().permissions().mode() & 0o777, 0o600);
    let before = stage.way.sent();
    let report = end(&mut stage.import("1", &more)).done().report();
    let transfer = &report["transfer"];
    let from = transfer["continued_from"].as_u64().unwrap();
    assert!(from >= 64 * MIB, "{from}");
    assert!(stage.way.sent() - before < DISK + MIB - from, "what the registry has is not sent");
    let received = transfer["bytes_received"].as_u64().unwrap();
    assert!(received < DISK - from + 40 * MIB, "{received} bytes were read for what follows {from}");
    assert_eq!(report["source"]["checksums"]["computed"][0], sums[1]);
    assert_eq!(report["disk"]["checksums"]["computed"][0], format!("sha1:{}", sha1(&stage)));
    assert!(!stage.checkpoint().exists());
    // Through several connections, nothing else comes out.
    let more = [&more[..], &["--source-connections", "3"]].concat();
    fs::remove_dir_all(stage.registry.storage().join("docker")).unwrap();
    stage.killed_after(48 * MIB, &more);
    let again = end(&mut stage.import("1", &more)).done().report();
    assert!(again["transfer"]["continued_from"].as_u64().unwrap() >= 32 * MIB);
    assert_eq!(image(&again), image(&report));
}

/// A policy that allows the flags of these tests, with limits of its own.
fn policy(stage: &Stage, limits: &str) -> String {
    let flags = "[flags]\nallow = [\"--ca\", \"--plain-http\"]\n";
    fs::write(
        stage.scratch.path("policy.toml"),
        format!("schema = \"longshore.policy/v1\"\n{flags}[limits]\n{limits}\n"),
    )
    .unwrap();
    stage.scratch.text("policy.toml")
}

fn md5(stage: &Stage) -> String {
    sum("md5sum", stage)
}

fn sha1(stage: &Stage) -> String {
    sum("sha1sum", stage)
}

fn sum(tool: &str, stage: &Stage) -> String {
    let said = run(Command::new(tool).arg(stage.scratch.folder("www").join("disk.raw")));
    said.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_disk_that_is_not_the_demanded_one_leaves_nothing_to_continue() {
    let stage = Stage::new(Version::V3);
    let more = ["--checksum", &*format!("md5:{}", "0".repeat(32)), "--limit-rate", "64MiB"];
    stage.killed_after(40 * MIB, &more);
    end(&mut stage.import("1", &more)).failed(11, "checksum-mismatch", &["left behind: nothing in "]);
    assert!(!stage.checkpoint().exists());
    stage.registry.assert_empty();
}

#[test]
fn behind_a_compressor_a_filter_or_a_spool_everything_is_made_again_and_not_sent() {
    let stage = Stage::new(Version::V3);
    let spool = stage.scratch.folder("spool").display().to_string();
    let filter = Fixture::FilterRot.path();
    let ways: [&[&str]; 3] =
        [&["--compressor", "gzip"], &["--filter", &filter], &["--spool", &spool, "--spool-max", "1GiB"]];
    for way in ways {
        let more = [way, &["--limit-rate", "32MiB"]].concat();
        stage.killed_after(48 * MIB, &more);
        let before = stage.way.sent();
        let report = end(&mut stage.import("1", &more)).done().report();
        let from = report["transfer"]["continued_from"].as_u64().unwrap();
        assert!(from >= 16 * MIB, "{way:?}: {from}");
        let size = report["image"]["layer_size"].as_u64().unwrap();
        assert!(stage.way.sent() - before < size - from + MIB, "{way:?}");
        assert_eq!(report["transfer"]["bytes_received"], DISK, "{way:?}");
        fs::remove_dir_all(stage.registry.storage().join("docker")).unwrap();
        assert_eq!(image(&report), undisturbed(&stage, way), "{way:?}");
    }
}

#[test]
fn a_signal_leaves_the_upload_to_the_same_command() {
    let stage = Stage::new(Version::V3);
    let limit = ["--limit-rate", "48MiB"];
    for (signal, exit, code) in [("INT", 130, "interrupted"), ("TERM", 143, "terminated")] {
        let before = stage.way.sent();
        let mut child = stage.start("1", &limit);
        wait(&mut child, || stage.way.sent() - before >= 24 * MIB);
        run(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]));
        let says = ["left behind: the upload as far as it came, with which the same command goes on by "];
        ran(&child.wait_with_output().unwrap()).failed(exit, code, &says);
    }
    let report = end(&mut stage.import("1", &limit)).done().report();
    assert!(report["transfer"]["continued_from"].as_u64().unwrap() >= 16 * MIB);
}

#[test]
fn a_run_that_fails_before_it_goes_on_leaves_the_upload_as_it_was() {
    let stage = Stage::new(Version::V3);
    let limit = ["--limit-rate", "48MiB"];
    stage.killed_after(24 * MIB, &limit);
    // Nothing can be written where the next version of the file would be.
    let in_the_way = stage.scratch.folder("checkpoint.new");
    let says = ["the checkpoint ", " cannot be written", "left behind: the upload in ", " as the checkpoint has it"];
    end(&mut stage.import("1", &limit)).failed(20, "local-file", &says);
    fs::remove_dir(in_the_way).unwrap();
    let report = end(&mut stage.import("1", &limit)).done().report();
    assert!(report["transfer"]["continued_from"].as_u64().unwrap() >= 16 * MIB);
}

#[test]
fn another_disk_or_another_command_is_refused() {
    let stage = Stage::new(Version::V3);
    let limit = ["--limit-rate", "48MiB"];
    stage.killed_after(24 * MIB, &limit);
    let saved = fs::read(stage.checkpoint()).unwrap();
    let policy = policy(&stage, "attempts = 7");
    let differing: [(&str, &[&str], &str); 5] = [
        ("2", &limit, "differs in: destination"),
        ("1", &[], "differs in: transfer"),
        ("1", &["--limit-rate", "48MiB", "--name", "other.img"], "differs in: image"),
        (
            "1",
            &["--limit-rate", "48MiB", "--checksum", "md5:00000000000000000000000000000000"],
            "differs in: checksums",
        ),
        ("1", &["--limit-rate", "48MiB", "--policy", &policy], "differs in: policy"),
    ];
    let sent = stage.way.sent();
    for (tag, more, says) in differing {
        end(&mut stage.import(tag, more)).failed(20, "checkpoint-refused", &[says, "remove the file to start over"]);
    }
    let disk = stage.scratch.folder("www").join("disk.raw");
    let mut bytes = fs::read(&disk).unwrap();
    bytes[5] ^= 1;
    fs::write(&disk, bytes).unwrap();
    run(Command::new("touch").args(["-d", "2001-01-01", &disk.display().to_string()]));
    end(&mut stage.import("1", &limit)).failed(11, "source-changed", &["is another disk than when "]);
    assert_eq!(stage.way.sent(), sent, "nobody asked the registry");
    assert_eq!(fs::read(stage.checkpoint()).unwrap(), saved, "it is left as it was");
    for text in ["", "{}", "{\"schema\":\"hunter2\"}"] {
        fs::write(stage.checkpoint(), text).unwrap();
        end(&mut stage.import("1", &limit)).failed(20, "checkpoint-refused", &["is no checkpoint"]);
    }
}

#[test]
fn an_upload_that_the_registry_lost_is_said_and_starts_over_as_often_as_the_policy_has_it() {
    // 2.8 loses the session of a PATCH that breaks.
    let stage = Stage::new(Version::V2);
    let once = policy(&stage, "start-overs = 1");
    let more = ["--limit-rate", "64MiB", "--policy", &*once];
    stage.killed_after(24 * MIB, &more);
    assert_eq!(stage.saved()["started_over"], 0);
    stage.killed_after(24 * MIB, &more);
    assert_eq!(stage.saved()["started_over"], 1);
    let says = ["does not have the upload of the checkpoint ", "limits.start-overs", "remove the checkpoint"];
    end(&mut stage.import("1", &more)).failed(12, "upload-lost", &says);
    assert!(stage.checkpoint().exists());
    policy(&stage, "");
    fs::remove_file(stage.checkpoint()).unwrap();
    stage.killed_after(24 * MIB, &more);
    let ran = end(&mut stage.import("1", &more)).done();
    assert!(
        ran.stderr.contains("upload-lost") && ran.stderr.contains("starts over at the first byte"),
        "{}",
        ran.stderr
    );
    let report = ran.report();
    assert_eq!((&report["transfer"]["continued_from"], &report["transfer"]["restarts"]), (&Value::Null, &1.into()));
}

#[test]
fn an_upload_of_which_nobody_says_what_it_has_does_not_begin_again_in_silence() {
    let stage = Stage::new(Version::V3);
    let location = format!(
        "location /v2/ {{ proxy_pass http://{}; proxy_hide_header Range; client_max_body_size 0; proxy_http_version 1.1; \
         proxy_request_buffering off; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https; }}",
        stage.way.host()
    );
    let silent = Nginx::with(&stage.scratch, &stage.authority, &location);
    let (url, to) = (stage.nginx.url("disk.raw"), format!("docker://{}/vm:1", silent.host()));
    let (policy, checkpoint) = (policy(&stage, "start-overs = 0"), stage.checkpoint().display().to_string());
    let ca = stage.authority.ca();
    let arguments =
        ["import", &*url, &to, "--ca", &ca, "--limit-rate", "24MiB", "--policy", &policy, "--checkpoint", &checkpoint];
    let mut child = longshore(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait(&mut child, || stage.way.sent() >= 8 * MIB);
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = stage.way.sent();
    end(&mut longshore(arguments))
        .failed(12, "upload-lost", &["limits.start-overs", "remove the checkpoint"])
        .golden("upload-lost");
    assert!(stage.way.sent() - sent < 4 * MIB, "nothing was sent but what was on its way");
}

#[test]
fn an_upload_that_has_other_bytes_is_not_continued_for_ever() {
    let stage = Stage::new(Version::V3);
    let limit = ["--limit-rate", "48MiB"];
    stage.killed_after(24 * MIB, &limit);
    // The midstates of what it has would not tell; a file for each of them stands beside the data.
    let uploads = stage.registry.storage().join("docker/registry/v2/repositories/vm/_uploads");
    let upload = fs::read_dir(uploads).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(upload.join("data")).unwrap();
    bytes[1 << 20] ^= 1;
    fs::write(upload.join("data"), bytes).unwrap();
    let _ = fs::remove_dir_all(upload.join("hashstates"));
    let ran = end(&mut stage.import("1", &limit)).failed(12, "registry-mismatch", &["DIGEST_INVALID"]);
    assert!(!stage.checkpoint().exists(), "{}", ran.stderr);
    end(&mut stage.import("1", &limit)).done();
}

#[test]
fn what_cannot_be_continued_is_said_before_the_disk_moves() {
    let scratch = Scratch::new();
    let registry = Memory::start(None, Arc::new(|_, _| None));
    let (host, checkpoint) = (registry.script.host(), scratch.text("checkpoint"));
    let to = format!("docker://{host}/vm:1");
    let mut command =
        longshore(["import", "-", &to, "--plain-http", &host, "--checkpoint", &checkpoint, "--size", "4"]);
    let ran = finish(&mut command, b"disk").done();
    assert!(ran.stderr.contains("no-checkpoint"), "{}", ran.stderr);
    assert!(!scratch.path("checkpoint").exists());
    raw(&scratch.path("disk.raw"), 4096);
    let layout = format!("oci:{}", scratch.text("layout"));
    let mut command = longshore(["import", &*scratch.text("disk.raw"), &layout, "--checkpoint", &checkpoint]);
    finish(&mut command, b"").failed(2, "usage", &["an image layout is none"]);
    let nowhere = scratch.text("no/such/checkpoint");
    let mut command =
        longshore(["import", &scratch.text("disk.raw"), &to, "--plain-http", &host, "--checkpoint", &nowhere]);
    finish(&mut command, b"").failed(20, "local-file", &["the checkpoint ", "left behind: nothing in "]);
}

#[test]
fn what_is_in_a_wrapper_is_looked_into_again() {
    let stage = Stage::new(Version::V3);
    let www = stage.scratch.folder("www");
    // The probe has its verdict long before the process is killed, and what goes on is behind what it looked at.
    let inside = [qcow2(&stage.scratch.path("disk.qcow2")), noise(usize::try_from(DISK).unwrap())].concat();
    fs::write(www.join("vm.qcow2"), &inside).unwrap();
    let policy = accepting_wrappers(&stage.scratch);
    let more = ["--limit-rate", "32MiB", "--policy", &*policy];
    for (wrapper, command) in [("tar", "tar -cf disk.raw vm.qcow2"), ("zstd", "zstd -q -f -o disk.raw vm.qcow2")] {
        in_folder(&www, command);
        let undisturbed = {
            let report = end(&mut stage.import("undisturbed", &more)).done().report();
            fs::remove_dir_all(stage.registry.storage().join("docker")).unwrap();
            report
        };
        assert_eq!(undisturbed["disk"]["content"]["format"], "qcow2", "{undisturbed}");
        stage.killed_after(48 * MIB, &more);
        let report = end(&mut stage.import("1", &more)).done().report();
        assert!(report["transfer"]["continued_from"].as_u64().unwrap() >= 32 * MIB, "{report}");
        assert!(
            report["transfer"]["bytes_received"].as_u64().unwrap() < DISK,
            "it is not read from its start: {report}"
        );
        // Labels are those of what is inside, as they were.
        assert_eq!((image(&report), &report["disk"]), (image(&undisturbed), &undisturbed["disk"]), "{wrapper}");
        fs::remove_dir_all(stage.registry.storage().join("docker")).unwrap();
    }
}

/// A policy that lets wrappers be stored as they are, and the flags of these tests be named.
fn accepting_wrappers(scratch: &Scratch) -> String {
    let text = "schema = \"longshore.policy/v1\"\n[flags]\nallow = [\"--ca\", \"--plain-http\"]\n\
                [require]\naccepted-hazards = [\"archive\", \"wrapped\"]\n";
    fs::write(scratch.path("wrapped.toml"), text).unwrap();
    scratch.text("wrapped.toml")
}

/// Before and after every request of an import, those behind the last byte of the layer among them.
#[test]
fn killed_at_every_request() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), 1_000_000);
    at_every_request(&scratch, &[]);
}

#[test]
fn killed_at_every_request_with_a_wrapped_disk() {
    let scratch = Scratch::new();
    qcow2(&scratch.path("vm.qcow2"));
    in_folder(&scratch.path("."), "tar -czf disk.raw vm.qcow2");
    let policy = accepting_wrappers(&scratch);
    at_every_request(&scratch, &["--policy", &policy]);
}

fn at_every_request(scratch: &Scratch, more: &[&str]) {
    const MOST_REQUESTS: usize = 60;
    let (mut expected, mut skipped) = (None, 0);
    let secret = scratch.path("auth.json");
    for number in 1..MOST_REQUESTS {
        for stop in [Stop::Before, Stop::After] {
            let stops: Stops = Arc::new(move |at, _| (at == number).then_some(stop));
            let registry = Memory::start(None, stops);
            let (host, checkpoint) = (registry.script.host(), scratch.text("checkpoint"));
            // "hunter2" among the credentials, in base64.
            let auth = format!(r#"{{"auths":{{"{host}":{{"auth":"cG9ydGVyOmh1bnRlcjI="}}}}}}"#);
            fs::write(&secret, auth).unwrap();
            let to = format!("docker://{host}/vm:1");
            let command = || {
                let mut command = longshore(["import", &scratch.text("disk.raw"), &to, "--plain-http", &host]);
                command.args(["--checkpoint", &checkpoint, "--report", "-", "--auth-file", &scratch.text("auth.json")]);
                command.args(more);
                command
            };
            let mut child =
                command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let began = Instant::now();
            while !registry.stopped() && child.try_wait().unwrap().is_none() {
                assert!(began.elapsed() < WITHIN, "it neither comes so far nor ends");
                sleep(Duration::from_millis(2));
            }
            let done = !registry.stopped();
            let _ = child.kill();
            let first = ran(&child.wait_with_output().unwrap());
            let what = format!("{stop:?} request {number}");
            if done {
                assert_eq!(Some(image(&first.done().report())), expected, "{what}");
                assert!(skipped >= 4, "kills behind the commit find the layer there: {skipped}");
                return;
            }
            if let Ok(saved) = fs::read_to_string(scratch.path("checkpoint")) {
                assert!(!saved.contains("hunter2") && !saved.contains("cG9ydGVyOmh1bnRlcjI"), "{what}: {saved}");
            }
            let report = end(&mut command()).done().report();
            let image = image(&report);
            assert_eq!(*expected.get_or_insert_with(|| image.clone()), image, "{what}");
            let held = registry.held.lock().unwrap();
            assert_eq!(held.tags.get("1"), Some(&image.0), "{what}");
            let patches = held.requests.iter().filter(|asked| asked.starts_with("PATCH")).count();
            let continued = report["transfer"]["continued_from"].as_u64();
            skipped += usize::from(continued == report["image"]["layer_size"].as_u64() && patches == 1);
            assert!(!scratch.path("checkpoint").exists(), "{what}");
        }
    }
    panic!("an import makes more than {MOST_REQUESTS} requests");
}
