//! What the user is told, on standard error; and data, on standard output.

use std::io::{self, Write as _};

use tracing::Level;

use crate::error::Error;

/// Writes a line of data to standard output. A reader that went away is nobody's problem.
pub(super) fn data(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes a line to standard error.
pub(super) fn line(line: &str) {
    // There is nowhere left to complain.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Tells an error: what, why, what is left, and what to do.
pub(super) fn error(error: &Error) {
    line(&rendered(error));
}

/// Components and the host log to standard error from now on.
pub(super) fn start_log(verbose: u8) {
    let level = match verbose {
        0 => Level::WARN,
        1 => Level::INFO,
        _ => Level::DEBUG,
    };
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
    // A second call in one process keeps the first.
    let _ = tracing::subscriber::set_global_default(log);
}

fn rendered(error: &Error) -> String {
    let mut text = format!("error[{}]: {error}", error.code().as_str());
    for cause in error.causes() {
        text.push_str("\n  caused by: ");
        text.push_str(&cause);
    }
    for left in error.leftovers() {
        text.push_str("\n  left behind: ");
        text.push_str(left);
    }
    if let Some(hint) = error.advice() {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Stage};

    #[test]
    fn an_error_says_what_why_what_is_left_and_what_to_do() {
        let error =
            Error::new(Code::RegistryFailed, Stage::Upload, "PUT https://r.example/x: the registry answered 500")
                .caused_by(io::Error::other("disk full"))
                .left("nothing in r.example/x")
                .hint("try later");
        assert_eq!(
            rendered(&error),
            "error[registry-failed]: PUT https://r.example/x: the registry answered 500\n  caused by: disk full\n  \
             left behind: nothing in r.example/x\nhint: try later"
        );
    }
}
