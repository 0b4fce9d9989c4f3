//! The rules for every request of a source component, whichever interface it came through, and what becomes of it: the
//! host's own account of each, and the answer, streamed.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;
use wasmtime::component::GuestTaskId;

use super::Alongside;
use super::failure;
use super::stored::{self, StoredImages};
use super::summing::{Summing, Sums};
use crate::bindings::Failure;
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{self, Body, GrantedClient, is_hosts_field, redacted};
use crate::observe::Repeats;
use crate::oci::Digest;
use crate::stream::{Flow, Helping, MAX_CONNECTIONS, Pulse};

/// The most requests of one component that may be under way: those of its reads, and a few that lead to them.
const MAX_UNDER_WAY: usize = MAX_CONNECTIONS as usize + 8;
/// Requests that a component may send before it has read anything of their answers, and how many more for each MiB of them:
/// nobody reads a disk in smaller pieces than 4 KiB.
const MAX_REQUESTS: u64 = 2000;
const MORE_PER_MIB: u64 = 256;
/// How long a disk on this machine may take to give something.
const STORED_STALL: Duration = Duration::from_secs(120);
/// The same of what is read along: who brings it, and who takes it, have limits of their own.
const ALONGSIDE_STALL: Duration = Duration::from_secs(3600);
/// The longest URL.
const MAX_URL: usize = 8192;
/// The most header fields of a request, and their bytes in all.
const MAX_FIELDS: (usize, usize) = (32, 8192);

/// What a source may ask of the network, and what became of it.
#[derive(Clone)]
pub struct FetchGrant {
    peer: Peer,
    /// What the host reads itself.
    alongside: Alongside,
    shared: Arc<Mutex<Shared>>,
    sums: Sums,
    /// Where it is kept what becomes of the requests that are sent through this.
    account: Account,
}

/// Who answers.
#[derive(Clone)]
enum Peer {
    Network(Box<GrantedClient>),
    /// A layout on this machine, as if a registry had it.
    Stored(StoredImages),
}

/// Why the last request of somebody did not do, as the host itself saw it.
#[derive(Clone, Default)]
struct Account(Arc<Mutex<Option<Error>>>);

#[derive(Default)]
struct Shared {
    under_way: usize,
    /// Requests so far, and the bytes of their answers that were read.
    sent: u64,
    received: u64,
    /// Those of the reads under way, by the guest's task.
    accounts: BTreeMap<GuestTaskId, Account>,
}

/// One read of a component: what becomes of its requests is its own, whatever else is under way.
pub(super) struct Caller {
    task: GuestTaskId,
    own: FetchGrant,
    /// Of `open`, whose body a read may hand on, and of requests of which nobody knows for which read they are.
    common: Account,
}

/// A request as a component wants it.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    /// Name and value, any case.
    pub(super) fields: Vec<(&'a str, &'a [u8])>,
    /// Those of the host's fields that this interface lets a component set, in lower case.
    pub(super) own: &'static [&'static str],
}

/// A request under way. Dropping it ends it.
pub(super) struct Started {
    pub(super) head: oneshot::Receiver<Result<Head, Told>>,
    pub(super) body: AnswerBody,
}

/// The head of an answer, without secrets.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) length: Option<u64>,
}

/// A request that keeps to the rules.
pub(super) type Checked = net::Request;

/// What a component is told of an error of the host's.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) code: Code,
    pub(super) failure: Failure,
}

impl FetchGrant {
    /// Grants what `client` is granted.
    #[must_use]
    pub fn new(client: GrantedClient) -> Self {
        Self::of(Peer::Network(Box::new(client)))
    }

    /// Grants the images of a layout, and no network.
    #[must_use]
    pub fn stored(images: StoredImages) -> Self {
        Self::of(Peer::Stored(images))
    }

    /// Tells `repeats` of contents that a component goes on with where they broke.
    #[must_use]
    pub fn telling(mut self, repeats: Arc<Repeats>) -> Self {
        self.sums.repeats = repeats;
        self
    }

    fn of(peer: Peer) -> Self {
        let alongside = Alongside::default();
        Self { peer, alongside, shared: Arc::default(), sums: Sums::default(), account: Account::default() }
    }

    /// The same whose component reads along what the host reads itself.
    #[must_use]
    pub fn reading(self, alongside: Alongside) -> Self {
        Self { alongside, ..self }
    }

