//! The verdict names the culprit. One side of each transfer is made so much slower than everything else, or works under
//! such a quota, that the rest of the machine cannot matter.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::cgroup::with_quota;
use longshore_tests::fixtures::Fixture;
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::scratch::{Scratch, noise};
use longshore_tests::script::{Handler, Script, paced_zeros, streamed, zeros};
use longshore_tests::sink;
use longshore_tests::tls::Authority;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// A source that gives zeros as fast as it can.
fn fast_source(length: u64) -> Script {
    let handler: Handler = Arc::new(move |_| Box::pin(async move { zeros(length) }));
    Script::start(None, handler)
}

/// The arguments of an import between plain servers, with its report on standard output.
fn between(source: &Script, registry: &Script, more: &[&str]) -> Vec<String> {
    let (from, to) = (source.url("disk.raw"), format!("docker://{}/vm:1", registry.host()));
    let plain = ["--plain-http", &source.host(), "--plain-http", &registry.host(), "--report", "-"];
    let fixed = ["import", &from, &to].into_iter().chain(plain).map(str::to_owned);
    fixed.chain(more.iter().map(|text| (*text).to_owned())).collect()
}

fn run(arguments: &[String]) -> Ran {
    finish(&mut longshore(arguments), b"")
}

/// The same under a quota of so many thousandths of a CPU.
fn run_under(arguments: &[String], thousandths: u32) -> Ran {
    finish(&mut with_quota(&longshore(arguments), thousandths), b"")
}

/// Panics unless report and people are told the same: that culprit, for these reasons.
fn names(ran: &Ran, culprit: &str, evidence: &[&str], advice: &str) -> Value {
    let report = ran.report();
    let bottleneck = &report["bottleneck"];
    assert_eq!(bottleneck["where"], culprit, "{bottleneck:#}\n{:#}\n{:#}", report["waits"], report["work"]);
    let (said, advised) = (bottleneck["evidence"].as_str().unwrap(), bottleneck["advice"].as_str().unwrap());
    for words in evidence {
        assert!(said.contains(words), "expected `{words}` in `{said}`");
    }
    assert!(advised.contains(advice), "expected `{advice}` in `{advised}`");
    let told = format!("bottleneck: {culprit}: {said}\n  advice: {advised}\n");
    assert!(ran.stderr.contains(&told), "expected\n{told}in\n{}", ran.stderr);
    report
}

/// Panics unless every stage that the flow passes worked or waited while bytes moved: never longer, and for half of it at
/// least. What a registry takes to answer after the last byte is handed over is in no stage, and a sink's sockets hold MiBs.
/// Under a quota a process may be held back anywhere, between two stages and while one is being opened too: then there is
/// no least, and the most is the run.
fn adds_up(report: &Value) {
    let of = |name: &str| report["transfer"][name].as_f64().unwrap();
    let moving = of("transferring_seconds");
    let held_back = !report["process"]["cgroup_quota_cpus"].is_null();
    let (least, most) = if held_back { (0.0, of("seconds")) } else { (moving * 0.5, moving) };
    for stage in report["stages"].as_array().unwrap().iter().filter(|stage| stage["stage"] != "probe") {
        let of = |name: &str| stage[name].as_f64().unwrap_or_else(|| panic!("{name} of {stage}"));
        let sum = of("busy_seconds") + of("waiting_for_input_seconds") + of("waiting_for_output_seconds");
        assert!(sum <= most * 1.05 && sum >= least, "{sum} of {most} s: {stage:#}");
        // The built-in compressors work in threads beside the flow's.
        if stage["component"]["origin"] != "built-in" || stage["stage"] != "compressor" {
            assert!(of("cpu_seconds") <= of("busy_seconds") * 1.01 + 0.01, "one thread: {stage:#}");
        }
    }
    let work: f64 = report["work"].as_array().unwrap().iter().map(|work| work["cpu_seconds"].as_f64().unwrap()).sum();
    let process = &report["process"];
    let cpu = process["cpu_user_seconds"].as_f64().unwrap() + process["cpu_system_seconds"].as_f64().unwrap();
    assert!(work <= cpu + 0.05, "{work} of {cpu} CPU seconds");
}

