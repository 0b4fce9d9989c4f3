//! A line every few seconds, for logs.

use std::io;
use std::time::Duration;

use super::lines::Lines;
use super::rate::Rate;
use super::warnings;
use crate::observe::{Phase, Position, Progress};

/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked for warnings.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn follow(progress: &Progress) {
    let mut rate = Rate::default();
    let mut lines = None;
    let mut every = tokio::time::interval(LINE_EVERY);
    let mut looking = tokio::time::interval(LOOK_EVERY);
    rate.sample(&progress.position());
    every.tick().await;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = looking.tick() => {
                warnings(progress);
                continue;
            }
        }
        let at = progress.position();
        rate.sample(&at);
        // Most imports end before their first line.
        if lines.is_none() {
            lines = Lines::start(Box::new(io::stderr())).ok();
        }
        if let Some(lines) = &lines {
            lines.offer(line(&rate, &at) + "\n");
        }
    }
}

fn line(rate: &Rate, at: &Position) -> String {
    match at.phase {
        Phase::Transferring => format!("{}: {}", at.phase.as_str(), rate.words(at)),
        _ => rate.words(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_does_and_how_far_it_is() {
        let progress = Progress::start();
        assert_eq!(line(&Rate::default(), &progress.position()), "opening");
        progress.enter(Phase::Transferring);
        progress.expect(4 << 20);
        progress.layer.passed(1 << 20);
        assert_eq!(line(&Rate::default(), &progress.position()), "transferring: 1.00 MiB of 4.00 MiB (25 %)");
    }
}