    /// Whether a URL's origin was granted.
    pub(super) fn has(&self, url: &str) -> bool {
        url.len() <= MAX_URL && Url::parse(url).is_ok_and(|url| self.peer.has(&url))
    }

    /// `open` begins.
    pub(super) fn begin(&self) {
        self.peer.begin();
        self.account.set(None);
    }

    /// A `read` begins, which is this task of the guest.
    pub(super) fn begin_read(&self, task: GuestTaskId) -> Caller {
        self.peer.begin();
        let own = Self { account: Account::default(), ..self.clone() };
        let mut shared = self.lock();
        if shared.accounts.is_empty() {
            self.account.set(None);
        }
        shared.accounts.insert(task, own.account.clone());
        drop(shared);
        Caller { task, own, common: self.account.clone() }
    }

    /// The same for a request of the read that is one of these tasks: that which asks, and those which called it.
    pub(super) fn on_behalf_of(&self, tasks: &[GuestTaskId]) -> Self {
        let shared = self.lock();
        let account = tasks.iter().find_map(|task| shared.accounts.get(task)).unwrap_or(&self.account).clone();
        drop(shared);
        Self { account, ..self.clone() }
    }

    /// Why the last request of `open` did not do.
    pub(super) fn take_error(&self) -> Option<Error> {
        self.account.take()
    }

    /// Sends a request that was made by [`checked`], and returns at once.
    pub(super) fn send(&self, request: Result<Checked>, pulse: &Pulse) -> Result<Started, Told> {
        self.start(request, None, pulse)
    }

    /// The same for content of that digest, of which the body is from the offset `from` on, `to_end` or not.
    pub(super) fn send_verified(
        &self,
        request: Result<Checked>,
        (digest, from, to_end): (Digest, u64, bool),
        pulse: &Pulse,
    ) -> Result<Started, Told> {
        let summing = self.sums.begin(digest, from, to_end).map_err(|error| self.refused(error))?;
        self.start(request, Some(summing), pulse)
    }

    fn start(&self, request: Result<Checked>, summing: Option<Summing>, pulse: &Pulse) -> Result<Started, Told> {
        let request = request.map_err(|error| self.refused(error))?;
        self.lock().count().map_err(|error| self.refused(error))?;
        let Some(under_way) = UnderWay::enter(&self.shared) else {
            let message = format!("more than {MAX_UNDER_WAY} requests at once");
            let told = Told { code: Code::SourceFailed, failure: Failure::Limit(message.clone()) };
            self.account.set(Some(Error::new(Code::SourceFailed, Stage::Source, message)));
            return Err(told);
        };
        let (head_sender, head) = oneshot::channel();
        let (body_sender, body) = oneshot::channel();
        let grant = self.clone();
        let helping = pulse.helping();
        let (method, url) = (request.method.clone(), request.url.clone());
        let task = tokio::spawn(async move {
            let answer = match grant.alongside.take(&request) {
                Some(blob) => {
                    let head = Head { status: 200, headers: HeaderMap::new(), length: Some(blob.size) };
                    Ok((head, Answer::Alongside(blob.flow)))
                }
                None => grant.peer.send(request).await,
            };
            drop(helping);
            // A component that dropped head or body does not want to know.
            match answer {
                Ok((head, body)) => {
                    grant.saw(&method, &url, &head);
                    let status = head.status;
                    let _ = head_sender.send(Ok(head));
                    let _ = body_sender.send(Ok((status, body)));
                }
                Err(error) => {
                    let told = grant.refused(error);
                    let _ = head_sender.send(Err(told.clone()));
                    let _ = body_sender.send(Err(told));
                }
            }
        });
        let body = AnswerBody {
            state: BodyState::Waiting(body),
            summing,
            grant: self.clone(),
            task,
            pulse: pulse.clone(),
            helping: None,
            _under_way: under_way,
        };
        Ok(Started { head, body })
    }

    /// Keeps the host's own account of a request, and gives what the component is told of it.
    pub(super) fn refused(&self, error: Error) -> Told {
        let told = Told::of(&error);
        self.account.set(Some(error));
        told
    }

