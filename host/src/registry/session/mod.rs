//! The upload session as a state machine without I/O: answers in, next request out (distribution-spec "Pushing blobs").
//!
//! POST opens it, one PATCH streams the whole blob without a Content-Range, or several bring it in chunks with one; an empty
//! PUT with the digest commits it. That flow needs no digest before the last byte, and every registry that docker can push to
//! speaks it. [`UploadSession`] is where to send things, [`Transfer`] what to send, above all after a failure.

#[cfg(test)]
mod course;
mod manner;
#[cfg(test)]
mod phases;
mod range;
mod transfer;
mod transition;

use http::Method;
use url::Url;

use crate::oci::Digest;

pub(super) use manner::HELD_CHUNK;
pub use manner::Manner;
pub use range::{Stored, stored};
pub use transfer::{Failed, Hopeless, How, Next, Piece, Step, Told, Transfer};
pub use transition::Transition;

/// The longest Location: some registries keep kilobytes of state in it.
const MAX_LOCATION: usize = 32 * 1024;

/// One upload session. Keeps the location of the last answer: it carries the registry's state.
#[derive(Debug)]
pub struct UploadSession {
    open: Url,
    state: State,
    least_chunk: Option<u64>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Url),
    Received(Url),
    Committing(Url),
    Committed,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The Location field.
    pub location: Option<&'a str>,
    /// The Range field.
    pub range: Option<&'a str>,
    /// The OCI-Chunk-Min-Length field.
    pub least_chunk: Option<&'a str>,
}

/// An answer that does not lead on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another status than the protocol has here: an error of the registry.
    Status,
    /// The Location is missing, malformed, or leads where it must not.
    Location(String),
    /// The session is not in the state for this step.
    Order,
}

impl UploadSession {
    /// A session for blobs of the repository at `repository`, which is `…/v2/<name>/`.
    ///
    /// # Errors
    /// If the URL cannot have segments.
    pub fn new(repository: &Url) -> Result<Self, Refused> {
        // Without the trailing slash distribution answers 301.
        let open = repository.join("blobs/uploads/").map_err(|why| Refused::Location(why.to_string()))?;
        Ok(Self { open, state: State::Closed, least_chunk: None })
    }

    /// A session that is open at `location` already, as another process of ours was told by the registry.
    ///
    /// # Errors
    /// If that is no location for an upload to that repository.
    pub fn continued(repository: &Url, location: &Url) -> Result<Self, Refused> {
        let mut session = Self::new(repository)?;
        session.state = State::Open(follow(&session.open, location.as_str())?);
        Ok(session)
    }

    /// Where the session stands, if there is one. It may carry the registry's state, signed: who knows it can add to it.
    #[must_use]
    pub const fn stands_at(&self) -> Option<&Url> {
        self.location()
    }

    /// The request that opens the session; its body is empty.
    #[must_use]
    pub fn open_request(&self) -> (Method, Url) {
        (Method::POST, self.open.clone())
    }

    /// The answer to it.
    ///
    /// # Errors
    /// Unless it is 202 with a Location.
    pub fn opened(&mut self, answer: Answer<'_>) -> Result<(), Refused> {
        let State::Closed = self.state else { return Err(Refused::Order) };
        if answer.status != 202 {
            return Err(Refused::Status);
        }
        let location = answer.location.ok_or_else(|| Refused::Location("there is none".to_owned()))?;
        self.state = State::Open(follow(&self.open, location)?);
        self.least_chunk = answer.least_chunk.and_then(|bytes| bytes.trim().parse().ok());
        Ok(())
    }

    /// The least bytes of a chunk that the registry takes, but for the last (distribution-spec "Pushing a blob in chunks").
    #[must_use]
    pub const fn least_chunk(&self) -> Option<u64> {
        self.least_chunk
    }

    /// The request that takes bytes of the blob.
    ///
    /// # Errors
    /// If the session is not open, or has all bytes already.
    pub fn send_request(&self) -> Result<(Method, Url), Refused> {
        match &self.state {
            State::Open(location) => Ok((Method::PATCH, location.clone())),
            _ => Err(Refused::Order),
        }
    }

    /// The answer to it; `last` if the blob ends with these bytes. Its Range is not read: registries disagree about what it
    /// says after a 2xx.
    ///
    /// # Errors
    /// Unless it is 202, 201 (ECR) or 204.
    pub fn sent(&mut self, answer: Answer<'_>, last: bool) -> Result<(), Refused> {
        let State::Open(location) = &self.state else { return Err(Refused::Order) };
        if !matches!(answer.status, 201 | 202 | 204) {
            return Err(Refused::Status);
        }
        let next = next(location, answer)?;
        self.state = if last { State::Received(next) } else { State::Open(next) };
        Ok(())
    }

