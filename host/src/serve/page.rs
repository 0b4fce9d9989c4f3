//! The upload page: one document, nothing from elsewhere, and no script but its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};

use super::answer::with_body;
use crate::net::Reply;

const PAGE: &str = include_str!("page.html");

/// The page, which is for everybody: what it asks needs the token.
pub(super) fn page() -> Reply {
    let mut reply = with_body(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()));
    let fields = reply.headers_mut();
    // The digests are of ASCII.
    if let Ok(policy) = HeaderValue::try_from(content_policy()) {
        fields.insert(CONTENT_SECURITY_POLICY, policy);
    }
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    fields.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    reply
}

/// What the page may do (CSP level 3): run the one script and have the one style that stand in it, and speak to us.
fn content_policy() -> String {
    let (script, style) = (digest(between("<script>", "</script>")), digest(between("<style>", "</style>")));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn digest(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

fn between(begin: &str, end: &str) -> &'static str {
    let inner = PAGE.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    inner.map_or("", |(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_from_elsewhere() {
        for (part, count) in
            [("<script", 1), ("<style", 1), (" src=", 0), (" onclick", 0), ("http:", 0), ("https:", 0), ("style=", 0)]
        {
            assert_eq!(PAGE.matches(part).count(), count, "{part}");
        }
        assert!(
            between("<script>", "</script>").contains("'use strict'")
                && between("<style>", "</style>").contains("body")
        );
        // Text goes in as text.
        assert!(!PAGE.contains("innerHTML") && !PAGE.contains("insertAdjacent") && !PAGE.contains("eval("));
        // The token is nowhere but in memory.
        assert!(!PAGE.contains("localStorage") && !PAGE.contains("sessionStorage") && !PAGE.contains("cookie"));
    }
}
