//! What a client is refused before an import has anything to say, each with a code, a status and whether it may ask again.
//!
//! `docs/serve.md` has them all, and a test compares the two.

use http::StatusCode;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $status:ident, $again:literal;)+) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Refusal {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Refusal {
            /// All of them, in the order of the documentation.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code in the body of the answer.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The status of the answer.
            pub(super) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// Whether the same request may succeed later.
            pub(super) const fn again(self) -> bool {
                match self { $(Self::$name => $again,)+ }
            }

            /// What it means, as documented.
            #[cfg(test)]
            pub(super) fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+),)+ }.trim()
            }
        }
    };
}

refusals! {
    /// The request cannot be understood: a field or a parameter is malformed or unknown.
    Malformed = "request-malformed", BAD_REQUEST, false;
    /// There is no bearer token.
    TokenMissing = "token-missing", UNAUTHORIZED, false;
    /// The bearer token is another one.
    TokenWrong = "token-wrong", UNAUTHORIZED, false;
    /// A page of another origin asks, in somebody's browser.
    OriginDenied = "origin-denied", FORBIDDEN, false;
    /// Clients do not choose the tag here.
    TagDenied = "tag-denied", FORBIDDEN, false;
    /// There is nothing at that path; or the upload ended long ago, or with the process.
    NotFound = "not-found", NOT_FOUND, false;
    /// That path has other methods.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, false;
    /// The client sent nothing for too long. What was taken of an upload in parts stays.
    Stalled = "client-stalled", REQUEST_TIMEOUT, true;
    /// The upload stands at another offset.
    OffsetMismatch = "offset-mismatch", CONFLICT, true;
    /// Another upload for that tag is running.
    TagBusy = "tag-busy", CONFLICT, true;
    /// Another request has gone on with this upload.
    TakenOver = "taken-over", CONFLICT, true;
    /// The length must be known, as there is no spool.
    LengthRequired = "length-required", LENGTH_REQUIRED, false;
    /// Another version of tus than 1.0.0, or none.
    TusVersion = "tus-version", PRECONDITION_FAILED, false;
    /// A part of an upload comes as `application/offset+octet-stream`.
    PartType = "part-type", UNSUPPORTED_MEDIA_TYPE, false;
    /// As many uploads are running as are taken in at the same time.
    Busy = "busy", SERVICE_UNAVAILABLE, true;
    /// The server is about to end, and begins nothing any more.
    Draining = "draining", SERVICE_UNAVAILABLE, true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_documented() {
        let page = include_str!("../../../docs/serve.md");
        for refusal in Refusal::ALL {
            let again = if refusal.again() { "yes" } else { "no" };
            let status = refusal.status().as_u16();
            let row = format!("| {status} | `{}` | {again} | {} |", refusal.as_str(), refusal.meaning());
            assert!(page.contains(&row), "docs/serve.md lacks the row\n{row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
        let of_refusals = rows.filter(|row| row.split('|').count() == 6).count();
        assert_eq!(of_refusals, Refusal::ALL.len(), "docs/serve.md has rows of no refusal");
    }
}
