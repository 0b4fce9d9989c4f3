//! A bar on a terminal, cut to its width.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::super::color::Color;
use super::rate::{Rate, fraction};
use super::warnings;
use crate::observe::{Phase, Position, Progress};

/// How often a bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Columns of the bar itself.
const WIDTH: usize = 20;

pub(super) async fn follow(progress: &Progress, color: Color) {
    let cleared = Cleared(ProgressBar::no_length());
    // The template is a constant; if it were wrong there would only be another look.
    cleared.0.set_style(ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut rate = Rate::default();
    let mut every = tokio::time::interval(DRAW_EVERY);
    loop {
        every.tick().await;
        let at = progress.position();
        rate.sample(&at);
        cleared.0.suspend(|| warnings(progress));
        cleared.0.set_message(drawn(&rate, &at, color));
    }
}

/// A bar that leaves the terminal clean.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn drawn(rate: &Rate, at: &Position, color: Color) -> String {
    match at.phase {
        Phase::Transferring if at.total.is_some() => {
            let full = ((fraction(at) * WIDTH as f64) as usize).min(WIDTH);
            let (full, empty) = ("#".repeat(full), "-".repeat(WIDTH - full));
            format!("[{}{empty}] {}", color.busy(&full), rate.words(at))
        }
        Phase::Transferring => format!("{}: {}", color.busy(at.phase.as_str()), rate.words(at)),
        _ => rate.words(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_full_as_the_layer_is_sent() {
        let progress = Progress::start();
        let drawn = |color| drawn(&Rate::default(), &progress.position(), color);
        assert_eq!(drawn(Color::Never), "opening");
        progress.enter(Phase::Transferring);
        progress.layer.passed(1000);
        assert_eq!(drawn(Color::Never), "transferring: 1000 B");
        progress.expect(4000);
        assert_eq!(drawn(Color::Never), "[#####---------------] 1000 B of 3.91 KiB (25 %)");
        assert!(drawn(Color::Always).contains("\x1b["));
        progress.layer.passed(9000);
        assert!(drawn(Color::Never).starts_with("[####################] "), "more than all is all");
    }
}
