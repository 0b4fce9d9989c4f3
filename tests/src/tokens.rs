//! A token server beside a sink, at `/token` of the same origin: it hands out tokens, and the sink lets only their bearers
//! in.

use std::sync::{Arc, Mutex};

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use crate::script::{full, with};
use crate::sink::{Turn, Turning};

/// What a token server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The query, still encoded.
    pub query: String,
    /// The Authorization field.
    pub authorization: Option<String>,
}

/// How a token server behaves.
pub struct Manner {
    /// The document it answers with, `{n}` being the number of the token.
    pub answer: &'static str,
    /// With this status.
    pub status: u16,
    /// Where registries say that it is; `{own}` is the sink's own origin.
    pub realm: &'static str,
    /// The sink takes no other token than the newest from this request on, as `METHOD`.
    pub newest_from: Option<&'static str>,
    /// The sink wants the action `delete` for a DELETE.
    pub wants_delete: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            answer: r#"{"token":"token-{n}","expires_in":300}"#,
            status: 200,
            realm: "{own}/token?a=1",
            newest_from: None,
            wants_delete: false,
        }
    }
}

/// The token server's memory.
#[derive(Default)]
pub struct Tokens {
    /// Requests for a token, in order.
    pub asked: Mutex<Vec<Asked>>,
    /// Bearers that the sink saw, as `METHOD token`.
    pub bearers: Mutex<Vec<String>>,
    revoked: Mutex<bool>,
}

/// A sink's turning that wants tokens.
pub fn turning(manner: Manner) -> (Turning, Arc<Tokens>) {
    let tokens = Arc::new(Tokens::default());
    let shared = Arc::clone(&tokens);
    (Arc::new(move |request, _| shared.turn(&manner, request)), tokens)
}

impl Tokens {
    fn turn(&self, manner: &Manner, request: &Parts) -> Turn {
        let field = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = field(AUTHORIZATION).map(str::to_owned);
        let host = field(hyper::header::HOST).expect("a host").to_owned();
        let method = request.method.as_str();
        if request.uri.path() == "/token" {
            let mut asked = self.asked.lock().unwrap();
            let query = request.uri.query().unwrap_or_default().to_owned();
            asked.push(Asked { method: method.to_owned(), query, authorization });
            return Turn::Answer(full(manner.status, manner.answer.replace("{n}", &asked.len().to_string())));
        }
        let count = self.asked.lock().unwrap().len();
        let bearer = authorization.as_deref().and_then(|value| value.strip_prefix("Bearer token-"));
        let number =
            bearer.and_then(|number| number.parse::<usize>().ok()).filter(|number| (1..=count).contains(number));
        let Some(number) = number else { return self.challenge(manner, &host, "pull,push", "") };
        self.bearers.lock().unwrap().push(format!("{method} {number}"));
        // Revoked once: the token in use when that request comes is not taken any more, its successor is.
        if manner.newest_from == Some(method) && !std::mem::replace(&mut *self.revoked.lock().unwrap(), true) {
            return self.challenge(manner, &host, "pull,push", r#",error="invalid_token""#);
        }
        let scope = self.asked.lock().unwrap()[number - 1].query.clone();
        if manner.wants_delete && method == "DELETE" && !scope.contains("delete") {
            return self.challenge(manner, &host, "delete", r#",error="insufficient_scope""#);
        }
        Turn::Sink
    }

    fn challenge(&self, manner: &Manner, host: &str, actions: &str, more: &str) -> Turn {
        let realm = manner.realm.replace("{own}", &format!("https://{host}"));
        let challenge =
            format!(r#"bearer Realm="{realm}",service="the \"sink\"",scope="repository:vm:{actions}"{more}"#);
        let mut answer = with(401, "www-authenticate", r#"Negotiate, Basic realm="a, b""#);
        answer.headers_mut().append("www-authenticate", challenge.parse().expect("a challenge"));
        Turn::Answer(answer)
    }
}
