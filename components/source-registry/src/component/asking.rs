//! Requests to one repository of one registry, wherever its redirects lead.

use wit_bindgen::StreamResult;
use wit_bindgen::rt::async_support::{FutureReader, StreamReader};

use super::bindings::longshore::stage::fetch;
use super::{Failure, failure};
use crate::{Blob, Head, Location, MAX_HOPS, Verdict, check_part, judge, redirect_target};

/// Bytes and how they ended.
pub(super) type Body = (StreamReader<u8>, FutureReader<Result<(), Failure>>);

/// How much is read at once.
const READ: usize = 64 * 1024;

/// A repository, and the scheme that its registry is asked over.
pub(super) struct Asking {
    /// `…/v2/NAME/`.
    base: String,
}

impl Asking {
    /// Over the scheme that the policy has for this registry.
    pub(super) fn new(location: &Location) -> Self {
        let base = |scheme: &str| format!("{scheme}://{}/v2/{}/", location.host, location.repository);
        let plain = base("http");
        Self { base: if fetch::granted(&plain) { plain } else { base("https") } }
    }

    /// A document of at most `most` bytes.
    pub(super) async fn document(&self, what: &str, accept: &str, most: usize) -> Result<Vec<u8>, Failure> {
        let accept = [("accept".to_owned(), accept.to_owned())];
        match self.get(what, None, &accept).await? {
            (Answered::Whole, _, body) => collected(body, most).await,
            (Answered::Part, ..) => Err(Failure::Invalid(format!("{what}: the registry answered 206 to no range"))),
        }
    }

    /// Part of a blob, as the host's own stream.
    pub(super) async fn part(&self, blob: &Blob, offset: u64, length: u64) -> Result<Body, Failure> {
        match self.blob(blob, Some((offset, length))).await? {
            (Answered::Part, body) => Ok(body),
            (Answered::Whole, _) => Err(Failure::Invalid(
                "the registry answered a range with the whole, which it did not before".to_owned(),
            )),
        }
    }

    /// A blob, or part of it; a registry without ranges gives the whole.
    pub(super) async fn blob(&self, blob: &Blob, part: Option<(u64, u64)>) -> Result<(Answered, Body), Failure> {
        let range = part.map(|(offset, length)| fetch::ByteRange { offset, length: Some(length) });
        let (answered, head, body) = self.get(&format!("blobs/{}", blob.digest), range, &[]).await?;
        match (answered, part) {
            (Answered::Part, Some((offset, length))) => {
                check_part(&head, offset, length, blob.size).map_err(failure)?;
            }
            (Answered::Part, None) => {
                return Err(Failure::Invalid("the registry answered a request for the whole with a part".to_owned()));
            }
            (Answered::Whole, _) => {
                if head.length.is_some_and(|length| length != blob.size) {
                    let length = head.length.unwrap_or_default();
                    let message = format!(
                        "the registry has {length} bytes as {}, expected {} as the manifest says",
                        blob.digest, blob.size
                    );
                    return Err(Failure::Invalid(message));
                }
            }
        }
        Ok((answered, body))
    }

    async fn get(
        &self,
        what: &str,
        range: Option<fetch::ByteRange>,
        headers: &[(String, String)],
    ) -> Result<(Answered, Head, Body), Failure> {
        let mut url = format!("{}{what}", self.base);
        for _ in 0..=MAX_HOPS {
            let request = fetch::Request {
                method: fetch::Method::Get,
                url: url.clone(),
                range,
                condition: None,
                headers: headers.to_vec(),
            };
            let (head, stream, outcome) = fetch::send(&request);
            let head = head.await?;
            let head = Head { status: head.status, headers: head.headers, length: head.length };
            match judge(&head, what) {
                Verdict::Whole => return Ok((Answered::Whole, head, (stream, outcome))),
                Verdict::Part => return Ok((Answered::Part, head, (stream, outcome))),
                Verdict::Redirect(location) => url = redirect_target(&url, &location).map_err(failure)?,
                Verdict::Refused(refusal) => return Err(failure(refusal)),
            }
        }
        Err(Failure::Limit(format!("{what}: more than {MAX_HOPS} redirects")))
    }
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Whole,
    Part,
}

/// All of a body of at most `most` bytes.
pub(super) async fn collected((mut stream, outcome): Body, most: usize) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    loop {
        let (result, bytes) = stream.read(Vec::with_capacity(READ)).await;
        if all.len() + bytes.len() > most {
            return Err(Failure::Limit(format!("the registry sent more than {most} bytes of a document or header")));
        }
        all.extend_from_slice(&bytes);
        if matches!(result, StreamResult::Dropped) {
            outcome.await?;
            return Ok(all);
        }
    }
}
