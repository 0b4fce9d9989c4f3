//! The HTTP/1.1 client: one request, one answer, nothing followed, nothing retried behind anybody's back.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use super::body::waits_for;
use super::carried::Carried;
use super::connector::Connector;
use super::dial::Dialer;
use super::proxy::{NoTunnel, authorization};
use super::{Body, Connections, redacted};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::waiting_for;
use crate::policy::{Origin, Policy, Proxy, Scheme, Side};
use crate::tls::{self, ClientCertificate, TlsClient};

/// How long an idle connection is kept for the next request to the same origin.
const KEEP_IDLE: Duration = Duration::from_secs(30);

/// How many idle connections to one origin are kept: a disk that is read over several has each of them idle at times.
const MAX_IDLE: usize = 16;

const AGENT: &str = concat!("longshore/", env!("CARGO_PKG_VERSION"));

/// Whatever network a run has: policy, TLS, and the record of its connections.
pub struct Net {
    policy: Arc<Policy>,
    tls: TlsClient,
    record: Arc<Connections>,
}

/// A client for one side of the flow.
#[derive(Clone)]
pub struct Client {
    pooled: Pooled<Connector, RequestBody>,
    pub(super) dialer: Dialer,
}

/// The body of a request.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// One request.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL, without user information.
    pub url: Url,
    /// Header fields besides Host; without a User-Agent it is ours. A body of known length needs its Content-Length here.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
    /// Time until the answer's head, after which the peer counts as stalled. None: for a registry whoever sends the body
    /// watches it; a source has the policy's `limits.answer`.
    pub answer_within: Option<Duration>,
}

/// One answer.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body's length, if the peer says so.
    pub length: Option<u64>,
    /// The body.
    pub body: Body,
}

impl Net {
    /// The network under `policy`.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        let tls = TlsClient::new(&policy.tls);
        Self { policy, tls, record: Arc::default() }
    }

    /// The policy that all of it is under.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A client for `side`, whose user typed these origins.
    #[must_use]
    pub fn client(&self, side: Side, typed: Vec<Origin>) -> Client {
        let stage = match side {
            Side::Source => Stage::Source,
            Side::Registry => Stage::Upload,
        };
        let dialer = Dialer {
            side,
            stage,
            policy: Arc::clone(&self.policy),
            typed: typed.into(),
            tls: self.tls.clone(),
            record: Arc::clone(&self.record),
        };
        let pooled = Pooled::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_headers(128)
            .build(Connector(dialer.clone()));
        Client { pooled, dialer }
    }

    /// The connections opened so far.
    #[must_use]
    pub fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.record)
    }

    /// An error of a peer, with what the peer was told about our identity, if it asked: servers answer with a status, an
    /// alert or a closed connection where they miss a client certificate.
    #[must_use]
    pub fn advise(&self, error: Error) -> Error {
        let side = match error.code() {
            Code::SourceFailed | Code::SourceDenied | Code::SourceUnreachable => Side::Source,
            Code::RegistryFailed | Code::RegistryDenied | Code::RegistryUnreachable => Side::Registry,
            Code::TlsHandshake if error.stage() <= Stage::Source => Side::Source,
            Code::TlsHandshake => Side::Registry,
            _ => return error,
        };
        let asked = self.record.client_certificate(side);
        let Some((fact, advice)) = asked.and_then(tls::client_certificate_advice) else { return error };
        if error.causes().iter().any(|cause| cause == fact) {
            return error;
        }
        // One that was presented is to blame only where TLS itself ended.
        let suspect = asked == Some(ClientCertificate::NotPresented) || error.code() == Code::TlsHandshake;
        let error = error.context(fact);
        if suspect { error.hint(advice) } else { error }
    }
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: empty(), answer_within: None }
    }

    /// The same with a body that is in memory, and its length.
    #[must_use]
    pub fn with_bytes(mut self, bytes: Bytes) -> Self {
        self.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        self.body = http_body_util::Full::new(bytes).map_err(infallible).boxed_unsync();
        self
    }
}

impl Client {
    /// Whether the policy allows to speak to `origin`, as far as that can be said without resolving its name.
    ///
    /// # Errors
    /// `plain-http-denied`, or `egress-denied` for a host, or for an address that stands in the URL itself.
    pub fn check(&self, origin: &Origin) -> Result<()> {
        self.dialer.check(origin)
    }

