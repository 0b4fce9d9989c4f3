//! Every transition, from answers as they were recorded of registries and proxies.

use super::super::range::stored;
use super::*;

const MIB: u64 = 1 << 20;
const TOTAL: u64 = 100 * MIB;
const SECOND: Duration = Duration::from_secs(1);

fn transfer(host: &str) -> Transfer {
    let mut transfer = Transfer::new(Manner::of(host), BackOff::new(4, SECOND, SECOND * 300, 1), Some(TOTAL));
    assert_eq!(transfer.opened(None), send(0, None));
    transfer
}

fn generic() -> Transfer {
    transfer("registry.example")
}

fn send(from: u64, at_most: Option<u64>) -> Step {
    Step::now(Next::Send(Piece { from, at_most }))
}

fn broke(handed: u64) -> Failed {
    Failed { how: How::Broke, handed, age: SECOND }
}

fn answered(status: u16, range: Option<&str>, handed: u64) -> Failed {
    Failed { how: How::Answered { status, stored: stored(range), asks: None }, handed, age: SECOND }
}

fn has(range: &str) -> Told {
    Told::Stored(stored(Some(range)))
}

/// What comes after the pause.
fn next(step: Result<Step, Hopeless>) -> Next {
    step.unwrap().next
}

#[test]
fn the_whole_in_one_request_or_chunk_by_chunk() {
    assert_eq!(generic().took(TOTAL, true), Step::now(Next::Commit));
    let mut transfer = generic();
    transfer.manner.chunked();
    assert_eq!(transfer.took(16 * MIB, false), send(16 * MIB, Some(16 * MIB)));
    assert!(transfer.is_chunked());
    assert_eq!(transfer.took(TOTAL, true), Step::now(Next::Commit));
}

#[test]
fn distribution_3_goes_on_where_a_settled_count_says() {
    let mut transfer = generic();
    let step = transfer.failed(broke(5 * MIB)).unwrap();
    assert_eq!(step.next, Next::Ask);
    assert!(step.after >= SECOND, "it may still be writing");
    // The flush of the half-open request comes late.
    assert_eq!(next(transfer.told(has("0-1048575"))), Next::Ask);
    assert_eq!(next(transfer.told(has("0-2097151"))), Next::Ask);
    assert_eq!(transfer.told(has("0-2097151")), Ok(send(2 * MIB, None)));
    assert_eq!(transfer.took(TOTAL, true), Step::now(Next::Commit));
}

#[test]
fn a_whole_layer_whose_answer_was_lost_is_not_sent_again() {
    let mut transfer = generic();
    transfer.failed(broke(TOTAL)).unwrap();
    let all = has(&format!("0-{}", TOTAL - 1));
    transfer.told(all).unwrap();
    assert_eq!(transfer.told(all), Ok(Step::now(Next::Commit)));
}

#[test]
fn distribution_2_harbor_and_acr_lose_a_session_that_breaks() {
    let mut transfer = generic();
    transfer.failed(broke(5 * MIB)).unwrap();
    // 404 BLOB_UPLOAD_INVALID: the state token says offset 0.
    assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
    assert_eq!(transfer.opened(None), send(0, None));
    assert_eq!(transfer.handed, 0, "the new session has nothing");
    // Twice: what is confirmed chunk by chunk stays.
    transfer.failed(broke(7 * MIB)).unwrap();
    assert_eq!(transfer.failures, 2);
    assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
    assert_eq!(transfer.opened(None), send(0, Some(16 * MIB)));
    assert_eq!(transfer.failures, 1, "chunks are no repetition");
    assert_eq!(transfer.took(16 * MIB, false), send(16 * MIB, Some(16 * MIB)));
}

#[test]
fn zot_deletes_a_session_that_breaks_and_cuts_after_a_minute() {
    let mut transfer = generic();
    let minute = Duration::from_secs(60);
    transfer.failed(Failed { how: How::Broke, handed: 90 * MIB, age: minute }).unwrap();
    assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
    let _ = transfer.opened(None);
    // The same as an answer: 500, and then 404 BLOB_UPLOAD_UNKNOWN.
    let cut = Failed { how: answered(500, None, 0).how, handed: 70 * MIB, age: minute + SECOND };
    transfer.failed(cut).unwrap();
    assert!(transfer.is_chunked(), "breaks at a repeatable age");
    assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
}

