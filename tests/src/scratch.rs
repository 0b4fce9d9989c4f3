//! Folders and disks for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed with the test.
pub struct Scratch(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    pub fn new() -> Self {
        Self::under(&std::env::temp_dir())
    }

    /// One in a folder other than the usual one.
    pub fn under(folder: &Path) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("longshore-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a scratch folder");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A policy under which plain HTTP goes to that host, and a source that breaks is asked so often in a row and at once.
pub fn attempts(scratch: &Scratch, host: &str, most: u32) -> String {
    let document = format!(
        "schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{host}\"]\n\
         [limits]\nsource-attempts = {most}\nsource-back-off = \"1ms\"\n"
    );
    fs::write(scratch.path("attempts.toml"), document).expect("a policy");
    scratch.text("attempts.toml")
}

/// Bytes that do not repeat, the same every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A raw disk of `length` bytes of noise.
pub fn raw(path: &Path, length: usize) -> Vec<u8> {
    let bytes = noise(length);
    fs::write(path, &bytes).expect("a raw disk");
    bytes
}

/// A qcow2 of 64 MiB with three MiB of noise in it.
pub fn qcow2(path: &Path) -> Vec<u8> {
    let source = path.with_extension("source");
    raw(&source, 3 << 20);
    run(Command::new("truncate").arg("-s").arg("64M").arg(&source));
    run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&source).arg(path));
    fs::remove_file(&source).expect("the raw disk");
    fs::read(path).expect("the qcow2")
}

/// Runs a tool that must succeed, and gives its standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?} cannot be run: {why}; run `./setup test`"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8(output.stdout).expect("text")
}
