//! What a policy lets components do: which may run, as what, and what each is granted.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::fixtures::{Fixture, folder};
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::script::{Handler, Script, streamed};

const DISK: usize = 200_000;

fn digest_of(path: &str) -> String {
    let sum = run(Command::new("sha256sum").arg(path));
    format!("sha256:{}", sum.split_whitespace().next().unwrap())
}

fn built_in(name: &str) -> String {
    folder().join("built-in").join(name).with_extension("wasm").display().to_string()
}

/// A scratch folder with a disk.
struct Bench {
    scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        raw(&scratch.path("disk.raw"), DISK);
        Self { scratch }
    }

    fn policy(&self, rules: &str) -> String {
        fs::write(self.scratch.path("policy.toml"), format!("schema = \"longshore.policy/v1\"\n{rules}\n")).unwrap();
        self.scratch.text("policy.toml")
    }

    fn import(&self, rules: &str, more: &[&str]) -> Ran {
        let (disk, to, policy) = (self.scratch.text("disk.raw"), self.to(), self.policy(rules));
        import([&[&*disk, &*to, "--policy", &*policy], more].concat())
    }

    fn to(&self) -> String {
        format!("oci:{}", self.scratch.text("layout"))
    }

    fn nothing_was_pushed(&self) {
        assert!(!self.scratch.path("layout/index.json").exists(), "nothing is tagged");
    }
}

#[test]
fn only_components_that_are_listed_run() {
    let bench = Bench::new();
    let flip = Fixture::SourceFlip.path();
    let entry = format!("[[components.allow]]\ndigest = \"{}\"", digest_of(&flip));
    let other = format!("[[components.allow]]\ndigest = \"{}\"", digest_of(&Fixture::FilterPass.path()));
    let digest = digest_of(&flip);
    let says = [&*format!("`{flip}` ({digest}) must not run as source"), "`components.allow` (", "policy.toml:3)"];
    bench.import(&other, &["--source", &flip]).failed(13, "component-denied", &says);
    let as_probe = format!("{entry}\nkinds = [\"probe\"]");
    let says = ["`components.allow.kinds` (", "policy.toml:4) does not list `source`"];
    bench.import(&as_probe, &["--source", &flip]).failed(13, "component-denied", &says);
    let says = ["`components.unlisted` (", "policy.toml:3) wants it listed"];
    bench.import("[components]\nunlisted = false", &["--source", &flip]).failed(13, "component-denied", &says);
    // A file that is no component at all is not compiled to find that out.
    fs::write(bench.scratch.path("text.wasm"), "this is text").unwrap();
    let text = bench.scratch.text("text.wasm");
    bench
        .import(&entry, &["--source", &text])
        .failed(13, "component-denied", &["does not list its digest"])
        .golden("component-not-listed");
    bench.nothing_was_pushed();

    bench.import(&entry, &[]).done();
    bench.import(&format!("[components]\nunlisted = true\n{other}"), &["--source", &flip]).done();
    bench.import(&format!("{entry}\nkinds = [\"source\"]\norigins = [\"file\"]"), &["--source", &flip]).done();
}

#[test]
fn built_in_components_may_have_to_be_listed_too() {
    let bench = Bench::new();
    let says =
        ["`source-file` (sha256:", "`components.built-in` (", "policy.toml:3) wants built-in components listed too"];
    bench
        .import("[components]\nbuilt-in = false", &[])
        .failed(13, "component-denied", &says)
        .golden("component-built-in-not-listed");
    bench.nothing_was_pushed();
    let entry = |name: &str, kind: &str| {
        let digest = digest_of(&built_in(name));
        format!("[[components.allow]]\ndigest = \"{digest}\"\nkinds = [\"{kind}\"]\norigins = [\"built-in\"]\n")
    };
    let all = [("source-file", "source"), ("probe-disk", "probe"), ("framing-tar", "framing")];
    let listed = |entries: &[(&str, &str)]| {
        let entries: String = entries.iter().map(|(name, kind)| entry(name, kind)).collect();
        format!("[components]\nbuilt-in = false\n{entries}")
    };
    bench.import(&listed(&all[..2]), &[]).failed(13, "component-denied", &["`framing-tar` (", "as framing"]);
    bench.import(&listed(&all), &[]).done();
    // The same bytes out of a file come from elsewhere.
    let file = built_in("source-file");
    let says = ["`components.allow.origins` (", "does not list `file`"];
    bench.import(&listed(&all), &["--source", &file]).failed(13, "component-denied", &says);
}

