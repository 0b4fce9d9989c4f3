//! Answers: status, fields and JSON body, of refusals and of what became of an import.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use super::document::{SCHEMA, UploadReport};
use super::refusal::Refusal;
use crate::error::{Code, Error};
use crate::net::Reply;
use crate::pipeline::{ErrorReport, error_report};

/// When a client that found no place may ask again.
const AGAIN_SECONDS: u16 = 10;
/// What is said where JSON cannot be made of a document.
const NO_DOCUMENT: &str = "{}";

/// A request that is refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    message: String,
    hint: Option<String>,
    allow: Option<&'static str>,
}

impl Refused {
    /// Refuses; `message` as in errors: lower case, no final period.
    pub(super) fn new(refusal: Refusal, message: impl Into<String>) -> Self {
        Self { refusal, message: message.into(), hint: None, allow: None }
    }

    /// With advice.
    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    /// With the methods that are there.
    pub(super) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The answer.
    pub(super) fn reply(self) -> Reply {
        let error = ErrorReport {
            code: self.refusal.as_str(),
            exit: 0,
            stage: "request",
            blame: "client",
            retryable: self.refusal.again(),
            message: self.message,
            causes: Vec::new(),
            left: Vec::new(),
            hint: self.hint,
        };
        let mut reply = document(
            self.refusal.status(),
            &UploadReport { schema: SCHEMA, error: Some(error), ..UploadReport::default() },
        );
        let fields = reply.headers_mut();
        if let Some(methods) = self.allow {
            fields.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.refusal.status() == StatusCode::SERVICE_UNAVAILABLE {
            fields.insert(RETRY_AFTER, HeaderValue::from(AGAIN_SECONDS));
        }
        if self.refusal.status() == StatusCode::UNAUTHORIZED {
            fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"longshore\""));
        }
        reply
    }
}

/// An answer with JSON.
pub(super) fn document(status: StatusCode, report: &UploadReport) -> Reply {
    let text = serde_json::to_string(report).unwrap_or_else(|_| NO_DOCUMENT.to_owned());
    with_body(status, "application/json", (text + "\n").into())
}

/// An answer to an error that nobody has made a document of.
pub(super) fn failure(error: &Error) -> Reply {
    let report = UploadReport { schema: SCHEMA, error: Some(error_report(error)), ..UploadReport::default() };
    document(status(error.code()), &report)
}

/// An answer without a body.
pub(super) fn bare(status: StatusCode) -> Reply {
    dressed(status, Bytes::new())
}

/// An answer with a body of that media type.
pub(super) fn with_body(status: StatusCode, media_type: &'static str, body: Bytes) -> Reply {
    let mut reply = dressed(status, body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

/// Nothing of us is kept by caches, or taken for something else than it says.
fn dressed(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Reply::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// The status that says to a client what an import failed of: 4xx if it can do something about it.
pub(super) const fn status(code: Code) -> StatusCode {
    match code {
        Code::Usage | Code::Unsupported | Code::SourceTruncated | Code::SourceLengthMismatch => StatusCode::BAD_REQUEST,
        Code::ChecksumRequired => StatusCode::BAD_REQUEST,
        Code::SourceLengthUnknown => StatusCode::LENGTH_REQUIRED,
        Code::SourceStalled => StatusCode::REQUEST_TIMEOUT,
        Code::SourceTooLarge | Code::DiskTooLarge | Code::SpoolFull => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TagExists => StatusCode::CONFLICT,
        Code::SourceInvalid
        | Code::SourceChanged
        | Code::SourceInconsistent
        | Code::ChecksumMismatch
        | Code::DiskLengthMismatch
        | Code::DiskInvalid
        | Code::DiskFormat
        | Code::DiskRefused => StatusCode::UNPROCESSABLE_ENTITY,
        Code::DestinationDenied => StatusCode::FORBIDDEN,
        Code::RegistryUnreachable
        | Code::RegistryNotFound
        | Code::RegistryFailed
        | Code::RegistryProtocol
        | Code::RegistryMismatch
        | Code::RegistryDenied
        | Code::UploadLost
        | Code::ProxyDenied
        | Code::TlsHandshake
        | Code::TlsCertificate => StatusCode::BAD_GATEWAY,
        Code::RegistryStalled => StatusCode::GATEWAY_TIMEOUT,
        Code::Interrupted | Code::Terminated => StatusCode::SERVICE_UNAVAILABLE,
        Code::SourceNotFound
        | Code::SourceUnreachable
        | Code::SourceFailed
        | Code::SourceDenied
        | Code::ChecksumFileUnusable
        | Code::EgressDenied
        | Code::PlainHttpDenied
        | Code::FlagDenied
        | Code::ComponentDenied
        | Code::PolicyInvalid
        | Code::ComponentTrapped
        | Code::ComponentBudget
        | Code::ComponentStalled
        | Code::ComponentContract
        | Code::ComponentFailed
        | Code::ComponentInvalid
        | Code::CredentialsUnreadable
        | Code::LocalFile
        | Code::CheckpointRefused
        | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_can_change_is_its_error_and_nothing_else_is() {
        for code in Code::ALL {
            let status = status(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{}", code.as_str());
            // Registry, network, component and our own bugs are nothing that whoever uploads can mend.
            if matches!(code.exit(), 12 | 14 | 15 | 16 | 70) {
                assert!(status.is_server_error(), "{}", code.as_str());
            }
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let reply = Refused::new(Refusal::Busy, "one upload is running").hint("later").reply();
        assert_eq!(
            (reply.status(), reply.headers()[RETRY_AFTER].as_bytes()),
            (StatusCode::SERVICE_UNAVAILABLE, &b"10"[..])
        );
        let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!((&body["error"]["code"], &body["error"]["hint"]), (&"busy".into(), &"later".into()));
        assert_eq!((&body["schema"], &body["id"]), (&SCHEMA.into(), &serde_json::Value::Null));
    }
}
