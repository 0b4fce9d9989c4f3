//! One step after the other, until the registry has every byte.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http_body_util::BodyExt as _;

use super::{Sending, Travelling, Upload};
use crate::error::{Code, Error, Result, Retryable, Stage};
use crate::net::{Request, Response};
use crate::observe::Repeats;
use crate::registry::Push;
use crate::registry::answer::{answer_of, failure, out_of_order, refused};
use crate::registry::conversation::{Replay, is_broken, what};
use crate::registry::flow_body::{FlowBody, SendClock};
use crate::registry::push::Session;
use crate::registry::retry::{is_temporary, retry_after};
use crate::registry::session::{Failed, Hopeless, How, Next, Piece, Refused, Step, Stored, Told, Transfer, stored};
use crate::registry::supply::Gone;

/// How often it is looked whether the registry still takes bytes.
const WATCH_EVERY: Duration = Duration::from_secs(1);

impl Push {
    /// Streams the layer, with its length if it is known, in one PATCH, or in chunks where the registry takes no other. It
    /// begins with what the registry does not have. What it has then is not committed. If it breaks, it goes on with what the
    /// registry says it has, in the same session or a new one, as long as those bytes can be had from memory or once more.
    ///
    /// # Errors
    /// The flow's own, or the registry's once every attempt is spent.
    pub async fn send(&mut self, layer: Travelling, repeats: &Arc<Repeats>) -> Result<()> {
        let Session::Open(session) = &self.session else { return Err(out_of_order(Stage::Upload, "PATCH")) };
        let least = session.least_chunk();
        let manner = self.manner(layer.cheaply && layer.length.is_some());
        let mut transfer = Transfer::new(manner, self.conversation.back_off(), layer.length);
        let first = match self.already {
            0 => transfer.opened(least),
            stored => transfer.continued(least, stored),
        };
        let mut upload = Box::new(Upload::new(layer, transfer, Arc::clone(repeats)));
        upload.note();
        let first = match self.already {
            0 => first,
            stored => self.skip(&mut upload, stored).await?.unwrap_or(first),
        };
        self.advance(&mut upload, first).await?;
        self.upload = Some(upload);
        Ok(())
    }

    /// Lets flow past what the registry has from another process of ours. Gives the step if that is all of it.
    async fn skip(&mut self, upload: &mut Upload, stored: u64) -> Result<Option<Step>> {
        let Ok(ends) = upload.supply.pour_away(stored).await? else {
            let message = format!(
                "the layer ends after {} bytes, while the upload to {} has {stored} of it from before",
                upload.supply.position(),
                self.conversation.repository()
            );
            return Err(Error::new(Code::SourceChanged, Stage::Upload, message));
        };
        upload.sent = stored;
        upload.repeats.resumed();
        tracing::info!(from = stored, "the upload of another process goes on where the registry has it");
        if !ends {
            return Ok(None);
        }
        self.complete();
        Ok(Some(upload.transfer.took(stored, true)))
    }

    /// Does step after step until the registry has every byte.
    pub(in crate::registry) async fn advance(&mut self, upload: &mut Upload, first: Step) -> Result<()> {
        let mut step = first;
        loop {
            if !step.after.is_zero() {
                tokio::time::sleep(step.after).await;
            }
            let next = match step.next {
                Next::Commit => return Ok(()),
                Next::Send(piece) => self.piece(upload, piece).await,
                Next::Ask => self.ask(upload).await,
                Next::Open => self.reopen(upload).await,
            };
            upload.note();
            self.tell_location();
            step = next?;
            if step.next == Next::Commit {
                self.complete();
            }
        }
    }