#[test]
fn a_probe_asks_the_same_policy() {
    let bench = Bench::new();
    let policy = bench.policy("[components]\nunlisted = false");
    let disk = bench.scratch.text("disk.raw");
    let probe = Fixture::ProbeOther.path();
    let ran = finish(&mut longshore(["probe", &disk, "--policy", &policy, "--probe", &probe]), b"");
    ran.failed(13, "component-denied", &["must not run as probe"]);
}

#[test]
fn a_source_reaches_the_hosts_that_its_entry_lists_with_its_methods_and_options() {
    let bench = Bench::new();
    let disk = raw(&bench.scratch.path("served.raw"), DISK);
    let whole = Bytes::from(disk);
    let asked = Arc::new(AtomicU64::new(0));
    let asks = Arc::clone(&asked);
    let handler: Handler = Arc::new(move |_| {
        asks.fetch_add(1, SeqCst);
        let whole = whole.clone();
        Box::pin(async move { streamed(Some(whole.len() as u64), stream::once(async { Ok(whole) })) })
    });
    let server = Script::start(None, handler);
    let (url, host) = (server.url("disk.raw"), server.host());
    let digest = digest_of(&built_in("source-http"));
    let run = |grant: &str, more: &[&str]| {
        let rules = format!(
            "[egress]\nplain-http = [\"{host}\"]\n[[components.allow]]\ndigest = \"{digest}\"\nkinds = [\"source\"]\n{grant}"
        );
        let (policy, to) = (bench.policy(&rules), bench.to());
        import([&[&*url, &*to, "--policy", &*policy], more].concat())
    };
    let says = [&*format!("the component asked for http://{host}"), "`components.allow.hosts` (", "policy.toml:7)"];
    run("hosts = [\"*.example\"]", &[]).failed(13, "egress-denied", &says).golden("component-host-not-granted");
    let says = [" with ", "`components.allow.methods` (", "policy.toml:7)"];
    run("methods = [\"HEAD\"]", &[]).failed(13, "egress-denied", &says).golden("component-method-not-granted");
    assert_eq!(asked.load(SeqCst), 0, "refused before anything is connected to");
    let says = ["must not be told the option `b`", "`components.allow.options` (", "policy.toml:7)"];
    run("options = [\"a\"]", &["--source-option", "b=1"])
        .failed(13, "component-denied", &says)
        .golden("component-option-not-granted");
    assert_eq!(asked.load(SeqCst), 0);
    bench.nothing_was_pushed();
    run(&format!("hosts = [\"{host}\"]\nmethods = [\"GET\"]"), &[]).done();
    assert!(asked.load(SeqCst) > 0);
}

#[test]
fn a_component_puts_out_no_more_than_its_entry_grants() {
    let bench = Bench::new();
    let entry = |digest: &str, most: usize| {
        format!("[components]\nunlisted = true\n[[components.allow]]\ndigest = \"{digest}\"\noutput = \"{most}\"")
    };
    let (source, filter) = (digest_of(&built_in("source-file")), digest_of(&Fixture::FilterPass.path()));
    let says = |who: &str| {
        let words = format!("{who} put out more than the {} bytes that the policy's", DISK - 1);
        [words, "`components.allow.output` (".to_owned()]
    };
    let refused = |ran: Ran, who: &str| {
        let says = says(who);
        ran.failed(14, "component-budget", &[&says[0], &says[1]]);
        bench.nothing_was_pushed();
    };
    let ran = bench.import(&entry(&source, DISK - 1), &[]).golden("component-output-spent");
    refused(ran, "the source `source-file`");
    let pass = Fixture::FilterPass.path();
    let size = DISK.to_string();
    let with = ["--filter", &*pass, "--size", &*size];
    refused(bench.import(&entry(&filter, DISK - 1), &with), "the filter `filter-pass`");
    bench.import(&entry(&source, DISK), &[]).done();
    bench.import(&entry(&filter, DISK), &with).done();
    let gzip = digest_of(&built_in("compressor-gzip"));
    bench.import(&entry(&gzip, 1000), &["--compressor", "gzip"]).failed(
        14,
        "component-budget",
        &["the compressor `compressor-gzip` put out more than the 1000 bytes"],
    );
}

