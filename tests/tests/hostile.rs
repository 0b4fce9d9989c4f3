//! Every hostile guest: how its run ends, how long it may take, how much memory, and that nothing of it is left at a registry. The
//! table has every fixture: a new one does not compile until it says what it is.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use longshore_tests::fixtures::{ALL, Fixture};
use longshore_tests::program::{MOST_OF_ITS_OWN, finish, longshore, watched_within};
use longshore_tests::registry::{Registry, Setup, Version};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Handler, Script, full};

const DISK: usize = 300_000;
/// What a guest is granted here of what ends it: shorter than what is built in, which these tests would wait for.
const SHORT: Duration = Duration::from_secs(2);
/// And of the rest, so that nothing else ends it, however busy the machine is.
const LONG: Duration = Duration::from_secs(300);
const MEMORY: u64 = 16 << 20;
/// What a run takes beside what its guest is granted, at most: its start, and a machine that does other things too. The guest
/// has been compiled before.
const AROUND: Duration = Duration::from_secs(10);

/// What a fixture is.
enum Role {
    Hostile(Case),
    /// It does as it should, or what it does is looked at in that test.
    Other(&'static str),
}

/// How a hostile guest is met.
struct Case {
    flag: &'static str,
    exit: i32,
    code: &'static str,
    stage: &'static str,
    stopped: Stopped,
}

/// What ends it.
#[derive(Clone, Copy, PartialEq)]
enum Stopped {
    /// Something that takes no time.
    AtOnce,
    /// Its CPU budget: it was let run for so long.
    Cpu,
    /// The idle limit.
    Idle,
    /// The limit of what it keeps others waiting in all.
    Wait,
}

impl Stopped {
    /// What a guest is granted of that limit.
    fn granted(self, limit: Self) -> Duration {
        if self == limit { SHORT } else { LONG }
    }

