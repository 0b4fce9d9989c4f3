//! From an answer that is not what was hoped for to an error that says so, and what to do.

use std::time::{Duration, SystemTime};

use http::HeaderName;

use super::retry::{is_temporary, retry_after};
use super::session::{Answer, Refused};
use super::wire::{self, Said};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::Response;

/// The most bytes of an error document that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// How long an error document is waited for: the status says the essence.
const ERROR_BODY_WITHIN: Duration = Duration::from_secs(5);

/// What to do where none or the wrong credentials were given.
pub(super) const GIVE_CREDENTIALS: &str =
    "it wants other credentials than it got, if it got any: put them into docker's config.json, as `docker login` does";

/// What a session reads of an answer.
pub(super) fn answer_of(response: &Response) -> Answer<'_> {
    let field = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
    Answer {
        status: response.status,
        location: field(http::header::LOCATION),
        range: field(http::header::RANGE),
        least_chunk: field(HeaderName::from_static("oci-chunk-min-length")),
    }
}

/// What an answer of the registry that ends the run means. `what` is the request, as `POST <url>`.
pub(super) async fn failure(stage: Stage, what: &str, response: Response) -> Error {
    failure_of(&format!("{what}: the registry"), "the registry", stage, response).await
}

/// The same, and whether the registry says in so many words that it knows no such repository.
pub(super) async fn failure_or_unknown(stage: Stage, what: &str, response: Response) -> (Error, bool) {
    let (error, said) = told(&format!("{what}: the registry"), "the registry", stage, response).await;
    (error, said.is_some_and(|said| said.codes.iter().any(|code| code == "NAME_UNKNOWN")))
}

/// The same for an answer of `who`; `subject` is who answered what.
pub(super) async fn failure_of(subject: &str, who: &str, stage: Stage, response: Response) -> Error {
    told(subject, who, stage, response).await.0
}

async fn told(subject: &str, who: &str, stage: Stage, response: Response) -> (Error, Option<Said>) {
    let status = response.status;
    let again = retry_after(&response.headers, SystemTime::now());
    let body = tokio::time::timeout(ERROR_BODY_WITHIN, response.body.collect(MAX_ERROR_BODY)).await;
    let said = body.ok().and_then(Result::ok).and_then(|body| wire::said(&body));
    let words = said.as_ref().map_or_else(String::new, |said| format!(" {}", said.words));
    let other_bytes = said.as_ref().is_some_and(|said| said.codes.iter().any(|code| code == "DIGEST_INVALID"));
    let mut error = meaning(status, other_bytes, stage, format!("{subject} answered {status}{words}"));
    if is_full(status, said.as_ref()) {
        error = error.retryable_as(Retryable::No);
    }
    error = error.after(again);
    if let Some(advice) = advice(status, said.as_ref(), again, who) {
        error = error.hint(advice);
    }
    (error, said)
}

fn meaning(status: u16, other_bytes: bool, stage: Stage, message: String) -> Error {
    match status {
        // What it has is not what was sent: more of the same session cannot help.
        400..=499 if other_bytes => Error::new(Code::RegistryMismatch, stage, message).retryable_as(Retryable::No),
        401 | 403 => Error::new(Code::RegistryDenied, stage, message),
        300..=399 => Error::new(Code::RegistryProtocol, stage, message),
        status if is_temporary(status) || status >= 500 => Error::new(Code::RegistryFailed, stage, message),
        _ => Error::new(Code::RegistryFailed, stage, message).retryable_as(Retryable::No),
    }
}

/// What to do about an answer: by what it says, else by its status.
fn advice(status: u16, said: Option<&Said>, again: Option<Duration>, who: &str) -> Option<String> {
    if is_full(status, said) {
        return Some("the registry's storage is full or its quota is reached: make room there".to_owned());
    }
    let by_code = said.into_iter().flat_map(|said| &said.codes).find_map(|code| by_code(code, again));
    by_code.or_else(|| by_status(status, again, who))
}

/// Whether an answer says that there is no room: sending again only fills what is left.
fn is_full(status: u16, said: Option<&Said>) -> bool {
    // 28 is ENOSPC as distribution 2.8 writes it.
    let full = |said: &Said| ["no space left", "\"err\":28", "quota"].iter().any(|words| said.mentions(words));
    status == 507 || status != 429 && said.is_some_and(full)
}

