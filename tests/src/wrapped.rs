//! Disks wrapped by the tools that people wrap them with.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scratch::{noise, run};

/// Something like a disk: noise, words and zeros, and a length that is a multiple of nothing.
pub fn disk(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 100_000);
    for part in noise(length / 3 + 1).chunks(30_000) {
        bytes.extend_from_slice(part);
        bytes.extend(b"the same words over and over; ".iter().cycle().take(30_000));
        bytes.resize(bytes.len() + 30_000, 0);
    }
    bytes.truncate(length);
    assert_eq!(bytes.len(), length);
    bytes
}

/// What a tool makes of these bytes on its standard input. The first word is the tool.
pub fn piped(command: &str, bytes: &[u8]) -> Vec<u8> {
    let mut words = command.split(' ');
    let mut tool = Command::new(words.next().expect("a tool"));
    tool.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = tool.spawn().unwrap_or_else(|why| panic!("{tool:?} cannot be run: {why}; run `./setup test`"));
    let mut input = child.stdin.take().expect("its standard input");
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).expect("a tool that reads"));
        let output = child.wait_with_output().expect("an end");
        assert!(output.status.success(), "{command} failed");
        output.stdout
    })
}

/// Runs a tool in a folder. The first word is the tool.
pub fn in_folder(folder: &Path, command: &str) {
    let mut words = command.split(' ');
    run(Command::new(words.next().expect("a tool")).args(words).current_dir(folder));
}
