//! Requests to one repository of one registry, wherever its redirects lead.

use wit_bindgen::StreamResult;
use wit_bindgen::rt::async_support::{FutureReader, StreamReader};

use super::bindings::longshore::stage::fetch;
use super::{Failure, failure};
use crate::{Blob, Digest, Head, Location, MAX_HOPS, Verdict, check_part, judge, redirect_target};

/// Bytes and how they ended.
pub(super) type Body = (StreamReader<u8>, FutureReader<Result<(), Failure>>);

/// How much is read at once.
const READ: usize = 64 * 1024;

/// What a request is for, besides its URL.
#[derive(Clone, Default)]
struct Wanted {
    range: Option<fetch::ByteRange>,
    headers: Vec<(String, String)>,
    /// The host verifies it.
    digest: Option<Digest>,
}

/// A repository, and the scheme that its registry is asked over.
#[derive(Clone)]
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
        let headers = vec![("accept".to_owned(), accept.to_owned())];
        match self.get(what, Wanted { headers, ..Wanted::default() }).await? {
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
        self.blob_wanted(blob, Wanted { range, ..Wanted::default() }).await
    }

    /// A blob from `offset` on, to its end and verified there by the host; a registry without ranges gives the whole.
    pub(super) async fn blob_verified(&self, blob: &Blob, offset: u64) -> Result<(Answered, Body), Failure> {
        let range = (offset > 0).then_some(fetch::ByteRange { offset, length: None });
        self.blob_wanted(blob, Wanted { range, digest: Some(blob.digest), ..Wanted::default() }).await
    }

    async fn blob_wanted(&self, blob: &Blob, wanted: Wanted) -> Result<(Answered, Body), Failure> {
        let range = wanted.range;
        let (answered, head, body) = self.get(&format!("blobs/{}", blob.digest), wanted).await?;
        match (answered, range) {
            (Answered::Part, Some(fetch::ByteRange { offset, length })) => {
                check_part(&head, offset, length.unwrap_or(u64::MAX), blob.size).map_err(failure)?;
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

    async fn get(&self, what: &str, wanted: Wanted) -> Result<(Answered, Head, Body), Failure> {
        let mut url = format!("{}{what}", self.base);
        for _ in 0..=MAX_HOPS {
            let request = fetch::Request {
                method: fetch::Method::Get,
                url: url.clone(),
                range: wanted.range,
                condition: None,
                headers: wanted.headers.clone(),
            };
            let (head, stream, outcome) = match wanted.digest {
                Some(digest) => fetch::send_verified(&request, &digest.to_string()),
                None => fetch::send(&request),
            };
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
