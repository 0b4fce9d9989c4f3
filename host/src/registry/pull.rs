//! The requests of somebody who reads: documents as a whole and verified, of a layer only its first bytes.

use http::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::answer::failure;
use super::conversation::{Conversation, told_digest, what};
use super::credentials::Credentials;
use super::names;
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Body, Client, Response};
use crate::oci::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Digest, INDEX, MANIFEST, Repository, Tag};

/// The most bytes of a manifest, an index or a config.
const MAX_DOCUMENT: usize = 4 << 20;
/// Everything here happens in one conversation with the registry.
const STAGE: Stage = Stage::Upload;

/// Reads from one repository.
pub struct Pull {
    conversation: Conversation,
}

/// A manifest or an index, of the digest it stands under.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is, its digest, its length.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Pull {
    /// Reads over `client` from a repository of the registry at `registry`. Nothing is sent yet.
    ///
    /// # Errors
    /// `internal` if no URL can be made of the parts.
    pub fn new(
        client: Client,
        registry: &Url,
        repository: Repository,
        credentials: Option<Credentials>,
    ) -> Result<Self> {
        Ok(Self { conversation: Conversation::new(client, registry, repository, &["pull"], credentials)? })
    }

    /// The repository.
    pub(super) const fn repository(&self) -> &Repository {
        self.conversation.repository()
    }

    /// What is said to it and asked of it.
    pub(super) const fn conversation(&mut self) -> &mut Conversation {
        &mut self.conversation
    }

    /// Asks whether the registry lets us in.
    ///
    /// # Errors
    /// Whatever keeps it from doing so.
    pub async fn open(&mut self) -> Result<()> {
        self.conversation.ping(STAGE).await
    }

    /// What a tag leads to.
    ///
    /// # Errors
    /// `registry-not-found` if there is no such tag, `registry-mismatch` if the registry gives it another digest than its
    /// bytes have, else the registry's.
    pub async fn tagged(&mut self, tag: &Tag) -> Result<Found> {
        self.manifest(tag.as_str(), None).await
    }

    /// The manifest or index of a digest.
    ///
    /// # Errors
    /// `registry-not-found` if there is none, `registry-mismatch` if its bytes have another digest, else the registry's.
    pub async fn digested(&mut self, digest: &Digest) -> Result<Found> {
        self.manifest(&digest.to_string(), Some(digest)).await
    }

    /// The tags there are.
    ///
    /// # Errors
    /// `registry-not-found` if there is no such repository, `registry-protocol` for a list without end, else the registry's.
    pub async fn tags(&mut self) -> Result<Vec<Tag>> {
        names::tags(&mut self.conversation).await
    }

    /// The same; none if the registry says, in so many words, that it knows no such repository, as it may of one whose last
    /// tag is gone.
    ///
    /// # Errors
    /// As for [`Self::tags`], but for that.
    pub async fn tags_if_known(&mut self) -> Result<Option<Vec<Tag>>> {
        names::tags_if_known(&mut self.conversation).await
    }

    /// A small blob, verified.
    ///
    /// # Errors
    /// `registry-mismatch` if it is not what the descriptor says, `registry-protocol` if it is over 4 MiB, else the
    /// registry's.
    pub async fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>> {
        self.blob_within(blob, MAX_DOCUMENT).await
    }

    /// A blob of at most `most` bytes, verified.
    ///
    /// # Errors
    /// As for [`Self::blob`].
    pub async fn blob_within(&mut self, blob: &Descriptor, most: usize) -> Result<Vec<u8>> {
        let url = self.conversation.url(&format!("blobs/{}", blob.digest))?;
        let response = self.conversation.get(STAGE, &url, &HeaderMap::new()).await?;
        let response = self.expect(response, &url, &[200], &blob.digest.to_string()).await?;
        // One that is longer than its descriptor says is another one: it is not read to its end.
        let most = usize::try_from(blob.size).unwrap_or(usize::MAX).min(most);
        let bytes = response.body.collect(most).await?;
        match Digest::of(&bytes) {
            digest if digest == blob.digest && bytes.len() as u64 == blob.size => Ok(bytes),
            digest if digest == blob.digest => {
                let got = format!("{} bytes, expected {} as its descriptor says", bytes.len(), blob.size);
                Err(self.mismatch(&blob.digest.to_string(), &got))
            }
            digest => Err(self.mismatch(&blob.digest.to_string(), &format!("bytes of the digest {digest}"))),
        }
    }

    /// The first bytes of a blob, at most `most`. They are not verified: its digest is over all of it.
    ///
    /// # Errors
    /// The registry's.
    pub async fn blob_start(&mut self, blob: &Descriptor, most: usize) -> Result<Vec<u8>> {
        let last = u64::try_from(most).unwrap_or(u64::MAX).min(blob.size).saturating_sub(1);
        let range =
            HeaderValue::try_from(format!("bytes=0-{last}")).map_err(|why| Error::internal(STAGE, why.to_string()))?;
        let url = self.conversation.url(&format!("blobs/{}", blob.digest))?;
        let response = self.conversation.get(STAGE, &url, &HeaderMap::from_iter([(RANGE, range)])).await?;
        // Whoever ignores the range sends the whole blob from its beginning: the rest is not read.
        let response = self.expect(response, &url, &[200, 206], &blob.digest.to_string()).await?;
        response.body.first(most).await
    }

    /// `length` bytes of a blob from `offset` on, and how many bytes stand in front of them: all of the blob is what a registry
    /// gives that has no ranges. Nobody but whoever has all of them can verify them.
    ///
    /// # Errors
    /// `registry-protocol` if the registry answers with something else, else the registry's.
    pub(super) async fn blob_part(&mut self, blob: &Descriptor, offset: u64, length: u64) -> Result<(Body, u64)> {
        let url = self.conversation.url(&format!("blobs/{}", blob.digest))?;
        let whole = offset == 0 && length == blob.size;
        let field = format!("bytes={offset}-{}", offset.saturating_add(length).saturating_sub(1));
        let range = HeaderValue::try_from(field).map_err(|why| Error::internal(STAGE, why.to_string()))?;
        let headers = if whole { HeaderMap::new() } else { HeaderMap::from_iter([(RANGE, range)]) };
        let response = self.conversation.get(STAGE, &url, &headers).await?;
        let response = self.expect(response, &url, &[200, 206], &blob.digest.to_string()).await?;
        let other = |got: &str| {
            let message =
                format!("{} answers a request for part of {} with {got}", what(&Method::GET, &url), blob.digest);
            Err(Error::new(Code::RegistryProtocol, STAGE, message).retryable_as(Retryable::No))
        };
        let (in_front, length) = if response.status == 200 { (offset, blob.size) } else { (0, length) };
        let began = response.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let began = began.and_then(|field| field.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse::<u64>().ok());
        match (response.status, whole) {
            (206, false) if began != Some(offset) => other("another part"),
            (206, true) => other("a part where the whole was asked for"),
            _ => match response.length {
                Some(got) if got != length => other(&format!("{got} bytes, expected {length} as the manifest says")),
                _ => Ok((response.body, in_front)),
            },
        }
    }

    async fn manifest(&mut self, reference: &str, expected: Option<&Digest>) -> Result<Found> {
        let url = self.conversation.url(&format!("manifests/{reference}"))?;
        let response = self.conversation.get(STAGE, &url, &accepting()?).await?;
        let response = self.expect(response, &url, &[200], reference).await?;
        let told = told_digest(&response);
        let media_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // Without its parameters, which say nothing about the kind.
        let media_type = media_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim().to_owned();
        let bytes = response.body.collect(MAX_DOCUMENT).await?;
        let digest = Digest::of(&bytes);
        match expected.copied().or(told) {
            Some(expected) if expected != digest => {
                Err(self.mismatch(reference, &format!("bytes of the digest {digest}, expected {expected}")))
            }
            _ => Ok(Found { descriptor: Descriptor { media_type, digest, size: bytes.len() as u64 }, bytes }),
        }
    }

    /// The answer, if it has what was asked for.
    async fn expect(&self, response: Response, url: &Url, statuses: &[u16], name: &str) -> Result<Response> {
        if statuses.contains(&response.status) {
            return Ok(response);
        }
        let (status, error) = (response.status, failure(STAGE, &what(&Method::GET, url), response).await);
        if status != 404 {
            return Err(error);
        }
        let message = format!("{} has no `{name}`", self.conversation.repository());
        Err(Error::new(Code::RegistryNotFound, STAGE, message).context(error.to_string()).retryable_as(Retryable::No))
    }

    fn mismatch(&self, name: &str, got: &str) -> Error {
        let message = format!("{} has as `{name}` {got}", self.conversation.repository());
        Error::new(Code::RegistryMismatch, STAGE, message)
    }
}

/// What says which manifests are understood: a registry denies that it has others.
pub(super) fn accepting() -> Result<HeaderMap> {
    let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(", ");
    let accept = HeaderValue::try_from(accept).map_err(|why| Error::internal(STAGE, why.to_string()))?;
    Ok(HeaderMap::from_iter([(ACCEPT, accept)]))
}
