//! A blob that another repository of the same registry has (distribution-spec, "Mounting a blob from another repository").

use bytes::Bytes;

use super::Push;
use super::answer::answer_of;
use super::conversation::{Replay, is_broken};
use super::push::Session;
use super::session::UploadSession;
use crate::error::{Error, Result, Stage};
use crate::net::Request;
use crate::oci::{Descriptor, Repository};

impl Push {
    /// Has the registry take a blob over from another of its repositories. Whether it has it now. If not, and it offers an upload
    /// instead, as the specification wants it, that is the open session.
    ///
    /// It is only a shorter way: whatever speaks against it is no error, the blob can still be sent.
    ///
    /// # Errors
    /// `internal`; those of looking for what the registry says that it has.
    pub async fn mount(&mut self, blob: &Descriptor, from: &Repository) -> Result<bool> {
        self.conversation.also_pull(Some(from.path()));
        let mounted = self.ask_to_mount(blob, from).await;
        self.conversation.also_pull(None);
        if !mounted? {
            return Ok(false);
        }
        // Its word is not enough: who answers 201 to everything would be left with a manifest of nothing.
        let there = self.stored(blob, Stage::Upload).await? == Some(blob.size);
        if !there {
            tracing::info!(digest = %blob.digest, "the registry says that it took the blob over, and does not have it");
        }
        Ok(there)
    }

    /// Whether a session is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.session, Session::Open(_))
    }

    async fn ask_to_mount(&mut self, blob: &Descriptor, from: &Repository) -> Result<bool> {
        let stage = Stage::Upload;
        let unusable = || Error::internal(stage, "no upload can be asked for at this repository");
        let mut session = UploadSession::new(self.conversation.base()).map_err(|_| unusable())?;
        let (method, mut url) = session.open_request();
        url.query_pairs_mut().append_pair("mount", &blob.digest.to_string()).append_pair("from", from.path());
        let open = || Request::new(method.clone(), url.clone()).with_bytes(Bytes::new());
        // So it stays if this is dropped while it waits: the answer may be a session.
        self.session = Session::Asked;
        let response = self.conversation.call(stage, Replay::Refused, open).await;
        if !response.as_ref().is_err_and(is_broken) {
            self.session = Session::None;
        }
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                tracing::info!(why = %error, "the blob cannot be mounted");
                self.unanswered |= is_broken(&error);
                self.session = Session::None;
                return Ok(false);
            }
        };
        if response.status == 201 {
            return Ok(true);
        }
        let (status, opened) = (response.status, session.opened(answer_of(&response)));
        tracing::info!(status, "the registry does not mount the blob");
        if opened.is_ok() {
            self.session = Session::Open(session);
            self.already = 0;
            self.tell_location();
        }
        Ok(false)
    }
}
