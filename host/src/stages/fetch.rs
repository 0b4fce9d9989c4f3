//! `fetch`: the host's HTTP client as a source component sees it.

use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;
use wasmtime::component::{Access, FutureReader, HasData, StreamReader};

use super::failure;
use super::source::SourceState;
use crate::bindings::Failure;
use crate::bindings::fetch::{self, ByteRange, Condition, Head, Request};
use crate::engine::{HostStream, StoreState, host_future};
use crate::error::{Code, Error, Result, Stage};
use crate::net::{self, Body, GrantedClient, redacted};
use crate::stream::{Chunks, Helping, Pulse};

/// The most requests of one component that may be under way.
const MAX_UNDER_WAY: usize = 8;
/// The longest URL.
const MAX_URL: usize = 8192;
/// The most header fields of a request, and their bytes in all.
const MAX_FIELDS: (usize, usize) = (32, 8192);

/// Fields that only the host sets.
const HOST_FIELDS: [&str; 20] = [
    "host",
    "range",
    "authorization",
    "cookie",
    "accept-encoding",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "via",
    "forwarded",
    "x-forwarded-for",
    "content-type",
];
/// Fields of an answer that a component does not see.
const SECRET_FIELDS: [&str; 6] = [
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
    "proxy-authenticate",
    "authentication-info",
    "proxy-authentication-info",
];

/// What a source may fetch, and what became of it.
#[derive(Clone)]
pub struct FetchGrant {
    client: GrantedClient,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    under_way: usize,
    /// Why the last fetch did not do, as the host itself saw it.
    last: Option<Error>,
}

/// Counts a request as under way as long as it lives.
struct UnderWay(Arc<Mutex<Shared>>);

impl FetchGrant {
    /// Grants what `client` is granted.
    #[must_use]
    pub fn new(client: GrantedClient) -> Self {
        Self { client, shared: Arc::default() }
    }

    /// A new `open` or `read` begins.
    pub(super) fn begin(&self) {
        self.client.begin();
        self.lock().last = None;
    }

    /// Why the last fetch did not do.
    pub(super) fn take_error(&self) -> Option<Error> {
        self.lock().last.take()
    }

    fn start(&self, request: &Request, pulse: &Pulse) -> Result<Started> {
        let request = check(request)?;
        let under_way = UnderWay::enter(&self.shared)?;
        let (head_sender, head) = oneshot::channel();
        let (body_sender, body) = oneshot::channel();
        let grant = self.clone();
        let helping = pulse.helping();
        let url = request.url.clone();
        let task = tokio::spawn(async move {
            let answer = grant.client.send(request).await;
            drop(helping);
            // A component that dropped head or body does not want to know.
            match answer {
                Ok(response) => {
                    grant.saw(&url, response.status);
                    let _ = head_sender.send(Ok(visible_head(&response)));
                    let _ = body_sender.send(Ok(response.body));
                }
                Err(error) => {
                    let failure = failure::failure(&error);
                    grant.lock().last = Some(error);
                    let _ = head_sender.send(Err(failure.clone()));
                    let _ = body_sender.send(Err(failure));
                }
            }
        });
        Ok(Started { head, body, task, under_way })
    }

