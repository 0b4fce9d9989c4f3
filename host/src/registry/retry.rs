//! When a request is sent again, and after how long. Only requests that can be replayed come here, never a stream.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// How often a request is sent at most.
pub(super) const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; each later one is three times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause a registry may ask for; one that wants more is told to the user instead of being waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whether a status is worth another attempt: the request may succeed as it is.
pub(super) const fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
}

/// How long to wait before the attempt after `attempt` (the first is 1), if there is to be one.
pub(super) fn pause(attempt: u32, asked: Option<Duration>) -> Option<Duration> {
    if attempt >= ATTEMPTS || asked.is_some_and(|asked| asked > LONGEST_PAUSE) {
        return None;
    }
    let own = FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(attempt.saturating_sub(1)));
    // Up to a quarter more, so that many who were refused together do not come back together.
    let spread = RandomState::new().hash_one(attempt) % 256;
    let own = own.saturating_add(own / 4 * u32::try_from(spread).unwrap_or(0) / 256);
    Some(asked.unwrap_or(own))
}

/// The pause that an answer asks for (RFC 9110 §10.2.3): seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_pauses_are_bounded() {
        let pauses: Vec<_> = (1..10).map_while(|attempt| pause(attempt, None)).collect();
        assert_eq!(pauses.len() as u32, ATTEMPTS - 1);
        assert!(pauses[0] >= FIRST_PAUSE && pauses[0] < FIRST_PAUSE * 2 && pauses[1] > pauses[0], "{pauses:?}");
        assert_eq!(pause(1, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(1, Some(Duration::from_secs(61))), None);
        assert_eq!(pause(ATTEMPTS, Some(Duration::ZERO)), None);
    }

    #[test]
    fn retry_after_has_two_forms() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|pause| pause.as_secs())
        };
        assert_eq!(read("5"), Some(5));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:30 GMT"), Some(30));
        assert_eq!(read("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn what_the_registry_decided_is_not_asked_again() {
        for status in [200, 201, 400, 401, 403, 404, 405, 413, 416, 501, 507] {
            assert!(!is_temporary(status), "{status}");
        }
    }
}
