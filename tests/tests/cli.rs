//! The command line as a user meets it: help, completions, pages, progress, colours, and output that cannot be written.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::program::{Ran, finish, import, longshore, path};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Handler, Script, streamed};
use serde_json::Value;

const DISK: usize = 3_000_000;

/// A disk and a layout.
struct Stage(Scratch);

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        raw(&scratch.path("disk.raw"), DISK);
        Self(scratch)
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let (disk, to) = (self.0.text("disk.raw"), format!("oci:{}:1", self.0.text("layout")));
        let all = [&["import", &*disk, &*to], more].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    fn import(&self, more: &[&str]) -> Ran {
        finish(&mut longshore(self.arguments(more)), b"")
    }

    /// Runs it by a shell script that gets the program and its arguments as `"$@"`.
    fn by_shell(&self, script: &str, more: &[&str]) -> Ran {
        let mut shell = Command::new("bash");
        shell.args(["-c", script, "bash"]).arg(path()).args(self.arguments(more));
        finish(shell.env_clear().env("PATH", "/usr/bin:/bin"), b"")
    }
}

fn run(arguments: &[&str]) -> Ran {
    finish(&mut longshore(arguments), b"")
}

/// Without the line that says how long it took.
fn without_times(mut ran: Ran) -> Ran {
    ran.stderr =
        ran.stderr.lines().filter(|line| !line.starts_with("imported ")).map(|line| format!("{line}\n")).collect();
    ran
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

fn types(events: &[Value]) -> Vec<String> {
    let named = events.iter().map(|event| match event["type"].as_str().unwrap() {
        "phase" => format!("phase {}", event["phase"].as_str().unwrap()),
        other => other.to_owned(),
    });
    named.filter(|name| name != "progress").collect()
}

#[test]
fn what_is_mistyped_gets_a_suggestion_and_exit_2() {
    for (arguments, says) in [
        (&["imprt"][..], "'import'"),
        (&["import", "a", "b", "--chekcsum", "x"], "similar argument exists: '--checksum'"),
        (&["import", "a", "b", "--progress", "jsn"], "similar value exists: 'json'"),
        (&["import", "a", "b", "--size", "10G"], "KiB, MiB, GiB or TiB"),
        (&["import", "a", "b", "--size=-1"], "expected bytes"),
        (&["import", "a"], "<DESTINATION>"),
        (&["import", "a", "b", "-q", "-v"], "cannot be used with"),
        (&["completions", "tcsh"], "possible values: bash"),
        (&["man", "frobnicate"], "no command `frobnicate`"),
    ] {
        run(arguments).failed(2, "usage", &[says]);
    }
    run(&["import", "a", "b", "--chekcsum", "x"]).golden("usage-mistyped-flag");
    run(&["import", "a", "b", "--size", "10G"]).golden("usage-size-unit");
    let bare = run(&[]);
    assert_eq!(bare.code, Some(2));
    assert!(bare.stdout.is_empty() && bare.stderr.contains("Usage: longshore"), "{}", bare.stderr);
}

#[test]
fn help_goes_to_standard_output_and_is_no_error() {
    for arguments in [&["--help"][..], &["help"], &["help", "import"], &["import", "--help"], &["component", "-h"]] {
        let ran = run(arguments).done();
        assert!(ran.stdout.contains("Usage: longshore") && ran.stderr.is_empty(), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stdout.contains('\x1b'));
    }
}

#[test]
fn sizes_may_have_a_binary_unit() {
    let stage = Stage::new();
    stage.import(&["--size", "2929KiB"]).failed(11, "source-length-mismatch", &["expected 2999296 as --size says"]);
    stage.import(&["--size", "3000000"]).done();
}

#[test]
fn shells_take_the_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell]).done();
        for word in ["longshore", "import", "checksum-file", "progress-fd"] {
            assert!(ran.stdout.contains(word), "{shell} lacks {word}");
        }
        assert!(ran.stderr.is_empty());
    }
    let script = run(&["completions", "bash"]).done().stdout
        + "COMP_WORDS=(longshore import --checks); COMP_CWORD=2; _longshore longshore --checks import; echo \"${COMPREPLY[@]}\"";
    let ran = finish(Command::new("bash").arg("--norc").env_clear().env("PATH", "/usr/bin:/bin"), script.as_bytes());
    assert_eq!(ran.done().stdout.trim(), "--checksum --checksum-file");
}

