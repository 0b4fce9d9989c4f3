//! Messages as users read them, kept as files: `tests/golden/<name>.txt`. With `LONGSHORE_GOLDEN=write` the files are
//! written instead of compared; the change is then for a person to read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::Ran;

const WRITE: &str = "LONGSHORE_GOLDEN";

/// Where the files are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

impl Ran {
    /// Panics unless standard error, with what differs from run to run replaced, and the exit code are those of the file.
    /// A name that travels through a table stands there as `golden:<name>`.
    pub fn golden(self, name: &str) -> Self {
        let name = name.trim_start_matches("golden:");
        let code = self.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let got = format!("{}exit code: {code}\n", steady(&self.stderr));
        let path = folder().join(name).with_extension("txt");
        if std::env::var_os(WRITE).is_some_and(|value| value == "write") {
            fs::create_dir_all(folder()).expect("the folder of the golden files");
            fs::write(&path, got).expect("a golden file");
            return self;
        }
        let expected = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        assert!(
            got == expected,
            "`{name}` reads otherwise than its golden file; if that is right, run the test with {WRITE}=write and read \
             the change\n--- expected\n{expected}--- got\n{got}"
        );
        self
    }
}

/// The text without what differs from run to run: ports, scratch folders, upload sessions, digests of components and keys, progress
/// lines and times.
pub fn steady(text: &str) -> String {
    let mut out = String::new();
    // The verdict depends on the machine; its own tests look at it.
    let is_verdict = |line: &str| line.starts_with("bottleneck: ") || line.starts_with("  advice: ");
    for line in text.lines().filter(|line| !is_progress(line) && !is_verdict(line)) {
        let mut line = replaced(line, "127.0.0.1:", "PORT", |c| c.is_ascii_digit());
        line = replaced(&line, "longshore-test-", "N", |c| c.is_ascii_digit() || c == '-');
        line = replaced(&line, "/blobs/uploads/", "ID", |c| c.is_ascii_hexdigit() || c == '-');
        line = replaced(&line, "/_uploads/", "ID", |c| c.is_ascii_hexdigit() || c == '-');
        line = replaced(&line, "it asked for ", "N", |c| c.is_ascii_digit());
        line = replaced(&line, " wrote at least ", "N", |c| c.is_ascii_digit());
        line = replaced(&line, "broke the body off after ", "N", |c| c.is_ascii_digit());
        line = replaced(&line, "asking again in ", "N", |c| c.is_ascii_digit() || c == '.');
        line = replaced(&line, "was spent after ", "N", |c| c.is_ascii_digit() || c == '.');
        line = replaced(&line, " (sha256:", "HEX", |c| c.is_ascii_hexdigit());
        line = replaced(&line, "its own is sha256:", "HEX", |c| c.is_ascii_hexdigit());
        let temporary = std::env::temp_dir().join("longshore-test-N").display().to_string();
        out.push_str(&line.replace(&temporary, "$SCRATCH"));
        out.push('\n');
    }
    out
}

fn is_progress(line: &str) -> bool {
    let running = ["transferring: ", "committing: ", "publishing: "];
    // The summary of an import has its time and rate.
    line == "opening" || line.starts_with("imported ") || running.iter().any(|phase| line.starts_with(phase))
}

/// Replaces what follows each `before`, as long as it is `part` of it.
fn replaced(text: &str, before: &str, with: &str, part: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((left, right)) = rest.split_once(before) {
        out.push_str(left);
        out.push_str(before);
        let kept = right.trim_start_matches(&part);
        if kept.len() < right.len() {
            out.push_str(with);
        }
        rest = kept;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_replaced_and_nothing_else() {
        let scratch = std::env::temp_dir().join("longshore-test-12-3/disk.raw");
        let text = format!(
            "opening\ntransferring: 0 B\nerror[x]: GET https://127.0.0.1:40123/v2/vm/blobs/uploads/ab-12?<redacted>: 500\n  at {}\n",
            scratch.display()
        );
        assert_eq!(
            steady(&text),
            "error[x]: GET https://127.0.0.1:PORT/v2/vm/blobs/uploads/ID?<redacted>: 500\n  at $SCRATCH/disk.raw\n"
        );
        assert_eq!(steady("127.0.0.1 is kept, 127.0.0.1:x too"), "127.0.0.1 is kept, 127.0.0.1:x too\n");
    }
}
