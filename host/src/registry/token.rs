//! Bearer tokens: one request to the token server that the registry named (Docker Registry v2 "Token Authentication
//! Specification" and its OAuth2 variant).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use url::{Url, form_urlencoded};

use super::answer;
use super::challenge::Challenge;
use super::credentials::Credentials;
use super::wire;
use crate::error::{Code, Error, Result, Stage};
use crate::net::{Client, Request, Response, Secret, redacted};

/// The most bytes of a token server's answer: tokens with many claims have a few KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// How long a token lives if the server does not say, and at least.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A token with less of its life left than this, or than a fifth, is renewed before the next request: registries look at a
/// token when a request begins, and a request that streams a disk cannot be sent again.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// Where a registry wants its tokens from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Realm {
    url: Url,
    service: Option<String>,
}

/// A token, and when it ends.
pub(super) struct Token {
    header: HeaderValue,
    issued: Instant,
    life: Duration,
}

/// A token, and the identity token that replaces the one it was asked for with.
pub(super) struct Granted {
    pub(super) token: Token,
    pub(super) identity: Option<Secret>,
}

impl Realm {
    /// The realm of a bearer challenge from the registry at `registry`.
    ///
    /// # Errors
    /// `registry-protocol` if there is none or it is no URL, `plain-http-denied` if it would send credentials in the
    /// clear although the registry itself does not.
    pub(super) fn of(challenge: &Challenge, registry: &Url, stage: Stage) -> Result<Self> {
        let unusable = |why: &str| {
            let message = format!("the token server that {} names cannot be used: {why}", redacted(registry));
            Error::new(Code::RegistryProtocol, stage, message)
        };
        let realm = challenge.parameter("realm").ok_or_else(|| unusable("its challenge has no realm"))?;
        let mut url = Url::parse(realm).map_err(|why| unusable(&format!("the realm is not a URL: {why}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unusable("the realm has user information"));
        }
        url.set_fragment(None);
        match (url.scheme(), registry.scheme()) {
            ("https", _) | ("http", "http") => {}
            ("http", _) => {
                let message = format!(
                    "the registry {} speaks TLS, but names a token server that does not: {}",
                    redacted(registry),
                    redacted(&url)
                );
                return Err(Error::new(Code::PlainHttpDenied, stage, message)
                    .hint("credentials would be readable on the way; the registry's configuration must name https"));
            }
            (scheme, _) => return Err(unusable(&format!("the realm has the scheme `{scheme}`"))),
        }
        if url.host().is_none() {
            return Err(unusable("the realm has no host"));
        }
        Ok(Self { url, service: challenge.parameter("service").map(str::to_owned) })
    }

    /// Asks for a token for `scope`, of which there may be several with a blank in between.
    ///
    /// # Errors
    /// `registry-denied` if the token server refuses the credentials, else what keeps it from giving a token.
    pub(super) async fn token(
        &self,
        client: &Client,
        credentials: Option<&Credentials>,
        scope: &str,
        stage: Stage,
    ) -> Result<Granted> {
        let issued = Instant::now();
        let mut request = match credentials {
            Some(Credentials::Identity(token)) => self.post(token, scope),
            Some(Credentials::Basic(basic)) => {
                let mut request = self.get(scope);
                request.headers.insert(AUTHORIZATION, basic.header());
                request
            }
            None => self.get(scope),
        };
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.answer_within = Some(client.policy().limits.answer);
        let what = format!("the token server {} {}", request.method, redacted(&self.url));
        let response = client.send(request).await.map_err(|error| {
            error.context(format!("a token for `{scope}` was asked for, which the registry wants from there"))
        })?;
        if response.status != 200 {
            return Err(self.refused(response, credentials, &what, stage).await);
        }
        let body = response.body.collect(MAX_ANSWER).await?;
        granted(&body, issued).map_err(|why| Error::new(Code::RegistryProtocol, stage, format!("{what}: {why}")))
    }

    /// The query of the realm's own stays: some servers need it.
    fn get(&self, scope: &str) -> Request {
        let mut url = self.url.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in scope.split(' ') {
                query.append_pair("scope", scope);
            }
        }
        Request::new(Method::GET, url)
    }

    fn post(&self, identity: &Secret, scope: &str) -> Request {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "longshore");
        if let Some(service) = &self.service {
            form.append_pair("service", service);
        }
        form.append_pair("scope", scope).append_pair("refresh_token", identity.expose());
        let mut request = Request::new(Method::POST, self.url.clone()).with_bytes(Bytes::from(form.finish()));
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request
    }

    async fn refused(&self, response: Response, credentials: Option<&Credentials>, what: &str, stage: Stage) -> Error {
        let status = response.status;
        let error = answer::failure_of(what, "the token server", stage, response).await;
        match (status, credentials) {
            (401 | 403, None) => error.hint(answer::GIVE_CREDENTIALS),
            (401 | 403, Some(_)) => error.hint(format!(
                "the token server refuses the credentials; renew them, as with `docker login {}`",
                self.service.as_deref().unwrap_or_default()
            )),
            (404 | 405, Some(Credentials::Identity(_))) => error
                .hint("it takes no identity token (OAuth2); log in with a user name and a password or access token"),
            _ => error,
        }
    }
}