    /// Keeps an error status as the host's own account of it.
    fn saw(&self, url: &Url, status: u16) {
        let code = match status {
            401 | 403 | 407 => Some(Code::SourceDenied),
            404 | 410 => Some(Code::SourceNotFound),
            412 | 416 => Some(Code::SourceChanged),
            400.. => Some(Code::SourceFailed),
            _ => None,
        };
        let message = || format!("GET {}: the server answered {status}", redacted(url));
        self.lock().last = code.map(|code| Error::new(code, Stage::Source, message()));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Started {
    head: oneshot::Receiver<Result<Head, Failure>>,
    body: oneshot::Receiver<Result<Body, Failure>>,
    task: JoinHandle<()>,
    under_way: UnderWay,
}

impl UnderWay {
    fn enter(shared: &Arc<Mutex<Shared>>) -> Result<Self> {
        let mut locked = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if locked.under_way >= MAX_UNDER_WAY {
            let message = format!("more than {MAX_UNDER_WAY} requests at once");
            return Err(Error::new(Code::SourceFailed, Stage::Source, message));
        }
        locked.under_way += 1;
        Ok(Self(Arc::clone(shared)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).under_way -= 1;
    }
}

/// The body of a fetch. Its errors go into the outcome beside it; dropping it ends the request.
struct FetchBody {
    state: BodyState,
    outcome: Option<oneshot::Sender<Result<(), Failure>>>,
    grant: FetchGrant,
    task: JoinHandle<()>,
    pulse: Pulse,
    helping: Option<Helping>,
    _under_way: UnderWay,
}

enum BodyState {
    Waiting(oneshot::Receiver<Result<Body, Failure>>),
    Flowing(Box<Body>),
    Ended,
}

impl FetchBody {
    fn end(&mut self, outcome: Result<(), Failure>) -> Poll<Option<Result<Bytes>>> {
        self.state = BodyState::Ended;
        self.helping = None;
        if let Some(sender) = self.outcome.take() {
            // The component dropped the outcome: it does not want to know.
            let _ = sender.send(outcome);
        }
        Poll::Ready(None)
    }
}

impl Chunks for FetchBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            match &mut self.state {
                BodyState::Ended => return Poll::Ready(None),
                BodyState::Waiting(body) => match Future::poll(std::pin::Pin::new(body), cx) {
                    Poll::Ready(Ok(Ok(body))) => self.state = BodyState::Flowing(Box::new(body)),
                    Poll::Ready(Ok(Err(failure))) => return self.end(Err(failure)),
                    Poll::Ready(Err(_)) => return self.end(Err(Failure::Io("the request was given up".to_owned()))),
                    Poll::Pending => return Poll::Pending,
                },
                BodyState::Flowing(body) => match body.poll_chunk(cx) {
                    Poll::Ready(Some(Ok(chunk))) => {
                        self.helping = None;
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    Poll::Ready(None) => return self.end(Ok(())),
                    Poll::Ready(Some(Err(error))) => {
                        let failure = failure::failure(&error);
                        self.grant.lock().last = Some(error);
                        return self.end(Err(failure));
                    }
                    Poll::Pending => {
                        // Whoever reads waits for the network, not for the component.
                        let pulse = &self.pulse;
                        self.helping.get_or_insert_with(|| pulse.helping());
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

impl Drop for FetchBody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The interfaces of a source component, over its store.
pub(super) struct SourceView;

impl HasData for SourceView {
    type Data<'a> = &'a mut StoreState<SourceState>;
}

impl fetch::Host for StoreState<SourceState> {}

impl fetch::HostWithStore<StoreState<SourceState>> for SourceView {
    fn send(
        mut host: Access<StoreState<SourceState>, Self>,
        request: Request,
    ) -> wasmtime::Result<(FutureReader<Result<Head, Failure>>, StreamReader<u8>, FutureReader<Result<(), Failure>>)>
    {
        let state = host.get();
        let pulse = state.pulse.clone();
        let started = match &state.stage.grant.fetch {
            Some(grant) => grant.start(&request, &pulse).map(|started| (started, grant.clone())),
            None => Err(denied("no network was granted to this component".to_owned())),
        };
        let (sender, outcome) = oneshot::channel();
        let gone = || Failure::Other("the request was given up".to_owned());
        let (head, stream) = match started {
            Ok((Started { head, body, task, under_way }, grant)) => {
                let body = FetchBody {
                    state: BodyState::Waiting(body),
                    outcome: Some(sender),
                    grant,
                    task,
                    pulse,
                    helping: None,
                    _under_way: under_way,
                };
                (head, HostStream::new(body))
            }
            Err(error) => {
                let (head_sender, head) = oneshot::channel();
                let failure = failure::failure(&error);
                let _ = head_sender.send(Err(failure.clone()));
                let _ = sender.send(Err(failure));
                if let Some(grant) = &state.stage.grant.fetch {
                    grant.lock().last = Some(error);
                }
                (head, HostStream::new(Nothing))
            }
        };
        let head = host_future(&mut host, async move { head.await.unwrap_or_else(|_| Err(gone())) })?;
        let stream = StreamReader::new(&mut host, stream)?;
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

fn denied(message: String) -> Error {
    Error::new(Code::EgressDenied, Stage::Source, message)
}

fn check(request: &Request) -> Result<net::Request> {
    let invalid = |message: String| Error::new(Code::SourceInvalid, Stage::Source, message);
    if request.url.len() > MAX_URL {
        return Err(invalid(format!("a URL of {} bytes, expected at most {MAX_URL}", request.url.len())));
    }
    let url = Url::parse(&request.url).map_err(|why| invalid(format!("a request for a malformed URL: {why}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(denied(format!("a request for {} with user information in its URL", redacted(&url))));
    }
    let method = match request.method {
        fetch::Method::Get => Method::GET,
        fetch::Method::Head => Method::HEAD,
    };
    let mut checked = net::Request::new(method, url);
    checked.headers = fields(request)?;
    Ok(checked)
}

fn fields(request: &Request) -> Result<HeaderMap> {
    let invalid = |message: String| Error::new(Code::SourceInvalid, Stage::Source, message);
    let bytes: usize = request.headers.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
    let (most, most_bytes) = MAX_FIELDS;
    if request.headers.len() > most || bytes > most_bytes {
        return Err(invalid(format!("a request with more than {most} header fields or {most_bytes} bytes of them")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let lower = name.to_ascii_lowercase();
        if HOST_FIELDS.contains(&lower.as_str()) || lower.starts_with("if-") {
            return Err(denied(format!("the component set the header field `{lower}`, which is the host's")));
        }
        let name = HeaderName::from_str(&lower).map_err(|_| invalid(format!("`{lower}` is no header field")))?;
        let value = HeaderValue::from_str(value).map_err(|_| invalid(format!("a malformed value of `{lower}`")))?;
        headers.append(name, value);
    }
    headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(range) = &request.range {
        headers.insert(http::header::RANGE, range_field(range)?);
    }
    if let Some(condition) = &request.condition {
        let (name, value) = match (condition, request.range.is_some()) {
            (Condition::UnchangedEtag(tag), true) => (http::header::IF_RANGE, tag),
            (Condition::UnchangedEtag(tag), false) => (http::header::IF_MATCH, tag),
            (Condition::UnchangedSince(date), true) => (http::header::IF_RANGE, date),
            (Condition::UnchangedSince(date), false) => (http::header::IF_UNMODIFIED_SINCE, date),
        };
        let value = HeaderValue::from_str(value).map_err(|_| invalid("a malformed condition".to_owned()))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn range_field(range: &ByteRange) -> Result<HeaderValue> {
    let invalid = || Error::new(Code::SourceInvalid, Stage::Source, "a range that is empty or out of bounds");
    let field = match range.length {
        None => format!("bytes={}-", range.offset),
        Some(length) => {
            let last = length.checked_sub(1).and_then(|more| range.offset.checked_add(more)).ok_or_else(invalid)?;
            format!("bytes={}-{last}", range.offset)
        }
    };
    HeaderValue::try_from(field).map_err(|_| invalid())
}

fn visible_head(response: &net::Response) -> Head {
    let visible = response.headers.iter().filter(|(name, _)| !SECRET_FIELDS.contains(&name.as_str()));
    let headers = visible.filter_map(|(name, value)| {
        Some((name.as_str().to_owned(), str::from_utf8(value.as_bytes()).ok()?.to_owned()))
    });
    Head { status: response.status, headers: headers.collect(), length: response.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request { method: fetch::Method::Get, url: url.to_owned(), range: None, condition: None, headers }
    }

    fn refused(request: &Request) -> Code {
        match check(request) {
            Ok(_) => panic!("it was not refused"),
            Err(error) => error.code(),
        }
    }

    #[test]
    fn a_url_without_credentials_and_within_bounds() {
        assert!(check(&request("https://a.example/x?y", &[])).is_ok());
        assert_eq!(refused(&request("https://u:p@a.example/", &[])), Code::EgressDenied);
        assert_eq!(refused(&request("nonsense", &[])), Code::SourceInvalid);
        assert_eq!(refused(&request(&format!("https://a.example/{}", "x".repeat(9000)), &[])), Code::SourceInvalid);
    }

    #[test]
    fn the_hosts_fields_are_the_hosts() {
        for name in ["Host", "authorization", "COOKIE", "If-None-Match", "Range", "Connection", "Accept-Encoding"] {
            assert_eq!(refused(&request("https://a.example/", &[(name, "x")])), Code::EgressDenied, "{name}");
        }
        assert_eq!(refused(&request("https://a.example/", &[("x", "a\r\nb: c")])), Code::SourceInvalid);
        assert_eq!(refused(&request("https://a.example/", &[("x y", "a")])), Code::SourceInvalid);
        assert_eq!(refused(&request("https://a.example/", &[("x", "y"); 33])), Code::SourceInvalid);
        assert!(check(&request("https://a.example/", &[("accept", "*/*")])).is_ok());
    }

    #[test]
    fn ranges_and_conditions_become_fields() {
        let mut asked = request("https://a.example/", &[]);
        asked.range = Some(ByteRange { offset: 10, length: Some(5) });
        asked.condition = Some(Condition::UnchangedEtag("\"e\"".to_owned()));
        let checked = check(&asked).unwrap();
        assert_eq!(checked.headers["range"], "bytes=10-14");
        assert_eq!(checked.headers["if-range"], "\"e\"");
        asked.range = None;
        assert_eq!(check(&asked).unwrap().headers["if-match"], "\"e\"");
        asked.range = Some(ByteRange { offset: 10, length: Some(0) });
        assert_eq!(refused(&asked), Code::SourceInvalid);
        asked.range = Some(ByteRange { offset: u64::MAX, length: Some(2) });
        assert_eq!(refused(&asked), Code::SourceInvalid);
    }
}
