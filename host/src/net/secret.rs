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
    /// The value of an Authorization field, marked as sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let pair = STANDARD.encode(format!("{}:{}", self.user, self.password.expose()));
        let mut value = HeaderValue::try_from(format!("Basic {pair}")).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
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
}
