//! `fetch`: the host's HTTP client as a source component sees it.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::sync::oneshot;
use wasmtime::AsContextMut as _;
use wasmtime::component::{Access, FutureReader, GuestTaskId, HasData, StreamReader};

use super::FetchGrant;
use super::request::{self, AnswerBody, Asked, Checked, Started, Told, invalid};
use super::source::SourceState;
use crate::bindings::Failure;
use crate::bindings::fetch::{self, ByteRange, Condition, Head, Request};
use crate::engine::{HostStream, StoreState, cleaned, host_future};
use crate::error::Result;
use crate::stream::{Chunks, Pulse};

/// The most bytes that are shown of a digest that is none.
const MAX_DIGEST: usize = 80;

/// Head, body and the body's outcome.
type Sent = (FutureReader<Result<Head, Failure>>, StreamReader<u8>, FutureReader<Result<(), Failure>>);

/// The body of a fetch. Its errors go into the outcome beside it, and to a host that reads it; dropping it ends the request.
struct FetchBody {
    answer: AnswerBody,
    outcome: Option<oneshot::Sender<Result<(), Failure>>>,
}

impl Chunks for FetchBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let (outcome, end) = match self.answer.poll_chunk(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(chunk))) => return Poll::Ready(Some(Ok(chunk))),
            // Whoever reads it gets this very error, whatever else the component has under way.
            Poll::Ready(Some(Err(told))) => (Err(told.failure), self.answer.account().map(Err)),
            Poll::Ready(None) => (Ok(()), None),
        };
        if let Some(sender) = self.outcome.take() {
            // The component dropped the outcome: it does not want to know.
            let _ = sender.send(outcome);
        }
        Poll::Ready(end)
    }
}

/// The interfaces of a source component, over its store.
pub(super) struct SourceView;

impl HasData for SourceView {
    type Data<'a> = &'a mut StoreState<SourceState>;
}

impl fetch::Host for StoreState<SourceState> {
    fn granted(&mut self, url: String) -> wasmtime::Result<bool> {
        Ok(self.stage.grant.fetch.as_ref().is_some_and(|grant| grant.has(&url)))
    }
}

impl fetch::HostWithStore<StoreState<SourceState>> for SourceView {
    fn send(host: Access<StoreState<SourceState>, Self>, request: Request) -> wasmtime::Result<Sent> {
        Self::started(host, |grant, pulse| grant.send(asked(&request), pulse))
    }

    fn send_verified(
        host: Access<StoreState<SourceState>, Self>,
        request: Request,
        digest: String,
    ) -> wasmtime::Result<Sent> {
        Self::started(host, |grant, pulse| {
            let malformed =
                |why| invalid(format!("a request for the digest `{}`: {why}", cleaned(&digest, MAX_DIGEST)));
            let digest = digest.parse().map_err(malformed).map_err(|error| grant.refused(error))?;
            let (from, to_end) =
                request.range.as_ref().map_or((0, true), |range| (range.offset, range.length.is_none()));
            grant.send_verified(asked(&request), (digest, from, to_end), pulse)
        })
    }
}

impl SourceView {
    /// Sends as `send` says, under the grant there is, for the read that asks.
    fn started(
        mut host: Access<StoreState<SourceState>, Self>,
        send: impl FnOnce(&FetchGrant, &Pulse) -> Result<Started, Told>,
    ) -> wasmtime::Result<Sent> {
        let mut store = host.as_context_mut();
        let tasks: Vec<GuestTaskId> = store.async_call_stack()?.collect();
        let state = host.get();
        let started = match &state.stage.grant.fetch {
            Some(grant) => send(&grant.on_behalf_of(&tasks), &state.pulse),
            None => Err(Told::no_network()),
        };
        let (sender, outcome) = oneshot::channel();
        let (head, stream) = match started {
            Ok(Started { head, body }) => {
                (Ok(head), HostStream::new(FetchBody { answer: body, outcome: Some(sender) }))
            }
            Err(told) => {
                let _ = sender.send(Err(told.failure.clone()));
                (Err(told), HostStream::new(Nothing))
            }
        };
        let head = async move {
            let head = head?.await.unwrap_or_else(|_| Err(Told::given_up()))?;
            Ok(visible_head(&head))
        };
        let head = host_future(&mut host, async move { head.await.map_err(|told: Told| told.failure) })?;
        let stream = StreamReader::new(&mut host, stream)?;
        let gone = || Told::given_up().failure;
        let outcome = host_future(&mut host, async move { outcome.await.unwrap_or_else(|_| Err(gone())) })?;
        Ok((head, stream, outcome))
    }
}