    /// The least that it takes.
    fn least(self) -> Duration {
        if self == Self::AtOnce { Duration::ZERO } else { SHORT }
    }
}

fn role(fixture: Fixture) -> Role {
    use Stopped::{AtOnce, Cpu, Idle, Wait};
    let hostile = |flag, exit, code, stage, stopped| Role::Hostile(Case { flag, exit, code, stage, stopped });
    let source = |exit, code, stopped| hostile("--source", exit, code, "source", stopped);
    let filter = |exit, code, stopped| hostile("--filter", exit, code, "filter", stopped);
    match fixture {
        Fixture::CompressorBack => hostile("--compressor", 14, "component-contract", "compressor", AtOnce),
        Fixture::CompressorScript => Role::Other("compressors.rs"),
        Fixture::CompressorStore => Role::Other("stages.rs"),
        Fixture::CompressorXz => hostile("--compressor", 14, "component-invalid", "compressor", AtOnce),
        Fixture::FilterChatter => Role::Other("containment.rs"),
        Fixture::FilterDeep => filter(14, "component-trapped", AtOnce),
        Fixture::FilterDescribes => filter(14, "component-budget", Cpu),
        Fixture::FilterDrops => filter(14, "component-failed", AtOnce),
        Fixture::FilterFetch => hostile("--filter", 14, "component-invalid", "plan", AtOnce),
        Fixture::FilterFlood => filter(11, "disk-length-mismatch", AtOnce),
        Fixture::FilterHandles => filter(14, "component-trapped", AtOnce),
        Fixture::FilterHead => Role::Other("stages.rs"),
        Fixture::FilterHoard => filter(14, "component-budget", AtOnce),
        Fixture::FilterInvalid => filter(11, "disk-invalid", AtOnce),
        Fixture::FilterLiar => filter(11, "disk-length-mismatch", AtOnce),
        Fixture::FilterMute => filter(14, "component-stalled", Idle),
        Fixture::FilterOpen => filter(14, "component-contract", AtOnce),
        Fixture::FilterPass => Role::Other("stages.rs"),
        Fixture::FilterRot => Role::Other("stages.rs"),
        Fixture::FilterTasks => filter(14, "component-budget", AtOnce),
        Fixture::FilterTrickles => filter(14, "component-stalled", Wait),
        Fixture::FilterWaits => filter(14, "component-stalled", Idle),
        Fixture::FilterWords => filter(14, "component-trapped", AtOnce),
        Fixture::FramingExtra => Role::Other("components.rs"),
        Fixture::FramingWasi => Role::Other("wasi.rs"),
        Fixture::ProbeOther => Role::Other("components.rs"),
        Fixture::ProbeScript => Role::Other("probe.rs"),
        Fixture::ProbeWasiHttp => hostile("--probe", 14, "component-invalid", "plan", AtOnce),
        Fixture::SourceFlip => Role::Other("components.rs"),
        Fixture::SourceIdle => source(14, "component-stalled", Idle),
        Fixture::SourceLong => source(11, "source-length-mismatch", AtOnce),
        Fixture::SourceOpen => source(14, "component-contract", AtOnce),
        Fixture::SourceRanged => Role::Other("probe.rs"),
        Fixture::SourceRequests => source(14, "component-budget", AtOnce),
        Fixture::SourceScheme => Role::Other("stages.rs"),
        Fixture::SourceShort => source(11, "source-length-mismatch", AtOnce),
        Fixture::SourceSpin => source(14, "component-budget", Cpu),
        Fixture::SourceTrap => source(14, "component-trapped", AtOnce),
        Fixture::SourceWasiHttp02 | Fixture::SourceWasiHttp03 => Role::Other("wasi.rs"),
        Fixture::SourceWasiNosy => Role::Other("wasi.rs"),
    }
}

/// The least number of them.
const HOSTILE: usize = 20;

#[test]
fn each_ends_with_its_error_in_its_time_and_its_memory_and_leaves_nothing() {
    let hostile: Vec<(Fixture, Case)> = ALL
        .into_iter()
        .filter_map(|fixture| match role(fixture) {
            Role::Hostile(case) => Some((fixture, case)),
            Role::Other(_) => None,
        })
        .collect();
    assert!(hostile.len() >= HOSTILE, "{}", hostile.len());
    // Some at once: most of them only wait.
    thread::scope(|scope| {
        for part in hostile.chunks(hostile.len().div_ceil(3)) {
            scope.spawn(move || part.iter().for_each(|(fixture, case)| meet(*fixture, case)));
        }
    });
}

fn meet(fixture: Fixture, case: &Case) {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    let answer: Handler = Arc::new(|_| Box::pin(async { full(200, vec![7; 10]) }));
    let server = Script::start(None, answer);
    raw(&scratch.path("disk.raw"), DISK);
    let source = if fixture == Fixture::SourceRequests { server.url("disk.raw") } else { scratch.text("disk.raw") };
    let granted = |limit| case.stopped.granted(limit).as_secs();
    let policy = format!(
        "schema = \"longshore.policy/v1\"\n[limits]\ncomponent-cpu = \"{}s\"\ncomponent-idle = \"{}s\"\n\
         component-wait = \"{}s\"\ncomponent-memory = \"{}MiB\"\n[egress]\nplain-http = [\"{}\", \"{}\"]\n",
        granted(Stopped::Cpu),
        granted(Stopped::Idle),
        granted(Stopped::Wait),
        MEMORY >> 20,
        registry.host(),
        server.host()
    );
    fs::write(scratch.path("policy.toml"), policy).unwrap();
    let (to, policy, size) = (registry.reference("vm:1"), scratch.text("policy.toml"), DISK.to_string());
    let arguments = [&*source, &*to, case.flag, &*fixture.path(), "--policy", &*policy, "--report", "-"];
    let mut command = longshore([&["import"], &arguments[..]].concat());
    if fixture != Fixture::SourceRequests {
        command.args(["--size", &size]);
    }
    let cache = scratch.text("cache");
    let mut compiled = longshore(["component", "inspect", &*fixture.path(), "--policy", &*denying(&scratch)]);
    finish(compiled.env("LONGSHORE_CACHE", &cache), b"").done();
    command.env("LONGSHORE_CACHE", &cache);
    let least = case.stopped.least();
    let (ran, seen) = watched_within(&mut command, least + AROUND);
    println!("{fixture:?}: {} after {:.1} s with {} MiB", case.code, seen.took.as_secs_f64(), seen.own_bytes >> 20);
    let ran = ran.failed(case.exit, case.code, &[]);
    let error = &ran.report()["error"];
    assert_eq!((&error["code"], &error["stage"]), (&case.code.into(), &case.stage.into()), "{fixture:?}");
    assert!(ran.stderr.contains(fixture.name()), "{fixture:?}: it is not named in\n{}", ran.stderr);
    assert!(seen.took >= least, "{fixture:?}: it was given {least:?} and ended after {:?}", seen.took);
    let most = MOST_OF_ITS_OWN + MEMORY;
    assert!(seen.own_bytes <= most, "{fixture:?}: {} MiB, expected at most {}", seen.own_bytes >> 20, most >> 20);
    registry.assert_empty();
    assert!(!registry.has_tag("vm", "1"), "{fixture:?}");
}

/// A policy under which components are compiled and none runs.
fn denying(scratch: &Scratch) -> String {
    let path = scratch.text("denying.toml");
    fs::write(&path, "schema = \"longshore.policy/v1\"\n[components]\nunlisted = false\n").unwrap();
    path
}

/// What is said of the others is true: that test has them.
#[test]
fn every_other_fixture_is_exercised_where_it_says() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for fixture in ALL {
        if let Role::Other(file) = role(fixture) {
            let text = fs::read_to_string(tests.join(file)).unwrap();
            assert!(text.contains(&format!("Fixture::{fixture:?}")), "{fixture:?} is not in {file}");
        }
    }
}
