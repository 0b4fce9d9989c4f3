//! What goes into the state machine, and what comes out.

use std::time::Duration;

use crate::registry::session::range::Stored;

/// The next step, and the pause before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long to wait first.
    pub after: Duration,
    /// What to do then.
    pub next: Next,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send a piece.
    Send(Piece),
    /// Ask what the registry has.
    Ask,
    /// Give this session up and open another one.
    Open,
    /// Nothing: the registry has every byte.
    Commit,
}

/// Bytes that go into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the layer.
    pub from: u64,
    /// The most bytes it has; none for all that is left.
    pub at_most: Option<u64>,
}

/// A piece that the registry did not confirm.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// What happened.
    pub how: How,
    /// Up to where in the layer bytes were given to the connection.
    pub handed: u64,
    /// How old the request was.
    pub age: Duration,
}

/// How a piece failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The connection broke, or nothing was taken or answered for too long.
    Broke,
    /// The registry answered.
    Answered {
        /// The status.
        status: u16,
        /// What it says it has.
        stored: Stored,
        /// The pause it asks for.
        asks: Option<Duration>,
    },
    /// It wanted other credentials and there are some now.
    Renewed,
}

/// The answer to the question what the registry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// There was none, or a status that may be another one soon.
    Nothing,
    /// The session is there.
    Stored(Stored),
    /// The registry knows no such session, or does not answer such questions.
    Unknown,
}

/// There is nothing left to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopeless;

impl Step {
    pub(super) const fn now(next: Next) -> Self {
        Self { after: Duration::ZERO, next }
    }
}
