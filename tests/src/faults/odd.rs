//! What no registry is known to do, and an upload must live with all the same. They keep what arrives, like distribution 3,
//! and each has a habit of its own.

/// The habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// Claims more than it got.
    Boastful,
    /// Its count does not come to rest.
    Restless,
    /// Answers no question.
    Silent,
    /// Claims less than it has.
    Modest,
    /// The first piece that goes on somewhere is out of its range, and it does not say what is.
    Terse,
    /// Takes the first piece that goes on somewhere, and closes the connection instead of an answer.
    Mute,
    /// Fails once to commit what broke before.
    Reluctant,
    /// Loses a session that breaks, and closes the connection instead of opening the next one, once.
    Clumsy,
    /// Closes the connection behind each answer.
    Brief,
}

impl Oddity {
    pub const ALL: [Self; 9] = [
        Self::Boastful,
        Self::Restless,
        Self::Silent,
        Self::Modest,
        Self::Terse,
        Self::Mute,
        Self::Reluctant,
        Self::Clumsy,
        Self::Brief,
    ];

    /// What it says that it has, of so many bytes and asked for the `looks`th time; none if it does not answer.
    pub(super) fn claims(self, bytes: usize, looks: u64) -> Option<u64> {
        let bytes = bytes as u64;
        match self {
            Self::Boastful => Some(1 << 40),
            // One byte would mean that it has none.
            Self::Restless => Some(bytes.min(looks + 1)),
            Self::Silent => None,
            Self::Modest => Some(bytes.saturating_sub(1)),
            Self::Terse | Self::Mute | Self::Reluctant | Self::Clumsy | Self::Brief => Some(bytes),
        }
    }

    /// Whether it can be gone on with after a break.
    pub(super) const fn resumes(self) -> bool {
        matches!(self, Self::Modest | Self::Terse | Self::Mute | Self::Reluctant | Self::Brief)
    }

    /// Whether an upload gets through all the same.
    pub(super) const fn is_survived(self) -> bool {
        !matches!(self, Self::Silent)
    }
}