#[test]
fn pages_have_exit_codes_and_environment() {
    let ran = run(&["man", "import"]).done();
    for words in [".TH LONGSHORE-IMPORT 1", "\\-\\-checksum\\-file", ".SH \"EXIT STATUS\"", "LONGSHORE_POLICY"] {
        assert!(ran.stdout.contains(words), "the page lacks {words}");
    }
    assert!(run(&["man"]).done().stdout.contains(".SH SUBCOMMANDS"));
}

/// A runtime, an engine or a TLS client would need descriptors and threads.
#[test]
fn what_only_prints_needs_one_descriptor_and_starts_nothing() {
    let limited = |arguments: &str| {
        let mut shell = Command::new("sh");
        // Three are open, and the loader needs one.
        shell.args(["-c", &format!("ulimit -n 4; exec \"$0\" {arguments}")]).arg(path());
        finish(shell.env_clear().env("PATH", "/usr/bin:/bin"), b"")
    };
    for arguments in ["--version", "--help", "help import", "completions bash", "man import"] {
        let ran = limited(arguments).done();
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{arguments}: {}", ran.stderr);
    }
    // The limit is real.
    limited("component list").failed(70, "internal", &[]);
}

#[test]
fn json_lines_on_a_descriptor_leave_standard_error_to_people() {
    let stage = Stage::new();
    let events_file = stage.0.text("events");
    let ran = stage.by_shell(&format!("\"$@\" 3>{events_file}"), &["--progress", "json", "--progress-fd", "3"]).done();
    assert!(ran.stderr.starts_with("imported disk.raw"), "{}", ran.stderr);
    let events = events(&fs::read_to_string(&events_file).unwrap());
    let expected = ["start", "phase opening", "phase transferring", "phase committing", "phase publishing", "end"];
    assert_eq!(types(&events), expected);
    let mut before = (0.0, 0, 0);
    for event in &events {
        assert_eq!((&event["schema"], &event["attempt"]), (&"longshore.progress/v1".into(), &1.into()));
        let now = (
            event["elapsed_seconds"].as_f64().unwrap(),
            event["bytes_received"].as_u64().unwrap(),
            event["bytes_sent"].as_u64().unwrap(),
        );
        assert!(now.0 >= before.0 && now.1 >= before.1 && now.2 >= before.2, "{now:?} after {before:?}");
        before = now;
    }
    let (start, end) = (&events[0], events.last().unwrap());
    assert_eq!((&start["version"], &start["bytes_total"]), (&env!("CARGO_PKG_VERSION").into(), &Value::Null));
    assert_eq!(start["source"].as_str().unwrap(), stage.0.text("disk.raw"));
    assert_eq!((&end["outcome"], &end["error"]), (&"done".into(), &Value::Null));
    assert_eq!(end["reference"].as_str().unwrap(), ran.stdout.trim());
    assert_eq!((&end["bytes_received"], &end["bytes_sent"]), (&DISK.into(), &end["bytes_total"]));
    assert!(end["bytes_total"].as_u64().unwrap() > DISK as u64);
}

/// A source that sends a half, waits for long enough that something is shown, and sends the other.
fn halving() -> Script {
    let handler: Handler = Arc::new(|_| {
        Box::pin(async {
            let halves = stream::unfold(0, async |sent| {
                if sent == 2 {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(700 * sent)).await;
                Some((Ok(Bytes::from(vec![7; DISK / 2])), sent + 1))
            });
            streamed(Some(DISK as u64), Box::pin(halves))
        })
    });
    Script::start(None, handler)
}

#[test]
fn progress_is_told_while_bytes_move_and_not_too_often() {
    let source = halving();
    let stage = Stage::new();
    let to = format!("oci:{}", stage.0.text("layout"));
    let url = source.url("disk.raw?signature=hunter2");
    let ran = import([&*url, &to, "--plain-http", &source.host(), "--progress", "json"]).done();
    assert!(!ran.stderr.contains("hunter2"), "signed queries are redacted: {}", ran.stderr);
    let events = events(&ran.stderr);
    let told: Vec<&Value> = events.iter().filter(|event| event["type"] == "progress").collect();
    let times: Vec<f64> = told.iter().map(|event| event["elapsed_seconds"].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 0.5), "{times:?}");
    let halfway = told.iter().find(|event| event["bytes_received"] == DISK / 2);
    let halfway = halfway.unwrap_or_else(|| panic!("nothing was told of the first half: {}", ran.stderr));
    assert_eq!(
        (&halfway["phase"], halfway["bytes_total"].as_u64()),
        (&"transferring".into(), Some(DISK as u64 + 2368))
    );
}

