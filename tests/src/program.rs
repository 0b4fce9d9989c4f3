//! The program as a user runs it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A policy under which what fails is tried again at once, for runs in which it never succeeds.
pub fn hasty(scratch: &crate::scratch::Scratch) -> String {
    let path = scratch.path("hasty.toml");
    let text = "schema = \"longshore.policy/v1\"\n[limits]\nattempts = 5\nback-off = \"1ms\"\n\
                [flags]\nallow = [\"--ca\", \"--plain-http\"]\n";
    std::fs::write(&path, text).expect("a policy");
    path.display().to_string()
}

/// A policy under which a source that breaks is asked again at once, and not often.
pub fn quick(scratch: &crate::scratch::Scratch) -> String {
    let text = "schema = \"longshore.policy/v1\"\n[limits]\nsource-attempts = 5\nsource-back-off = \"1ms\"\n\
                [flags]\nallow = [\"--plain-http\"]\n";
    std::fs::write(scratch.path("quick.toml"), text).expect("a policy");
    scratch.text("quick.toml")
}

/// What a run of the program gave.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program's file; it must have been built.
pub fn path() -> PathBuf {
    // target/<profile>/deps/<this test>, or target/<profile>/<a tool of the tests>
    let test = std::env::current_exe().expect("this test's file");
    let folder = test.parent().expect("a folder");
    let profile = if folder.ends_with("deps") { folder.parent().expect("a target folder") } else { folder };
    let path = profile.join("longshore");
    assert!(path.is_file(), "{} is not there: run `cargo build -p longshore`", path.display());
    path
}

/// The program with these arguments, and nothing of the environment but a path.
pub fn longshore<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(path());
    command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command
}

/// Runs a command to its end.
pub fn finish(command: &mut Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("standard input");
    let input = input.to_vec();
    let feed = std::thread::spawn(move || {
        // A program that fails early does not read it all.
        let _ = stdin.write_all(&input);
    });
    let ran = ran(&child.wait_with_output().expect("an end"));
    feed.join().expect("the feeder");
    ran
}

/// `longshore import` with these arguments and no input.
pub fn import<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    import_from(arguments, b"")
}

/// `longshore import` with this standard input.
pub fn import_from<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
    let mut command = longshore(["import"]);
    command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    finish(&mut command, input)
}

/// `longshore probe` with these arguments and this standard input.
pub fn probe_from<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
    let mut command = longshore(["probe"]);
    command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    finish(&mut command, input)
}

/// `longshore probe` with these arguments and no input.
pub fn probe<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    probe_from(arguments, b"")
}

/// What a process may take of the 64 MiB that DESIGN allows it: the rest is for the pages of its own text, of which an
/// optimised build maps that much at most. What is tested here is not optimised, and its text alone is near 64 MiB; the
/// bench suite measures the whole of an optimised one.
pub const MOST_OF_ITS_OWN: u64 = 40 << 20;

/// Runs a command to its end without input, and gives the most memory of its own, in bytes, that it was seen with from
/// outside: all but the pages of files, which are its text.
pub fn watched(command: &mut Command) -> (Ran, u64) {
    let (ran, seen) = watched_within(command, Duration::MAX);
    (ran, seen.own_bytes)
}

/// What a process was seen to take, from outside.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The most memory of its own.
    pub own_bytes: u64,
    /// From its start to its end.
    pub took: Duration,
}

/// The same for one that must end within that time: else it is killed, and the test fails.
pub fn watched_within(command: &mut Command, within: Duration) -> (Ran, Seen) {
    let began = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    let status = format!("/proc/{}/status", child.id());
    let mut own_bytes = 0;
    while child.try_wait().expect("a status").is_none() {
        own_bytes =
            own_bytes.max(std::fs::read_to_string(&status).ok().and_then(|text| of_its_own(&text)).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
        if began.elapsed() > within {
            child.kill().expect("an end");
            let said = ran(&child.wait_with_output().expect("an end")).stderr;
            panic!("{command:?} did not end within {within:?}; it said\n{said}");
        }
    }
    let took = began.elapsed();
    (ran(&child.wait_with_output().expect("an end")), Seen { own_bytes, took })
}

/// What a process has of its own, from its `status` in proc(5).
pub fn of_its_own(status: &str) -> Option<u64> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    Some(bytes("RssAnon:")? + bytes("RssShmem:")?)
}

pub fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// Panics with what the program said unless it ended well.
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Panics unless it ended with this exit code and error code, and says each of these things.
    pub fn failed(self, exit: i32, code: &str, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(exit), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let head = format!("error[{code}]: ");
        assert!(self.stderr.contains(&head), "expected {head}in\n{}", self.stderr);
        for words in says {
            assert!(self.stderr.contains(words), "expected `{words}` in\n{}", self.stderr);
        }
        self
    }

    /// The report of a run with `--report -`, or the verdict of one with `--json`.
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("no report: {why}\n{}", self.stdout))
    }

    /// The digest in the printed reference.
    pub fn digest(&self) -> String {
        let (_, digest) = self.stdout.trim().rsplit_once('@').expect("a printed reference");
        digest.to_owned()
    }
}