    /// Whether every byte of the blob was sent.
    #[must_use]
    pub(super) const fn has_all(&self) -> bool {
        matches!(self.state, State::Received(_))
    }

    /// The registry has all bytes of the blob, as it says itself.
    ///
    /// # Errors
    /// If the session is not open.
    pub fn complete(&mut self) -> Result<(), Refused> {
        let State::Open(location) = &self.state else { return Err(Refused::Order) };
        self.state = State::Received(location.clone());
        Ok(())
    }

    /// A 416 that leads on: some say in it where the session stands.
    ///
    /// # Errors
    /// If its Location is not usable.
    pub fn out_of_range(&mut self, answer: Answer<'_>) -> Result<(), Refused> {
        let State::Open(location) = &self.state else { return Err(Refused::Order) };
        self.state = State::Open(next(location, answer)?);
        Ok(())
    }

    /// The request that commits the blob; its body is empty. For a blob that travels in this very request, `with_bytes`
    /// skips the PATCH.
    ///
    /// # Errors
    /// If the bytes were not sent, or with `with_bytes` if the session is not open.
    pub fn commit_request(&mut self, digest: &Digest, with_bytes: bool) -> Result<(Method, Url), Refused> {
        let mut location = match (&self.state, with_bytes) {
            (State::Received(location), false) | (State::Open(location), true) => location.clone(),
            _ => return Err(Refused::Order),
        };
        self.state = State::Committing(location.clone());
        // Appended, never rebuilt: the query carries the registry's state.
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        Ok((Method::PUT, location))
    }

    /// The answer to it.
    ///
    /// # Errors
    /// Unless it is 201, or 204 (old registries).
    pub fn committed(&mut self, answer: Answer<'_>) -> Result<(), Refused> {
        let State::Committing(_) = self.state else { return Err(Refused::Order) };
        if !matches!(answer.status, 201 | 204) {
            return Err(Refused::Status);
        }
        self.state = State::Committed;
        Ok(())
    }

    /// The request that asks what a session has, and where it stands, after a request that broke off.
    #[must_use]
    pub fn status_request(&self) -> Option<(Method, Url)> {
        self.location().map(|location| (Method::GET, location.clone()))
    }

    /// The answer to it: the session is there and takes more. Quay names no location; the old one is good then.
    ///
    /// # Errors
    /// Unless it is 204.
    pub fn standing(&mut self, answer: Answer<'_>) -> Result<Stored, Refused> {
        let (State::Open(old) | State::Received(old) | State::Committing(old)) = &self.state else {
            return Err(Refused::Order);
        };
        if answer.status != 204 {
            return Err(Refused::Status);
        }
        self.state = State::Open(next(old, answer)?);
        Ok(stored(answer.range))
    }

    /// The request that gives the session up, if there is one to give up.
    #[must_use]
    pub fn cancel_request(&self) -> Option<(Method, Url)> {
        self.location().map(|location| (Method::DELETE, location.clone()))
    }

    const fn location(&self) -> Option<&Url> {
        match &self.state {
            State::Open(location) | State::Received(location) | State::Committing(location) => Some(location),
            State::Closed | State::Committed => None,
        }
    }
}

/// Where an answer says that the session stands now.
fn next(asked: &Url, answer: Answer<'_>) -> Result<Url, Refused> {
    answer.location.map_or_else(|| Ok(asked.clone()), |location| follow(asked, location))
}

/// Resolves a Location against the URL that was asked (RFC 3986 §5); it may be absolute or relative and name another host.
pub(super) fn follow(asked: &Url, location: &str) -> Result<Url, Refused> {
    if location.len() > MAX_LOCATION {
        return Err(Refused::Location(format!("it has {} bytes, expected at most {MAX_LOCATION}", location.len())));
    }
    let next = asked.join(location).map_err(|why| Refused::Location(format!("it is malformed: {why}")))?;
    match (asked.scheme(), next.scheme()) {
        ("https", "http") => Err(Refused::Location(
            "it leads from https to http; a proxy in front of the registry may lack X-Forwarded-Proto".to_owned(),
        )),
        (_, "http" | "https") if next.username().is_empty() && next.password().is_none() => Ok(next),
        (_, "http" | "https") => Err(Refused::Location("it has user information".to_owned())),
        (_, scheme) => Err(Refused::Location(format!("it has the scheme `{scheme}`"))),
    }
}