#[test]
fn json_lines_on_standard_error_share_it_with_nothing_but_the_final_error() {
    let stage = Stage::new();
    let ran = stage.import(&["--progress", "json"]).done();
    assert_eq!(types(&events(&ran.stderr)).last().unwrap(), "end");
    let ran = stage.import(&["--progress", "json", "--size", "1"]).failed(11, "source-length-mismatch", &[]);
    let (lines, error) = ran.stderr.split_at(ran.stderr.find("error[").unwrap());
    let lines = events(lines);
    let end = lines.last().unwrap();
    assert_eq!((&end["type"], &end["outcome"], &end["reference"]), (&"end".into(), &"failed".into(), &Value::Null));
    let expected = serde_json::json!({
        "code": "source-length-mismatch",
        "exit": 11,
        "stage": "source",
        "message": "the source announces 3000000 bytes, expected 1 as --size says",
    });
    assert_eq!(end["error"], expected);
    assert!(error.contains("\n  left behind: nothing"), "{error}");
    // Refused before anything began: there is an end, and no start.
    let ran = import(["a", "ftp://", "--progress", "json"]);
    let lines = events(ran.stderr.split_at(ran.stderr.find("error[").unwrap()).0);
    assert_eq!(types(&lines), ["phase opening", "end"]);
    assert_eq!(lines[1]["error"]["exit"], 2);
}

