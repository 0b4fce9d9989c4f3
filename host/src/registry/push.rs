//! The requests of a push, up to the committed layer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method};
use url::Url;

use super::answer::{answer_of, failure, out_of_order, refused};
use super::continued::ToldLocation;
use super::conversation::{Conversation, Replay, is_broken, told_digest, what};
use super::credentials::Credentials;
use super::session::{Manner, UploadSession};
use super::upload::Upload;
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Client, Request, Response};
use crate::oci::{Descriptor, Digest, Repository};

/// How long the registry may take to give a session up.
const CANCEL_WITHIN: Duration = Duration::from_secs(10);
/// The pauses before it is looked whether a blob arrived whose commit got no answer: the registry may still be hashing it.
const LOOK_AFTER: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// After so many looks that got no answer either the registry is taken for gone.
const MOST_UNANSWERED: u32 = 3;

/// A push of one image into one repository.
pub struct Push {
    pub(super) conversation: Conversation,
    pub(super) session: Session,
    /// The layer, from its first byte until it is committed: until then it may have to be sent again.
    pub(super) upload: Option<Box<Upload>>,
    /// Sessions that were given up for another one and that the registry did not let go of.
    pub(super) lost_sessions: u32,
    /// Whether the registry was asked to open a session and did not answer.
    pub(super) unanswered: bool,
    /// Whether the registry was asked to keep what is being put, and has not refused.
    pub(super) in_doubt: bool,
    /// Bytes of the layer that the open session has from another process.
    pub(super) already: u64,
    /// Who is told where the session stands, and what it was told last.
    pub(super) told: Option<(ToldLocation, Option<Url>)>,
}

/// In what pieces a registry takes the bytes of a layer, besides all of them in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of the chunks it gets if one request for all does not get through; none if it takes no chunks.
    pub chunk: Option<u64>,
    /// The least it takes but for the last, as it says itself (`OCI-Chunk-Min-Length`).
    pub least_chunk: Option<u64>,
}

/// The upload session that the registry may hold for us.
pub(super) enum Session {
    None,
    /// Asked for, not answered.
    Asked,
    Open(UploadSession),
}

impl Push {
    /// A push over `client` into a repository of the registry at `registry`. Nothing is sent yet.
    ///
    /// # Errors
    /// `internal` if no URL can be made of the parts.
    pub fn new(
        client: Client,
        registry: &Url,
        repository: Repository,
        credentials: Option<Credentials>,
    ) -> Result<Self> {
        let conversation = Conversation::new(client, registry, repository, &["pull", "push"], credentials)?;
        Ok(Self {
            conversation,
            session: Session::None,
            upload: None,
            lost_sessions: 0,
            unanswered: false,
            in_doubt: false,
            already: 0,
            told: None,
        })
    }

    /// Opens the upload session for the layer.
    ///
    /// # Errors
    /// Whatever keeps it from opening: network, TLS, credentials, the registry.
    pub async fn open(&mut self) -> Result<()> {
        self.conversation.ping(Stage::Upload).await?;
        let mut tries = self.conversation.tries();
        loop {
            let error = match self.open_session(Stage::Upload).await {
                Ok(session) => {
                    self.session = Session::Open(session);
                    self.already = 0;
                    self.tell_location();
                    return Ok(());
                }
                Err(error) => error,
            };
            // At worst an empty upload is left: the registry was there a moment ago.
            let Some(waits) = tries.failed(None).filter(|_| is_broken(&error)) else {
                return Err(error);
            };
            tracing::info!(why = %error, "the upload is opened again in {:.1} s", waits.as_secs_f64());
            tokio::time::sleep(waits).await;
        }
    }

    /// In what pieces the registry takes the layer, once the session is open. `brought_again` if its length is known and it
    /// can be brought again from any offset.
    #[must_use]
    pub fn terms(&self, brought_again: bool) -> Terms {
        let mut manner = self.manner(brought_again);
        let Session::Open(session) = &self.session else { return Terms { chunk: manner.size(), least_chunk: None } };
        let least_chunk = session.least_chunk();
        if let Some(least) = least_chunk {
            manner.at_least(least);
        }
        Terms { chunk: manner.size(), least_chunk }
    }

    /// How the registry is known to take bytes.
    pub(super) fn manner(&self, brought_again: bool) -> Manner {
        let manner = Manner::of(self.conversation.base().host_str().unwrap_or_default());
        if brought_again { manner.brought_again() } else { manner }
    }

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

