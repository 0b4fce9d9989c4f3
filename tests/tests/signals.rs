//! SIGINT and SIGTERM at any moment: the right exit code, no tag that the message does not name, nothing left at the
//! registry that it does not name, and no word of something that is not there.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use longshore_tests::memory::{Memory, Stop, Stops};
use longshore_tests::program::{longshore, ran};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::script::{Handler, Script, streamed};

const DISK: usize = 1_000_000;
/// More requests than an import makes.
const MOST_REQUESTS: usize = 60;
/// How long anything may take that is waited for.
const WITHIN: Duration = Duration::from_secs(60);
const SIGNALS: [(&str, i32, i32, &str); 2] =
    [("INT", 2, 130, "error[interrupted]: "), ("TERM", 15, 143, "error[terminated]: ")];

/// An import of `source` into the registry, as it runs.
fn start(source: &str, registry: &Memory) -> Child {
    start_with(source, registry, &[])
}

fn start_with(source: &str, registry: &Memory, more: &[&str]) -> Child {
    let host = registry.script.host();
    let mut command = longshore(["import", source, &format!("docker://{host}/vm:1"), "--plain-http", &host]);
    command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(child: &Child, signal: &str) {
    run(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]));
}

/// Waits until it holds or the program has ended; says whether it held.
fn wait(child: &mut Child, holds: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(began.elapsed() < WITHIN, "it neither comes so far nor ends");
        sleep(Duration::from_millis(2));
    }
}

/// Panics unless the program ended by the signal as it must, and its words are true.
fn assert_ended(output: &Output, signal: (&str, i32, i32, &str), registry: &Memory, what: &str) {
    let (name, _, exit, head) = signal;
    let ran = ran(output);
    let what = format!("SIG{name} {what}");
    assert_eq!(ran.code, Some(exit), "{what}: {}", ran.stderr);
    assert!(ran.stderr.contains(head) && ran.stderr.contains(name), "{what}: {}", ran.stderr);
    assert!(ran.stderr.contains("\n  left behind: ") && ran.stdout.is_empty(), "{what}: {}", ran.stderr);
    registry.held.lock().unwrap().assert_named(&ran.stderr, &what);
}

/// Every request of an import in turn, before it is carried out and after it was, without an answer.
#[test]
fn at_every_request_to_the_registry() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), DISK);
    let mut tagged = 0;
    for number in 1..MOST_REQUESTS {
        for stop in [Stop::Before, Stop::After] {
            let stops: Stops = Arc::new(move |at, _| (at == number).then_some(stop));
            let registry = Memory::start(None, stops);
            let mut child = start(&scratch.text("disk.raw"), &registry);
            if !wait(&mut child, || registry.stopped()) {
                let ran = ran(&child.wait_with_output().unwrap()).done();
                assert!(ran.stdout.contains("@sha256:"));
                assert!(number > 8, "an import makes more than {number} requests");
                assert_eq!(tagged, 1, "the tag is the last thing that is put");
                return;
            }
            let signal = SIGNALS[number % 2];
            send(&child, signal.0);
            let output = child.wait_with_output().unwrap();
            let what = format!("{stop:?} request {number}, {}", registry.held.lock().unwrap().requests[number - 1]);
            assert_ended(&output, signal, &registry, &what);
            tagged += usize::from(!registry.held.lock().unwrap().tags.is_empty());
        }
    }
    panic!("an import makes more than {MOST_REQUESTS} requests");
}

/// A registry that does not even answer the cancelling is not waited for longer than 5 s: the rest of the bound is for a busy
/// machine.
#[test]
fn although_the_registry_does_not_answer() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), DISK);
    for signal in SIGNALS {
        let stops: Stops =
            Arc::new(|_, asked| (asked.starts_with("PATCH ") || asked.starts_with("DELETE ")).then_some(Stop::Before));
        let registry = Memory::start(None, stops);
        let mut child = start(&scratch.text("disk.raw"), &registry);
        assert!(wait(&mut child, || registry.stopped()));
        let began = Instant::now();
        send(&child, signal.0);
        let output = child.wait_with_output().unwrap();
        let took = began.elapsed();
        assert_ended(&output, signal, &registry, "while nothing is answered");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

/// Before there is an answer, before the first byte, which the probe waits for, and between two.
#[test]
fn while_the_source_is_waited_for() {
    for (sent, signal) in [(None, 0), (Some(0), 1), (Some(DISK / 2), 0), (Some(DISK - 1), 1)] {
        let asked = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&asked);
        let handler: Handler = Arc::new(move |_| {
            let asked = Arc::clone(&shared);
            Box::pin(async move {
                let Some(sent) = sent else {
                    asked.store(true, SeqCst);
                    return std::future::pending().await;
                };
                let first = stream::iter((sent > 0).then(|| Ok(Bytes::from(vec![7; sent]))));
                let rest = stream::once(async move {
                    asked.store(true, SeqCst);
                    std::future::pending().await
                });
                streamed(Some(DISK as u64), first.chain(rest))
            })
        });
        let source = Script::start(None, handler);
        let registry = Memory::start(None, Arc::new(|_, _| None));
        let mut child = start_with(&source.url("disk.raw"), &registry, &["--plain-http", &source.host()]);
        // While a session is being opened nobody can know yet where it is: then it can only be named.
        assert!(wait(&mut child, || asked.load(SeqCst) && (sent.is_none() || registry.asked("PATCH"))));
        send(&child, SIGNALS[signal].0);
        let output = child.wait_with_output().unwrap();
        assert_ended(&output, SIGNALS[signal], &registry, &format!("with {sent:?} bytes received"));
        assert!(registry.held.lock().unwrap().is_empty(), "with {sent:?} bytes received");
    }
}