#[test]
fn quay_takes_the_same_chunk_again() {
    let mut transfer = generic();
    transfer.manner.chunked();
    let _ = transfer.took(16 * MIB, false);
    transfer.failed(broke(20 * MIB)).unwrap();
    // The number of bytes, not the last one.
    let told = has("bytes=0-16777216");
    transfer.told(told).unwrap();
    assert_eq!(transfer.told(told), Ok(send(16 * MIB, Some(16 * MIB))));
    // A start beyond what it has: 416, with Location and Range.
    assert_eq!(transfer.failed(answered(416, Some("0-9437183"), 20 * MIB)), Ok(send(9 * MIB, Some(16 * MIB))));
}

#[test]
fn a_place_that_quay_names_and_does_not_take_is_asked_for() {
    let mut transfer = generic();
    transfer.manner.chunked();
    let _ = transfer.took(16 * MIB, false);
    // `0-<count>` in its 416, without a unit; `bytes=0-<count>` in its 204.
    let says = format!("0-{}", 9 * MIB);
    let misplaced = 9 * MIB + 1;
    assert_eq!(transfer.failed(answered(416, Some(&says), 20 * MIB)), Ok(send(misplaced, Some(16 * MIB))));
    assert_eq!(next(transfer.failed(answered(416, Some(&says), 20 * MIB))), Next::Ask);
    let told = has(&format!("bytes=0-{}", 9 * MIB));
    transfer.told(told).unwrap();
    assert_eq!(transfer.told(told), Ok(send(9 * MIB, Some(16 * MIB))));
    // Once more at a place that it does take, it is the size.
    assert_eq!(next(transfer.failed(answered(416, Some(&format!("0-{}", 9 * MIB - 1)), 20 * MIB))), Next::Ask);
    assert!(transfer.manner.chunk() == Some(8 * MIB));
}

#[test]
fn ghcr_takes_only_small_chunks() {
    let mut transfer = transfer("ghcr.io");
    transfer.manner.chunked();
    assert_eq!(transfer.took(4 * MIB, false), send(4 * MIB, Some(4 * MIB)));
    // Anybody else with such a limit: the place is right, so the size is wrong.
    let mut transfer = generic();
    transfer.manner.chunked();
    for size in [8 * MIB, 4 * MIB] {
        assert_eq!(next(transfer.failed(answered(416, None, MIB))), Next::Ask);
        assert_eq!(next(transfer.told(has("0-0"))), Next::Open, "something was sent");
        assert_eq!(transfer.opened(None), send(0, Some(size)));
    }
    let _ = transfer.took(4 * MIB, false);
    assert_eq!(next(transfer.failed(answered(416, Some("0-4194303"), 4 * MIB))), Next::Ask);
    transfer.told(has("0-4194303")).unwrap();
    assert_eq!(transfer.told(has("0-4194303")), Ok(send(4 * MIB, Some(2 * MIB))));
}

#[test]
fn ecr_knows_no_status_and_no_second_try() {
    let mut transfer = transfer("1.dkr.ecr.eu-west-1.amazonaws.com");
    transfer.manner.chunked();
    assert_eq!(transfer.took(10 * MIB, false), send(10 * MIB, Some(10 * MIB)));
    transfer.failed(broke(15 * MIB)).unwrap();
    assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
    // 416 BLOB_UPLOAD_INVALID to what is sent to a session from its first byte again, at a place nobody asked for.
    let _ = transfer.opened(None);
    let _ = transfer.took(10 * MIB, false);
    assert_eq!(next(transfer.failed(answered(416, None, 12 * MIB))), Next::Ask);
}

#[test]
fn google_gets_no_chunks() {
    let mut transfer = transfer("europe-docker.pkg.dev");
    assert_eq!(transfer.failed(answered(413, None, MIB)), Err(Hopeless));
    transfer.failed(answered(504, None, MIB)).unwrap();
    assert!(!transfer.is_chunked());
}

#[test]
fn a_proxy_that_limits_or_hurries_requests_gets_chunks() {
    for status in [408, 413, 504] {
        let mut transfer = generic();
        assert_eq!(next(transfer.failed(answered(status, None, 3 * MIB))), Next::Ask);
        // nginx buffered the request: nothing of it arrived.
        assert_eq!(next(transfer.told(has("0-0"))), Next::Open);
        assert_eq!(transfer.opened(None), send(0, Some(16 * MIB)), "{status}");
    }
    let mut transfer = generic();
    let sizes: Vec<_> = std::iter::from_fn(|| {
        transfer.failed(answered(413, None, 0)).ok()?;
        transfer.manner.chunk()
    })
    .collect();
    assert_eq!(sizes, [16, 8, 4, 2, 1].map(|size| size * MIB));
}

