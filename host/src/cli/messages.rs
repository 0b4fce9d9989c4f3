//! What the user is told, on standard error; and data, on standard output.

use std::io::{self, Write as _};

use tracing::Level;

use super::color::Color;
use super::progress::Verbosity;
use crate::error::{Code, Error, Result, Stage};

/// Writes a line of data to standard output. A reader that went away is nobody's problem.
///
/// # Errors
/// `local-file` if it cannot be written: nobody must take what is missing for an empty answer.
pub(super) fn data(line: &str) -> Result<()> {
    bytes(format!("{line}\n").as_bytes())
}

/// The same for a document that was made of what was found.
///
/// # Errors
/// As for a line.
pub(super) fn document(made: serde_json::Result<String>) -> Result<()> {
    let text =
        made.map_err(|why| Error::internal(Stage::Report, format!("what was found cannot be written: {why}")))?;
    data(&text)
}

/// The same for bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("standard output cannot be written to: {why}");
            Err(Error::new(Code::LocalFile, Stage::Report, message).caused_by(why))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error.
pub(super) fn line(line: &str) {
    // There is nowhere left to complain.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Tells an error: what, why, what is left, and what to do.
pub(super) fn error(error: &Error, color: Color) {
    line(&rendered(error, color));
}

/// Tells what the parser of the command line has to say about it.
pub(super) fn usage(text: &str, color: Color) {
    match text.strip_prefix("error: ") {
        Some(rest) => line(&format!("{}: {}", head(Code::Usage, color), rest.trim_end())),
        None => line(text.trim_end()),
    }
}

/// Components and the host log to standard error from now on.
pub(super) fn start_log(verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity::Quiet => Level::ERROR,
        Verbosity::Normal => Level::WARN,
        Verbosity::Verbose(1) => Level::INFO,
        Verbosity::Verbose(_) => Level::DEBUG,
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

fn head(code: Code, color: Color) -> String {
    color.error(&format!("error[{}]", code.as_str()))
}

fn rendered(error: &Error, color: Color) -> String {
    let mut text = format!("{}: {}", head(error.code(), color), harmless(&error.to_string()));
    for cause in error.causes() {
        text.push_str("\n  caused by: ");
        text.push_str(&harmless(&cause));
    }
    for left in error.leftovers() {
        text.push_str("\n  left behind: ");
        text.push_str(&harmless(left));
    }
    if let Some(hint) = error.advice() {
        text.push_str(&format!("\n{}: {}", color.hint("hint"), harmless(hint)));
    }
    text
}

/// Text that may quote anybody, for a terminal: without what would move its cursor, colour it or turn its direction
/// (Unicode's bidirectional controls).
pub(super) fn harmless(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_to_the_terminal_through_an_error() {
        let hostile = "a\x1b[31mred\x1b]0;title\x07\r\n\u{9b}2J\u{202e}txt";
        let error =
            Error::new(Code::ComponentInvalid, Stage::Plan, hostile).context(hostile).left(hostile).hint(hostile);
        let text = rendered(&error, Color::Never);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert_eq!(text.lines().count(), 4);
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn an_error_says_what_why_what_is_left_and_what_to_do() {
        let error =
            Error::new(Code::RegistryFailed, Stage::Upload, "PUT https://r.example/x: the registry answered 500")
                .caused_by(io::Error::other("disk full"))
                .left("nothing in r.example/x")
                .hint("try later");
        assert_eq!(
            rendered(&error, Color::Never),
            "error[registry-failed]: PUT https://r.example/x: the registry answered 500\n  caused by: disk full\n  \
             left behind: nothing in r.example/x\nhint: try later"
        );
        let colored = rendered(&error, Color::Always);
        assert!(colored.starts_with("\x1b[1;31merror[registry-failed]\x1b[0m: PUT "), "{colored}");
        assert!(colored.ends_with("\n\x1b[1;36mhint\x1b[0m: try later"), "{colored}");
    }
}
