//! An upload that another process of ours began: a later one goes on with what the registry says it has.

use std::time::Duration;

use url::Url;

use super::Push;
use super::answer::{answer_of, failure, out_of_order, refused};
use super::conversation::{Replay, what};
use super::push::Session;
use super::retry::is_temporary;
use super::session::{Refused, Stored, UploadSession};
use crate::error::{Result, Stage};
use crate::net::Request;
use crate::oci::Descriptor;

/// The pause between two looks at what the registry has: it may still be writing what had arrived when we were killed.
const SETTLES_WITHIN: Duration = Duration::from_millis(250);
/// After so many looks at a count that does not settle, it is not believed.
const MOST_LOOKS: u32 = 40;

/// Who is told where the session stands, each time that changes.
pub(super) type ToldLocation = Box<dyn Fn(&Url) + Send>;

/// What became of an upload session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is open and has so many bytes of the layer, at least one.
    Has(u64),
    /// It is there without a byte that could be relied on.
    Empty,
    /// The registry does not know it any more, or does not tell.
    Lost,
}

impl Push {
    /// Has `tell` told where the upload session stands whenever that changes. Who knows it can add to the upload.
    pub fn on_location(&mut self, tell: impl Fn(&Url) + Send + 'static) {
        self.told = Some((Box::new(tell), None));
    }

    /// Goes on with the session at `location`, as another process of ours was told it, if the registry still has it and says
    /// twice the same of it. Else no session is open.
    ///
    /// # Errors
    /// Whatever keeps the registry from answering: network, TLS, credentials, what it does on the way.
    pub async fn resume(&mut self, location: &Url) -> Result<Standing> {
        let stage = Stage::Upload;
        self.conversation.ping(stage).await?;
        let Ok(mut session) = UploadSession::continued(self.conversation.base(), location) else {
            return Ok(Standing::Lost);
        };
        let mut last = None;
        for _ in 0..MOST_LOOKS {
            let (method, url) = session.status_request().ok_or_else(|| out_of_order(stage, "GET"))?;
            let what = what(&method, &url);
            let get = || Request::new(method.clone(), url.clone());
            let response = self.conversation.call(stage, Replay::Always, get).await?;
            let stored = match session.standing(answer_of(&response)) {
                Ok(stored) => stored,
                Err(Refused::Status) if is_temporary(response.status) || matches!(response.status, 401 | 403) => {
                    return Err(failure(stage, &what, response).await);
                }
                Err(Refused::Status) => return Ok(Standing::Lost),
                Err(why) => return Err(refused(why, stage, &what, response).await),
            };
            let Stored::Bytes(bytes) = stored else {
                // At worst one byte: not worth going on with.
                self.session = Session::Open(session);
                self.drop_session().await;
                return Ok(Standing::Empty);
            };
            if last.replace(bytes) == Some(bytes) {
                self.session = Session::Open(session);
                self.already = bytes;
                self.tell_location();
                return Ok(Standing::Has(bytes));
            }
            tokio::time::sleep(SETTLES_WITHIN).await;
        }
        self.session = Session::Open(session);
        self.drop_session().await;
        Ok(Standing::Lost)
    }

    /// Gives up a session that is of no use to this run, and remembers it if the registry does not let go of it.
    pub async fn drop_session(&mut self) {
        if self.give_up().await {
            self.lost_sessions += 1;
        }
        self.already = 0;
    }

    /// Whether the repository has that blob.
    ///
    /// # Errors
    /// The registry's.
    pub async fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        self.conversation.ping(Stage::Upload).await?;
        Ok(self.stored(blob, Stage::Upload).await? == Some(blob.size))
    }

    /// Leaves the session open for a later process. Whether there is one.
    pub fn leave(&mut self) -> bool {
        self.upload = None;
        matches!(std::mem::replace(&mut self.session, Session::None), Session::Open(_))
    }

    pub(super) fn tell_location(&mut self) {
        let Session::Open(session) = &self.session else { return };
        if let (Some((tell, last)), Some(location)) = (&mut self.told, session.stands_at())
            && last.as_ref() != Some(location)
        {
            tell(location);
            *last = Some(location.clone());
        }
    }
}