#[test]
fn a_registry_wants_chunks_of_at_least_so_many_bytes() {
    let mut transfer = generic();
    transfer.manner = transfer.manner.clone().brought_again();
    transfer.manner.chunked();
    assert_eq!(transfer.opened(Some(20 * MIB)), send(0, Some(20 * MIB)));
    assert_eq!(transfer.opened(Some((1 << 30) + 1)), send(0, None), "more than anybody sends");
}

#[test]
fn a_count_that_nobody_can_rely_on_is_not_believed() {
    // One byte or none, and something was sent; more than was sent; nothing said.
    for told in [has("0-0"), has("0-5242880"), Told::Stored(Stored::Unsaid), has("bytes 0-9/*")] {
        let mut transfer = generic();
        transfer.failed(broke(5 * MIB)).unwrap();
        assert_eq!(next(transfer.told(told)), Next::Open, "{told:?}");
    }
    // Nothing was sent: there is nothing to be wrong about.
    for told in [has("0-0"), Told::Stored(Stored::Unsaid)] {
        let mut transfer = generic();
        transfer.failed(broke(0)).unwrap();
        assert_eq!(transfer.told(told), Ok(send(0, None)), "{told:?}");
    }
    // One that never settles.
    let mut transfer = generic();
    transfer.failed(broke(TOTAL)).unwrap();
    let looks = (1..1000).find(|look| next(transfer.told(Told::Stored(Stored::Bytes(*look)))) == Next::Open);
    assert_eq!(looks, Some(u64::from(MOST_LOOKS) + 1));
}

#[test]
fn attempts_are_bounded_and_count_anew_after_progress() {
    let mut transfer = generic();
    for _ in 0..3 {
        transfer.failed(broke(MIB)).unwrap();
        let told = has("0-99");
        transfer.told(told).unwrap();
        assert_eq!(transfer.told(told), Ok(send(100, None)), "less than a MiB is no progress");
    }
    assert_eq!(transfer.failed(broke(MIB)), Err(Hopeless));
    let mut transfer = generic();
    for mib in 1..50 {
        transfer.failed(broke(mib * MIB)).unwrap();
        let told = Told::Stored(Stored::Bytes(mib * MIB));
        transfer.told(told).unwrap();
        assert_eq!(transfer.told(told).map(|step| step.after), Ok(Duration::ZERO));
    }
    // A registry that is away does not answer questions either.
    let mut transfer = generic();
    transfer.failed(broke(MIB)).unwrap();
    assert_eq!(next(transfer.told(Told::Nothing)), Next::Ask);
    assert_eq!(next(transfer.told(Told::Nothing)), Next::Ask);
    assert_eq!(transfer.told(Told::Nothing), Err(Hopeless));
    // Nor does it open sessions.
    let mut transfer = generic();
    assert_eq!((0..10).take_while(|_| transfer.not_opened().is_ok()).count(), 3);
    // To begin anew for ever is no progress.
    let mut transfer = generic();
    let tries = (0..20).take_while(|_| {
        let goes_on = transfer.failed(broke(90 * MIB)).is_ok();
        goes_on && next(transfer.told(Told::Unknown)) == Next::Open && transfer.opened(None).after.is_zero()
    });
    assert_eq!(tries.count(), 3 + 3, "and in chunks of 16, 4 and 1 MiB");
}