impl Token {
    /// The value of an Authorization field, marked as sensitive.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether it should be renewed before another request. One of the shortest life always is.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        let left = self.life.saturating_sub(now.saturating_duration_since(self.issued));
        left < RENEW_BEFORE.max(self.life / 5)
    }
}

/// Reads the answer. `issued` is when it was asked for: clocks differ, so its own `issued_at` is not used.
fn granted(body: &[u8], issued: Instant) -> Result<Granted, String> {
    let answer = wire::token(body).ok_or("its answer is not a token document")?;
    let some = |token: Option<Secret>| token.filter(|token| !token.expose().is_empty());
    let text = some(answer.token).or_else(|| some(answer.access_token)).ok_or("its answer has no token")?;
    let mut header = HeaderValue::try_from(format!("Bearer {}", text.expose()))
        .map_err(|_| "its token has characters that no header field can have")?;
    header.set_sensitive(true);
    let life = Duration::try_from_secs_f64(answer.expires_in.unwrap_or(0.0)).unwrap_or_default();
    let life = life.clamp(SHORTEST_LIFE, LONGEST_LIFE);
    Ok(Granted { token: Token { header, issued, life }, identity: some(answer.refresh_token) })
}

#[cfg(test)]
mod tests {
    use super::super::challenge::challenges;
    use super::*;

    fn realm(challenge: &str, registry: &str) -> Result<Realm> {
        let challenge = challenges(challenge).remove(0);
        Realm::of(&challenge, &Url::parse(registry).unwrap(), Stage::Upload)
    }

    #[test]
    fn a_realm_is_asked_with_its_own_query() {
        let realm = realm(r#"Bearer realm="https://a.example/t?x=1#f",service="r s""#, "https://r.example/").unwrap();
        let request = realm.get("repository:vm:pull,push");
        assert_eq!(request.url.as_str(), "https://a.example/t?x=1&service=r+s&scope=repository%3Avm%3Apull%2Cpush");
        let request = realm.post(&Secret::new("a&b".to_owned()), "repository:vm:pull");
        assert_eq!(request.url.as_str(), "https://a.example/t?x=1", "a secret never stands in a URL");
        assert_eq!(request.method, Method::POST);
        let several = realm.get("repository:a:pull repository:b:pull");
        assert!(several.url.as_str().ends_with("&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull"));
    }

    #[test]
    fn a_realm_that_credentials_must_not_go_to_is_refused() {
        let code = |challenge: &str, registry: &str| realm(challenge, registry).unwrap_err().code();
        let https = "https://r.example/";
        assert_eq!(code(r#"Bearer realm="http://r.example/t""#, https), Code::PlainHttpDenied);
        assert!(realm(r#"Bearer realm="http://r.example/t""#, "http://r.example/").is_ok(), "as plain as the registry");
        for challenge in [
            "Bearer service=x",
            r#"Bearer realm="/token""#,
            r#"Bearer realm="https://u:p@a.example/""#,
            r#"Bearer realm="ftp://a.example/""#,
            r#"Bearer realm="data:,x""#,
        ] {
            assert_eq!(code(challenge, https), Code::RegistryProtocol, "{challenge}");
        }
    }

    #[test]
    fn an_answer_has_a_token_of_either_name_and_a_life() {
        let now = Instant::now();
        let life = |body: &str| granted(body.as_bytes(), now).map(|granted| granted.token.life.as_secs());
        assert_eq!(life(r#"{"token":"a"}"#), Ok(60));
        assert_eq!(life(r#"{"access_token":"a","expires_in":300}"#), Ok(300));
        assert_eq!(life(r#"{"token":"","access_token":"a","expires_in":5}"#), Ok(60));
        assert_eq!(life(r#"{"token":"a","expires_in":"300"}"#), Ok(300));
        for expires in ["-1", "1e300", "0", "59.5"] {
            assert!(life(&format!(r#"{{"token":"a","expires_in":{expires}}}"#)).unwrap() >= 60, "{expires}");
        }
        for body in ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":1}"#] {
            assert!(life(body).is_err(), "{body}");
        }
        let both = granted(br#"{"token":"hunter2","access_token":"x","refresh_token":"y"}"#, now).unwrap();
        assert_eq!(both.token.header(), "Bearer hunter2");
        assert!(!format!("{:?}", both.token.header()).contains("hunter2"));
        assert_eq!(both.identity.unwrap().expose(), "y");
    }

    #[test]
    fn a_token_is_renewed_before_it_gets_too_old() {
        let now = Instant::now();
        let old = |life: u64, after: u64| {
            let token = Token { header: HeaderValue::from_static("x"), issued: now, life: Duration::from_secs(life) };
            token.is_old(now + Duration::from_secs(after))
        };
        assert!(!old(300, 200) && old(300, 241) && old(300, 5000));
        assert!(!old(3600, 2800) && old(3600, 2881), "a fifth of an hour");
        assert!(!old(60, 0) && old(60, 1), "the shortest life is enough for one request");
    }
}
