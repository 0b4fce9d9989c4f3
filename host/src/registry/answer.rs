//! From an answer that is not what was hoped for to an error that says so.

use std::time::Duration;

use super::session::{Answer, Refused};
use super::wire;
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::Response;

/// The most bytes of an error document that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// How long an error document is waited for: the status says the essence.
const ERROR_BODY_WITHIN: Duration = Duration::from_secs(5);

/// Status and Location of an answer.
pub(super) fn answer_of(response: &Response) -> Answer<'_> {
    let location = response.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
    Answer { status: response.status, location }
}

/// What an answer that ends the push means. `what` is the request, as `POST <url>`.
pub(super) async fn failure(stage: Stage, what: &str, response: Response) -> Error {
    let status = response.status;
    let challenge =
        response.headers.get(http::header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).map(scheme);
    let body = tokio::time::timeout(ERROR_BODY_WITHIN, response.body.collect(MAX_ERROR_BODY)).await;
    let words = body.ok().and_then(Result::ok).and_then(|body| wire::words(&body));
    let said = words.map_or_else(String::new, |words| format!(" {words}"));
    let message = format!("{what}: the registry answered {status}{said}");
    match status {
        401 | 403 => {
            let error = Error::new(Code::RegistryDenied, stage, message);
            match challenge {
                Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => {
                    error.hint("the registry asks for a bearer token, which is not supported yet")
                }
                _ => error
                    .hint("give credentials for this registry in docker's config.json, as `docker login` writes them"),
            }
        }
        408 | 429 | 500..=599 => Error::new(Code::RegistryFailed, stage, message),
        301 | 302 | 303 | 307 | 308 => Error::new(Code::RegistryProtocol, stage, message)
            .hint("the registry redirects the API; name the host it redirects to"),
        _ => Error::new(Code::RegistryFailed, stage, message).retryable_as(Retryable::No),
    }
}

/// What a refusal of the session means, for an answer that `failure` cannot explain better.
pub(super) async fn refused(refused: Refused, stage: Stage, what: &str, response: Response) -> Error {
    match refused {
        Refused::Status => failure(stage, what, response).await,
        Refused::Location(why) => {
            Error::new(Code::RegistryProtocol, stage, format!("{what}: the registry's Location is not usable: {why}"))
        }
        Refused::Order => out_of_order(stage, what),
    }
}

pub(super) fn out_of_order(stage: Stage, what: &str) -> Error {
    Error::internal(stage, format!("{what}: the upload session is not in the state for this"))
}

/// The scheme of a challenge (RFC 9110 §11.6.1).
pub(super) fn scheme(challenge: &str) -> String {
    challenge.split_whitespace().next().unwrap_or_default().to_owned()
}
