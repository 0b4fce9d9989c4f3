//! Who may ask: whoever has the bearer token (RFC 6750), and no page of another origin in somebody's browser.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::answer::Refused;
use super::refusal::Refusal;
use crate::net::Secret;

/// What is demanded of requests. A client certificate is the listener's own demand, and comes before.
pub(super) struct Access {
    /// Of the token: two digests are compared, whose lengths say nothing.
    token: Option<[u8; 32]>,
    /// Whether pages may be opened under any name. A page under a name of somebody else's that he lets resolve to us is of the
    /// same origin as we are (DNS rebinding); the token, and a certificate that is not for his name, keep him out.
    under_any_name: bool,
}

impl Access {
    /// Whoever has `token`; without one, everybody who got so far. `protected` is whether the listener speaks TLS.
    pub(super) fn new(token: Option<&Secret>, protected: bool) -> Self {
        let token = token.map(|token| digest(token.expose().as_bytes()));
        Self { token, under_any_name: token.is_some() || protected }
    }

    /// A browser says which page asks (RFC 6454 §7): none but our own may. Programs say nothing.
    pub(super) fn same_origin(&self, fields: &HeaderMap) -> Result<(), Refused> {
        let mut origins = fields.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let asked = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        let host = fields.get(HOST).and_then(|host| host.to_str().ok());
        match (asked, host, origins.next()) {
            (Some(asked), Some(host), None) if asked.eq_ignore_ascii_case(host) => {
                if self.under_any_name || is_here(host) {
                    return Ok(());
                }
                Err(Refused::new(Refusal::OriginDenied, "a page asks under a name that anybody could have given us")
                    .hint("open the page by its address; or serve it with TLS or a token"))
            }
            _ => Err(Refused::new(Refusal::OriginDenied, "a page of another origin asks")),
        }
    }

    /// Whether the request has the token.
    pub(super) fn check(&self, fields: &HeaderMap) -> Result<(), Refused> {
        let Some(expected) = &self.token else { return Ok(()) };
        let hint = "send the field: Authorization: Bearer TOKEN";
        let mut all = fields.get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (all.next(), all.next()) else {
            return Err(Refused::new(Refusal::TokenMissing, "there is no bearer token").hint(hint));
        };
        let Some(token) = bearer(field.as_bytes()) else {
            return Err(Refused::new(Refusal::TokenMissing, "there is no bearer token").hint(hint));
        };
        if bool::from(digest(token).ct_eq(expected)) {
            Ok(())
        } else {
            Err(Refused::new(Refusal::TokenWrong, "the bearer token is another one"))
        }
    }
}

/// Whether a Host field has an address, or the name that always is this machine (RFC 6761 §6.3).
fn is_here(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// The token of an Authorization field; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn fields(all: &[(HeaderName, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in all {
            fields.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    #[test]
    fn the_token_is_wanted_whole_and_once() {
        let access = Access::new(Some(&Secret::new("a-long-token".to_owned())), false);
        let check = |all: &[&str]| {
            let all: Vec<_> = all.iter().map(|value| (AUTHORIZATION, *value)).collect();
            access.check(&fields(&all)).map_err(|refused| refused.refusal)
        };
        for good in ["Bearer a-long-token", "bearer a-long-token", "BEARER   a-long-token "] {
            assert_eq!(check(&[good]), Ok(()), "{good}");
        }
        for wrong in ["Bearer a-long-toke", "Bearer a-long-token1", "Bearer A-long-token", "Bearer a-long token"] {
            assert_eq!(check(&[wrong]), Err(Refusal::TokenWrong), "{wrong}");
        }
        for none in ["", "Bearer", "Bearer ", "a-long-token", "Basic a-long-token", "Bearer\u{20}\u{20}"] {
            assert_eq!(check(&[none]), Err(Refusal::TokenMissing), "{none}");
        }
        assert_eq!(check(&[]), Err(Refusal::TokenMissing));
        assert_eq!(check(&["Bearer x", "Bearer a-long-token"]), Err(Refusal::TokenMissing), "which of them?");
        assert!(Access::new(None, false).check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let check = |all: &[(HeaderName, &str)]| Access::new(None, true).same_origin(&fields(all)).is_ok();
        assert!(check(&[(HOST, "a.example:8443")]), "a program");
        assert!(check(&[(HOST, "a.example:8443"), (ORIGIN, "https://A.example:8443")]));
        for other in ["https://b.example", "https://a.example", "null", "", "a.example:8443"] {
            assert!(!check(&[(HOST, "a.example:8443"), (ORIGIN, other)]), "{other}");
        }
        assert!(!check(&[(ORIGIN, "https://a.example")]));
        let twice = [(HOST, "a.example"), (ORIGIN, "https://a.example"), (ORIGIN, "https://b.example")];
        assert!(!check(&twice));
    }

    #[test]
    fn without_anything_to_keep_him_out_a_page_is_opened_by_address() {
        let open = Access::new(None, false);
        let check =
            |host: &str| open.same_origin(&fields(&[(HOST, host), (ORIGIN, &format!("http://{host}"))])).is_ok();
        for host in ["127.0.0.1:8444", "127.0.0.1", "[::1]:8444", "[::1]", "localhost:8444", "LOCALHOST", "10.0.0.1:1"]
        {
            assert!(check(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8444", "localhost.evil.example", "127.0.0.1.evil.example:1", "a:b:c", ""]
        {
            assert!(!check(host), "{host}");
        }
        assert!(open.same_origin(&fields(&[(HOST, "evil.example")])).is_ok(), "a program");
    }
}
