//! URLs as they may be shown.

use url::Url;

/// The URL without user information and fragment, its query replaced: signed URLs carry their signature there.
#[must_use]
pub fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    let had_query = url.query().is_some();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only for URLs that cannot have user information.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    if had_query { format!("{shown}?<redacted>") } else { shown.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let shown = |url: &str| redacted(&Url::parse(url).unwrap());
        assert_eq!(shown("https://u:p@a.example/x?sig=1#f"), "https://a.example/x?<redacted>");
        assert_eq!(shown("https://a.example/x"), "https://a.example/x");
    }
}
