//! The requests of a push.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use http_body_util::BodyExt as _;
use url::Url;

use super::answer::{answer_of, failure, out_of_order, refused, scheme};
use super::flow_body::{FlowBody, SendClock};
use super::session::UploadSession;
use crate::error::{Code, Error, Result, Stage};
use crate::net::{Basic, Client, Request, Response, redacted};
use crate::oci::{Descriptor, Repository, Tag};
use crate::stream::Flow;

/// The most bytes of a manifest that are read back; registries accept up to 4 MiB.
const MAX_MANIFEST: usize = 4 << 20;
/// How long the registry may take to give a session up.
const CANCEL_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether the registry still takes bytes.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A push of one image into one repository.
pub struct Push {
    client: Client,
    repository: Repository,
    base: Url,
    credentials: Option<Basic>,
    authorization: Option<HeaderValue>,
    session: Option<UploadSession>,
}

impl Push {
    /// A push over `client` into a repository of the registry at `registry`. Nothing is sent yet.
    ///
    /// # Errors
    /// `internal` if no URL can be made of the parts.
    pub fn new(client: Client, registry: &Url, repository: Repository, credentials: Option<Basic>) -> Result<Self> {
        let base = registry
            .join(&format!("/v2/{}/", repository.path()))
            .map_err(|why| Error::internal(Stage::Upload, why.to_string()))?;
        Ok(Self { client, repository, base, credentials, authorization: None, session: None })
    }

    /// Opens the upload session for the layer.
    ///
    /// # Errors
    /// Whatever keeps it from opening: network, TLS, credentials, the registry.
    pub async fn open(&mut self) -> Result<()> {
        let ping = self.base.join("/v2/").map_err(|why| Error::internal(Stage::Upload, why.to_string()))?;
        let what = what(&Method::GET, &ping);
        let response = self.call(Stage::Upload, || Request::new(Method::GET, ping.clone())).await?;
        if response.status != 200 {
            return Err(failure(Stage::Upload, &what, response).await);
        }
        self.session = Some(self.open_session(Stage::Upload).await?);
        Ok(())
    }

    /// Streams the layer of `length` bytes in one PATCH. What the registry has then is not committed.
    ///
    /// # Errors
    /// The flow's own, or the registry's.
    pub async fn send(&mut self, flow: Flow, length: u64) -> Result<()> {
        let stage = Stage::Upload;
        let session = self.session.as_mut().ok_or_else(|| out_of_order(stage, "PATCH"))?;
        let (method, url) = session.send_request().map_err(|_| out_of_order(stage, "PATCH"))?;
        let what = what(&method, &url);
        let clock = SendClock::start();
        let mut request = Request::new(method, url);
        request.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.body = FlowBody::new(flow, length, clock.clone()).boxed_unsync();
        authorize(&mut request, &self.base, self.authorization.as_ref());
        let limit = self.client.policy().limits.registry_stall;
        let response = tokio::select! {
            response = self.client.send(request) => response?,
            () = stalled(&clock, limit) => {
                let message = format!("{what}: the registry took nothing for {} s", limit.as_secs());
                return Err(Error::new(Code::RegistryStalled, stage, message));
            }
        };
        match session.sent(answer_of(&response)) {
            Ok(()) => Ok(()),
            Err(why) => Err(refused(why, stage, &what, response).await),
        }
    }

    /// Commits the layer and checks that the registry has it.
    ///
    /// # Errors
    /// The registry's; `registry-mismatch` if it has something else.
    pub async fn commit(&mut self, layer: &Descriptor) -> Result<()> {
        let mut session = self.session.take().ok_or_else(|| out_of_order(Stage::Upload, "PUT"))?;
        let committed = self.commit_session(&mut session, layer, None, Stage::Upload).await;
        if let Err(error) = committed {
            self.session = Some(session);
            return Err(error);
        }
        match self.stored(layer, Stage::Upload).await? {
            Some(size) if size == layer.size => Ok(()),
            Some(size) => Err(self.mismatch(layer, &format!("{size} bytes"))),
            None => Err(self.mismatch(layer, "nothing")),
        }
    }

