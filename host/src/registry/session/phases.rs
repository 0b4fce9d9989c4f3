//! The phases of a session, answer by answer.

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
fn what_a_session_has_can_be_committed_though_it_was_asked() {
    let mut session = opened("/u");
    session.sent(answer(202, None), true).unwrap();
    assert!(session.has_all());
    let says = Answer { range: Some("0-99"), ..answer(204, None) };
    assert_eq!(session.standing(says), Ok(Stored::Bytes(100)));
    session.complete().unwrap();
    assert!(session.commit_request(&Digest::of(b""), false).is_ok());
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
