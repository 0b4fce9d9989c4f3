//! The upload session as a state machine without I/O: answers in, next request out (distribution-spec "Pushing blobs").
//!
//! POST opens it, one PATCH streams the whole blob without a Content-Range, an empty PUT with the digest commits it. That
//! flow needs no digest before the last byte, and every registry that docker can push to speaks it.

use http::Method;
use url::Url;

use crate::oci::Digest;

/// The longest Location: some registries keep kilobytes of state in it.
const MAX_LOCATION: usize = 32 * 1024;

/// One upload session. Keeps the location of the last answer: it carries the registry's state.
#[derive(Debug)]
pub struct UploadSession {
    open: Url,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Url),
    Received(Url),
    Committing(Url),
    Committed,
}

/// What came back: status and Location.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The Location field.
    pub location: Option<&'a str>,
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
        Ok(Self { open, state: State::Closed })
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
        Ok(())
    }

    /// The request that takes the blob's bytes.
    ///
    /// # Errors
    /// If the session is not open.
    pub fn send_request(&self) -> Result<(Method, Url), Refused> {
        match &self.state {
            State::Open(location) => Ok((Method::PATCH, location.clone())),
            _ => Err(Refused::Order),
        }
    }

    /// The answer to it. Its Range is not read: registries disagree about what it says after a 2xx.
    ///
    /// # Errors
    /// Unless it is 202, 201 (ECR) or 204.
    pub fn sent(&mut self, answer: Answer<'_>) -> Result<(), Refused> {
        let State::Open(location) = &self.state else { return Err(Refused::Order) };
        if !matches!(answer.status, 201 | 202 | 204) {
            return Err(Refused::Status);
        }
        let next = match answer.location {
            Some(next) => follow(location, next)?,
            None => location.clone(),
        };
        self.state = State::Received(next);
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

    /// The request that asks where a session stands whose location is out of date, after a request that broke off.
    #[must_use]
    pub fn locate_request(&self) -> Option<(Method, Url)> {
        self.location().map(|location| (Method::GET, location.clone()))
    }

    /// The answer to it: the session is there, at this location.
    ///
    /// # Errors
    /// Unless it is 204 with a Location.
    pub fn located(&mut self, answer: Answer<'_>) -> Result<(), Refused> {
        let (State::Open(old) | State::Received(old) | State::Committing(old)) = &mut self.state else {
            return Err(Refused::Order);
        };
        if answer.status != 204 {
            return Err(Refused::Status);
        }
        let location = answer.location.ok_or_else(|| Refused::Location("there is none".to_owned()))?;
        *old = follow(old, location)?;
        Ok(())
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
        Answer { status, location }
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
        session.sent(answer(202, Some("/v2/vm/disk/blobs/uploads/u?_state=c"))).unwrap();
        let digest = Digest::of(b"x");
        let (method, url) = session.commit_request(&digest, false).unwrap();
        assert_eq!(method, Method::PUT);
        assert_eq!(url.query(), Some(format!("_state=c&digest=sha256%3A{}", digest.hex()).as_str()));
        session.committed(answer(201, None)).unwrap();
        assert_eq!(session.cancel_request(), None, "a committed blob is not given up");
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
            let sent = opened("/u").sent(answer(status, None));
            assert_eq!(sent.is_ok(), matches!(status, 201 | 202 | 204), "{status}");
            let mut session = opened("/u");
            session.sent(answer(202, None)).unwrap();
            session.commit_request(&Digest::of(b""), false).unwrap();
            assert_eq!(session.committed(answer(status, None)).is_ok(), matches!(status, 201 | 204), "{status}");
        }
    }

    #[test]
    fn a_session_whose_location_is_out_of_date_is_located_again() {
        let mut session = opened("/u?_state=a");
        assert_eq!(session.locate_request().unwrap().0, Method::GET);
        assert_eq!(session.located(answer(404, None)), Err(Refused::Status));
        assert!(matches!(session.located(answer(204, None)), Err(Refused::Location(_))));
        assert_eq!(session.cancel_request().unwrap().1.query(), Some("_state=a"));
        session.located(answer(204, Some("/u?_state=b"))).unwrap();
        assert_eq!(session.cancel_request().unwrap().1.query(), Some("_state=b"));
    }

    #[test]
    fn steps_out_of_order_are_refused() {
        assert_eq!(session().send_request(), Err(Refused::Order));
        assert_eq!(session().commit_request(&Digest::of(b""), false), Err(Refused::Order));
        assert_eq!(opened("/u").commit_request(&Digest::of(b""), false), Err(Refused::Order));
        assert!(opened("/u").commit_request(&Digest::of(b""), true).is_ok());
        assert_eq!(opened("/u").committed(answer(201, None)), Err(Refused::Order));
        assert_eq!((session().cancel_request(), session().locate_request()), (None, None));
        assert_eq!(session().located(answer(204, Some("/u"))), Err(Refused::Order));
        assert_eq!(opened("/u").cancel_request().unwrap().0, Method::DELETE);
    }
}
