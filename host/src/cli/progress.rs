//! Progress: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::args::ProgressKind;
use super::messages;
use crate::observe::{Phase, Progress};

/// How often a bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What was chosen, once the terminal is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Bar,
    Plain,
    Nothing,
}

/// Decides how progress is shown.
pub(super) fn shown(kind: ProgressKind, quiet: bool) -> Shown {
    match kind {
        _ if quiet => Shown::Nothing,
        ProgressKind::None => Shown::Nothing,
        ProgressKind::Plain => Shown::Plain,
        ProgressKind::Bar => Shown::Bar,
        ProgressKind::Auto if std::io::stderr().is_terminal() => Shown::Bar,
        ProgressKind::Auto => Shown::Plain,
    }
}

/// Shows progress until it is dropped.
pub(super) async fn show(progress: &Progress, shown: Shown) {
    match shown {
        Shown::Nothing => std::future::pending().await,
        Shown::Bar => bar(progress).await,
        Shown::Plain => lines(progress).await,
    }
}

async fn bar(progress: &Progress) {
    let bar = ProgressBar::no_length();
    let style = "{prefix:12} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    // The template is a constant; if it were wrong there would only be another look.
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let cleared = Cleared(bar);
    let mut every = tokio::time::interval(DRAW_EVERY);
    loop {
        every.tick().await;
        if let Some(total) = progress.total() {
            cleared.0.set_length(total);
        }
        cleared.0.set_prefix(phase(progress.phase()));
        cleared.0.set_position(progress.layer.bytes());
    }
}

/// A bar that leaves the terminal clean.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn lines(progress: &Progress) {
    let mut every = tokio::time::interval(LINE_EVERY);
    every.tick().await;
    loop {
        every.tick().await;
        messages::line(&line(progress));
    }
}

fn line(progress: &Progress) -> String {
    let bytes = progress.layer.bytes();
    let seconds = progress.started.elapsed().as_secs_f64().max(f64::EPSILON);
    let rate = rate(bytes, seconds);
    let phase = phase(progress.phase());
    match progress.total() {
        Some(total) if total > 0 => {
            let percent = bytes as f64 * 100.0 / total as f64;
            format!("{phase}: {} of {} ({percent:.0} %), {rate}", HumanBytes(bytes), HumanBytes(total))
        }
        _ => format!("{phase}: {}, {rate}", HumanBytes(bytes)),
    }
}

/// Bytes per second, for people.
pub(super) fn rate(bytes: u64, seconds: f64) -> String {
    format!("{}/s", HumanBytes((bytes as f64 / seconds.max(f64::EPSILON)) as u64))
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Transferring => "transferring",
        Phase::Committing => "committing",
        Phase::Publishing => "publishing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let progress = Progress::start();
        assert!(line(&progress).starts_with("opening: 0 B, "));
        progress.enter(Phase::Transferring);
        progress.expect(4 << 20);
        progress.layer.passed(1 << 20);
        assert!(line(&progress).starts_with("transferring: 1.00 MiB of 4.00 MiB (25 %), "), "{}", line(&progress));
    }

    #[test]
    fn quiet_means_nothing() {
        assert!(shown(ProgressKind::Bar, true) == Shown::Nothing);
        assert!(shown(ProgressKind::Bar, false) == Shown::Bar);
    }
}