#[test]
fn a_slow_source() {
    let handler: Handler = Arc::new(|_| Box::pin(async { paced_zeros(12 * MIB, 4 * MIB) }));
    let source = Script::start(None, handler);
    let (registry, _) = sink::start(None, None);
    let ran = run(&between(&source, &registry, &[])).done();
    let says = ["the source gave ", " and was waited for ", "this process could move "];
    let report = names(&ran, "source", &says, "a faster source");
    adds_up(&report);
    let bottleneck = &report["bottleneck"];
    assert!(bottleneck["local_rate"].as_f64().unwrap() > bottleneck["source_rate"].as_f64().unwrap());
    let waits = report["waits"].as_array().unwrap();
    assert_eq!(waits.first().unwrap()["for"], "source", "longest first: {waits:?}");
}

#[test]
fn a_slow_registry() {
    // What the sockets' buffers take at once is less than half of it.
    let source = fast_source(40 * MIB);
    let (registry, seen) = sink::start_slow(8 * MIB);
    let ran = run(&between(&source, &registry, &[])).done();
    let says = ["the registry accepted ", " and was waited for "];
    let report = names(&ran, "registry", &says, "nothing to gain locally");
    adds_up(&report);
    assert!(seen.received.load(SeqCst) > 40 * MIB);
}

#[test]
fn a_rate_limit() {
    const RATE: u64 = 4 * MIB;
    let source = fast_source(12 * MIB);
    let (registry, _) = sink::start(None, None);
    let ran = run(&between(&source, &registry, &["--limit-rate", "4MiB"])).done();
    let report = names(&ran, "rate-limit", &["--limit-rate held the transfer at 4.0 MiB/s"], "raise --limit-rate");
    adds_up(&report);
    let seconds = report["transfer"]["seconds"].as_f64().unwrap();
    let burst = RATE as f64 / 20.0;
    assert!(seconds >= ((12 * MIB) as f64 - burst) / RATE as f64, "{seconds} s are too fast");
}

#[test]
fn a_rate_limit_makes_nobody_stall() {
    let scratch = Scratch::new();
    let source = fast_source(MIB);
    let (registry, _) = sink::start(None, None);
    let policy = format!(
        "schema = \"longshore.policy/v1\"\n[limits]\nsource-stall = \"1s\"\nregistry-stall = \"1s\"\ncomponent-idle = \"1s\"\n\
         [egress]\nplain-http = [\"{}\", \"{}\"]\n",
        source.host(),
        registry.host()
    );
    fs::write(scratch.path("policy.toml"), policy).unwrap();
    // A filter that copies: a component that waits for the limit does not count as idle either.
    let (policy, filter) = (scratch.text("policy.toml"), Fixture::FilterPass.path());
    let more = ["--policy", &policy, "--limit-rate", "256KiB", "--filter", &filter, "--size", "1MiB"];
    let ran = run(&between(&source, &registry, &more)).done();
    names(&ran, "rate-limit", &["held the transfer at 256 KiB/s"], "raise --limit-rate");
}

#[test]
fn a_cpu_quota() {
    let source = fast_source(256 * MIB);
    let (registry, _) = sink::start(None, None);
    let ran = run_under(&between(&source, &registry, &[]), 100).done();
    let says = ["the cgroup's quota of 0.10 CPUs was used up in ", "its CPU time went to ", "SHA-256 of the layer ("];
    let report = names(&ran, "cpu-quota", &says, "raise the CPU quota");
    adds_up(&report);
    let process = &report["process"];
    assert_eq!(process["cgroup_quota_cpus"], 0.1);
    assert!(process["cgroup_throttled_seconds"].as_f64().unwrap() > 0.5, "{process}");
    let (throttled, periods) = (&process["cgroup_throttled_periods"], &process["cgroup_periods"]);
    assert!(throttled.as_u64().unwrap() * 2 > periods.as_u64().unwrap(), "{process}");
}

#[test]
fn a_slow_cipher_that_the_policy_allows() {
    const SUITE: &str = "TLS_CHACHA20_POLY1305_SHA256";
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    // In small records, each of which the cipher begins anew: enough of it for a verdict wherever this runs.
    let nginx = Nginx::with(&scratch, &authority, "ssl_buffer_size 2k;");
    fs::write(scratch.folder("www").join("disk.raw"), vec![0; 192 << 20]).unwrap();
    let (registry, _) = sink::start(Some(authority.server_config()), None);
    let policy =
        format!("schema = \"longshore.policy/v1\"\n[tls]\nca = [\"{}\"]\nsuites = [\"{SUITE}\"]\n", authority.ca());
    fs::write(scratch.path("policy.toml"), policy).unwrap();
    let to = format!("docker://{}/vm:1", registry.host());
    let arguments = ["import", &nginx.url("disk.raw"), &to, "--policy", &scratch.text("policy.toml"), "--report", "-"];
    // The story of DESIGN §1: a quota makes it hurt, and it is the cipher all the same.
    let ran = run_under(&arguments.map(str::to_owned), 100).done();
    let says = ["TLS in TLS_CHACHA20_POLY1305_SHA256 with the source and the registry took ", "a quota of 0.10 CPUs"];
    let report = names(&ran, "tls", &says, "AES-GCM");
    adds_up(&report);
    let work = report["work"].as_array().unwrap();
    for side in ["source", "registry"] {
        let of = |work: &&Value| work["task"] == "tls" && work["side"] == side;
        let tls = work.iter().find(of).unwrap_or_else(|| panic!("no TLS with the {side} in {work:?}"));
        assert_eq!(tls["names"][0], SUITE);
    }
}

