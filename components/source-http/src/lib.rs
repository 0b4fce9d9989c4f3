//! A disk from an HTTP server, over the host's `fetch`.
//!
//! One GET opens the disk: its head says size, revision and whether there are ranges, and its body, untouched until then,
//! is what the first full read hands on. With the option `open=part` it is a GET for the first [`FIRST_PART`] bytes, whose body
//! is what a read of them hands on: for whoever reads nothing but parts. This half is plain logic over heads, testable without wasm; `component` is the
//! glue to the `source-component` world.

#[cfg(target_family = "wasm")]
mod component;
mod head;

pub use head::{Head, Refusal, Revision, Verdict, check_range, check_revision, judge, total};

use url::Url;

/// The most redirects one `open` or `read` follows; the host enforces the same bound.
pub const MAX_HOPS: usize = 10;

/// Bytes of the part with which a disk is opened that is read in parts: what a probe asks for first.
pub const FIRST_PART: u64 = 64 << 10;

/// Whether a disk is opened with its first part alone, by the source's options.
///
/// # Errors
/// The first option that is unknown or has another value.
pub fn opens_part(options: &[(String, String)]) -> Result<bool, String> {
    let mut part = false;
    for (key, value) in options {
        match (key.as_str(), value.as_str()) {
            ("open", "part") => part = true,
            ("open", "whole") => part = false,
            ("open", _) => return Err(format!("this source opens a `part` or the `whole`, not `{value}`")),
            _ => return Err(format!("this source has no option `{key}`")),
        }
    }
    Ok(part)
}

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
    fn an_option_is_known_or_refused() {
        let told = |options: &[(&str, &str)]| {
            let options: Vec<_> = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            opens_part(&options)
        };
        assert_eq!(
            (told(&[]), told(&[("open", "part")]), told(&[("open", "whole")])),
            (Ok(false), Ok(true), Ok(false))
        );
        assert!(told(&[("open", "half")]).unwrap_err().contains("not `half`"));
        assert!(told(&[("open", "part"), ("x", "y")]).unwrap_err().contains("no option `x`"));
    }

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
