//! A disk from an HTTP server, over the host's `fetch`.
//!
//! One GET opens the disk: its head says size, revision and whether there are ranges, and its body, untouched until then,
//! is what the first full read hands on. This half is plain logic over heads, testable without wasm; `component` is the
//! glue to the `source-component` world.

#[cfg(target_family = "wasm")]
mod component;
mod head;

pub use head::{Head, Refusal, Revision, Verdict, check_range, check_revision, judge};

use url::Url;

/// The most redirects one `open` or `read` follows; the host enforces the same bound.
pub const MAX_HOPS: usize = 10;

/// Where a redirect leads: `location` resolved against the URL that was asked (RFC 9110 §10.2.2, RFC 3986 §5).
///
/// # Errors
/// Words for the user if either is no URL or the scheme is not HTTP.
pub fn redirect_target(asked: &str, location: &str) -> Result<String, String> {
    let base = Url::parse(asked).map_err(|why| format!("the URL that was asked is malformed: {why}"))?;
    let mut target = base.join(location).map_err(|why| format!("the server redirects to a malformed URL: {why}"))?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(format!("the server redirects to the scheme `{}`, expected http or https", target.scheme()));
    }
    // Fragments never travel, and user information from a server is not something to present as a credential.
    target.set_fragment(None);
    if !target.username().is_empty() || target.password().is_some() {
        return Err("the server redirects to a URL with user information".to_owned());
    }
    Ok(target.into())
}

/// The last segment of the location's path, as it stands there (still percent-encoded); none if there is none.
#[must_use]
pub fn name(location: &str) -> Option<String> {
    let url = Url::parse(location).ok()?;
    let last = url.path_segments()?.next_back()?;
    (!last.is_empty()).then(|| last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_resolved_against_the_url_that_was_asked() {
        let asked = "https://a.example/x/y.qcow2?sig=1";
        assert_eq!(redirect_target(asked, "z").as_deref(), Ok("https://a.example/x/z"));
        assert_eq!(redirect_target(asked, "/z#frag").as_deref(), Ok("https://a.example/z"));
        assert_eq!(redirect_target(asked, "//b.example/z").as_deref(), Ok("https://b.example/z"));
        assert_eq!(redirect_target(asked, "http://b.example:81/z?q").as_deref(), Ok("http://b.example:81/z?q"));
    }

    #[test]
    fn a_redirect_out_of_http_or_with_credentials_is_refused() {
        for location in
            ["ftp://a.example/", "file:///etc/passwd", "https://u:p@a.example/", "https://u@a.example/", "http://["]
        {
            assert!(redirect_target("https://a.example/", location).is_err(), "{location}");
        }
    }

    #[test]
    fn the_name_is_the_last_segment_as_it_stands() {
        assert_eq!(name("https://a.example/dir/my%20disk.qcow2?x=y").as_deref(), Some("my%20disk.qcow2"));
        assert_eq!(name("https://a.example/dir/"), None);
        assert_eq!(name("https://a.example"), None);
        assert_eq!(name("nonsense"), None);
    }
}
