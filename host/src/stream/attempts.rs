//! How often a source that broke is asked again, and after how long.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use crate::error::{Code, Error, Result, Retryable};

/// The longest pause of our own.
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause a source may ask for; one that wants more is told to the user instead of being waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// How often in a row, and after how long, a source that broke is asked again.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// The most in a row, the first included, without a step forward.
    pub most: u32,
    /// The pause before the second; each later one is twice as long, up to 30 s.
    pub back_off: Duration,
    /// After the first has failed, none begins later than this.
    pub total: Duration,
}

impl Attempts {
    /// How long to wait before the next attempt after so many failures in a row, the first of them so long ago, and `broke`
    /// the last. The source may ask for more, up to 5 min.
    ///
    /// # Errors
    /// `broke` if there is to be no other attempt: it would not help, or there were enough.
    pub fn again(&self, failures: u32, failing: Duration, broke: Error) -> Result<Duration> {
        if !is_transient(&broke) {
            return Err(broke);
        }
        if failures >= self.most {
            return Err(match self.most {
                0 | 1 => broke,
                most => broke.context(format!("it was asked {most} times in a row")),
            });
        }
        let asked = broke.wanted_pause().unwrap_or_default();
        if asked > LONGEST_PAUSE {
            let (asked, most) = (asked.as_secs(), LONGEST_PAUSE.as_secs());
            let hint = format!("the source wants to be left alone for {asked} s, and is waited for at most {most} s");
            return Err(broke.hint(hint));
        }
        let pause = self.pause(failures).max(asked);
        if failing.saturating_add(pause) > self.total {
            let (failing, pause) = (failing.as_secs(), pause.as_secs_f64());
            let why =
                format!("it failed for {failing} s in a row and was to be asked in {pause:.1} s (`limits.total`)");
            return Err(broke.context(why));
        }
        Ok(pause)
    }

    /// Our own pause after so many failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let own = self.back_off.saturating_mul(doubled).min(LONGEST_OWN_PAUSE);
        // Up to a quarter more, so that many who broke together do not come back together.
        let spread = RandomState::new().hash_one(failures) % 256;
        own.saturating_add(own / 4 * u32::try_from(spread).unwrap_or(0) / 256)
    }
}

/// Whether the same bytes may come if they are asked for once more. A source that is another than it was is none of these.
fn is_transient(error: &Error) -> bool {
    let may = matches!(
        error.code(),
        Code::SourceUnreachable | Code::SourceFailed | Code::SourceTruncated | Code::SourceStalled
    );
    may && error.retryable() == Retryable::Yes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;

    fn error(code: Code) -> Error {
        Error::new(code, Stage::Source, "it broke")
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let attempts = Attempts { most: 1000, back_off: Duration::from_millis(400), total: Duration::MAX };
        let pauses: Vec<_> = (1..100).map(|failures| attempts.pause(failures)).collect();
        for (pause, least) in pauses.iter().zip([400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]) {
            let least = Duration::from_millis(least);
            assert!((least..=least + least / 4).contains(pause), "{pauses:?}");
        }
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_OWN_PAUSE * 5 / 4));
    }

    #[test]
    fn the_source_may_ask_for_a_longer_pause_within_bounds() {
        let attempts = Attempts { most: 5, back_off: Duration::from_millis(1), total: Duration::from_secs(600) };
        let broken = |seconds| error(Code::SourceFailed).after(Some(Duration::from_secs(seconds)));
        let again = |seconds, failing| attempts.again(1, Duration::from_secs(failing), broken(seconds));
        assert_eq!(again(300, 0).unwrap(), Duration::from_secs(300));
        assert_eq!(again(300, 300).unwrap(), Duration::from_secs(300));
        assert!(again(300, 301).unwrap_err().causes()[0].starts_with("it failed for 301 s in a row"));
        assert!(again(0, 0).unwrap() < Duration::from_millis(10));
        assert!(again(301, 0).unwrap_err().advice().unwrap().contains("301 s"));
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        let attempts = Attempts { most: 3, back_off: Duration::from_millis(1), total: Duration::MAX };
        for code in [Code::SourceUnreachable, Code::SourceFailed, Code::SourceTruncated, Code::SourceStalled] {
            assert!(
                attempts.again(1, Duration::ZERO, error(code)).is_ok()
                    && attempts.again(2, Duration::ZERO, error(code)).is_ok()
            );
            let last = attempts.again(3, Duration::ZERO, error(code)).unwrap_err();
            assert_eq!((last.code(), &*last.causes()), (code, &["it was asked 3 times in a row".to_owned()][..]));
        }
        for code in [
            Code::SourceChanged,
            Code::SourceDenied,
            Code::SourceNotFound,
            Code::SourceInvalid,
            Code::SourceLengthMismatch,
            Code::TlsCertificate,
            Code::EgressDenied,
            Code::ComponentTrapped,
            Code::Internal,
        ] {
            assert_eq!(attempts.again(1, Duration::ZERO, error(code)).unwrap_err().code(), code);
        }
        assert!(attempts.again(1, Duration::ZERO, error(Code::SourceFailed).retryable_as(Retryable::No)).is_err());
        let once = Attempts { most: 1, ..attempts };
        assert!(once.again(1, Duration::ZERO, error(Code::SourceFailed)).unwrap_err().causes().is_empty());
    }
}
