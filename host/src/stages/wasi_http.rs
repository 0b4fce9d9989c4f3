//! `wasi:http` 0.2 and 0.3: the host's HTTP client as a source component written for the standard interface sees it. The
//! client and the rules are those of `fetch`; `docs/components.md` says where the interfaces differ.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::FetchGrant;
use super::request::{self, AnswerBody, Asked, Checked, Started, Told, denied};
use super::source::SourceState;
use crate::bindings::Failure;
use crate::engine::StoreState;
use crate::error::{Code, Result};
use crate::stream::Pulse;

/// Fields that `fetch` has parameters for and `wasi:http` has not, so that a component sets them itself.
const OWN_FIELDS: &[&str] = &["range", "if-range", "if-match", "if-unmodified-since"];
/// Bytes of one `fields` resource in memory: twice what a request may carry.
const MAX_FIELD_BYTES: usize = 16 << 10;
/// The most bytes of a request's body that are taken from the component before it is refused.
const MAX_BODY_CHUNK: usize = 4096;

/// What the `wasi:http` of one source works on.
pub(super) struct WasiHttp {
    context: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    grant: Option<FetchGrant>,
    pulse: Pulse,
}

type Answered = (Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

impl WasiHttp {
    pub(super) fn new(grant: Option<FetchGrant>, pulse: Pulse) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELD_BYTES);
        Self { context, hooks: Hooks { grant, pulse } }
    }
}

/// Adds the client side of both versions.
pub(super) fn link(linker: &mut Linker<StoreState<SourceState>>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)
}

impl WasiHttpView for StoreState<SourceState> {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let WasiHttp { context, hooks } = &mut self.stage.wasi_http;
        WasiHttpCtxView { ctx: context, table: &mut self.wasi.table, hooks }
    }
}

impl WasiHttpHooks for Hooks {
    /// None: this would take fields out of answers too. What a request may not carry is refused when it is sent.
    fn is_forbidden_header(&mut self, _: &HeaderName) -> bool {
        false
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_BODY_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_BODY_CHUNK
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answered, HttpError>> + Send> {
        let (head, body) = request.into_parts();
        let started = match &self.grant {
            Some(grant) => grant.send(asked(&head, options), &self.pulse).map(|started| (started, grant.clone())),
            None => Err(Told::no_network()),
        };
        Box::new(async move {
            let (Started { head, body: answer }, grant) = started.map_err(told)?;
            let head = tokio::select! {
                biased;
                content = content(body) => match content {
                    Ok(()) => Err(grant.refused(denied("the component sent a body, granted are requests without".to_owned()))),
                    Err(broken) => return Err(broken),
                },
                head = head => head.unwrap_or_else(|_| Err(Told::given_up())),
            };
            let head = head.map_err(told)?;
            let mut response = Response::new(HttpBody(answer).boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| HttpError::HttpProtocolError)?;
            *response.headers_mut() = head.headers;
            let nothing_left: Box<dyn Future<Output = Result<(), HttpError>> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing_left))
        })
    }
}

/// The request under the rules. The timeouts of its options shorten the host's own for the head.
fn asked(head: &http::request::Parts, options: Option<RequestOptions>) -> Result<Checked> {
    let url = head.uri.to_string();
    let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let mut checked = request::checked(Asked { method: head.method.clone(), url: &url, fields, own: OWN_FIELDS })?;
    checked.answer_within = options.and_then(|options| {
        let connect = options.connect_timeout.unwrap_or_default();
        options.first_byte_timeout.map(|first| first.saturating_add(connect))
    });
    Ok(checked)
}

/// Resolves when the component's request turns out to have a body. It may open one and leave it empty: many do.
async fn content(mut body: WasiBody) -> Result<(), HttpError> {
    while let Some(frame) = body.frame().await {
        if frame?.data_ref().is_some_and(|data| !data.is_empty()) {
            return Ok(());
        }
    }
    std::future::pending().await
}

/// The answer's body for wasmtime's implementation of `wasi:http`.
struct HttpBody(AnswerBody);

impl Body for HttpBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.0.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data).map_err(told)))
    }
}

/// What a component is told, in the terms of `wasi:http`.
fn told(told: Told) -> HttpError {
    let words = match told.failure {
        Failure::Limit(_) => return HttpError::ConnectionLimitReached,
        Failure::NotFound(words)
        | Failure::Denied(words)
        | Failure::Changed(words)
        | Failure::Invalid(words)
        | Failure::Unsupported(words)
        | Failure::Gone(words)
        | Failure::Io(words)
        | Failure::Other(words) => words,
    };
    match told.code {
        Code::EgressDenied | Code::PlainHttpDenied => HttpError::HttpRequestDenied,
        Code::SourceUnreachable => HttpError::DestinationUnavailable,
        Code::SourceStalled => HttpError::HttpResponseTimeout,
        Code::SourceTruncated => HttpError::HttpResponseIncomplete,
        Code::TlsHandshake => HttpError::TlsProtocolError,
        Code::TlsCertificate => HttpError::TlsCertificateError,
        // The words hold no secrets: a component that uses `fetch` is told the same.
        _ => HttpError::InternalError(Some(words)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{Empty, Full};

    use super::*;

    fn head(url: &str, fields: &[(&'static str, &'static str)]) -> http::request::Parts {
        let mut request = Request::builder().uri(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_component_sets_its_own_ranges_and_conditions_and_nothing_else_of_the_hosts() {
        let url = "https://a.example/x";
        let fields = [("range", "bytes=5-"), ("if-range", "\"e\""), ("if-match", "*"), ("if-unmodified-since", "x")];
        let checked = asked(&head(url, &fields), None).unwrap();
        assert_eq!((checked.url.as_str(), &checked.headers["range"]), (url, &"bytes=5-".parse().unwrap()));
        for name in ["authorization", "cookie", "host", "accept-encoding", "if-none-match", "te", "content-length"] {
            let error = asked(&head(url, &[(name, "x")]), None).map(drop).unwrap_err();
            assert_eq!(error.code(), Code::EgressDenied, "{name}");
        }
        let error = asked(&head("https://user:secret@a.example/", &[]), None).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::EgressDenied);
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn the_options_of_a_request_bound_its_answer() {
        let within = |options| asked(&head("https://a.example/", &[]), options).unwrap().answer_within;
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let options =
            RequestOptions { connect_timeout: seconds(1), first_byte_timeout: seconds(2), ..Default::default() };
        assert_eq!(within(Some(options)), seconds(3));
        assert_eq!((within(None), within(Some(RequestOptions::default()))), (None, None));
    }

    #[tokio::test]
    async fn only_a_body_with_bytes_is_one() {
        let ended = |body: WasiBody| tokio::time::timeout(Duration::from_millis(20), content(body));
        let empty = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        assert!(ended(empty).await.is_err(), "an empty body is none");
        let full = Full::new(Bytes::from_static(b"x")).map_err(|never| match never {}).boxed_unsync();
        assert!(ended(full).await.unwrap().is_ok());
    }
}