/// Wherever it happens to be. Before the program listens for signals they end it as they end any program.
#[test]
fn at_moments_nobody_chose() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), DISK);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut done, mut ended, mut killed) = (0, 0, 0);
    let began = Instant::now();
    let registry = Memory::start(None, Arc::new(|_, _| None));
    ran(&start(&scratch.text("disk.raw"), &registry).wait_with_output().unwrap()).done();
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    for round in 0..40 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let delay = Duration::from_micros(state % whole);
        let registry = Memory::start(None, Arc::new(|_, _| None));
        let child = start(&scratch.text("disk.raw"), &registry);
        sleep(delay);
        let signal = SIGNALS[round % 2];
        send(&child, signal.0);
        let output = child.wait_with_output().unwrap();
        let held = || registry.held.lock().unwrap();
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => {
                assert!(held().tags.contains_key("1") && held().sessions.is_empty());
                done += 1;
            }
            (None, Some(number)) => {
                assert_eq!(number, signal.1);
                assert!(held().requests.is_empty(), "after {delay:?} it did not listen for signals yet");
                killed += 1;
            }
            _ => {
                assert_ended(&output, signal, &registry, &format!("after {delay:?}"));
                ended += 1;
            }
        }
    }
    println!("{done} were done, {ended} ended in order, {killed} killed before they began");
    assert!(ended > 0, "{done} were done, {killed} killed: no delay was right");
}

/// A read of standard input cannot be cancelled; nothing waits for it.
#[test]
fn while_standard_input_is_waited_for() {
    let registry = Memory::start(None, Arc::new(|_, _| None));
    let host = registry.script.host();
    for (sent, signal) in [(0, SIGNALS[0]), (DISK / 2, SIGNALS[1])] {
        let size = DISK.to_string();
        let to = format!("docker://{host}/vm:1");
        let mut command = longshore(["import", "-", &to, "--plain-http", &host, "--size", &size]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&vec![7; sent]).unwrap();
        assert!(wait(&mut child, || registry.asked("PATCH")));
        send(&child, signal.0);
        let output = child.wait_with_output().unwrap();
        assert_ended(&output, signal, &registry, &format!("with {sent} bytes of standard input"));
        assert!(registry.held.lock().unwrap().is_empty());
        drop(input);
    }
}

/// Into a layout, wherever it happens to be: no file is left that is not named, least of all half of one.
#[test]
fn at_moments_nobody_chose_in_a_layout() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), 4 * DISK);
    let run_into = |layout: &str| {
        let mut command = longshore(["import", &scratch.text("disk.raw"), &format!("oci:{}:1", scratch.text(layout))]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let began = Instant::now();
    ran(&run_into("whole").wait_with_output().unwrap()).done();
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    let mut ended = 0;
    for round in 0..40_u64 {
        let layout = round.to_string();
        let child = run_into(&layout);
        sleep(Duration::from_micros(whole * round / 40));
        let signal = SIGNALS[usize::try_from(round % 2).unwrap()];
        send(&child, signal.0);
        let output = child.wait_with_output().unwrap();
        let files = files(&scratch.path(&layout));
        if output.status.signal() == Some(signal.1) {
            assert!(files.is_empty(), "it did not listen for signals yet: {files:?}");
            continue;
        }
        let ran = ran(&output);
        if ran.code == Some(0) {
            assert!(files.iter().all(|file| !file.contains("partial")), "{files:?}");
            continue;
        }
        ended += 1;
        assert_eq!(ran.code, Some(signal.2), "{}", ran.stderr);
        for file in files.iter().filter(|file| *file != "oci-layout") {
            let named = if file == "index.json" { ":1" } else { file };
            assert!(ran.stderr.contains(named), "{file} is left, which is not in\n{}", ran.stderr);
        }
    }
    assert!(ended > 0, "no delay was right");
}

/// Names of all files in and below a folder.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn while_the_checksum_file_is_waited_for() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), DISK);
    let asked = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&asked);
    let handler: Handler = Arc::new(move |_| {
        shared.store(true, SeqCst);
        Box::pin(std::future::pending())
    });
    let sums = Script::start(None, handler);
    let registry = Memory::start(None, Arc::new(|_, _| None));
    let more = ["--checksum-file", &*sums.url("SUMS"), "--plain-http", &*sums.host()];
    let mut child = start_with(&scratch.text("disk.raw"), &registry, &more);
    assert!(wait(&mut child, || asked.load(SeqCst)));
    send(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert_ended(&output, SIGNALS[0], &registry, "while the checksum file is waited for");
    ran(&output).golden("signal-before-anything");
    assert!(registry.held.lock().unwrap().requests.is_empty());
}

/// Whoever presses Ctrl-C twice does not want to wait for a registry that does not answer.
#[test]
fn a_second_signal_ends_it_at_once() {
    let scratch = Scratch::new();
    raw(&scratch.path("disk.raw"), DISK);
    let stops: Stops = Arc::new(|_, asked| match asked.split(' ').next() {
        Some("PATCH") => Some(Stop::Before),
        Some("DELETE") => Some(Stop::Before),
        _ => None,
    });
    let registry = Memory::start(None, stops);
    let mut child = start(&scratch.text("disk.raw"), &registry);
    assert!(wait(&mut child, || registry.asked("PATCH")));
    send(&child, "INT");
    assert!(wait(&mut child, || registry.asked("DELETE")), "the first signal cancels the upload");
    send(&child, "TERM");
    let ran = ran(&child.wait_with_output().unwrap());
    let says = ["ended by a second signal", "left behind: perhaps an unfinished upload in 127.0.0.1:"];
    ran.failed(143, "terminated", &says).golden("signal-second");
}