    /// Gives the upload session up. Says what the registry may still keep.
    pub async fn cancel(&mut self) -> Option<String> {
        self.upload = None;
        let repository = self.conversation.repository().clone();
        let empty = || format!("perhaps an empty upload in {repository}, which the registry was asked for");
        if let Session::Asked = self.session {
            return Some(empty());
        }
        let why = match self.delete_session().await {
            Some(Deleted::No(status)) => format!("it answered {status}"),
            Some(Deleted::Unknown) => "it did not answer".to_owned(),
            Some(Deleted::Yes) | None if self.lost_sessions == 0 => return self.unanswered.then(empty),
            Some(Deleted::Yes) | None => "it had lost the session".to_owned(),
        };
        // distribution 2.8 forgets the session of a broken PATCH but keeps its bytes.
        Some(format!(
            "an unfinished upload in {repository} with what was sent so far, which the registry did not let us cancel \
             ({why}); it is no blob, and registries purge such uploads after a while, distribution after a week"
        ))
    }

    pub(super) async fn open_session(&mut self, stage: Stage) -> Result<UploadSession> {
        let mut session = UploadSession::new(self.conversation.base()).map_err(|_| out_of_order(stage, "POST"))?;
        let (method, url) = session.open_request();
        let what = what(&method, &url);
        let open = || Request::new(method.clone(), url.clone()).with_bytes(Bytes::new());
        // So it stays if this is dropped while it waits.
        self.session = Session::Asked;
        let response = self.conversation.call(stage, Replay::Answered, open).await;
        if response.as_ref().is_err_and(is_broken) {
            self.unanswered = true;
        } else {
            self.session = Session::None;
        }
        let response = response?;
        match session.opened(answer_of(&response)) {
            Ok(()) => Ok(session),
            Err(why) => Err(refused(why, stage, &what, response).await),
        }
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
        let (error, lost, worth_more) = match self.conversation.call(stage, Replay::Refused, put).await {
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
                    (error, matches!(status, 502..=504), worth_more)
                }
            },
            Err(error) if is_broken(&error) => (error.context(what), true, true),
            Err(error) => return Err(error.into()),
        };
        match self.arrived(blob, stage, lost).await {
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

    /// Whether the registry has the blob after a commit that failed; looks for a while if the answer was `lost`.
    async fn arrived(&mut self, blob: &Descriptor, stage: Stage, lost: bool) -> There {
        let (mut unanswered, mut found) = (0, There::Unknown);
        for after in LOOK_AFTER.iter().take(if lost { LOOK_AFTER.len() } else { 1 }) {
            tokio::time::sleep(*after).await;
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

    /// Asks the registry to let go of the open session; none if there is none.
    pub(super) async fn delete_session(&mut self) -> Option<Deleted> {
        let Session::Open(_) = self.session else { return None };
        let deleted = tokio::time::timeout(CANCEL_WITHIN, async {
            match self.delete_once().await? {
                // The location of a session whose request broke off is out of date; distribution 3 tells the new one.
                Deleted::No(_) if self.locate().await => self.delete_once().await,
                deleted => Some(deleted),
            }
        });
        deleted.await.unwrap_or(Some(Deleted::Unknown))
    }

    async fn delete_once(&mut self) -> Option<Deleted> {
        let Session::Open(session) = &self.session else { return None };
        let (method, url) = session.cancel_request()?;
        let delete = || Request::new(method.clone(), url.clone());
        // Within `call` because distribution wants `delete` in the token's scope, and says so by a 401.
        Some(match self.conversation.call(Stage::Upload, Replay::Refused, delete).await {
            Ok(response) if matches!(response.status, 200 | 202 | 204) => Deleted::Yes,
            Ok(response) => Deleted::No(response.status),
            Err(_) => Deleted::Unknown,
        })
    }

    /// Lets go of the open session. Whether the registry may still have something of it.
    pub(super) async fn give_up(&mut self) -> bool {
        let left = !matches!(self.delete_session().await, Some(Deleted::Yes) | None);
        self.session = Session::None;
        left
    }

    /// Asks where the open session is. Whether it is somewhere.
    async fn locate(&mut self) -> bool {
        let Session::Open(session) = &mut self.session else { return false };
        let Some((method, url)) = session.status_request() else { return false };
        let get = || Request::new(method.clone(), url.clone());
        match self.conversation.call(Stage::Upload, Replay::Refused, get).await {
            Ok(response) => session.standing(answer_of(&response)).is_ok(),
            Err(_) => false,
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

/// A commit that failed, and whether the same bytes may be taken if they are offered once more.
pub(super) struct Uncommitted {
    pub(super) error: Error,
    worth_more: bool,
}

impl From<Error> for Uncommitted {
    fn from(error: Error) -> Self {
        Self { error, worth_more: false }
    }
}

/// Whether a blob stands in the registry.
enum There {
    Yes,
    No,
    /// It did not say, or has something else by that name.
    Unknown,
}

/// What became of a session that was to be given up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    Yes,
    No(u16),
    Unknown,
}
