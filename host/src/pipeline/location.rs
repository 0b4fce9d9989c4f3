//! A location under a scheme that no built-in source knows: whoever was chosen for it is told what was typed.

use url::Url;

use crate::net::redacted;
use crate::policy::{Egress, Origin, Side};

/// What was typed, without user information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    text: String,
    url: Url,
}

/// A text that is no such location.
#[derive(Debug, thiserror::Error)]
pub enum MalformedLocation {
    /// It is no URL.
    #[error("it is not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// There is user information in it.
    #[error("it has user information")]
    UserInformation,
}

impl Location {
    /// Reads `scheme://…`.
    ///
    /// # Errors
    /// [`MalformedLocation`]; nothing of the text is in it.
    pub fn parse(text: &str) -> Result<Self, MalformedLocation> {
        let url = Url::parse(text)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(MalformedLocation::UserInformation);
        }
        Ok(Self { text: text.to_owned(), url })
    }

    /// The scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The location as it was typed.
    #[must_use]
    pub fn as_typed(&self) -> &str {
        &self.text
    }

    /// The location as it may be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        redacted(&self.url)
    }

    /// The location without its query, which may hold a signature.
    #[must_use]
    pub fn without_query(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        redacted(&url)
    }

    /// Where the location's own host is reached, if it names one: over TLS, unless plain HTTP is allowed for it. That, and
    /// nothing else, is granted to the source.
    #[must_use]
    pub fn origin(&self, egress: &Egress) -> Option<Origin> {
        let host = self.url.host_str().filter(|host| !host.is_empty())?;
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        let at = |scheme: &str| Origin::of(&Url::parse(&format!("{scheme}://{host}{port}/")).ok()?).ok();
        at("http").filter(|plain| egress.allows_scheme(Side::Source, plain)).or_else(|| at("https"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Site, Sited};

    fn location(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn it_is_passed_on_as_typed_and_shown_without_secrets() {
        let typed = "FOO://Host:99/a%20b//c?sig=hunter2#part";
        assert_eq!(location(typed).as_typed(), typed);
        assert_eq!(location(typed).scheme(), "foo");
        assert_eq!(location(typed).shown(), "foo://Host:99/a%20b//c?<redacted>");
        assert_eq!(location(typed).without_query(), "foo://Host:99/a%20b//c");
        for text in ["foo://u@h/x", "foo://u:hunter2@h/x", "foo://:hunter2@h/x"] {
            let why = Location::parse(text).unwrap_err();
            assert!(matches!(why, MalformedLocation::UserInformation) && !why.to_string().contains("hunter2"), "{why}");
        }
        assert!(matches!(Location::parse("foo://[x/y"), Err(MalformedLocation::Url(_))));
    }

    #[test]
    fn the_host_it_names_is_granted_and_nothing_without_one() {
        let origin = |text: &str, egress: &Egress| location(text).origin(egress).map(|origin| origin.to_string());
        let tls = Egress::default();
        assert_eq!(origin("foo://a.example/x", &tls).as_deref(), Some("https://a.example"));
        assert_eq!(origin("foo://a.example:8443/x", &tls).as_deref(), Some("https://a.example:8443"));
        assert_eq!(origin("foo://[::1]:1/x", &tls).as_deref(), Some("https://[::1]:1"));
        for text in ["foo:///x", "foo://", "foo://?x"] {
            assert_eq!(origin(text, &tls), None, "{text}");
        }
        let plain = vec![Sited::new("a.example".parse().unwrap(), Site::BuiltIn)];
        let plain = Egress { plain_http: plain, ..Egress::default() };
        assert_eq!(origin("foo://a.example/x", &plain).as_deref(), Some("http://a.example"));
        assert_eq!(origin("foo://b.example/x", &plain).as_deref(), Some("https://b.example"));
    }
}