    /// Keeps an error status as the host's own account of it.
    fn saw(&self, method: &Method, url: &Url, head: &Head) {
        let status = head.status;
        let code = match status {
            401 | 403 | 407 => Some(Code::SourceDenied),
            404 | 410 => Some(Code::SourceNotFound),
            412 | 416 => Some(Code::SourceChanged),
            400.. => Some(Code::SourceFailed),
            _ => None,
        };
        let error = code.map(|code| {
            let message = format!("{method} {}: the server answered {status}", redacted(url));
            let error = Error::new(code, Stage::Source, message);
            let error = match code {
                Code::SourceFailed if net::is_temporary(status) => {
                    error.after(net::retry_after(&head.headers, SystemTime::now()))
                }
                Code::SourceFailed => error.retryable_as(Retryable::No),
                _ => error,
            };
            if matches!(status, 401 | 403) { error.hint(self.peer.advice(url)) } else { error }
        });
        self.account.set(error);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// One more request, if there may be one.
    fn count(&mut self) -> Result<()> {
        let most = MAX_REQUESTS.saturating_add((self.received >> 20).saturating_mul(MORE_PER_MIB));
        if self.sent >= most {
            let message = format!(
                "it sent {most} requests and read {} bytes of their answers, granted are {MAX_REQUESTS} requests and \
                 {MORE_PER_MIB} for each MiB that it reads",
                self.received
            );
            return Err(Error::new(Code::ComponentBudget, Stage::Source, message));
        }
        self.sent += 1;
        Ok(())
    }
}

impl Peer {
    fn has(&self, url: &Url) -> bool {
        match self {
            Self::Network(client) => client.has(url),
            Self::Stored(_) => StoredImages::has(url),
        }
    }

    fn begin(&self) {
        if let Self::Network(client) = self {
            client.begin();
        }
    }

    async fn send(&self, request: Checked) -> Result<(Head, Answer)> {
        match self {
            Self::Network(client) => {
                let net::Response { status, headers, length, body } = client.send(request).await?;
                Ok((Head { status, headers, length }, Answer::Network(Box::new(body))))
            }
            Self::Stored(images) => {
                let stored::Answered { status, headers, length, flow } = images.answer(&request)?;
                Ok((Head { status, headers, length: Some(length) }, Answer::Stored(flow)))
            }
        }
    }

    fn advice(&self, url: &Url) -> String {
        match self {
            Self::Network(client) => client.advice(url),
            Self::Stored(_) => String::new(),
        }
    }
}

/// The bytes of an answer.
enum Answer {
    Network(Box<Body>),
    Stored(Flow),
    Alongside(Flow),
}

impl Answer {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self {
            Self::Network(body) => body.poll_chunk(cx),
            Self::Stored(flow) | Self::Alongside(flow) => flow.poll_next(cx),
        }
    }

    /// How long nothing may come of it.
    fn stall(&self) -> Duration {
        match self {
            Self::Network(body) => body.stall(),
            Self::Stored(_) => STORED_STALL,
            Self::Alongside(_) => ALONGSIDE_STALL,
        }
    }
}

impl Account {
    fn set(&self, error: Option<Error>) {
        *self.lock() = error;
    }

    fn take(&self) -> Option<Error> {
        self.lock().take()
    }

    /// What is said there, if a component that had heard it would say the same.
    fn take_like(&self, failure: &Failure) -> Option<Error> {
        self.lock().take_if(|error| discriminant(&failure::failure(error)) == discriminant(failure))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// Why the last request of this read did not do, of which the component says that much.
    pub(super) fn take_error(&self, failure: &Failure) -> Option<Error> {
        let alone = self.own.lock().accounts.len() == 1;
        let common = || if alone { self.common.take() } else { self.common.take_like(failure) };
        self.own.account.take().or_else(common)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.own.lock().accounts.remove(&self.task);
    }
}

impl Told {
    /// What a component without a grant is told.
    pub(super) fn no_network() -> Self {
        Self::of(&denied("no network was granted to this component".to_owned()))
    }

    /// What a component is told whose request was given up.
    pub(super) fn given_up() -> Self {
        Self { code: Code::SourceFailed, failure: Failure::Other("the request was given up".to_owned()) }
    }