    /// Sends one piece.
    async fn piece(&mut self, upload: &mut Upload, piece: Piece) -> Result<Step> {
        let stage = Stage::Upload;
        let body = match upload.body(piece).await? {
            Ok(body) => body,
            Err(Gone) => return Err(self.out_of_reach(upload, piece)),
        };
        let last = body.last;
        if last && piece.at_most.is_some() && body.length == Some(0) && piece.from > 0 {
            return Ok(upload.transfer.took(piece.from, true));
        }
        if std::mem::take(&mut upload.repeating) {
            upload.repeats.tried_again();
            if piece.from > 0 {
                upload.repeats.resumed();
                tracing::info!(from = piece.from, "the upload goes on where the registry has it");
            }
        }
        let Session::Open(session) = &self.session else { return Err(out_of_order(stage, "PATCH")) };
        let (method, url) = session.send_request().map_err(|_| out_of_order(stage, "PATCH"))?;
        let clock = SendClock::start(piece.from);
        let mut request = Request::new(method, url);
        if let Some(length) = body.length {
            request.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            // Never without the length, and not around the whole: some registries take no Content-Range there.
            if (piece.at_most.is_some() || piece.from > 0) && length > 0 {
                let range = format!("{}-{}", piece.from, piece.from.saturating_add(length - 1));
                let range = HeaderValue::try_from(range).map_err(|why| Error::internal(stage, why.to_string()))?;
                request.headers.insert(CONTENT_RANGE, range);
            }
        }
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // Before the flow starts: a registry looks at a token when a request begins.
        self.conversation.authorize(stage, &mut request).await?;
        let sending = Sending {
            what: what(&request.method, &request.url),
            url: request.url.clone(),
            clock: clock.clone(),
            began: Instant::now(),
        };
        let repeats = Arc::clone(&upload.repeats);
        request.body = FlowBody::new(body.parts, body.length, clock.clone(), upload.sent, repeats).boxed_unsync();
        let limit = self.conversation.client().policy().limits.registry_stall;
        let response = tokio::select! {
            response = self.conversation.client().send(request) => response,
            () = stalled(&clock, limit) => {
                let message = format!("{}: the registry took nothing for {} s", sending.what, limit.as_secs());
                Err(Error::new(Code::RegistryStalled, stage, message))
            }
        };
        upload.supply.take_back();
        upload.sent = upload.sent.max(clock.handed());
        // The registry may have answered before it was seen that there is nothing more to send.
        if let Some(error) = upload.supply.failure() {
            return Err(error);
        }
        match response {
            Ok(response) => self.answered(upload, &sending, last, response).await,
            Err(error) if is_broken(&error) => failed(upload, &sending, How::Broke, error),
            Err(error) => Err(error),
        }
    }

    /// The answer to a piece.
    async fn answered(
        &mut self,
        upload: &mut Upload,
        sending: &Sending,
        last: bool,
        response: Response,
    ) -> Result<Step> {
        let stage = Stage::Upload;
        let Session::Open(session) = &mut self.session else { return Err(out_of_order(stage, "PATCH")) };
        match session.sent(answer_of(&response), last) {
            Ok(()) if sending.clock.all_taken() => return Ok(upload.transfer.took(sending.clock.handed(), last)),
            Ok(()) => {
                let message = format!(
                    "{}: the registry answered {} before it had all that was sent",
                    sending.what, response.status
                );
                return Err(Error::new(Code::RegistryProtocol, stage, message));
            }
            Err(Refused::Status) => {}
            Err(why) => return Err(refused(why, stage, &sending.what, response).await),
        }
        let status = response.status;
        if status == 401 && self.conversation.renewed(stage, &sending.url, &response).await? {
            let error = failure(stage, &sending.what, response).await;
            return failed(upload, sending, How::Renewed, error);
        }
        let mut says = Stored::Unsaid;
        if status == 416 {
            let answer = answer_of(&response);
            says = stored(answer.range);
            if let Err(why) = session.out_of_range(answer) {
                return Err(refused(why, stage, &sending.what, response).await);
            }
        }
        let asks = retry_after(&response.headers, SystemTime::now());
        let error = failure(stage, &sending.what, response).await;
        // No repetition makes room.
        if is_temporary(status) && error.retryable() == Retryable::No {
            return Err(error);
        }
        failed(upload, sending, How::Answered { status, stored: says, asks }, error)
    }

