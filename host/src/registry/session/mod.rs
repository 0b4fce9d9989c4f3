//! The upload session as a state machine without I/O: answers in, next request out (distribution-spec "Pushing blobs").
//!
//! POST opens it, one PATCH streams the whole blob without a Content-Range, or several bring it in chunks with one; an empty
//! PUT with the digest commits it. That flow needs no digest before the last byte, and every registry that docker can push to
//! speaks it. [`UploadSession`] is where to send things, [`Transfer`] what to send, above all after a failure.

#[cfg(test)]
mod course;
mod manner;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, location: Option<&str>) -> Answer<'_> {
        Answer { status, location, range: None, least_chunk: None }
    }

    fn session() -> UploadSession {
        UploadSession::new(&Url::parse("https://r.example/v2/vm/disk/").unwrap()).unwrap()
    }

    fn opened(location: &str) -> UploadSession {
        let mut session = session();
        session.opened(answer(202, Some(location))).unwrap();
        session
    }

    #[test]
    fn the_phases_of_distribution() {
        let mut session = session();
        assert_eq!(session.open_request().1.as_str(), "https://r.example/v2/vm/disk/blobs/uploads/");
        session.opened(answer(202, Some("https://r.example/v2/vm/disk/blobs/uploads/u?_state=a%2Bb"))).unwrap();
        let (method, url) = session.send_request().unwrap();
        assert_eq!((method, url.query()), (Method::PATCH, Some("_state=a%2Bb")));
        session.sent(answer(202, Some("/v2/vm/disk/blobs/uploads/u?_state=c")), true).unwrap();
        let digest = Digest::of(b"x");
        let (method, url) = session.commit_request(&digest, false).unwrap();
        assert_eq!(method, Method::PUT);
        assert_eq!(url.query(), Some(format!("_state=c&digest=sha256%3A{}", digest.hex()).as_str()));
        session.committed(answer(201, None)).unwrap();
        assert_eq!(session.cancel_request(), None, "a committed blob is not given up");
    }

    #[test]
    fn another_process_goes_on_at_the_location_that_it_was_told() {
        let repository = Url::parse("https://r.example/v2/vm/disk/").unwrap();
        let at = |location: &str| UploadSession::continued(&repository, &Url::parse(location).unwrap());
        let mut session = at("https://r.example/v2/vm/disk/blobs/uploads/u?_state=a").unwrap();
        assert_eq!(session.stands_at().unwrap().query(), Some("_state=a"));
        let (method, url) = session.status_request().unwrap();
        assert_eq!((method, url.query()), (Method::GET, Some("_state=a")));
        let says = Answer { range: Some("0-99"), ..answer(204, Some("/v2/vm/disk/blobs/uploads/u?_state=b")) };
        assert_eq!(session.standing(says), Ok(Stored::Bytes(100)));
        assert_eq!(session.send_request().unwrap().1.query(), Some("_state=b"));
        for location in ["http://r.example/u", "https://u:p@r.example/u"] {
            assert!(matches!(at(location), Err(Refused::Location(_))), "{location}");
        }
    }

    #[test]
    fn a_location_may_be_relative_or_move() {
        for (location, expected) in [
            ("/x/y", "https://r.example/x/y"),
            ("https://upload.example/z?q=1", "https://upload.example/z?q=1"),
            ("u1", "https://r.example/v2/vm/disk/blobs/uploads/u1"),
        ] {
            assert_eq!(opened(location).send_request().unwrap().1.as_str(), expected);
        }
    }

    #[test]
    fn a_location_that_leads_astray_is_refused() {
        let long = format!("/u?s={}", "x".repeat(MAX_LOCATION));
        for location in [&*long, "http://r.example/u", "ftp://r.example/u", "https://u:p@r.example/u", "https://["] {
            let refused = session().opened(answer(202, Some(location))).unwrap_err();
            assert!(matches!(refused, Refused::Location(_)), "{location}");
        }
        assert!(matches!(session().opened(answer(202, None)), Err(Refused::Location(_))));
    }

    #[test]
    fn every_success_of_known_registries_is_taken_and_nothing_else() {
        for status in [200, 201, 202, 204, 400, 404, 416, 500] {
            assert_eq!(session().opened(answer(status, Some("/u"))).is_ok(), status == 202);
            let sent = opened("/u").sent(answer(status, None), true);
            assert_eq!(sent.is_ok(), matches!(status, 201 | 202 | 204), "{status}");
            let mut session = opened("/u");
            session.sent(answer(202, None), true).unwrap();
            session.commit_request(&Digest::of(b""), false).unwrap();
            assert_eq!(session.committed(answer(status, None)).is_ok(), matches!(status, 201 | 204), "{status}");
        }
    }

    #[test]
    fn chunks_follow_the_locations_and_end_the_session_once() {
        let mut session = opened("/u?_state=0");
        for chunk in 1..4 {
            session.sent(answer(202, Some(&format!("/u?_state={chunk}"))), false).unwrap();
            assert_eq!(session.send_request().unwrap().1.query(), Some(&*format!("_state={chunk}")));
        }
        assert_eq!(session.commit_request(&Digest::of(b""), false), Err(Refused::Order));
        // ECR: 201, and no new location.
        session.sent(answer(201, None), true).unwrap();
        assert_eq!(session.send_request(), Err(Refused::Order));
        assert_eq!(session.commit_request(&Digest::of(b""), false).unwrap().0, Method::PUT);
    }

    #[test]
    fn a_session_whose_location_is_out_of_date_is_asked_where_it_stands() {
        let mut session = opened("/u?_state=a");
        assert_eq!(session.status_request().unwrap().0, Method::GET);
        // distribution 2.8 after a broken PATCH; ECR always.
        assert_eq!(session.standing(answer(404, None)), Err(Refused::Status));
        assert_eq!(session.cancel_request().unwrap().1.query(), Some("_state=a"));
        // distribution 3.
        let told = |location, range| Answer { range: Some(range), ..answer(204, location) };
        assert_eq!(session.standing(told(Some("/u?_state=b"), "0-1048575")), Ok(Stored::Bytes(1 << 20)));
        assert_eq!(session.cancel_request().unwrap().1.query(), Some("_state=b"));
        // Quay.
        assert_eq!(session.standing(told(None, "bytes=0-1048576")), Ok(Stored::Bytes(1 << 20)));
        assert_eq!(session.send_request().unwrap().1.query(), Some("_state=b"));
        assert!(matches!(session.standing(told(Some("ftp://x/"), "0-1")), Err(Refused::Location(_))));
        // Behind a commit that failed: it takes bytes again, or is complete.
        session.complete().unwrap();
        session.commit_request(&Digest::of(b""), false).unwrap();
        assert_eq!(session.send_request(), Err(Refused::Order));
        session.standing(told(Some("/u?_state=c"), "0-1")).unwrap();
        assert_eq!(session.send_request().unwrap().1.query(), Some("_state=c"));
        // A 416 may name a location too.
        session.out_of_range(answer(416, Some("/u?_state=d"))).unwrap();
        assert_eq!(session.send_request().unwrap().1.query(), Some("_state=d"));
    }

    #[test]
    fn steps_out_of_order_are_refused() {
        assert_eq!(session().send_request(), Err(Refused::Order));
        assert_eq!(session().commit_request(&Digest::of(b""), false), Err(Refused::Order));
        assert_eq!(opened("/u").commit_request(&Digest::of(b""), false), Err(Refused::Order));
        assert!(opened("/u").commit_request(&Digest::of(b""), true).is_ok());
        assert_eq!(opened("/u").committed(answer(201, None)), Err(Refused::Order));
        assert_eq!((session().cancel_request(), session().status_request()), (None, None));
        assert_eq!(session().standing(answer(204, Some("/u"))), Err(Refused::Order));
        assert_eq!(session().complete(), Err(Refused::Order));
        assert_eq!(session().out_of_range(answer(416, None)), Err(Refused::Order));
        assert_eq!(opened("/u").cancel_request().unwrap().0, Method::DELETE);
    }
}