    /// Puts a small blob unless the registry has it.
    ///
    /// # Errors
    /// The registry's.
    pub async fn put_blob(&mut self, blob: &Descriptor, bytes: &[u8]) -> Result<()> {
        if self.stored(blob, Stage::Publish).await? == Some(blob.size) {
            return Ok(());
        }
        let mut session = self.open_session(Stage::Publish).await?;
        let bytes = Bytes::copy_from_slice(bytes);
        self.commit_session(&mut session, blob, Some(bytes), Stage::Publish).await
    }

    /// Puts the manifest by its digest, reads it back and compares.
    ///
    /// # Errors
    /// The registry's; `registry-mismatch` if it gives back something else.
    pub async fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        let url = self.manifest_url(&manifest.digest.to_string())?;
        self.put_manifest_at(&url, manifest, bytes).await?;
        let what = what(&Method::GET, &url);
        let accept = header(&manifest.media_type)?;
        let response = self
            .call(Stage::Publish, || {
                let mut request = Request::new(Method::GET, url.clone());
                request.headers.insert(ACCEPT, accept.clone());
                request
            })
            .await?;
        if response.status != 200 {
            return Err(failure(Stage::Publish, &what, response).await);
        }
        if response.body.collect(MAX_MANIFEST).await? != bytes {
            return Err(self.mismatch(manifest, "other bytes"));
        }
        Ok(())
    }

    /// Puts the manifest under a tag.
    ///
    /// # Errors
    /// The registry's.
    pub async fn tag(&mut self, tag: &Tag, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        let url = self.manifest_url(tag.as_str())?;
        self.put_manifest_at(&url, manifest, bytes).await
    }

    /// Gives the upload session up. Says what the registry may still keep.
    pub async fn cancel(&mut self) -> Option<String> {
        let (method, url) = self.session.take()?.cancel_request()?;
        let mut request = Request::new(method, url);
        request.answer_within = Some(CANCEL_WITHIN);
        authorize(&mut request, &self.base, self.authorization.as_ref());
        match self.client.send(request).await {
            Ok(response) if matches!(response.status, 200 | 202 | 204) => None,
            _ => Some(format!(
                "an unfinished upload in {}, which the registry did not let us cancel and purges itself",
                self.repository
            )),
        }
    }

    async fn open_session(&mut self, stage: Stage) -> Result<UploadSession> {
        let mut session = UploadSession::new(&self.base).map_err(|_| out_of_order(stage, "POST"))?;
        let (method, url) = session.open_request();
        let what = what(&method, &url);
        let open = || Request::new(method.clone(), url.clone()).with_bytes(Bytes::new());
        let response = self.call(stage, open).await?;
        match session.opened(answer_of(&response)) {
            Ok(()) => Ok(session),
            Err(why) => Err(refused(why, stage, &what, response).await),
        }
    }

    async fn commit_session(
        &mut self,
        session: &mut UploadSession,
        blob: &Descriptor,
        bytes: Option<Bytes>,
        stage: Stage,
    ) -> Result<()> {
        let (method, url) =
            session.commit_request(&blob.digest, bytes.is_some()).map_err(|_| out_of_order(stage, "PUT"))?;
        let what = what(&method, &url);
        let mut request = Request::new(method, url);
        if bytes.is_some() {
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        let mut request = request.with_bytes(bytes.unwrap_or_default());
        // A registry may hash or copy the whole blob before it answers.
        request.answer_within = Some(self.client.policy().limits.commit);
        authorize(&mut request, &self.base, self.authorization.as_ref());
        let response = self.client.send(request).await.map_err(|error| error.context(what.clone()))?;
        match session.committed(answer_of(&response)) {
            Ok(()) => Ok(()),
            Err(why) => Err(refused(why, stage, &what, response).await),
        }
    }

    /// How many bytes the registry says the blob has; none if it does not have it.
    async fn stored(&mut self, blob: &Descriptor, stage: Stage) -> Result<Option<u64>> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let what = what(&Method::HEAD, &url);
        let response = self.call(stage, || Request::new(Method::HEAD, url.clone())).await?;
        let length = response.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match (response.status, length) {
            (200, Some(length)) => Ok(Some(length)),
            // Storage that redirects blob reads has the blob; its length is not this answer's.
            (200 | 302 | 303 | 307, _) => Ok(Some(blob.size)),
            (404, _) => Ok(None),
            _ => Err(failure(stage, &what, response).await),
        }
    }

    async fn put_manifest_at(&mut self, url: &Url, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        let what = what(&Method::PUT, url);
        let (media_type, bytes) = (header(&manifest.media_type)?, Bytes::copy_from_slice(bytes));
        let put = || {
            let mut request = Request::new(Method::PUT, url.clone()).with_bytes(bytes.clone());
            request.headers.insert(CONTENT_TYPE, media_type.clone());
            request
        };
        let response = self.call(Stage::Publish, put).await?;
        match response.status {
            200..=204 => Ok(()),
            _ => Err(failure(Stage::Publish, &what, response).await),
        }
    }

    /// Sends a request that can be sent again, and sends it again with credentials if the registry asks for them.
    async fn call(&mut self, stage: Stage, make: impl Fn() -> Request) -> Result<Response> {
        let response = self.call_once(&make).await?;
        if response.status != 401 || self.authorization.is_some() {
            return Ok(response);
        }
        let challenges = response.headers.get_all(WWW_AUTHENTICATE);
        let basic =
            challenges.iter().any(|value| value.to_str().is_ok_and(|text| scheme(text).eq_ignore_ascii_case("basic")));
        let Some(credentials) = self.credentials.as_ref().filter(|_| basic) else { return Ok(response) };
        self.authorization = Some(credentials.header());
        tracing::debug!(stage = stage.as_str(), "the registry asks for credentials");
        self.call_once(&make).await
    }

    async fn call_once(&self, make: &impl Fn() -> Request) -> Result<Response> {
        let mut request = make();
        request.answer_within = Some(self.client.policy().limits.answer);
        authorize(&mut request, &self.base, self.authorization.as_ref());
        self.client.send(request).await
    }

    fn manifest_url(&self, reference: &str) -> Result<Url> {
        self.url(&format!("manifests/{reference}"))
    }

    fn url(&self, path: &str) -> Result<Url> {
        // `./` keeps the colon of a digest from being read as a scheme.
        self.base.join(&format!("./{path}")).map_err(|why| Error::internal(Stage::Publish, why.to_string()))
    }

    fn mismatch(&self, expected: &Descriptor, got: &str) -> Error {
        let message = format!(
            "{} has {got} as {}, expected the {} bytes that were pushed",
            self.repository, expected.digest, expected.size
        );
        Error::new(Code::RegistryMismatch, Stage::Publish, message)
    }
}

/// Credentials go to the registry's own origin and nowhere else.
fn authorize(request: &mut Request, registry: &Url, authorization: Option<&HeaderValue>) {
    let own = request.url.origin() == registry.origin();
    if let Some(value) = authorization.filter(|_| own) {
        request.headers.insert(AUTHORIZATION, value.clone());
    }
}

/// The request as messages name it.
fn what(method: &Method, url: &Url) -> String {
    format!("{method} {}", redacted(url))
}

fn header(text: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(|why| Error::internal(Stage::Publish, why.to_string()))
}

async fn stalled(clock: &SendClock, limit: Duration) {
    let mut every = tokio::time::interval(WATCH_EVERY);
    loop {
        every.tick().await;
        if clock.registry_idle() > limit {
            return;
        }
    }
}