    fn of(error: &Error) -> Self {
        Self { code: error.code(), failure: failure::failure(error) }
    }
}

/// A request the component broke the rules with.
pub(super) fn denied(message: String) -> Error {
    Error::new(Code::EgressDenied, Stage::Source, message)
}

/// Something a component asked for that makes no sense.
pub(super) fn invalid(message: String) -> Error {
    Error::new(Code::SourceInvalid, Stage::Source, message)
}

/// Makes the request that a component wants, if it keeps to the rules: GET or HEAD, without a body; an absolute URL without
/// user information, at most 8 KiB; at most 32 header fields and 8 KiB of them, none of them the host's.
///
/// # Errors
/// `egress-denied` or `source-invalid`.
pub(super) fn checked(asked: Asked<'_>) -> Result<Checked> {
    let Asked { method, url, fields, own } = asked;
    if ![Method::GET, Method::HEAD].contains(&method) {
        return Err(denied(format!("the component sent a {method}, granted are GET and HEAD")));
    }
    if url.len() > MAX_URL {
        return Err(invalid(format!("a URL of {} bytes, expected at most {MAX_URL}", url.len())));
    }
    let url = Url::parse(url).map_err(|why| invalid(format!("a request for a malformed URL: {why}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(denied(format!("a request for {} with user information in its URL", redacted(&url))));
    }
    let bytes: usize = fields.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
    let (most, most_bytes) = MAX_FIELDS;
    if fields.len() > most || bytes > most_bytes {
        return Err(invalid(format!("a request with more than {most} header fields or {most_bytes} bytes of them")));
    }
    let mut request = net::Request::new(method, url);
    for (name, value) in fields {
        let lower = name.to_ascii_lowercase();
        if is_hosts_field(&lower) && !own.contains(&lower.as_str()) {
            return Err(denied(format!("the component set the header field `{lower}`, which is the host's")));
        }
        let name = HeaderName::from_str(&lower).map_err(|_| invalid(format!("`{lower}` is no header field")))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| invalid(format!("a malformed value of `{lower}`")))?;
        request.headers.append(name, value);
    }
    request.headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(request)
}

/// Counts a request as under way as long as it lives.
struct UnderWay(Arc<Mutex<Shared>>);

impl UnderWay {
    fn enter(shared: &Arc<Mutex<Shared>>) -> Option<Self> {
        let mut locked = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if locked.under_way >= MAX_UNDER_WAY {
            return None;
        }
        locked.under_way += 1;
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).under_way -= 1;
    }
}

/// The body of an answer, one chunk at a time. Dropping it ends the request.
pub(super) struct AnswerBody {
    state: BodyState,
    summing: Option<Summing>,
    grant: FetchGrant,
    task: JoinHandle<()>,
    pulse: Pulse,
    helping: Option<Helping>,
    _under_way: UnderWay,
}

enum BodyState {
    Waiting(oneshot::Receiver<Result<(u16, Answer), Told>>),
    Flowing(Answer),
    Ended,
}

impl AnswerBody {
    /// The next chunk, never empty; none once the whole body arrived. After an error there is nothing more.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Told>>> {
        loop {
            let ended = match &mut self.state {
                BodyState::Ended => None,
                BodyState::Waiting(body) => match Future::poll(std::pin::Pin::new(body), cx) {
                    Poll::Ready(Ok(Ok((status, body)))) => {
                        match (status, &mut self.summing) {
                            (206, Some(summing)) => summing.goes_on(),
                            (_, None) => {}
                            (200, Some(summing)) => summing.restart(),
                            (_, Some(_)) => self.summing = None,
                        }
                        self.state = BodyState::Flowing(body);
                        continue;
                    }
                    Poll::Ready(Ok(Err(told))) => Some(Err(told)),
                    Poll::Ready(Err(_)) => Some(Err(Told::given_up())),
                    Poll::Pending => return Poll::Pending,
                },
                BodyState::Flowing(body) => match body.poll(cx) {
                    Poll::Ready(Some(Ok(chunk))) => {
                        self.helping = None;
                        self.grant.lock().received += chunk.len() as u64;
                        if let Some(summing) = &mut self.summing {
                            summing.take(&chunk);
                        }
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    Poll::Ready(None) => {
                        let ended = self.summing.take().map_or(Ok(()), Summing::end);
                        ended.err().map(|error| Err(self.grant.refused(error)))
                    }
                    Poll::Ready(Some(Err(error))) => {
                        if let Some(summing) = &mut self.summing {
                            summing.broke();
                        }
                        Some(Err(self.grant.refused(error)))
                    }
                    Poll::Pending => {
                        // Whoever reads waits for the network, not for the component, but no longer than the network may
                        // be silent: nobody says when a component has stopped reading.
                        let (pulse, within) = (&self.pulse, body.stall());
                        self.helping.get_or_insert_with(|| pulse.helping_within(within));
                        return Poll::Pending;
                    }
                },
            };
            self.state = BodyState::Ended;
            (self.helping, self.summing) = (None, None);
            return Poll::Ready(ended);
        }
    }
}

impl AnswerBody {
    /// The host's own account of what went wrong last, once more.
    pub(super) fn account(&self) -> Option<Error> {
        self.grant.account.lock().as_ref().map(Error::retold)
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(url: &'a str, fields: &[(&'a str, &'a str)]) -> Asked<'a> {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Asked { method: Method::GET, url, fields, own: &[] }
    }

    fn refused(asked: Asked<'_>) -> Code {
        match checked(asked) {
            Ok(_) => panic!("it was not refused"),
            Err(error) => error.code(),
        }
    }

    #[test]
    fn a_url_without_credentials_and_within_bounds() {
        assert!(checked(asked("https://a.example/x?y", &[])).is_ok());
        assert_eq!(refused(asked("https://u:p@a.example/", &[])), Code::EgressDenied);
        assert_eq!(refused(asked("nonsense", &[])), Code::SourceInvalid);
        assert_eq!(refused(asked(&format!("https://a.example/{}", "x".repeat(9000)), &[])), Code::SourceInvalid);
    }

    #[test]
    fn what_is_read_earns_more_requests() {
        let mut shared = Shared::default();
        let sent = |shared: &mut Shared| (0..5000).take_while(|_| shared.count().is_ok()).count();
        assert_eq!(sent(&mut shared), 2000);
        assert_eq!(shared.count().unwrap_err().code(), Code::ComponentBudget);
        shared.received = (3 << 20) - 1;
        assert_eq!(sent(&mut shared), 2 * 256);
    }

    #[test]
    fn only_get_and_head() {
        for (method, granted) in [(Method::GET, true), (Method::HEAD, true), (Method::POST, false)] {
            let asked = Asked { method: method.clone(), ..asked("https://a.example/", &[]) };
            assert_eq!(checked(asked).is_ok(), granted, "{method}");
        }
    }

    #[test]
    fn the_hosts_fields_are_the_hosts() {
        for name in ["Host", "authorization", "COOKIE", "If-None-Match", "Range", "Connection", "Accept-Encoding"] {
            assert_eq!(refused(asked("https://a.example/", &[(name, "x")])), Code::EgressDenied, "{name}");
        }
        let own = |name| Asked { own: &["range", "if-range"], ..asked("https://a.example/", name) };
        assert!(checked(own(&[("Range", "bytes=0-"), ("If-Range", "\"x\"")])).is_ok());
        assert_eq!(refused(own(&[("If-None-Match", "\"x\"")])), Code::EgressDenied);
        assert_eq!(refused(own(&[("Authorization", "x")])), Code::EgressDenied);
        assert_eq!(refused(asked("https://a.example/", &[("x", "a\r\nb: c")])), Code::SourceInvalid);
        assert_eq!(refused(asked("https://a.example/", &[("x y", "a")])), Code::SourceInvalid);
        assert_eq!(refused(asked("https://a.example/", &[("x", "y"); 33])), Code::SourceInvalid);
        // The bounds themselves are kept to the byte, over all fields together.
        assert!(checked(asked("https://a.example/", &[("x", "y"); 32])).is_ok());
        let long = "y".repeat(MAX_FIELDS.1 - 4);
        assert!(checked(asked("https://a.example/", &[("ab", &long[1..]), ("cd", "e")])).is_ok());
        assert_eq!(refused(asked("https://a.example/", &[("ab", &long), ("cd", "e")])), Code::SourceInvalid);
        let request = checked(asked("https://a.example/", &[("accept", "*/*")])).unwrap();
        assert_eq!(
            (&request.headers["accept"], &request.headers["accept-encoding"]),
            (&HeaderValue::from_static("*/*"), &HeaderValue::from_static("identity"))
        );
    }
}