/// No bytes.
pub(super) struct Nothing;

impl Chunks for Nothing {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(None)
    }
}

/// The request under the rules, with the fields that `fetch` has fields of its own for.
fn asked(request: &Request) -> Result<Checked> {
    let method = match request.method {
        fetch::Method::Get => Method::GET,
        fetch::Method::Head => Method::HEAD,
    };
    let fields = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let mut checked = request::checked(Asked { method, url: &request.url, fields, own: &[] })?;
    if let Some(range) = &request.range {
        checked.headers.insert(header::RANGE, range_field(range)?);
    }
    if let Some(condition) = &request.condition {
        let (name, value) = condition_field(condition, request.range.is_some())?;
        checked.headers.insert(name, value);
    }
    Ok(checked)
}

fn condition_field(condition: &Condition, ranged: bool) -> Result<(HeaderName, HeaderValue)> {
    let (name, value) = match (condition, ranged) {
        (Condition::UnchangedEtag(tag), true) => (header::IF_RANGE, tag),
        (Condition::UnchangedEtag(tag), false) => (header::IF_MATCH, tag),
        (Condition::UnchangedSince(date), true) => (header::IF_RANGE, date),
        (Condition::UnchangedSince(date), false) => (header::IF_UNMODIFIED_SINCE, date),
    };
    let value = HeaderValue::from_str(value).map_err(|_| invalid("a malformed condition".to_owned()))?;
    Ok((name, value))
}

fn range_field(range: &ByteRange) -> Result<HeaderValue> {
    let out_of_bounds = || invalid("a range that is empty or out of bounds".to_owned());
    let field = match range.length {
        None => format!("bytes={}-", range.offset),
        Some(length) => {
            let last = length.checked_sub(1).and_then(|more| range.offset.checked_add(more));
            format!("bytes={}-{}", range.offset, last.ok_or_else(out_of_bounds)?)
        }
    };
    HeaderValue::try_from(field).map_err(|_| out_of_bounds())
}

fn visible_head(head: &request::Head) -> Head {
    let headers = head.headers.iter().filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), str::from_utf8(value.as_bytes()).ok()?.to_owned()))
    });
    Head { status: head.status, headers: headers.collect(), length: head.length }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn ranges_and_conditions_become_fields() {
        let url = "https://a.example/".to_owned();
        let mut request =
            Request { method: fetch::Method::Get, url, range: None, condition: None, headers: Vec::new() };
        request.range = Some(ByteRange { offset: 10, length: Some(5) });
        request.condition = Some(Condition::UnchangedEtag("\"e\"".to_owned()));
        let checked = asked(&request).unwrap();
        assert_eq!(checked.headers["range"], "bytes=10-14");
        assert_eq!(checked.headers["if-range"], "\"e\"");
        request.range = None;
        assert_eq!(asked(&request).unwrap().headers["if-match"], "\"e\"");
        for range in [ByteRange { offset: 10, length: Some(0) }, ByteRange { offset: u64::MAX, length: Some(2) }] {
            request.range = Some(range);
            assert_eq!(asked(&request).map(drop).unwrap_err().code(), Code::SourceInvalid);
        }
        request.range = None;
        request.headers = vec![("Range".to_owned(), "bytes=0-".to_owned())];
        assert_eq!(asked(&request).map(drop).unwrap_err().code(), Code::EgressDenied);
    }
}