#[test]
fn the_time_of_failures_in_a_row_is_bounded_and_counts_anew_after_progress() {
    let mut transfer = generic();
    // Of a transfer that took long, that is nothing.
    transfer.now(SECOND * 3600);
    assert_eq!(transfer.left(), SECOND * 300);
    transfer.failed(broke(MIB)).unwrap();
    transfer.now(SECOND * 3720);
    assert_eq!(transfer.left(), SECOND * 180);
    transfer.told(Told::Nothing).unwrap();
    transfer.now(SECOND * 3899);
    assert_eq!(transfer.told(Told::Nothing), Err(Hopeless), "no attempt would begin in time");
    assert_eq!((transfer.taken(), transfer.out_of_time()), (Some(Transition::GivenUp), Some(SECOND * 299)));
    let mut transfer = generic();
    for minutes in 1..20 {
        transfer.now(SECOND * 60 * minutes);
        transfer.failed(broke(u64::from(minutes) * MIB)).unwrap();
        let told = Told::Stored(Stored::Bytes(u64::from(minutes) * MIB));
        transfer.told(told).unwrap();
        transfer.told(told).unwrap();
        assert_eq!(transfer.left(), SECOND * 300);
    }
    // As long as bytes flow nothing fails, however far another session had been.
    let mut transfer = generic();
    for minutes in [10, 20] {
        transfer.now(SECOND * 60 * minutes);
        transfer.failed(broke(90 * MIB)).unwrap();
        assert_eq!(next(transfer.told(Told::Unknown)), Next::Open);
        assert_eq!(transfer.opened(None).after, Duration::ZERO);
    }
    transfer.now(SECOND * 1800);
    assert_eq!(transfer.took(16 * MIB, false).after, Duration::ZERO);
    assert_eq!(transfer.left(), SECOND * 300);
    // Attempts may be at their end before.
    let mut transfer = generic();
    assert_eq!((0..10).take_while(|_| transfer.not_opened().is_ok()).count(), 3);
    assert_eq!(transfer.out_of_time(), None);
}

#[test]
fn a_pause_that_is_asked_for_is_kept_and_one_too_long_is_not() {
    let asks = |seconds| How::Answered { status: 429, stored: Stored::Unsaid, asks: Some(SECOND * seconds) };
    let after = |seconds| {
        let failed = Failed { how: asks(seconds), handed: MIB, age: SECOND };
        generic().failed(failed).map(|step| step.after)
    };
    assert_eq!(after(7), Ok(SECOND * 7));
    assert_eq!(after(3600), Err(Hopeless));
}

#[test]
fn other_credentials_are_used_at_once() {
    let renewed = Failed { how: How::Renewed, handed: MIB, age: SECOND };
    assert_eq!(generic().failed(renewed), Ok(Step::now(Next::Ask)));
}

#[test]
fn what_a_registry_decides_stands() {
    for status in [400, 401, 403, 405, 411, 415, 501, 507] {
        assert_eq!(generic().failed(answered(status, None, MIB)), Err(Hopeless), "{status}");
    }
    // The registry restarted without `http.secret`, or deleted the session.
    for status in [404, 410] {
        assert_eq!(next(generic().failed(answered(status, None, MIB))), Next::Open, "{status}");
    }
}

#[test]
fn a_commit_that_failed_is_asked_about_too() {
    let sent = || {
        let mut transfer = generic();
        let _ = transfer.took(TOTAL, true);
        assert_eq!(next(transfer.uncommitted()), Next::Ask);
        transfer
    };
    let mut transfer = sent();
    let all = Told::Stored(Stored::Bytes(TOTAL));
    transfer.told(all).unwrap();
    assert_eq!(transfer.told(all), Ok(Step::now(Next::Commit)));
    assert_eq!(next(sent().told(Told::Unknown)), Next::Open);
    let mut transfer = sent();
    assert!((0..10).take_while(|_| transfer.uncommitted().is_ok()).count() < 10);
}

/// What a registry, or somebody in between, does.
#[derive(Clone, Copy)]
enum Does {
    Opens,
    StaysShut,
    Takes(u64),
    Fails(Failed),
    RefusesCommit,
    Says(Told),
}

impl Does {
    fn to(self, transfer: &mut Transfer) -> Option<Transition> {
        let _ = match self {
            Self::Opens => Ok(transfer.opened(None)),
            Self::StaysShut => transfer.not_opened(),
            Self::Takes(to) => Ok(transfer.took(to, to == TOTAL)),
            Self::Fails(failed) => transfer.failed(failed),
            Self::RefusesCommit => transfer.uncommitted(),
            Self::Says(told) => transfer.told(told),
        };
        transfer.taken()
    }
}

