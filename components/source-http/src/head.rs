//! What the head of an answer means.

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

/// What distinguishes one content from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// A strong entity tag, quotes included.
    Etag(String),
    /// The `Last-Modified` date as received.
    Modified(String),
}

/// What to do about a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The body is what was asked for.
    Body,
    /// Ask there instead.
    Redirect(String),
    /// It cannot be had.
    Refused(Refusal),
}

/// Why a disk cannot be had, with words for the user.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 404, 410.
    NotFound(String),
    /// 401, 403, 407.
    Denied(String),
    /// 412, or another revision than before.
    Changed(String),
    /// An answer that contradicts itself.
    Invalid(String),
    /// An answer this source cannot make a disk of.
    Unsupported(String),
    /// Any other status.
    Io(String),
}

impl Head {
    /// The first field of that lower-case name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.trim())
    }

    /// The content codings that would have to be undone to get at the disk (RFC 9110 §8.4), of all fields.
    fn codings(&self) -> impl Iterator<Item = &str> {
        let fields = self.headers.iter().filter(|(field, _)| field == "content-encoding");
        let codings = fields.flat_map(|(_, value)| value.split(',')).map(str::trim);
        codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
    }

    /// Whether this is a part by its `Content-Range` and not the whole.
    fn is_part(&self) -> bool {
        self.field("content-range").is_some_and(|field| match parse_content_range(field) {
            Some((first, last, total)) => first != 0 || last.checked_add(1) != Some(total),
            None => true,
        })
    }

    /// A strong entity tag if there is one (RFC 9110 §8.8.3: a weak one must not be used for ranges), else the date.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        let strong = |tag: &&str| tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
        match self.field("etag").filter(strong) {
            Some(tag) => Some(Revision::Etag(tag.to_owned())),
            None => self.field("last-modified").map(|date| Revision::Modified(date.to_owned())),
        }
    }

    /// Whether the server says that it serves byte ranges (RFC 9110 §14.3).
    #[must_use]
    pub fn has_ranges(&self) -> bool {
        self.field("accept-ranges")
            .is_some_and(|units| units.split(',').any(|unit| unit.trim().eq_ignore_ascii_case("bytes")))
    }
}

impl Revision {
    /// The revision as one text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Etag(text) | Self::Modified(text) => text,
        }
    }
}

/// Judges the head of an answer to a GET. `partial` says whether a range was asked for.
#[must_use]
pub fn judge(head: &Head, partial: bool) -> Verdict {
    let status = head.status;
    let refused = match status {
        200 if partial => Refusal::Changed(
            "the server answered a range with the whole: the disk changed meanwhile, or ranges do not work there"
                .into(),
        ),
        206 if !partial => Refusal::Invalid("the server answered a request for the whole with a part (206)".into()),
        200 if head.is_part() => Refusal::Invalid(format!(
            "the server answered 200 with the Content-Range `{}`, which is not the whole",
            head.field("content-range").unwrap_or_default()
        )),
        200 | 206 => match head.codings().next() {
            Some(coding) => Refusal::Unsupported(format!(
                "the server sends the content coding `{coding}` that was not asked for, expected the disk as it is"
            )),
            None => return Verdict::Body,
        },
        301 | 302 | 303 | 307 | 308 => match head.field("location") {
            Some(location) => return Verdict::Redirect(location.to_owned()),
            None => Refusal::Invalid(format!("the server answered {status} without a Location")),
        },
        401 | 403 | 407 => Refusal::Denied(format!("the server answered {status}")),
        404 | 410 => Refusal::NotFound(format!("the server answered {status}")),
        412 => Refusal::Changed("the server answered 412: the disk changed meanwhile".into()),
        416 => Refusal::Changed("the server answered 416: the disk no longer has that range".into()),
        _ => Refusal::Io(format!("the server answered {status}, expected 200")),
    };
    Verdict::Refused(refused)
}

