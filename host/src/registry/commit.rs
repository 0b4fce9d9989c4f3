//! What has arrived becomes a blob: the commit, and looking for what a registry has.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method};
use url::Url;

use super::Push;
use super::answer::{answer_of, failure, out_of_order, refused};
use super::conversation::{Replay, is_broken, told_digest, what};
use super::push::{Deleted, Session};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Request, Response};
use crate::oci::{Descriptor, Digest};

/// The pauses before it is looked whether a blob arrived whose commit got no answer: the registry may still be hashing it.
const LOOK_AFTER: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// So many bytes per second a registry is given to hash and copy what it commits, when somebody in between lost patience.
const COMMIT_PACE: u64 = 32 << 20;
/// After so many looks that got no answer either the registry is taken for gone.
const MOST_UNANSWERED: u32 = 3;

/// A commit that failed, and whether the same bytes may be taken if they are offered once more.
pub(super) struct Uncommitted {
    pub(super) error: Error,
    worth_more: bool,
}

/// How long it is looked for a blob.
#[derive(Clone, Copy)]
enum Looks {
    Once,
    AWhile,
    Until(Instant),
}

/// Whether a blob stands in the registry.
enum There {
    Yes,
    No,
    /// It did not say, or has something else by that name.
    Unknown,
}

impl Push {
    /// Commits the layer and checks that the registry has it.
    ///
    /// If the repository has a blob of that digest already, the session is given up instead: a commit can have the registry
    /// hash and copy the whole layer once more, which takes minutes and room, while to look costs one HEAD. Where the
    /// registry does not let the session be given up, a commit is the only way to have it let go of its second copy.
    ///
    /// # Errors
    /// The registry's; `registry-mismatch` if it has something else.
    pub async fn commit(&mut self, layer: &Descriptor) -> Result<()> {
        let stage = Stage::Upload;
        self.in_doubt = false;
        let there = matches!(self.look(layer, stage).await, Ok(Some(size)) if size == layer.size);
        if there && self.delete_session().await == Some(Deleted::Yes) {
            tracing::info!(digest = %layer.digest, "the registry has the layer already");
            self.session = Session::None;
            self.upload = None;
            return Ok(());
        }
        while let Err(failed) = self.commit_session(layer, None, stage).await {
            self.send_again(failed).await?;
        }
        self.upload = None;
        match self.stored(layer, stage).await? {
            Some(size) if size == layer.size => Ok(()),
            Some(size) => Err(self.mismatch(layer, &format!("{size} bytes"))),
            None => Err(self.mismatch(layer, "nothing")),
        }
    }

    /// Whether what was put last may stand there although putting it failed: the registry did not refuse it, but its answer
    /// is missing, says that something went wrong on the way, or what was read back afterwards did not confirm it.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// After a commit that failed: brings the registry to where it has every byte once more, in this session or another.
    async fn send_again(&mut self, failed: Uncommitted) -> Result<()> {
        let Uncommitted { error, worth_more } = failed;
        let Some(mut upload) = self.upload.take().filter(|_| worth_more) else { return Err(error) };
        tracing::info!(why = %error, "the commit failed");
        let step = upload.uncommitted(error)?;
        self.advance(&mut upload, step).await?;
        self.upload = Some(upload);
        Ok(())
    }

    /// Commits what the open session has, or `bytes` with it. A failure is none if the blob stands there all the same: the
    /// answer may be lost, or somebody else have pushed the same.
    pub(super) async fn commit_session(
        &mut self,
        blob: &Descriptor,
        bytes: Option<Bytes>,
        stage: Stage,
    ) -> Result<(), Uncommitted> {
        let Session::Open(session) = &mut self.session else { return Err(out_of_order(stage, "PUT").into()) };
        let (method, url) =
            session.commit_request(&blob.digest, bytes.is_some()).map_err(|_| out_of_order(stage, "PUT"))?;
        let what = what(&method, &url);
        // A registry may hash or copy the whole blob before it answers.
        let within = self.conversation.client().policy().limits.commit;
        let put = || {
            let mut request = Request::new(method.clone(), url.clone());
            if bytes.is_some() {
                request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            }
            let mut request = request.with_bytes(bytes.clone().unwrap_or_default());
            request.answer_within = Some(within);
            request
        };
        let doubted = std::mem::replace(&mut self.in_doubt, true);
        let began = Instant::now();
        let (error, looks, worth_more) = match self.conversation.call(stage, Replay::Refused, put).await {
            Ok(response) => match session.committed(answer_of(&response)) {
                Ok(()) => {
                    self.session = Session::None;
                    return Ok(self.same_digest(blob, &response)?);
                }
                Err(why) => {
                    let status = response.status;
                    let error = refused(why, stage, &what, response).await;
                    // A session that the registry does not know any more is no word on the blob.
                    let worth_more = matches!(status, 404 | 410) || error.retryable() == Retryable::Yes;
                    self.in_doubt = doubted || worth_more;
                    let looks = match status {
                        502 | 503 => Looks::AWhile,
                        // Somebody in between lost patience; the registry is still at it.
                        504 => Looks::Until(began + within.min(hashed_within(blob.size))),
                        _ => Looks::Once,
                    };
                    (error, looks, worth_more)
                }
            },
            Err(error) if is_broken(&error) => (error.context(what), Looks::AWhile, true),
            Err(error) => return Err(error.into()),
        };
        match self.arrived(blob, stage, looks).await {
            There::Yes => {}
            There::No => {
                // A lost session commits nothing any more; whoever failed or was cut off may still be at it.
                self.in_doubt &= doubted || error.retryable() == Retryable::Yes;
                return Err(Uncommitted { error, worth_more });
            }
            There::Unknown => return Err(Uncommitted { error, worth_more }),
        }
        tracing::info!(digest = %blob.digest, why = %error, "the commit failed, but the registry has the blob");
        self.session = Session::None;
        Ok(())
    }