    /// Sends a request and waits for the head of its answer. A 3xx is an answer like any other.
    ///
    /// # Errors
    /// As the policy, the dialler and TLS give them; `source-unreachable` or `registry-unreachable` if the connection
    /// breaks; `source-invalid` or `registry-protocol` if the answer is no proper HTTP/1.1; a stall if its head does not
    /// come in time.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let origin = Origin::of(&request.url).map_err(|why| Error::internal(self.stage(), why.to_string()))?;
        // A kept connection does not pass the dialler again; the URL itself is checked every time.
        self.dialer.check(&origin)?;
        let whose = redacted(&request.url);
        // Over TLS the proxy has had its say before; what a peer in a tunnel answers is the peer's own.
        let proxy = match origin.scheme() {
            Scheme::Http => self.dialer.policy.egress.proxy_to(self.dialer.side, &origin),
            Scheme::Https => None,
        };
        let answer_within = match (request.answer_within, self.dialer.side) {
            (Some(within), _) => within,
            (None, Side::Source) => self.dialer.policy.limits.answer,
            (None, Side::Registry) => Duration::MAX,
        };
        let method = request.method.clone();
        let answer = waiting_for(waits_for(self.dialer.side), self.pooled.request(self.prepare(request, proxy)?));
        let answer = match tokio::time::timeout(answer_within, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(self.error(&method, &whose, why)),
            Err(_) => return Err(self.silent(&method, &whose, answer_within)),
        };
        let (head, incoming) = answer.into_parts();
        if let (407, Some(proxy)) = (head.status.as_u16(), proxy) {
            return Err(self.dialer.no_tunnel(proxy, &origin, NoTunnel::Credentials));
        }
        unambiguous(&head.headers).map_err(|why| self.improper(&method, &whose, why))?;
        let length =
            http_body::Body::size_hint(&incoming).exact().filter(|_| head.headers.contains_key(CONTENT_LENGTH));
        let side = (self.dialer.side, self.stage());
        let body = Body::new(incoming, length, self.stall(), side, whose);
        Ok(Response { status: head.status.as_u16(), headers: head.headers, length, body })
    }

    /// The policy this client works under.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.dialer.policy
    }

    /// The request as hyper takes it. `proxy` is whom it is sent to, if that is not the origin itself.
    fn prepare(&self, request: Request, proxy: Option<&Proxy>) -> Result<http::Request<RequestBody>> {
        let internal = |why: &str| Error::internal(self.stage(), format!("a request cannot be made: {why}"));
        let mut url = request.url;
        url.set_fragment(None);
        let mut prepared = http::Request::new(request.body);
        *prepared.method_mut() = request.method;
        *prepared.uri_mut() = url.as_str().parse().map_err(|why: http::uri::InvalidUri| internal(&why.to_string()))?;
        *prepared.headers_mut() = request.headers;
        prepared.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        prepared.headers_mut().remove(HOST);
        prepared.headers_mut().remove(PROXY_AUTHORIZATION);
        if let Some(credentials) = proxy.and_then(|proxy| proxy.credentials.as_ref()) {
            prepared.headers_mut().insert(PROXY_AUTHORIZATION, authorization(credentials));
        }
        Ok(prepared)
    }

    fn error(&self, method: &Method, whose: &str, why: hyper_util::client::legacy::Error) -> Error {
        if let Some(error) = Carried::find(&why) {
            return error;
        }
        if let Some(alert) = tls::late_alert(&why) {
            let message = format!("{method} {whose}: the peer ended the TLS session with the alert {alert}");
            return Error::new(Code::TlsHandshake, self.stage(), message);
        }
        if let Some(malformed) = malformed(&why) {
            return self.improper(method, whose, &malformed.to_string());
        }
        let code = self.code(Code::SourceUnreachable, Code::RegistryUnreachable);
        Error::new(code, self.stage(), format!("{method} {whose}: the connection broke before there was an answer"))
            .caused_by(why)
    }

    fn improper(&self, method: &Method, whose: &str, why: &str) -> Error {
        let code = self.code(Code::SourceInvalid, Code::RegistryProtocol);
        Error::new(code, self.stage(), format!("{method} {whose}: the answer is no proper HTTP/1.1: {why}"))
    }

    fn silent(&self, method: &Method, whose: &str, within: Duration) -> Error {
        let code = self.code(Code::SourceStalled, Code::RegistryStalled);
        Error::new(code, self.stage(), format!("{method} {whose}: no answer within {} s", within.as_secs()))
    }

    fn code(&self, source: Code, registry: Code) -> Code {
        match self.dialer.side {
            Side::Source => source,
            Side::Registry => registry,
        }
    }

    fn stage(&self) -> Stage {
        self.dialer.stage
    }

    fn stall(&self) -> Duration {
        let limits = &self.dialer.policy.limits;
        match self.dialer.side {
            Side::Source => limits.source_stall,
            Side::Registry => limits.registry_stall,
        }
    }
}

/// Whether there is one way only to find a body's end, and no coding that would have to be undone first (RFC 9112 §6.1, §6.3).
fn unambiguous(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err("a transfer coding besides `chunked`, which nobody asked for");
    }
    if headers.contains_key(CONTENT_LENGTH) {
        return Err("both Transfer-Encoding and Content-Length");
    }
    Ok(())
}

/// hyper's word on an answer that it could not make sense of.
fn malformed(why: &hyper_util::client::legacy::Error) -> Option<&hyper::Error> {
    let mut next = why.source();
    while let Some(cause) = next {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>().filter(|hyper| hyper.is_parse()) {
            return Some(hyper);
        }
        next = cause.source();
    }
    None
}

fn empty() -> RequestBody {
    http_body_util::Empty::new().map_err(infallible).boxed_unsync()
}

fn infallible(never: Infallible) -> Box<dyn std::error::Error + Send + Sync> {
    match never {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_body_can_be_found_one_way_only() {
        let check = |fields: &[(&'static str, &'static str)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            unambiguous(&fields.collect())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("content-length", "5")]), Ok(()));
        assert_eq!(check(&[("transfer-encoding", "Chunked")]), Ok(()));
        for coding in ["gzip, chunked", "gzip", "chunked, chunked", "identity", ""] {
            assert!(check(&[("transfer-encoding", coding)]).is_err(), "{coding}");
        }
        assert!(check(&[("transfer-encoding", "chunked"), ("content-length", "5")]).is_err());
    }
}