#[test]
fn an_entry_sets_memory_and_cpu_of_one_component() {
    let bench = Bench::new();
    // It takes memory until it is stopped.
    let hoard = Fixture::FilterHoard.path();
    let entry = format!("[[components.allow]]\ndigest = \"{}\"\nmemory = \"5MiB\"", digest_of(&hoard));
    bench.import(&entry, &["--filter", &hoard]).failed(
        14,
        "component-budget",
        &["the filter `filter-hoard` was stopped", &format!("granted are {}", 5 << 20)],
    );
    let spin = Fixture::SourceSpin.path();
    let entry = format!("[[components.allow]]\ndigest = \"{}\"\ncpu = \"1s\"", digest_of(&spin));
    let ran = bench.import(&entry, &["--source", &spin]);
    ran.failed(14, "component-budget", &["the source `source-spin` was stopped: the CPU budget was spent after 1."]);
    bench.nothing_was_pushed();
}

#[test]
fn a_document_that_extends_another_has_its_values_and_its_own() {
    let bench = Bench::new();
    fs::create_dir(bench.scratch.path("company")).unwrap();
    let base = "schema = \"longshore.policy/v1\"\n[components]\nunlisted = false\n[destinations]\noverwrite = false\n\
                [limits]\nattempts = 7\n";
    fs::write(bench.scratch.path("company/base.toml"), base).unwrap();
    let extends = "extends = \"company/base.toml\"";
    let probe = Fixture::ProbeOther.path();
    let says = ["`components.unlisted` (", "company/base.toml:3) wants it listed"];
    bench.import(extends, &["--probe", &probe]).failed(13, "component-denied", &says);
    bench.import(&format!("{extends}\n[components]\nunlisted = true"), &["--probe", &probe]).done();
    bench.import(extends, &[]).failed(13, "tag-exists", &["company/base.toml:5)"]);
    let policy = bench.policy(&format!("{extends}\n[limits]\nattempts = 8\nsource-attempts = 2"));
    let shown = finish(&mut longshore(["policy", "show", "--policy", &policy]), b"").done().stdout;
    for line in ["attempts = 8  # ", "source-attempts = 2  # ", "overwrite = false  # ", "unlisted = false  # "] {
        let line = shown.lines().find(|shown| shown.starts_with(line)).unwrap_or_else(|| panic!("{line} in {shown}"));
        let own = line.contains("attempts");
        assert_eq!(line.contains("/company/base.toml:"), !own, "{line}");
    }
    // What is shown is one document that says the same.
    fs::write(bench.scratch.path("shown.toml"), &shown).unwrap();
    finish(&mut longshore(["policy", "check", &bench.scratch.text("shown.toml")]), b"").done();
    let policy = bench.policy("extends = \"absent.toml\"");
    let says = ["policy.toml:2:11: the policy `", "absent.toml` cannot be read"];
    finish(&mut longshore(["policy", "check", &policy]), b"")
        .failed(13, "policy-invalid", &says)
        .golden("policy-extended-is-absent");
}