/// As node.js and others hand descriptors to their children.
#[test]
fn a_descriptor_may_be_a_socket() {
    let stage = Stage::new();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = longshore(stage.arguments(&["--progress", "json", "--progress-fd", "2"]));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(OwnedFd::from(theirs)));
    assert!(command.status().unwrap().success());
    drop(command);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert!(said.contains(r#""type":"end","outcome":"done""#), "{said}");
}

#[test]
fn a_descriptor_that_cannot_be_written_to_is_refused() {
    let stage = Stage::new();
    let json = |number: &str, script: &str| stage.by_shell(script, &["--progress", "json", "--progress-fd", number]);
    let closed = json("3", "\"$@\"");
    closed.failed(2, "usage", &["--progress-fd 3: there is no such descriptor open"]).golden("progress-fd-closed");
    json("3", "\"$@\" 3</dev/null").failed(2, "usage", &["not open for writing"]);
    json("0", "\"$@\"").failed(2, "usage", &["standard input"]);
    json("1", "\"$@\"").failed(2, "usage", &["standard output, which carries data only"]);
    stage.import(&["--progress-fd", "2"]).failed(2, "usage", &["--progress-fd is for --progress json"]);
    stage
        .import(&["--progress", "json", "-v"])
        .failed(2, "usage", &["--progress-fd N"])
        .golden("progress-json-verbose");
    assert!(!stage.0.path("layout").exists(), "nothing was begun");
}

#[test]
fn a_reader_that_goes_away_does_not_break_the_import() {
    let stage = Stage::new();
    // The reader is gone before the first line.
    let gone = "exec 3> >(exec true); wait $!; \"$@\"";
    stage.by_shell(gone, &["--progress", "json", "--progress-fd", "3"]).done();
    stage.by_shell("exec 2> >(exec true); wait $!; \"$@\"", &["--progress", "json"]).done();
    stage.by_shell("exec 2> >(exec true); wait $!; \"$@\"", &[]).done();
    // A full disk is no better reader.
    stage.by_shell("\"$@\" 3>/dev/full", &["--progress", "json", "--progress-fd", "3"]).done();
}

#[test]
fn a_hazard_is_a_warning_as_soon_as_it_is_known() {
    let stage = Stage::new();
    let probe = longshore_tests::fixtures::Fixture::ProbeOther.path();
    let ran = stage.import(&["--probe", &probe, "--report", "-", "--progress", "json"]);
    let hazards = ran.report()["disk"]["hazards"].clone();
    let warnings: Vec<Value> = events(&ran.stderr).into_iter().filter(|event| event["type"] == "warning").collect();
    let expected = hazards.as_array().unwrap().iter().filter(|hazard| hazard["severity"] == "warning");
    let expected: Vec<_> = expected.map(|hazard| (&hazard["code"], &hazard["message"])).collect();
    let found: Vec<_> = warnings.iter().map(|event| (&event["code"], &event["message"])).collect();
    assert!(!expected.is_empty(), "the fixture has no warning: {hazards}");
    assert_eq!(found, expected);
}

#[test]
fn quiet_leaves_the_reference_and_errors() {
    let stage = Stage::new();
    let ran = stage.import(&["-q"]).done();
    assert!(ran.stderr.is_empty() && ran.stdout.contains("@sha256:"), "{}", ran.stderr);
    stage.import(&["-q", "--size", "1"]).failed(11, "source-length-mismatch", &[]);
    // Even so a program gets what it asked for.
    let ran = stage.import(&["-q", "--progress", "json"]).done();
    assert_eq!(types(&events(&ran.stderr)).last().unwrap(), "end");
}

/// What the program writes to a terminal, `script`'s.
fn on_a_terminal(stage: &Stage, environment: &[(&str, &str)], more: &[&str]) -> String {
    typed_on_a_terminal(&stage.arguments(more), environment)
}

fn typed_on_a_terminal(arguments: &[String], environment: &[(&str, &str)]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    let command = format!("'{}' {}", path().display(), arguments.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env_clear().env("PATH", "/usr/bin:/bin");
    script.env("SHELL", "/bin/sh").envs(environment.iter().copied());
    finish(&mut script, b"").stdout
}

#[test]
fn colours_are_for_terminals_and_wishes() {
    let stage = Stage::new();
    let wrong = ["--size", "1"];
    let red = "\x1b[1;31merror[source-length-mismatch]\x1b[0m";
    let plain = |text: &str| text.contains("error[source-length-mismatch]: ");
    assert!(on_a_terminal(&stage, &[("TERM", "xterm")], &wrong).contains(red));
    for (name, value) in [("TERM", "dumb"), ("HOME", "/nonexistent"), ("NO_COLOR", "1")] {
        let environment = if name == "NO_COLOR" { vec![("TERM", "xterm"), (name, value)] } else { vec![(name, value)] };
        let seen = on_a_terminal(&stage, &environment, &wrong);
        assert!(plain(&seen), "{name}: {seen:?}");
        let wished = on_a_terminal(&stage, &environment, &[&wrong[..], &["--color", "always"]].concat());
        assert!(wished.contains(red), "{name}: {wished:?}");
    }
    assert!(plain(&on_a_terminal(&stage, &[("TERM", "xterm")], &[&wrong[..], &["--color", "never"]].concat())));
    // Not a terminal.
    assert!(plain(&stage.import(&wrong).stderr));
    let mut forced = longshore(stage.arguments(&wrong));
    assert!(plain(&finish(forced.env("CLICOLOR_FORCE", "1").env("TERM", "xterm"), b"").stderr));
    assert!(stage.import(&[&wrong[..], &["--color", "always"]].concat()).stderr.contains(red));
    let always = stage.import(&["--color", "always", "--progress", "plain"]).done();
    assert!(!always.stdout.contains('\x1b'), "data has no colours");
}

#[test]
fn a_terminal_that_can_gets_a_bar_and_is_left_clean() {
    let stage = Stage::new();
    let source = halving();
    let (url, to) = (source.url("disk.raw"), format!("oci:{}:2", stage.0.text("layout")));
    let arguments = ["import", &*url, &to, "--plain-http", &source.host()].map(str::to_owned);
    let bar = typed_on_a_terminal(&arguments, &[("TERM", "xterm")]);
    let half = "[\x1b[36m#########\x1b[0m-----------] 1.43 MiB of 2.86 MiB (50 %)";
    assert!(bar.contains(half) && bar.contains("\x1b[2K"), "{bar:?}");
    assert!(bar.contains("imported disk.raw"), "{bar:?}");
    let dumb = on_a_terminal(&stage, &[("TERM", "dumb")], &["--progress", "bar"]);
    assert!(!dumb.contains('\x1b') && dumb.contains("imported disk.raw"), "{dumb:?}");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    let stage = Stage::new();
    let full = stage.by_shell("\"$@\" >/dev/full", &[]);
    full.failed(20, "local-file", &["standard output cannot be written to", "left behind: the image oci:", "tagged 1"]);
    let ran = stage.import(&["--report", "/dev/full"]);
    let ran = ran.failed(20, "local-file", &["`/dev/full`", "No space left", "left behind: the image oci:"]);
    let ran = without_times(ran).golden("report-full");
    assert!(ran.stdout.contains("@sha256:"), "the reference is printed all the same");
    stage.by_shell("\"$@\" --report - >/dev/full", &[]).failed(20, "local-file", &["standard output"]);
    for more in [&[][..], &["--report", "-"]] {
        stage.by_shell("exec > >(exec true); wait $!; \"$@\"", more).done();
    }
    let help = |script: &str| {
        let mut shell = Command::new("bash");
        finish(shell.args(["-c", script]).arg(path()).env_clear().env("PATH", "/usr/bin:/bin"), b"")
    };
    help("\"$0\" --help >/dev/full").failed(20, "local-file", &["standard output"]);
    help("exec > >(exec true); wait $!; \"$0\" man import").done();
}
