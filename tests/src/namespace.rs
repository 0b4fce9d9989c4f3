//! A network and mount namespace of a test's own: any address can be there, and no packet leaves.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use crate::scratch::Scratch;

/// Tells the test that it runs in there.
const INSIDE: &str = "LONGSHORE_TEST_NAMESPACE";

/// What is there besides the addresses.
pub struct Files<'a> {
    /// `/etc/hosts`.
    pub hosts: &'a str,
    /// `/etc/resolv.conf`.
    pub resolver: &'a str,
}

/// Whether this is the inside, with these addresses on its loopback interface and these files in their places. Outside, runs
/// the test of that name once more inside and panics unless it succeeds. Root, `unshare`, `mount` and `ip` are needed; an
/// absence is a failure.
pub fn inside(test: &str, scratch: &Scratch, addresses: &[&str], files: Files<'_>) -> bool {
    if std::env::var_os(INSIDE).is_none() {
        again(test);
        return false;
    }
    let text = "hosts: files dns\n";
    for (name, text) in [("hosts", files.hosts), ("resolv.conf", files.resolver), ("nsswitch.conf", text)] {
        let (own, place) = (scratch.path(name), format!("/etc/{name}"));
        std::fs::write(&own, text).expect("a file");
        let there = std::fs::metadata(&place);
        assert!(there.is_ok(), "{place} is not there, so nothing can be put in its place: create it");
        succeed(Command::new("mount").arg("--bind").arg(&own).arg(&place), "");
    }
    let add = |address: &&str| {
        let width = if address.contains(':') { "128 nodad" } else { "32" };
        format!("address add {address}/{width} dev lo\n")
    };
    let batch: String = std::iter::once("link set lo up\n".to_owned()).chain(addresses.iter().map(add)).collect();
    succeed(Command::new("ip").args(["-batch", "-"]), &batch);
    true
}

fn again(test: &str) {
    let root = std::fs::metadata("/proc/self").expect("/proc").uid() == 0;
    let mut unshare = Command::new("unshare");
    if !root {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "--mount", "--"]).arg(std::env::current_exe().expect("this test's file"));
    unshare.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(INSIDE, "1");
    let ran = unshare.output().unwrap_or_else(|why| panic!("`unshare` (util-linux) cannot be run: {why}"));
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
    assert!(!said.contains("running 0 tests"), "there is no test `{test}`");
    let ran_it = said.contains("running 1 test");
    assert!(
        ran_it || ran.status.success(),
        "there is no namespace of its own for this test: it needs root, or user namespaces for everybody\n{said}"
    );
    assert!(ran.status.success(), "the test failed in its namespace, see above");
}

fn succeed(command: &mut Command, input: &str) {
    let shown = format!("{command:?}");
    let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|why| panic!("{shown}: {why}; run `./setup test`"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("what it reads");
    let ran = child.wait_with_output().expect("an end");
    assert!(ran.status.success(), "{shown}: {}", String::from_utf8_lossy(&ran.stderr));
}
