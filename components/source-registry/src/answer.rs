//! What the head of a registry's answer means (distribution-spec, RFC 9110).

use url::Url;

/// The head of an answer, as `fetch` gives it: names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The fields in the order received.
    pub headers: Vec<(String, String)>,
    /// The length of this body.
    pub length: Option<u64>,
}

/// What to do about a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The body is the whole.
    Whole,
    /// The body is the part that its `Content-Range` says.
    Part,
    /// Ask there instead.
    Redirect(String),
    /// It cannot be had.
    Refused(Refusal),
}

/// Why something cannot be had, with words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 404, 410.
    NotFound(String),
    /// 401, 403, 407.
    Denied(String),
    /// What contradicts itself, its digest, or what it is called.
    Invalid(String),
    /// What this source cannot make a disk of.
    Unsupported(String),
    /// More than somebody should send.
    Limit(String),
    /// Any other status.
    Io(String),
}

impl Head {
    /// The first field of that lower-case name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.trim())
    }
}

/// Judges the head of an answer to a GET for `what`.
#[must_use]
pub fn judge(head: &Head, what: &str) -> Verdict {
    let status = head.status;
    let coding = head.field("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    Verdict::Refused(match (status, coding) {
        (200 | 206, Some(coding)) => {
            Refusal::Unsupported(format!("{what}: the registry sends the content coding `{coding}`"))
        }
        (200, None) => return Verdict::Whole,
        (206, None) => return Verdict::Part,
        (301 | 302 | 303 | 307 | 308, _) => match head.field("location") {
            Some(location) => return Verdict::Redirect(location.to_owned()),
            None => Refusal::Invalid(format!("{what}: the registry answered {status} without a Location")),
        },
        (401 | 403 | 407, _) => Refusal::Denied(format!("{what}: the registry answered {status}")),
        (404 | 410, _) => Refusal::NotFound(format!("{what}: the registry answered {status}")),
        _ => Refusal::Io(format!("{what}: the registry answered {status}, expected 200")),
    })
}

/// Checks that a 206 is the part from `offset` on, of at most `length` bytes, of a blob of `size` bytes (RFC 9110 §14.4).
///
/// # Errors
/// `Invalid`.
pub fn check_part(head: &Head, offset: u64, length: u64, size: u64) -> Result<(), Refusal> {
    let expected = (offset, offset.saturating_add(length).min(size));
    let field = head.field("content-range").unwrap_or("none");
    let parsed = || {
        let (range, total) = field.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?.checked_add(1)?, total.parse::<u64>().ok()?))
    };
    match parsed() {
        Some((first, end, total)) if (first, end) == expected && total == size => Ok(()),
        _ => {
            let (first, end) = expected;
            let message = format!("the registry sent the range `{field}`, expected bytes {first} to {end} of {size}");
            Err(Refusal::Invalid(message))
        }
    }
}

/// Where a redirect leads: `location` resolved against the URL that was asked (RFC 9110 §10.2.2, RFC 3986 §5).
///
/// # Errors
/// `Invalid` if either is no URL or the scheme is not HTTP.
pub fn redirect_target(asked: &str, location: &str) -> Result<String, Refusal> {
    let target = Url::parse(asked).and_then(|base| base.join(location));
    let target = target.ok().filter(|target| matches!(target.scheme(), "http" | "https"));
    let clean = target.filter(|target| target.username().is_empty() && target.password().is_none());
    match clean {
        Some(mut target) => {
            target.set_fragment(None);
            Ok(target.into())
        }
        None => Err(Refusal::Invalid("the registry redirects to something that is no http or https URL".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> Head {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Head { status, headers, length: None }
    }

    #[test]
    fn every_status_means_something() {
        assert_eq!(judge(&head(200, &[]), "x"), Verdict::Whole);
        assert_eq!(judge(&head(206, &[("content-encoding", "identity")]), "x"), Verdict::Part);
        assert_eq!(judge(&head(307, &[("location", "/y")]), "x"), Verdict::Redirect("/y".to_owned()));
        let refused = |status, headers: &[(&str, &str)]| match judge(&head(status, headers), "x") {
            Verdict::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        assert!(matches!(refused(302, &[]), Refusal::Invalid(_)));
        assert!(matches!(refused(200, &[("content-encoding", "gzip")]), Refusal::Unsupported(_)));
        assert!(matches!(refused(403, &[]), Refusal::Denied(_)));
        assert!(matches!(refused(404, &[]), Refusal::NotFound(_)));
        assert!(matches!(refused(500, &[]), Refusal::Io(_)));
    }

    #[test]
    fn a_part_is_the_one_that_was_asked_for() {
        let part = |range: &str| check_part(&head(206, &[("content-range", range)]), 10, 5, 20);
        assert_eq!(part("bytes 10-14/20"), Ok(()));
        assert_eq!(check_part(&head(206, &[("content-range", "bytes 18-19/20")]), 18, 5, 20), Ok(()), "its end");
        for range in ["", "bytes 10-14/*", "bytes 10-14/21", "bytes 9-14/20", "bytes 10-15/20", "bytes 10-/20"] {
            assert!(part(range).is_err(), "{range}");
        }
        assert!(check_part(&head(206, &[]), 10, 5, 20).is_err());
    }

    #[test]
    fn a_redirect_leads_to_a_url() {
        let asked = "https://r.example/v2/vm/blobs/x";
        assert_eq!(redirect_target(asked, "/y#f").as_deref(), Ok("https://r.example/y"));
        assert_eq!(redirect_target(asked, "https://s.example/b?sig=1").as_deref(), Ok("https://s.example/b?sig=1"));
        for location in ["ftp://s.example/", "https://u:p@s.example/", "http://["] {
            assert!(redirect_target(asked, location).is_err(), "{location}");
        }
    }
}