    /// Asks what the registry has.
    async fn ask(&mut self, upload: &mut Upload) -> Result<Step> {
        let stage = Stage::Upload;
        let Session::Open(session) = &mut self.session else { return Err(out_of_order(stage, "GET")) };
        let Some((method, url)) = session.status_request() else { return Err(out_of_order(stage, "GET")) };
        let what = what(&method, &url);
        let within = upload.timed().left().min(self.conversation.client().policy().limits.answer);
        let get = || {
            let mut request = Request::new(method.clone(), url.clone());
            request.answer_within = Some(within);
            request
        };
        let (told, error) = match self.conversation.call(stage, Replay::Never, get).await {
            Ok(response) => match session.standing(answer_of(&response)) {
                Ok(stored) => (Told::Stored(stored), None),
                Err(Refused::Status) => {
                    let told = if is_temporary(response.status) { Told::Nothing } else { Told::Unknown };
                    (told, Some(failure(stage, &what, response).await))
                }
                Err(why) => return Err(refused(why, stage, &what, response).await),
            },
            Err(error) if is_broken(&error) => (Told::Nothing, Some(error)),
            Err(error) => return Err(error),
        };
        tracing::debug!(?told, "asked what the registry has of the upload");
        upload.timed().told(told).map_err(|Hopeless| {
            let error = match (upload.last_error.take(), error) {
                // What broke first says more than that it stayed broken.
                (Some(cause), Some(error)) => cause.context(error.to_string()),
                (Some(error), None) | (None, Some(error)) => error,
                (None, None) => self.given_up(upload),
            };
            upload.hopeless(error)
        })
    }

    /// Opens another session in place of one that is of no use any more.
    async fn reopen(&mut self, upload: &mut Upload) -> Result<Step> {
        if !upload.supply.can_begin_again() {
            return Err(self.out_of_reach(upload, Piece { from: 0, at_most: None }));
        }
        tracing::info!("the registry lost the upload: another one begins at the first byte");
        if self.give_up().await {
            self.lost_sessions += 1;
        }
        match self.open_session(Stage::Upload, Replay::Never).await {
            Ok(session) => {
                let least = session.least_chunk();
                self.session = Session::Open(session);
                upload.repeats.restarted();
                Ok(upload.transfer.opened(least))
            }
            Err(error) if error.retryable() == Retryable::Yes || is_broken(&error) => {
                upload.timed().not_opened().map_err(|Hopeless| upload.hopeless(error))
            }
            Err(error) => Err(error),
        }
    }

    /// The registry says itself that it has every byte, if the session does not know that yet.
    fn complete(&mut self) {
        if let Session::Open(session) = &mut self.session {
            let _ = session.complete();
        }
    }

    /// The error for bytes that nobody has any more.
    fn out_of_reach(&self, upload: &mut Upload, piece: Piece) -> Error {
        let message = format!(
            "the upload to {} broke, and the registry needs the layer again from byte {}, while it was read up to byte {}",
            self.conversation.repository(),
            piece.from,
            upload.supply.position()
        );
        let error = upload.last_error.take().unwrap_or_else(|| self.given_up(upload));
        error.context(message).hint(
            "a source that can be read from any offset is read again; of this one only the last 8 MiB are kept in memory",
        )
    }

    fn given_up(&self, upload: &Upload) -> Error {
        let message = format!(
            "the registry does not keep what is sent to {}: given up after {} attempts",
            self.conversation.repository(),
            upload.repeats.attempt()
        );
        Error::new(Code::RegistryFailed, Stage::Upload, message)
    }
}

/// Tells the transfer of a failure; the error counts if there is nothing left to try.
fn failed(upload: &mut Upload, sending: &Sending, how: How, error: Error) -> Result<Step> {
    let failed = Failed { how, handed: sending.clock.handed(), age: sending.began.elapsed() };
    match upload.timed().failed(failed) {
        Ok(step) => {
            tracing::info!(request = sending.what, why = %error, sent = failed.handed, "the upload broke");
            upload.repeating = true;
            upload.last_error = Some(error);
            Ok(step)
        }
        Err(Hopeless) => Err(upload.hopeless(error)),
    }
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
