//! Colours on standard error: for errors, hints and progress, and only where somebody sees them.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;

use super::env;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorWhen {
    /// On a terminal that can, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Even where nobody may see it.
    Always,
    /// Not at all.
    Never,
}

/// Whether to colour, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Always,
    Never,
}

const BOLD_RED: &str = "1;31";
const BOLD_CYAN: &str = "1;36";
const CYAN: &str = "36";

impl ColorWhen {
    /// Decides, once.
    pub(super) fn decide(self) -> Color {
        let can = || io::stderr().is_terminal() && !env::no_color() && !env::dumb_terminal();
        match self {
            Self::Always => Color::Always,
            Self::Never => Color::Never,
            Self::Auto if can() => Color::Always,
            Self::Auto => Color::Never,
        }
    }
}

impl Color {
    /// The head of an error.
    pub(super) fn error(self, text: &str) -> String {
        self.paint(BOLD_RED, text)
    }

    /// The head of a hint.
    pub(super) fn hint(self, text: &str) -> String {
        self.paint(BOLD_CYAN, text)
    }

    /// What is going on.
    pub(super) fn busy(self, text: &str) -> String {
        self.paint(CYAN, text)
    }

    /// Select Graphic Rendition (ECMA-48, 8.3.117) around a text.
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Always if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_followed_and_colours_end_where_the_text_does() {
        assert_eq!(ColorWhen::Always.decide(), Color::Always);
        assert_eq!(ColorWhen::Never.decide(), Color::Never);
        assert_eq!(Color::Always.error("x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(Color::Never.error("x"), "x");
    }
}
