//! Progress: a bar on a terminal, plain lines elsewhere, JSON lines for programs.

mod bar;
mod inherited;
mod json;
mod lines;
mod plain;
mod rate;

use std::io::{self, IsTerminal as _, Write};

use self::json::Json;
pub(super) use self::rate::rate;
use super::args::ProgressKind;
use super::color::Color;
use super::{env, messages};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::{Noted, Progress};

/// How progress is shown, once terminal and descriptors are known.
pub(super) enum Shown {
    Bar(Color),
    Plain,
    Json {
        json: Json,
        /// Whether standard error is for JSON lines alone.
        alone: bool,
    },
    Nothing,
}

/// Decides how progress is shown.
///
/// # Errors
/// `usage` if the descriptor is not one that can be written to, or the flags contradict each other.
pub(super) fn shown(kind: ProgressKind, descriptor: Option<i32>, verbosity: Verbosity, color: Color) -> Result<Shown> {
    if descriptor.is_some() && kind != ProgressKind::Json {
        return Err(usage("--progress-fd is for --progress json").hint("add --progress json"));
    }
    let can_redraw = io::stderr().is_terminal() && !env::dumb_terminal();
    Ok(match kind {
        ProgressKind::Json => json(descriptor, verbosity)?,
        _ if verbosity == Verbosity::Quiet => Shown::Nothing,
        ProgressKind::None => Shown::Nothing,
        ProgressKind::Auto | ProgressKind::Bar if can_redraw => Shown::Bar(color),
        ProgressKind::Auto | ProgressKind::Bar | ProgressKind::Plain => Shown::Plain,
    })
}

/// How a run ended that went well.
pub(super) enum Ended {
    /// Nothing was to move.
    Checked,
    /// With an image of that reference, if it was to make one.
    Done(Option<String>),
}

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verbosity {
    Quiet,
    Normal,
    /// `-v`, so many times.
    Verbose(u8),
}

impl Shown {
    /// A run begins from there to there.
    pub(super) fn begin(&self, source: &str, destination: &str, progress: &Progress) {
        if let Self::Json { json, .. } = self {
            json.begin(source, destination, &progress.position());
        }
    }

    /// Shows progress until it is dropped.
    pub(super) async fn follow(&self, progress: &Progress) {
        match self {
            Self::Bar(color) => bar::follow(progress, *color).await,
            Self::Plain => plain::follow(progress).await,
            Self::Json { json, .. } => json.follow(progress).await,
            Self::Nothing => std::future::pending().await,
        }
    }

    /// Whether standard error is for JSON lines alone.
    pub(super) const fn owns_standard_error(&self) -> bool {
        matches!(self, Self::Json { alone: true, .. })
    }

    /// Whether somebody wants to read what was done.
    pub(super) const fn tells_people(&self) -> bool {
        !matches!(self, Self::Nothing) && !self.owns_standard_error()
    }

    /// The run has ended.
    pub(super) fn end(self, progress: &Progress, outcome: Result<Ended, &Error>) {
        if let Self::Json { json, .. } = self {
            json.end(progress, outcome);
        }
    }
}

/// Tells people what they have not been told yet. There are few, and none may be lost.
pub(super) fn warnings(progress: &Progress) {
    for note in progress.untold() {
        let told = match note.what {
            Noted::Phase => continue,
            Noted::Warning { code, message } => format!("warning: {message} ({code})"),
            Noted::Filter(component) => format!("the bytes go through `{component}`, by how they begin"),
        };
        messages::line(&messages::harmless(&told));
    }
}

fn json(descriptor: Option<i32>, verbosity: Verbosity) -> Result<Shown> {
    let to: Box<dyn Write + Send> = match descriptor {
        Some(number) => {
            Box::new(inherited::writable(number).map_err(|why| usage(&format!("--progress-fd {number}: {why}")))?)
        }
        None if matches!(verbosity, Verbosity::Verbose(_)) => {
            return Err(usage("-v and --progress json would both write to standard error")
                .hint("give the JSON lines a descriptor of their own: --progress-fd N"));
        }
        None => Box::new(io::stderr()),
    };
    let json = Json::start(to)
        .map_err(|why| Error::internal(Stage::Plan, format!("there is no thread for the progress lines: {why}")))?;
    Ok(Shown::Json { json, alone: descriptor.is_none() })
}

fn usage(message: &str) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(kind: ProgressKind, descriptor: Option<i32>, verbosity: Verbosity) -> Result<Shown> {
        shown(kind, descriptor, verbosity, Color::Never)
    }

    #[test]
    fn quiet_means_nothing_but_what_a_program_asked_for() {
        assert!(matches!(how(ProgressKind::Bar, None, Verbosity::Quiet), Ok(Shown::Nothing)));
        assert!(matches!(how(ProgressKind::Plain, None, Verbosity::Normal), Ok(Shown::Plain)));
        assert!(matches!(how(ProgressKind::None, None, Verbosity::Normal), Ok(Shown::Nothing)));
        assert!(matches!(how(ProgressKind::Json, None, Verbosity::Quiet), Ok(Shown::Json { alone: true, .. })));
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for (kind, descriptor, verbosity) in [
            (ProgressKind::Plain, Some(2), Verbosity::Normal),
            (ProgressKind::Json, None, Verbosity::Verbose(1)),
            (ProgressKind::Json, Some(0), Verbosity::Normal),
            (ProgressKind::Json, Some(1), Verbosity::Normal),
            (ProgressKind::Json, Some(1_000_000), Verbosity::Normal),
        ] {
            let Err(error) = how(kind, descriptor, verbosity) else { panic!("{kind:?} {descriptor:?}") };
            assert_eq!(error.code(), Code::Usage);
        }
    }
}