    /// Whether the registry has the blob after a commit that failed.
    async fn arrived(&mut self, blob: &Descriptor, stage: Stage, looks: Looks) -> There {
        let (mut unanswered, mut found) = (0, There::Unknown);
        let (few, until) = match looks {
            Looks::Once => (1, None),
            Looks::AWhile => (LOOK_AFTER.len(), None),
            Looks::Until(until) => (LOOK_AFTER.len(), Some(until)),
        };
        let last = LOOK_AFTER.last().copied().unwrap_or_default();
        let more = std::iter::repeat(last).take_while(|_| until.is_some_and(|until| Instant::now() < until));
        for after in LOOK_AFTER.into_iter().take(few).chain(more) {
            tokio::time::sleep(after).await;
            match self.look(blob, stage).await {
                Ok(Some(size)) if size == blob.size => return There::Yes,
                Ok(Some(_)) => return There::Unknown,
                Ok(None) => found = There::No,
                Err(_) => unanswered += 1,
            }
            if unanswered == MOST_UNANSWERED {
                break;
            }
        }
        found
    }

    /// How many bytes the registry says the blob has; none if it does not have it. Asked as often as it takes.
    pub(super) async fn stored(&mut self, blob: &Descriptor, stage: Stage) -> Result<Option<u64>> {
        let url = self.blob_url(blob)?;
        let head = || Request::new(Method::HEAD, url.clone());
        let response = self.conversation.call(stage, Replay::Always, head).await?;
        self.size_of(blob, &url, response, stage).await
    }

    /// The same, asked once.
    async fn look(&mut self, blob: &Descriptor, stage: Stage) -> Result<Option<u64>> {
        let url = self.blob_url(blob)?;
        let head = || Request::new(Method::HEAD, url.clone());
        let response = self.conversation.call(stage, Replay::Refused, head).await?;
        self.size_of(blob, &url, response, stage).await
    }

    async fn size_of(&self, blob: &Descriptor, url: &Url, response: Response, stage: Stage) -> Result<Option<u64>> {
        let length = response.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match (response.status, length) {
            (200, Some(length)) => self.same_digest(blob, &response).map(|()| Some(length)),
            // Storage that redirects blob reads has the blob; its length is not this answer's.
            (200 | 302 | 303 | 307, _) => Ok(Some(blob.size)),
            (404, _) => Ok(None),
            _ => Err(failure(stage, &what(&Method::HEAD, url), response).await),
        }
    }

    /// Compares the digest that an answer states, if it states one.
    pub(super) fn same_digest(&self, expected: &Descriptor, response: &Response) -> Result<()> {
        self.same(expected, told_digest(response).as_ref())
    }

    /// The same for a digest that was read before.
    pub(super) fn same(&self, expected: &Descriptor, stated: Option<&Digest>) -> Result<()> {
        match stated {
            Some(digest) if *digest != expected.digest => {
                Err(self.mismatch(expected, &format!("the content {digest}")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn blob_url(&self, blob: &Descriptor) -> Result<Url> {
        self.conversation.url(&format!("blobs/{}", blob.digest))
    }

    pub(super) fn mismatch(&self, expected: &Descriptor, got: &str) -> Error {
        let message = format!(
            "{} has {got} as {}, expected the {} bytes that were pushed",
            self.conversation.repository(),
            expected.digest,
            expected.size
        );
        Error::new(Code::RegistryMismatch, Stage::Publish, message)
    }
}

/// How long a registry may take to commit so many bytes, if it is slow.
const fn hashed_within(bytes: u64) -> Duration {
    Duration::from_secs(20 + bytes / COMMIT_PACE)
}

impl From<Error> for Uncommitted {
    fn from(error: Error) -> Self {
        Self { error, worth_more: false }
    }
}