#[test]
fn what_would_be_allowed_is_explained_line_by_line() {
    let bench = Bench::new();
    let digest = digest_of(&built_in("source-http"));
    let rules = format!(
        "[egress]\nplain-http = [\"127.0.0.1:9\"]\n[egress.source]\nhosts = [\"images.example\", \"127.0.0.1\"]\n\
         [[components.allow]]\ndigest = \"{digest}\"\noptions = [\"a\"]\n[[destinations.repository]]\n\
         match = \"r.example/disks/*\"\noverwrite = false\n[require]\nchecksum = [\"sha256\"]\nformats = [\"raw\"]"
    );
    let policy = bench.policy(&rules);
    let explain =
        |more: &[&str]| finish(&mut longshore([&["policy", "explain", "--policy", &policy], more].concat()), b"");
    let sum = format!("sha256:{}", "a".repeat(64));
    let good = ["https://images.example/disk.raw", "r.example/disks/a:1", "--checksum", &sum, "--source-option", "a=1"];
    let shown = explain(&good).done().stdout;
    for line in [
        format!("allowed  run `source-http` ({digest}) as source: `components.allow` ({policy}:7)"),
        format!("allowed  tell the source the option `a`: `components.allow.options` ({policy}:8)"),
        "as probe: `components.built-in` (built-in)".to_owned(),
        format!("allowed  connect to https://images.example: `egress.source.hosts` ({policy}:5)"),
        "open     connect to the addresses of images.example: `egress.source.addresses` (built-in)".to_owned(),
        "allowed  follow at most 10 redirects of one read: `egress.redirects` (built-in)".to_owned(),
        format!("allowed  push a disk with the checksums that were named: `require.checksum` ({policy}:13)"),
        format!("open     push a disk of that format: `require.formats` ({policy}:14)"),
        format!("allowed  write r.example/disks/a, tagged 1: `destinations.repository` ({policy}:10)"),
        format!(
            "open     put tags that may be there already in r.example/disks/a: `destinations.repository.overwrite` ({policy}:11)"
        ),
        "allowed  connect to https://r.example: `egress.registry.hosts` (built-in)".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown.ends_with(&line)), "expected `{line}` in\n{shown}");
    }
    assert!(!shown.contains("denied"), "{shown}");
    let plain = explain(&["http://127.0.0.1:9/x", "r.example/disks/a", "--checksum", &sum]).done().stdout;
    let line = format!("allowed  speak to http://127.0.0.1:9 without TLS: `egress.plain-http` ({policy}:3)");
    assert!(plain.lines().any(|shown| shown == line), "{plain}");

    // Everything that would be refused is on a line, and the first of it is how it ends: as the import itself does.
    let bad: [(&[&str], &str, &str); 7] = [
        (
            &["https://other.example/x", "r.example/disks/a", "--checksum", &sum],
            "egress-denied",
            "connect to https://other",
        ),
        (
            &["https://images.example/x", "r.example/disks/a", "--checksum-file", "https://sums.example/x"],
            "egress-denied",
            "connect to https://sums.example",
        ),
        (
            &["http://images.example/x", "r.example/disks/a", "--checksum", &sum],
            "plain-http-denied",
            "connect to http://im",
        ),
        (&["https://images.example/x", "r.example/a", "--checksum", &sum], "destination-denied", "write r.example/a"),
        (&["https://images.example/x", "r.example/disks/a"], "checksum-required", "push a disk with the checksums"),
        (
            &["https://images.example/x", "r.example/disks/a", "--checksum", &sum, "--source-option", "b=1"],
            "component-denied",
            "tell the source the option `b`",
        ),
        (
            &["https://images.example/x", "r.example/disks/a", "--checksum", &sum, "--framing", "FRAMING"],
            "component-denied",
            "as framing",
        ),
    ];
    let framing = Fixture::FramingExtra.path();
    for (arguments, code, subject) in bad {
        let arguments: Vec<&str> =
            arguments.iter().map(|argument| if *argument == "FRAMING" { &*framing } else { *argument }).collect();
        let ran = explain(&arguments);
        let line = ran.stdout.lines().find(|line| line.starts_with("denied")).map(str::to_owned);
        assert!(line.as_ref().is_some_and(|line| line.contains(subject)), "{subject} in {}", ran.stdout);
        ran.failed(13, code, &[]);
        import([&*arguments, &["--policy", &policy]].concat()).failed(13, code, &[]);
    }
    explain(&["https://other.example/x", "s.example/a"]).failed(
        13,
        "egress-denied",
        &["the policy's `egress.source.hosts`"],
    );
    explain(&["x", "oci:y", "--ca", &built_in("source-http")]).failed(13, "flag-denied", &[]);
    bench.nothing_was_pushed();
}
