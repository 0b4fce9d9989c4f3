//! What users type where a reference or URL is expected, in messages.

/// A location as a user typed it, fit to be shown: user information before a host
/// and what stands in a query are left out, however malformed the rest.
#[must_use]
pub fn as_typed(text: &str) -> String {
    let start = text.find(':').map_or(0, |colon| match text.get(colon..) {
        // `scheme:`, with however many slashes, before what may be an authority.
        Some(rest) if rest.starts_with(":/") => text.len() - rest.trim_start_matches([':', '/']).len(),
        _ => 0,
    });
    let (scheme, rest) = text.split_at_checked(start).unwrap_or(("", text));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    // Signed URLs carry their signature in the query.
    let path = path.split_once('?').map_or_else(|| path.to_owned(), |(path, _)| format!("{path}?<redacted>"));
    match authority.rsplit_once('@') {
        // `repository@sha256:…` without a host is no user information.
        Some((_, host)) if !host.starts_with("sha256:") => format!("{scheme}…@{host}{path}"),
        _ => format!("{scheme}{authority}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_is_not_shown_however_the_rest_is_written() {
        for (typed, shown) in [
            ("docker://porter:hunter2@h/vm:1", "docker://…@h/vm:1"),
            ("porter:hunter2@h:5000/vm", "…@h:5000/vm"),
            ("https:/u:hunter2@h/x", "https:/…@h/x"),
            ("https:///u:hunter2@h/x", "https:///…@h/x"),
            ("u:hunter2@h", "…@h"),
            ("u:hunter2@x@h", "…@h"),
            ("https://h/a@b", "https://h/a@b"),
            ("r.example/vm@sha256:00", "r.example/vm@sha256:00"),
            ("vm@sha256:00", "vm@sha256:00"),
            ("/a/b", "/a/b"),
            ("https:/h/x?signature=hunter2", "https:/h/x?<redacted>"),
            ("https://h?signature=hunter2/x", "https://h?<redacted>"),
            ("é:/ü@ö/ä", "é:/…@ö/ä"),
        ] {
            assert_eq!(as_typed(typed), shown);
        }
    }
}