/// Checks that the `Content-Range` of a 206 is the part that was asked for, of a disk of the size it was opened with
/// (RFC 9110 §14.4), and that its body is as long.
///
/// # Errors
/// `Changed` if the total differs, `Invalid` if the part does or there are several.
pub fn check_range(head: &Head, offset: u64, length: Option<u64>, size: u64) -> Result<(), Refusal> {
    let invalid = |got: &str| {
        Err(Refusal::Invalid(format!("the server sent the range `{got}`, expected bytes from {offset} of {size}")))
    };
    let mut fields = head.headers.iter().filter(|(name, _)| name == "content-range").map(|(_, value)| value.trim());
    let (Some(field), None) = (fields.next(), fields.next()) else { return invalid("(none, or more than one)") };
    let Some((first, last, total)) = parse_content_range(field) else { return invalid(field) };
    if total != size {
        return Err(Refusal::Changed(format!("the disk has {total} bytes now, expected {size} as before")));
    }
    let end = length.map_or(size, |length| offset.saturating_add(length).min(size));
    if first != offset || last.checked_add(1) != Some(end) {
        return invalid(field);
    }
    if head.length.is_some_and(|length| Some(length) != end.checked_sub(first)) {
        return Err(Refusal::Invalid(format!(
            "the server sent {} bytes as the range `{field}`",
            head.length.unwrap_or_default()
        )));
    }
    Ok(())
}

/// Checks that a 206 is part of the content that was opened. A server need not say again what its date is, but what it says
/// must be the same (RFC 9110 §15.3.7).
///
/// # Errors
/// `Changed`.
pub fn check_revision(head: &Head, opened: Option<&Revision>) -> Result<(), Refusal> {
    match (opened, head.revision()) {
        (Some(Revision::Etag(opened)), Some(Revision::Etag(now))) if *opened != now => Err(Refusal::Changed(format!(
            "the server sent a range of another revision, {now}, expected {opened} as it was opened"
        ))),
        (Some(Revision::Modified(opened)), Some(Revision::Modified(now))) if *opened != now => Err(Refusal::Changed(
            format!("the server sent a range of another revision, modified {now}, expected {opened} as it was opened"),
        )),
        _ => Ok(()),
    }
}

/// The size of the disk of which a 206 is a part; none if it does not say.
#[must_use]
pub fn total(head: &Head) -> Option<u64> {
    parse_content_range(head.field("content-range")?).map(|(.., total)| total)
}

