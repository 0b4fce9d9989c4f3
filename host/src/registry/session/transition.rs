//! Every way the state machine can go: what happened, and where it led. Reports count them, and the tests take them all.

/// One step of a [`Transfer`](super::Transfer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transition {
    /// A session is open: the layer is sent from its first byte.
    Opened,
    /// None could be opened, for a reason that may pass: it is tried again.
    NotOpened,
    /// A piece was taken that is not the last: the next one is sent.
    ChunkTaken,
    /// The last piece was taken: it can be committed.
    AllTaken,
    /// The connection broke or stalled: the registry is asked what it has.
    Broke,
    /// An answer that may be another one later (429, 5xx): it is asked.
    FailedForNow,
    /// The request took somebody too long (408, 504): it is asked, and gets chunks.
    TookTooLong,
    /// The request was too large (413, or 416 where its place is right): it is asked, and gets smaller ones.
    TooLarge,
    /// The registry has less or more than the piece supposes, and says so (416): it goes on from there.
    Misplaced,
    /// The piece is out of its range, and nobody says what is (416): it is asked.
    OutOfRange,
    /// The token was not taken any more and there is another one: it is asked.
    Renewed,
    /// The registry does not know the session any more (404, 410): another one is opened.
    SessionUnknown,
    /// The commit failed: it is asked.
    Uncommitted,
    /// No answer to the question: it is asked again.
    Unanswered,
    /// Its count is new: it is asked again until it says the same twice.
    Settling,
    /// Its count is settled: it goes on from there.
    Resumed,
    /// Its count is settled and is the whole layer: it can be committed.
    Complete,
    /// Nothing had been sent: it begins in the same session.
    Begins,
    /// The registry knows no such session, or does not answer such questions: another one is opened.
    Lost,
    /// It has nothing, or does not say how much: another one is opened.
    NothingKept,
    /// It claims more than was sent: another one is opened.
    ClaimsTooMuch,
    /// Its count does not come to rest: another one is opened.
    Unsettled,
    /// The registry's last word: it is over.
    Refused,
    /// No attempt is left, or a pause was asked for that is too long: it is over.
    GivenUp,
}

impl Transition {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Opened,
        Self::NotOpened,
        Self::ChunkTaken,
        Self::AllTaken,
        Self::Broke,
        Self::FailedForNow,
        Self::TookTooLong,
        Self::TooLarge,
        Self::Misplaced,
        Self::OutOfRange,
        Self::Renewed,
        Self::SessionUnknown,
        Self::Uncommitted,
        Self::Unanswered,
        Self::Settling,
        Self::Resumed,
        Self::Complete,
        Self::Begins,
        Self::Lost,
        Self::NothingKept,
        Self::ClaimsTooMuch,
        Self::Unsettled,
        Self::Refused,
        Self::GivenUp,
    ];

    /// As reports have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::NotOpened => "not-opened",
            Self::ChunkTaken => "chunk-taken",
            Self::AllTaken => "all-taken",
            Self::Broke => "broke",
            Self::FailedForNow => "failed-for-now",
            Self::TookTooLong => "took-too-long",
            Self::TooLarge => "too-large",
            Self::Misplaced => "misplaced",
            Self::OutOfRange => "out-of-range",
            Self::Renewed => "renewed",
            Self::SessionUnknown => "session-unknown",
            Self::Uncommitted => "uncommitted",
            Self::Unanswered => "unanswered",
            Self::Settling => "settling",
            Self::Resumed => "resumed",
            Self::Complete => "complete",
            Self::Begins => "begins",
            Self::Lost => "lost",
            Self::NothingKept => "nothing-kept",
            Self::ClaimsTooMuch => "claims-too-much",
            Self::Unsettled => "unsettled",
            Self::Refused => "refused",
            Self::GivenUp => "given-up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition_is_documented_once() {
        let documentation = include_str!("../../../../docs/uploads.md");
        for transition in Transition::ALL {
            let row = format!("\n| `{}` | ", transition.as_str());
            assert_eq!(documentation.matches(&row).count(), 1, "{row}");
        }
    }
}
