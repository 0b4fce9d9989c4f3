//! The requests of a push, up to the committed layer.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::answer::{answer_of, out_of_order, refused};
use super::continued::ToldLocation;
use super::conversation::{Conversation, Replay, is_broken, what};
use super::credentials::Credentials;
use super::session::{Manner, UploadSession};
use super::upload::Upload;
use crate::error::{Result, Stage};
use crate::net::{Client, Request};
use crate::oci::Repository;

/// How long the registry may take to give a session up: whoever is told to end does so within 5 s.
const CANCEL_WITHIN: Duration = Duration::from_secs(4);

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
            let error = match self.open_session(Stage::Upload, Replay::Answered).await {
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

    pub(super) async fn open_session(&mut self, stage: Stage, replay: Replay) -> Result<UploadSession> {
        let mut session = UploadSession::new(self.conversation.base()).map_err(|_| out_of_order(stage, "POST"))?;
        let (method, url) = session.open_request();
        let what = what(&method, &url);
        let open = || Request::new(method.clone(), url.clone()).with_bytes(Bytes::new());
        // So it stays if this is dropped while it waits.
        self.session = Session::Asked;
        let response = self.conversation.call(stage, replay, open).await;
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
        let Ok(response) = self.conversation.call(Stage::Upload, Replay::Refused, get).await else { return false };
        let has_all = session.has_all();
        let stands = session.standing(answer_of(&response)).is_ok();
        // To ask does not take back what it has: it can still be committed.
        if stands && has_all {
            let _ = session.complete();
        }
        stands
    }
}

/// What became of a session that was to be given up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    Yes,
    No(u16),
    Unknown,
}
