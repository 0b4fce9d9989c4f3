//! Secrets that cannot be printed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A user name and a password (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// What cannot be a user name and a password. It quotes neither.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct MalformedCredentials(&'static str);

impl Secret {
    /// Takes a secret in.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for whoever must send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Basic {
    /// A user name and a password; either may be empty.
    ///
    /// # Errors
    /// If the user name has a colon, or either has control characters (RFC 7617 §2).
    pub fn new(user: &str, password: &str) -> Result<Self, MalformedCredentials> {
        if user.contains(':') {
            return Err(MalformedCredentials("a user name with a colon"));
        }
        if user.chars().chain(password.chars()).any(char::is_control) {
            return Err(MalformedCredentials("control characters"));
        }
        Ok(Self { user: user.to_owned(), password: Secret::new(password.to_owned()) })
    }

    /// Reads `user:password` on one line; what comes after the first colon is the password.
    ///
    /// # Errors
    /// If it is not that.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedCredentials> {
        let text = str::from_utf8(text).map_err(|_| MalformedCredentials("not UTF-8"))?;
        let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        if line.contains('\n') {
            return Err(MalformedCredentials("more than one line, expected `user:password`"));
        }
        let pair = line.split_once(':').ok_or(MalformedCredentials("no colon, expected `user:password`"))?;
        Self::new(pair.0, pair.1)
    }

    /// The value of an Authorization field, marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        basic(&format!("{}:{}", self.user, self.password.expose()))
    }
}

/// The value of a field for `user:password` (RFC 7617 §2), marked as sensitive.
pub(super) fn basic(pair: &str) -> HeaderValue {
    let pair = STANDARD.encode(pair);
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let basic = Basic { user: "u".to_owned(), password: Secret::new("hunter2".to_owned()) };
        assert!(!format!("{basic:?} {:?}", basic.header()).contains("hunter2"));
        assert_eq!(basic.header().to_str().unwrap(), "Basic dTpodW50ZXIy");
        assert!(!format!("{:?}", basic.header()).contains("dTpodW50ZXIy"));
    }

    #[test]
    fn credentials_are_one_line_with_a_colon() {
        let pair = |text: &[u8]| Basic::parse(text).map(|basic| (basic.user, basic.password.expose().to_owned()));
        for text in ["u:p:w", "u:p:w\n", "u:p:w\r\n"] {
            assert_eq!(pair(text.as_bytes()), Ok(("u".to_owned(), "p:w".to_owned())));
        }
        assert_eq!(pair(b":token"), Ok((String::new(), "token".to_owned())));
        assert_eq!(pair(b"u:"), Ok(("u".to_owned(), String::new())));
        for text in [&b"hunter2"[..], b"", b"u:hunter2\nx:y", b"u:hunter2\n\n", b"u:hunter2\x07", b"u:\xff"] {
            assert!(!pair(text).unwrap_err().to_string().contains("hunter2"));
        }
        assert!(Basic::new("a:b", "c").is_err());
    }
}