fn parse_content_range(field: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = field.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> Head {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Head { status, headers, length: None }
    }

    #[test]
    fn a_strong_tag_beats_the_date_and_a_weak_one_does_not() {
        let date = ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(head(200, &[date, ("etag", "\"x\"")]).revision(), Some(Revision::Etag("\"x\"".into())));
        assert_eq!(head(200, &[date, ("etag", "W/\"x\"")]).revision(), Some(Revision::Modified(date.1.into())));
        assert_eq!(head(200, &[("etag", "W/\"x\"")]).revision(), None);
    }

    #[test]
    fn ranges_count_only_when_announced_in_bytes() {
        assert!(head(200, &[("accept-ranges", "Bytes")]).has_ranges());
        assert!(!head(200, &[("accept-ranges", "none")]).has_ranges());
        assert!(!head(200, &[]).has_ranges());
    }

    #[test]
    fn every_status_has_its_meaning() {
        assert_eq!(judge(&head(200, &[]), false), Verdict::Body);
        assert_eq!(judge(&head(206, &[]), true), Verdict::Body);
        assert_eq!(judge(&head(302, &[("location", "/x")]), false), Verdict::Redirect("/x".into()));
        let refusal = |head: &Head, partial| match judge(head, partial) {
            Verdict::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        assert!(matches!(refusal(&head(200, &[]), true), Refusal::Changed(_)));
        assert!(matches!(refusal(&head(206, &[]), false), Refusal::Invalid(_)));
        assert!(matches!(refusal(&head(302, &[]), false), Refusal::Invalid(_)));
        assert!(matches!(refusal(&head(304, &[]), false), Refusal::Io(_)));
        assert!(matches!(refusal(&head(403, &[]), false), Refusal::Denied(_)));
        assert!(matches!(refusal(&head(410, &[]), false), Refusal::NotFound(_)));
        assert!(matches!(refusal(&head(503, &[]), false), Refusal::Io(_)));
    }

    #[test]
    fn a_content_coding_is_never_mistaken_for_the_disk() {
        assert!(matches!(
            judge(&head(200, &[("content-encoding", "gzip")]), false),
            Verdict::Refused(Refusal::Unsupported(_))
        ));
        for fields in [
            &[("content-encoding", "identity, br")][..],
            &[("content-encoding", "identity"), ("content-encoding", "zstd")],
            &[("content-encoding", "aes128gcm")],
        ] {
            assert!(
                matches!(judge(&head(200, fields), false), Verdict::Refused(Refusal::Unsupported(_))),
                "{fields:?}"
            );
        }
        for plain in ["identity", "Identity", "", " , "] {
            assert_eq!(judge(&head(200, &[("content-encoding", plain)]), false), Verdict::Body);
        }
    }

    #[test]
    fn a_200_is_the_whole() {
        let whole = |field| judge(&head(200, &[("content-range", field)]), false);
        assert_eq!(whole("bytes 0-99/100"), Verdict::Body);
        for field in ["bytes 10-99/100", "bytes 0-98/100", "bytes 0-99/*", "bytes */100", "x"] {
            assert!(matches!(whole(field), Verdict::Refused(Refusal::Invalid(_))), "{field}");
        }
    }

    #[test]
    fn a_part_must_be_of_the_content_that_was_opened() {
        let etag = |tag: &str| Revision::Etag(tag.to_owned());
        let part = |field, value| head(206, &[(field, value)]);
        assert_eq!(check_revision(&part("etag", "\"a\""), Some(&etag("\"a\""))), Ok(()));
        assert!(matches!(check_revision(&part("etag", "\"b\""), Some(&etag("\"a\""))), Err(Refusal::Changed(_))));
        let modified = Revision::Modified("Wed, 21 Oct 2015 07:28:00 GMT".into());
        let other = part("last-modified", "Wed, 21 Oct 2015 07:29:00 GMT");
        assert!(matches!(check_revision(&other, Some(&modified)), Err(Refusal::Changed(_))));
        assert_eq!(check_revision(&other, Some(&etag("\"a\""))), Ok(()), "it does not say its tag again");
        assert_eq!(check_revision(&head(206, &[]), Some(&modified)), Ok(()));
    }

    #[test]
    fn a_part_must_be_the_one_asked_for() {
        let part = |field| head(206, &[("content-range", field)]);
        assert_eq!(check_range(&part("bytes 10-99/100"), 10, None, 100), Ok(()));
        assert_eq!(check_range(&part("bytes 10-19/100"), 10, Some(10), 100), Ok(()));
        assert_eq!(check_range(&part("bytes 90-99/100"), 90, Some(50), 100), Ok(()));
        assert!(matches!(check_range(&part("bytes 10-99/200"), 10, None, 100), Err(Refusal::Changed(_))));
        for field in ["bytes 0-99/100", "bytes 10-98/100", "bytes 10-99/*", "10-99/100", "bytes */100"] {
            assert!(matches!(check_range(&part(field), 10, None, 100), Err(Refusal::Invalid(_))), "{field}");
        }
        assert!(matches!(check_range(&head(206, &[]), 0, None, 1), Err(Refusal::Invalid(_))));
        assert_eq!(
            (total(&part("bytes 0-9/100")), total(&part("bytes 0-9/*")), total(&head(206, &[]))),
            (Some(100), None, None)
        );
        let two = head(206, &[("content-range", "bytes 10-99/100"), ("content-range", "bytes 0-99/100")]);
        assert!(matches!(check_range(&two, 10, None, 100), Err(Refusal::Invalid(_))));
        let length = |length| Head { length: Some(length), ..part("bytes 10-99/100") };
        assert_eq!(check_range(&length(90), 10, None, 100), Ok(()));
        assert!(matches!(check_range(&length(91), 10, None, 100), Err(Refusal::Invalid(_))));
    }
}