#[test]
fn a_compressor() {
    let source = fast_source(48 * MIB);
    let (registry, _) = sink::start(None, None);
    let more = ["--compressor", &Fixture::CompressorStore.path()];
    let ran = run_under(&between(&source, &registry, &more), 250).done();
    let says = ["the compressor `compressor-store` took ", " of the CPU time"];
    let report = names(&ran, "compressor", &says, "leave --compressor out");
    adds_up(&report);
}

#[test]
fn gzip_in_threads() {
    // Long enough for a verdict wherever it runs.
    const PARTS: u64 = 24;
    let part: Bytes = noise(16 << 20).into();
    let handler: Handler = Arc::new(move |_| {
        let part = part.clone();
        let parts = stream::iter((0..PARTS).map(move |_| Ok(part.clone())));
        Box::pin(async move { streamed(Some(PARTS * (16 << 20)), parts) })
    });
    let source = Script::start(None, handler);
    let (registry, _) = sink::start(None, None);
    let ran = run(&between(&source, &registry, &["--compressor", "gzip"])).done();
    // Whether it is waited for as well depends on how many CPUs there are for how slow a host.
    let says = ["the compressor `compressor-gzip` took ", " of the CPU time"];
    let report = names(&ran, "compressor", &says, "leave --compressor out");
    adds_up(&report);
    let stages = report["stages"].as_array().unwrap();
    let compressor = stages.iter().find(|stage| stage["stage"] == "compressor").unwrap();
    let of = |name: &str| compressor[name].as_f64().unwrap();
    assert!(of("cpu_seconds") > of("busy_seconds"), "its threads' time counts: {compressor:#}");
}

#[test]
fn a_dear_checksum_of_a_run_that_fails_by_it() {
    let source = fast_source(256 * MIB);
    let (registry, _) = sink::start(None, None);
    let wrong = format!("streebog512:{}", "0".repeat(128));
    let ran = run(&between(&source, &registry, &["--checksum", &wrong])).failed(11, "checksum-mismatch", &[]);
    names(&ran, "checksums", &["checksums (streebog512) took "], "a cheaper checksum");
}

#[test]
fn what_is_live_is_in_the_progress_events() {
    let handler: Handler = Arc::new(|_| Box::pin(async { paced_zeros(10 * MIB, 4 * MIB) }));
    let source = Script::start(None, handler);
    let (registry, _) = sink::start(None, None);
    let ran = run(&between(&source, &registry, &["--progress", "json"])).done();
    let events: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |kind: &str| {
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        of_kind.map(|event| event["bottleneck"]["where"].clone()).collect::<Vec<_>>()
    };
    assert!(told("progress").contains(&"source".into()), "{events:?}");
    assert_eq!(told("end"), ["source"]);
}

#[test]
fn what_is_short_or_not_to_be_told_is_not_told() {
    let scratch = Scratch::new();
    fs::write(scratch.path("disk.raw"), vec![0; 1 << 20]).unwrap();
    let report = scratch.text("report.json");
    let to = format!("oci:{}", scratch.text("layout"));
    let ran = import([&*scratch.text("disk.raw"), &to, "--report", &report]).done();
    assert!(!ran.stderr.contains("bottleneck"), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let evidence = report["bottleneck"]["evidence"].as_str().unwrap();
    assert_eq!(report["bottleneck"]["where"], "nothing");
    assert!(evidence.contains("too short to tell"), "{evidence}");

    let handler: Handler = Arc::new(|_| Box::pin(async { paced_zeros(6 * MIB, 4 * MIB) }));
    let source = Script::start(None, handler);
    for quiet in [&["-q"][..], &["--progress", "none"]] {
        let (registry, _) = sink::start(None, None);
        let ran = run(&between(&source, &registry, quiet)).done();
        assert_eq!(ran.report()["bottleneck"]["where"], "source");
        assert_eq!(ran.stderr, "");
    }
}
