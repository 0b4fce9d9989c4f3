//! The requests of a push behind the layer: config, manifest by digest, tags.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::Push;
use super::answer::failure;
use super::conversation::{Replay, is_broken, told_digest, what};
use super::push::{Deleted, Session};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Request, Response};
use crate::oci::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Digest, INDEX, MANIFEST, Tag};

/// The most bytes of a manifest or a config that are read back; registries accept manifests up to 4 MiB.
const MAX_DOCUMENT: usize = 4 << 20;
/// What the registry gives back of a small blob.
enum ReadBack {
    Absent,
    Bytes(Vec<u8>),
    /// It is there, but in a storage that the policy does not let us reach.
    OutOfReach,
}

/// The answer to a GET.
enum Fetched {
    Whole(Document),
    /// No 200.
    Other(Response),
}

struct Document {
    /// As the answer states it, if it does.
    digest: Option<Digest>,
    bytes: Vec<u8>,
}

impl Push {
    /// Puts a small blob unless the registry has it, reads it back and compares.
    ///
    /// # Errors
    /// The registry's; `registry-mismatch` if it gives back something else.
    pub async fn put_blob(&mut self, blob: &Descriptor, bytes: &[u8]) -> Result<()> {
        let stage = Stage::Publish;
        self.in_doubt = false;
        if self.reads_back(blob, bytes).await? {
            return Ok(());
        }
        let body = Bytes::copy_from_slice(bytes);
        let mut tries = self.conversation.tries();
        loop {
            let put = async {
                let session = self.open_session(stage, Replay::Answered).await?;
                self.session = Session::Open(session);
                self.commit_session(blob, Some(body.clone()), stage).await.map_err(|failed| failed.error)
            };
            let Err(error) = put.await else { break };
            let temporary = error.retryable() == Retryable::Yes || is_broken(&error);
            let Some(waits) = tries.failed(None).filter(|_| temporary) else {
                return Err(error);
            };
            // All of it is in memory: it is sent once more through a session of its own.
            if self.delete_session().await == Some(Deleted::Yes) {
                self.session = Session::None;
            }
            tracing::info!(why = %error, "a blob is put again");
            tokio::time::sleep(waits).await;
        }
        match self.reads_back(blob, bytes).await? {
            true => Ok(()),
            false => Err(self.mismatch(blob, "nothing")),
        }
    }

    /// Puts the manifest by its digest unless the registry has it, reads it back and compares.
    ///
    /// # Errors
    /// The registry's; `registry-mismatch` if it gives back something else.
    pub async fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.in_doubt = false;
        let url = self.manifest_url(&manifest.digest.to_string())?;
        let accept = HeaderMap::from_iter([(ACCEPT, header(&manifest.media_type)?)]);
        // Whatever else it answers, it does not have it: the PUT will tell.
        if let Ok(Fetched::Whole(document)) = self.fetched(&url, &accept).await {
            return self.compare(manifest, bytes, &document);
        }
        self.put_manifest_at(&url, manifest, bytes).await?;
        match self.fetched(&url, &accept).await? {
            Fetched::Whole(document) => self.compare(manifest, bytes, &document),
            Fetched::Other(response) => Err(failure(Stage::Publish, &what(&Method::GET, &url), response).await),
        }
    }

    /// The digest of what stands under a tag.
    ///
    /// # Errors
    /// The registry's.
    pub async fn tagged(&mut self, tag: &Tag, stage: Stage) -> Result<Option<Digest>> {
        let url = self.manifest_url(tag.as_str())?;
        let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST, "*/*"].join(", ");
        let headers = HeaderMap::from_iter([(ACCEPT, header(&accept)?)]);
        let response = self.conversation.get(stage, &url, &headers).await?;
        match response.status {
            200 => Ok(Some(Digest::of(&response.body.collect(MAX_DOCUMENT).await?))),
            404 => Ok(None),
            _ => Err(failure(stage, &what(&Method::GET, &url), response).await),
        }
    }

    /// Puts the manifest under a tag.
    ///
    /// # Errors
    /// The registry's.
    pub async fn tag(&mut self, tag: &Tag, manifest: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.in_doubt = false;
        let url = self.manifest_url(tag.as_str())?;
        self.put_manifest_at(&url, manifest, bytes).await
    }

    /// Whether the registry has a small blob and gives it back as it is.
    async fn reads_back(&mut self, blob: &Descriptor, bytes: &[u8]) -> Result<bool> {
        match self.read_back(blob).await? {
            ReadBack::Absent => Ok(false),
            ReadBack::Bytes(found) if found == bytes => Ok(true),
            ReadBack::Bytes(_) => Err(self.mismatch(blob, "other bytes")),
            ReadBack::OutOfReach => Ok(self.stored(blob, Stage::Publish).await? == Some(blob.size)),
        }
    }

    async fn read_back(&mut self, blob: &Descriptor) -> Result<ReadBack> {
        let url = self.blob_url(blob)?;
        match self.fetched(&url, &HeaderMap::new()).await {
            Ok(Fetched::Whole(document)) => {
                self.same(blob, document.digest.as_ref())?;
                Ok(ReadBack::Bytes(document.bytes))
            }
            Ok(Fetched::Other(response)) if response.status == 404 => Ok(ReadBack::Absent),
            Ok(Fetched::Other(response)) => Err(failure(Stage::Publish, &what(&Method::GET, &url), response).await),
            // The registry itself may be within the policy and its storage not: its own word must do then.
            Err(error) if matches!(error.code(), Code::EgressDenied | Code::PlainHttpDenied) => {
                tracing::warn!(why = %error, "the config cannot be read back from where the registry has it");
                Ok(ReadBack::OutOfReach)
            }
            Err(error) => Err(error),
        }
    }

    /// Gets a small document, once more if it breaks off.
    async fn fetched(&mut self, url: &Url, headers: &HeaderMap) -> Result<Fetched> {
        let mut tries = self.conversation.tries();
        loop {
            let response = self.conversation.get(Stage::Publish, url, headers).await?;
            if response.status != 200 {
                return Ok(Fetched::Other(response));
            }
            let digest = told_digest(&response);
            let error = match response.body.collect(MAX_DOCUMENT).await {
                Ok(bytes) => return Ok(Fetched::Whole(Document { digest, bytes })),
                Err(error) => error,
            };
            let Some(waits) = tries.failed(None).filter(|_| is_broken(&error)) else {
                return Err(error);
            };
            tracing::info!(request = what(&Method::GET, url), why = %error, "asked again in {:.1} s", waits.as_secs_f64());
            tokio::time::sleep(waits).await;
        }
    }

    fn compare(&self, expected: &Descriptor, bytes: &[u8], document: &Document) -> Result<()> {
        self.same(expected, document.digest.as_ref())?;
        match document.bytes == bytes {
            true => Ok(()),
            false => Err(self.mismatch(expected, "other bytes")),
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
        self.in_doubt = true;
        let response = self.conversation.call(Stage::Publish, Replay::Always, put).await?;
        match response.status {
            200..=204 => self.same_digest(manifest, &response),
            _ => {
                let error = failure(Stage::Publish, &what, response).await;
                self.in_doubt = error.retryable() == Retryable::Yes;
                Err(error)
            }
        }
    }

    fn manifest_url(&self, reference: &str) -> Result<Url> {
        self.conversation.url(&format!("manifests/{reference}"))
    }
}

fn header(text: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(|why| Error::internal(Stage::Publish, why.to_string()))
}
