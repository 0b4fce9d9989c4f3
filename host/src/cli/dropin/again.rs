//! When an import of the replaced importer is begun once more: as it was, 20 times at most, with pauses of 1, 3, 9, 27 and then
//! 60 s, about 17 minutes. What can go on where it broke does so within one import, for as long; this is for what cannot.

use std::time::Duration;

use crate::error::{Code, Error, Retryable};
use crate::observe::Phase;

const MOST: u32 = 20;
const FIRST: Duration = Duration::from_secs(1);
const FACTOR: u32 = 3;
const LONGEST: Duration = Duration::from_secs(60);
/// How long an import itself tries again what can go on: `limits.total` of the built-in policy.
const HORIZON: Duration = Duration::from_secs(17 * 60);

/// What was tried so far.
pub(super) struct Again {
    failures: u32,
    pause: Duration,
}

impl Again {
    pub(super) const fn new() -> Self {
        Self { failures: 0, pause: FIRST }
    }

    /// How long to wait before the next attempt; none if there is to be none. `phase` is how far the import came that failed
    /// after it `took` so long; `heard` is whether a byte of the source came.
    pub(super) fn after(&mut self, error: &Error, (phase, heard): (Phase, bool), took: Duration) -> Option<Duration> {
        let ended = matches!(error.code(), Code::Interrupted | Code::Terminated);
        // A source that was never there is told at once: its address may be wrong, and somebody waits to hear of it. A registry
        // is the platform's own, and may begin as this does.
        let opening = phase == Phase::Opening;
        let never_there = opening && error.code() == Code::SourceUnreachable && !heard;
        if error.retryable() == Retryable::No || ended || never_there {
            return None;
        }
        let registrys =
            matches!(error.code(), Code::RegistryUnreachable | Code::RegistryFailed | Code::RegistryStalled);
        if (registrys || opening) && took >= HORIZON {
            return None;
        }
        self.failures += 1;
        let pause = self.pause;
        self.pause = pause.saturating_mul(FACTOR).min(LONGEST);
        (self.failures < MOST).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;

    fn error(code: Code) -> Error {
        Error::new(code, Stage::Source, "no")
    }

    #[test]
    fn pauses_grow_up_to_a_minute_and_end() {
        let mut again = Again::new();
        let mut next = || again.after(&error(Code::SourceTruncated), (Phase::Transferring, true), HORIZON);
        let pauses: Vec<u64> = std::iter::from_fn(&mut next).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses[..6], [1, 3, 9, 27, 60, 60]);
        assert_eq!(pauses.len(), 19, "and then it was the twentieth");
        assert!((15 * 60..=HORIZON.as_secs()).contains(&pauses.iter().sum()));
    }

    #[test]
    fn what_cannot_succeed_or_was_tried_for_long_enough_is_not_tried_again() {
        let after = |code, phase, took| Again::new().after(&error(code), (phase, phase != Phase::Opening), took);
        for code in [Code::ChecksumMismatch, Code::SourceNotFound, Code::RegistryDenied, Code::Terminated] {
            assert_eq!(after(code, Phase::Transferring, FIRST), None, "{code:?}");
        }
        assert_eq!(after(Code::SourceUnreachable, Phase::Opening, FIRST), None, "nobody answered, ever");
        let broke = Again::new().after(&error(Code::SourceUnreachable), (Phase::Opening, true), FIRST);
        assert!(broke.is_some(), "on its way into a spool");
        for code in [Code::RegistryUnreachable, Code::RegistryFailed, Code::SourceTruncated] {
            assert!(after(code, Phase::Opening, FIRST).is_some(), "{code:?}");
            assert_eq!(after(code, Phase::Opening, HORIZON), None, "{code:?}: it was asked for long enough");
        }
        assert!(after(Code::SourceUnreachable, Phase::Transferring, FIRST).is_some());
        assert!(after(Code::RegistryUnreachable, Phase::Committing, FIRST).is_some());
        assert_eq!(after(Code::RegistryUnreachable, Phase::Transferring, HORIZON), None);
    }
}