fn by_code(code: &str, again: Option<Duration>) -> Option<String> {
    Some(
        match code {
            "DENIED" => "these credentials do not allow this here: ask for the right to push to this repository",
            "NAME_UNKNOWN" => "the registry does not know this repository; some want it to be created before a push",
            "NAME_INVALID" => "the registry does not take this name for a repository: look at its path",
            "TOOMANYREQUESTS" => return Some(too_many(again)),
            "SIZE_INVALID" => "the registry counted other bytes than were sent: look for a proxy that cuts or buffers",
            "DIGEST_INVALID" => {
                "the bytes changed on their way or in the registry: import again, and if it stays, look at the registry"
            }
            "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" => {
                "the registry lost the upload: it restarted, or its instances do not share storage and `http.secret`; \
                 import again"
            }
            "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN" => {
                "a blob that was pushed is gone: the registry's garbage collection may have run; import again"
            }
            "MANIFEST_INVALID" | "MANIFEST_UNVERIFIED" | "TAG_INVALID" => {
                "the registry does not take this manifest: it may want the other kind, `--media-types oci` or `docker`"
            }
            "UNSUPPORTED" => {
                "the registry does not do this: it may be read-only, a cache of another, or hold its tags immutable"
            }
            _ => return None,
        }
        .to_owned(),
    )
}

fn by_status(status: u16, again: Option<Duration>, who: &str) -> Option<String> {
    Some(match status {
        401 => GIVE_CREDENTIALS.to_owned(),
        403 => "these credentials do not allow this here, or something in between refuses it".to_owned(),
        405 => format!("{who} does not do this: it may be read-only, or a cache of another registry"),
        413 => "a proxy in front of the registry limits a request's body (nginx: client_max_body_size)".to_owned(),
        415 => {
            "the registry does not take this media type: try the other kind, `--media-types oci` or `docker`".to_owned()
        }
        429 => too_many(again),
        300..=399 => format!("{who} redirects; name the host that it redirects to"),
        502..=504 => match again {
            Some(again) => format!("try again after {} s", again.as_secs()),
            None => format!("a proxy in front of {who} does not get its answer; try again later"),
        },
        500.. => format!("what went wrong there is in the log of {who}; the same command may succeed later"),
        _ => return None,
    })
}

fn too_many(again: Option<Duration>) -> String {
    match again {
        Some(again) => format!("the registry limits how often it is asked: try again after {} s", again.as_secs()),
        None => "the registry limits how often it is asked: try again later".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, words: &str) -> Said {
        Said { codes: vec![code.to_owned()], words: words.to_owned() }
    }

    #[test]
    fn every_error_of_the_specification_says_what_to_do() {
        for code in [
            "BLOB_UNKNOWN",
            "BLOB_UPLOAD_INVALID",
            "BLOB_UPLOAD_UNKNOWN",
            "DIGEST_INVALID",
            "MANIFEST_BLOB_UNKNOWN",
            "MANIFEST_INVALID",
            "NAME_INVALID",
            "NAME_UNKNOWN",
            "SIZE_INVALID",
            "DENIED",
            "UNSUPPORTED",
            "TOOMANYREQUESTS",
        ] {
            assert!(advice(400, Some(&said(code, "x")), None, "the registry").is_some(), "{code}");
        }
        for status in [301, 401, 403, 405, 413, 415, 429, 502, 503, 504, 507] {
            assert!(advice(status, None, None, "the registry").is_some(), "{status}");
        }
    }

    #[test]
    fn a_full_disk_is_told_whatever_the_status() {
        for words in ["write /x: no space left on device", r#"unknown error ({"Op":"write","Err":28})"#] {
            let advice = advice(500, Some(&said("UNKNOWN", words)), None, "the registry").unwrap();
            assert!(advice.contains("full"), "{advice}");
        }
    }

    #[test]
    fn a_pause_that_was_asked_for_is_told() {
        let advice = |code| advice(429, Some(&said(code, "x")), Some(Duration::from_secs(90)), "the registry").unwrap();
        assert!(advice("TOOMANYREQUESTS").ends_with("after 90 s") && advice("X").ends_with("after 90 s"));
    }
}