#[test]
fn every_transition_is_taken_by_what_was_recorded() {
    use Does::{Fails, Opens, RefusesCommit, Says, StaysShut, Takes};
    use Transition as T;
    let all = Told::Stored(Stored::Bytes(TOTAL));
    let renewed = Failed { how: How::Renewed, handed: MIB, age: SECOND };
    let restless: Vec<_> =
        (0..=u64::from(MOST_LOOKS)).map(|look| Says(Told::Stored(Stored::Bytes(2 + look)))).collect();
    let breaks = Fails(broke(MIB));
    let cases: Vec<(T, Vec<Does>)> = vec![
        (T::Opened, vec![Opens]),
        // POST answered 503.
        (T::NotOpened, vec![StaysShut]),
        // distribution: 202 to a PATCH with a Content-Range; ECR: 201.
        (T::ChunkTaken, vec![Takes(16 * MIB)]),
        (T::AllTaken, vec![Takes(TOTAL)]),
        // FIN or RST in the middle of a PATCH.
        (T::Broke, vec![breaks]),
        // zot, a read error: 500.
        (T::FailedForNow, vec![Fails(answered(500, None, MIB))]),
        // A load balancer: 504.
        (T::TookTooLong, vec![Fails(answered(504, None, MIB))]),
        // nginx, Cloudflare: 413. GHCR, more than 4 MiB with a Content-Range: 416.
        (T::TooLarge, vec![Fails(answered(413, None, MIB))]),
        (T::TooLarge, vec![Fails(answered(416, Some("0-0"), MIB))]),
        // distribution 3, Quay: 416 with Location and Range.
        (T::Misplaced, vec![Takes(16 * MIB), Fails(answered(416, Some("0-1048575"), 17 * MIB))]),
        // ECR, sent to a broken session once more: 416 BLOB_UPLOAD_INVALID without a Range.
        (T::OutOfRange, vec![Takes(16 * MIB), Fails(answered(416, None, 17 * MIB))]),
        // 401 error="invalid_token" behind the 60 s of leeway.
        (T::Renewed, vec![Fails(renewed)]),
        // A restart without `http.secret`: 404 BLOB_UPLOAD_INVALID.
        (T::SessionUnknown, vec![Fails(answered(404, None, 0))]),
        (T::Uncommitted, vec![Takes(TOTAL), RefusesCommit]),
        // The registry is away.
        (T::Unanswered, vec![breaks, Says(Told::Nothing)]),
        // distribution 3, still writing what had arrived, and then not any more.
        (T::Settling, vec![breaks, Says(has("0-65535"))]),
        (T::Resumed, vec![breaks, Says(has("0-65535")), Says(has("0-65535"))]),
        (T::Complete, vec![Fails(broke(TOTAL)), Says(all), Says(all)]),
        // distribution: 204 `0-0` although no byte of the request was sent.
        (T::Begins, vec![Fails(broke(0)), Says(has("0-0"))]),
        // distribution 2.8: 404 BLOB_UPLOAD_INVALID; zot: BLOB_UPLOAD_UNKNOWN; ECR: 404 always.
        (T::Lost, vec![breaks, Says(Told::Unknown)]),
        // nginx had buffered it; Quay forgets a broken piece.
        (T::NothingKept, vec![breaks, Says(has("0-0"))]),
        (T::ClaimsTooMuch, vec![breaks, Says(has("0-1048576"))]),
        (T::Unsettled, [vec![breaks], restless].concat()),
        (T::Refused, vec![Fails(answered(403, None, MIB))]),
        (T::GivenUp, vec![breaks; 4]),
    ];
    let mut taken = std::collections::BTreeSet::new();
    for (expected, happens) in cases {
        let mut transfer = generic();
        let last = happens.into_iter().map(|does| does.to(&mut transfer)).last();
        assert_eq!(last, Some(Some(expected)));
        assert_eq!(transfer.taken(), None, "it is told once");
        taken.insert(expected);
    }
    assert_eq!(taken.len(), Transition::ALL.len());
}

#[test]
fn what_another_process_sent_is_not_sent_again() {
    let fresh = || Transfer::new(Manner::of("registry.example"), BackOff::new(4, SECOND, 300 * SECOND, 1), Some(TOTAL));
    let mut transfer = fresh();
    assert_eq!(transfer.continued(None, 17 * MIB), send(17 * MIB, None));
    assert_eq!(transfer.taken(), Some(Transition::Resumed));
    // It goes on like any other that breaks.
    assert_eq!(next(transfer.failed(broke(40 * MIB))), Next::Ask);
    assert_eq!(next(transfer.told(has("0-31457279"))), Next::Ask);
    assert_eq!(next(transfer.told(has("0-31457279"))), send(30 * MIB, None).next);
    let mut transfer = fresh();
    assert_eq!(transfer.continued(None, TOTAL).next, Next::Commit);
    assert_eq!(transfer.taken(), Some(Transition::Complete));
}
