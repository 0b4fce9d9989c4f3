//! Header fields of a source's requests and answers: whose they are, and those the user gives, which are secret.

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Basic;

/// The most fields a user may give for SOURCE, and their bytes in all.
const MAX_FIELDS: (usize, usize) = (32, 16 * 1024);

/// Fields that only the host sets, besides `If-*`: what a request is about, how its connection is used (RFC 9110 §7.6.1),
/// and on whose behalf it comes.
const HOST_FIELDS: [&str; 18] = [
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
];
/// Fields that carry credentials: a user may give them, a component may not.
const CREDENTIAL_FIELDS: [&str; 2] = ["authorization", "cookie"];
/// Fields of an answer that are between the host and the server.
const SECRET_ANSWERS: [&str; 6] = [
    "authentication-info",
    "proxy-authenticate",
    "proxy-authentication-info",
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
];

/// Whether only the host may set a field of a component's request. Upper and lower case are the same.
#[must_use]
pub fn is_hosts_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_FIELDS.contains(&name.as_str()) || is_never_given(&name)
}

/// Whether nobody outside the host may set it. `name` is in lower case.
fn is_never_given(name: &str) -> bool {
    HOST_FIELDS.contains(&name) || name.starts_with("if-")
}

/// An answer's fields that a component may see, in their order, which removing some would not keep.
pub(super) fn without_secrets(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| !SECRET_ANSWERS.contains(&name.as_str())) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

/// Header fields that the user gives for SOURCE, credentials among them. Sent to SOURCE's own origin only; never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SourceFields(HeaderMap);

/// A line of a header file that cannot be used. It never quotes a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct MalformedField {
    line: usize,
    why: String,
}

impl SourceFields {
    /// Reads `Name: value` lines (RFC 9112 §5). Empty lines and those that begin with `#` say nothing. At most 32 fields of
    /// 16 KiB in all.
    ///
    /// # Errors
    /// With the line that is no field, or one that is the host's, or the second of one that can be there only once.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedField> {
        let mut fields = HeaderMap::new();
        let mut bytes = 0_usize;
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let malformed = |why: &str| MalformedField { line: at.saturating_add(1), why: why.to_owned() };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.trim_ascii().is_empty() || line.starts_with(b"#") {
                continue;
            }
            bytes = bytes.saturating_add(line.len());
            if fields.len() >= MAX_FIELDS.0 || bytes > MAX_FIELDS.1 {
                let (most, most_bytes) = MAX_FIELDS;
                return Err(malformed(&format!("more than {most} fields or {most_bytes} bytes of them")));
            }
            // What stands before the colon may be half of a secret: it is only repeated where it is a known name.
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                return Err(malformed("no colon, expected `Name: value`"));
            };
            let (name, value) = line.split_at(colon);
            let name = HeaderName::from_bytes(name)
                .map_err(|_| malformed("no field name before the colon, expected `Name: value`"))?;
            if is_never_given(name.as_str()) {
                return Err(malformed(&format!("the field `{name}` is longshore's own to set")));
            }
            let once = CREDENTIAL_FIELDS.contains(&name.as_str());
            if once && fields.contains_key(&name) {
                return Err(malformed(&format!("the field `{name}` a second time")));
            }
            let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
            if value.is_empty() {
                return Err(malformed("a field without a value"));
            }
            let mut value = HeaderValue::from_bytes(value).map_err(|_| malformed("a value with control characters"))?;
            value.set_sensitive(true);
            fields.append(name, value);
        }
        Ok(Self(fields))
    }

    /// With these credentials as the Authorization field, in the place of any other.
    #[must_use]
    pub fn authorized(mut self, credentials: &Basic) -> Self {
        self.0.insert(AUTHORIZATION, credentials.header());
        self
    }

    /// Whether there is an Authorization field.
    #[must_use]
    pub fn has_authorization(&self) -> bool {
        self.0.contains_key(AUTHORIZATION)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets the fields on a request, in the place of those of the same name.
    pub(super) fn set_on(&self, headers: &mut HeaderMap) {
        for name in self.0.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.0 {
            headers.append(name, value.clone());
        }
    }
}

impl fmt::Debug for SourceFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        SourceFields::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_header_file_is_fields_line_by_line() {
        let text = "# who we are\r\nAuthorization: Bearer abc:def\r\n\r\nX-Tag:one\nx-tag:\ttwo \nCookie: a=b\n";
        let fields = SourceFields::parse(text.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-tag", HeaderValue::from_static("the component's"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        fields.set_on(&mut headers);
        assert_eq!(headers["authorization"], "Bearer abc:def");
        assert_eq!(headers.get_all("x-tag").iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!((&headers["cookie"], &headers["accept"]), (&"a=b".parse().unwrap(), &"*/*".parse().unwrap()));
        assert!(headers["authorization"].is_sensitive() && headers["x-tag"].is_sensitive());
        assert!(fields.has_authorization() && !fields.is_empty());
        assert!(SourceFields::parse(b"# nothing\n").unwrap().is_empty());
    }

    #[test]
    fn the_hosts_fields_are_refused_with_their_line() {
        for name in ["Host", "RANGE", "If-Match", "if-range", "Content-Length", "Connection", "TE", "Accept-Encoding"] {
            let why = refused(&format!("# first\nX: y\n{name}: x\n"));
            assert_eq!(why, format!("line 3: the field `{}` is longshore's own to set", name.to_ascii_lowercase()));
            assert!(is_hosts_field(name), "{name}");
        }
        assert!(is_hosts_field("Authorization") && is_hosts_field("COOKIE") && !is_hosts_field("Accept"));
        assert_eq!(refused("authorization: a\nAuthorization: b"), "line 2: the field `authorization` a second time");
        assert_eq!(refused("Cookie: a\ncookie: b"), "line 2: the field `cookie` a second time");
    }

    #[test]
    fn what_is_no_field_is_refused_without_showing_it() {
        for text in ["hunter2", "Bearer hunter2: x", " hunter2: x", ": hunter2", "X: hunter2\0", "X: hunter2\x1b[31m"] {
            let why = refused(text);
            assert!(why.starts_with("line 1: ") && !why.contains("hunter2"), "{why}");
        }
        assert_eq!(refused("X:"), "line 1: a field without a value");
        assert!(refused(&"X: y\n".repeat(33)).starts_with("line 33: more than 32 fields"));
        assert!(refused(&format!("X: {}", "y".repeat(16 * 1024))).starts_with("line 1: more than"));
    }

    #[test]
    fn fields_are_not_shown() {
        let fields = SourceFields::parse(b"X-Token: hunter2").unwrap();
        let shown = format!("{:?}", fields.authorized(&Basic::new("u", "swordfish").unwrap()));
        assert_eq!(shown, r#"["x-token", "authorization"]"#);
    }
}
