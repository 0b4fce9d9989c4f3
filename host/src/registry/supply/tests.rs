//! Bytes that are needed once, twice, in pieces, from memory and from afar.

use super::layer::WINDOW_BYTES;
use super::*;
use crate::stream::{Chunks, Reading, outcome};

struct Listed(VecDeque<Bytes>);

impl Chunks for Listed {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// `bytes` in chunks of that size.
pub(in crate::registry) fn flow(bytes: &[u8], size: usize) -> Flow {
    let (setter, ended) = outcome(Stage::Source, "test");
    setter.set(Ok(()));
    Flow::new(Listed(bytes.chunks(size).map(Bytes::copy_from_slice).collect()), ended, None)
}

struct Whole(Vec<u8>);

impl Replay for Whole {
    fn from(&self, offset: u64) -> Option<Reading> {
        let rest = self.0[usize::try_from(offset).unwrap()..].to_vec();
        Some(Box::pin(async move { Ok(flow(&rest, 5)) }))
    }
}

const TEXT: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn what_the_registry_has_flows_past() {
    for (length, size) in [(Some(26), 7), (None, 7), (Some(26), 1), (None, 26)] {
        let mut supply = supply_of(length, size);
        assert!(!supply.pour_away(10).await.unwrap().unwrap(), "more follows");
        let (before, lent) = supply.rest(10).await.unwrap().unwrap();
        let mut bytes = Vec::new();
        if let Some(Before::Kept(kept)) = before {
            kept.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        }
        while let Some(chunk) = poll_fn(|cx| lent.poll_next(cx)).await.transpose().unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(bytes, TEXT[10..], "{length:?} in chunks of {size}");
        let mut supply = supply_of(length, size);
        assert!(supply.pour_away(26).await.unwrap().unwrap(), "the layer ends there");
        assert!(supply_of(length, size).pour_away(27).await.map_or(true, |poured| poured.is_err()));
    }
}

/// The text in chunks of that size, which nobody can bring again.
fn supply_of(length: Option<u64>, size: usize) -> Supply {
    Supply::new(flow(TEXT, size), 0, length, None, false)
}

fn supply(length: Option<u64>, replay: bool) -> Supply {
    Supply::new(flow(TEXT, 7), 0, length, replay.then(|| Arc::new(Whole(TEXT.to_vec())) as Arc<dyn Replay>), replay)
}

fn joined(chunks: &VecDeque<Bytes>) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.to_vec()).collect()
}

async fn chunk(supply: &mut Supply, from: u64, size: u64) -> Option<(Vec<u8>, bool)> {
    supply.chunk(from, size).await.unwrap().ok().map(|(chunks, ends)| (joined(&chunks), ends))
}

#[tokio::test]
async fn chunks_follow_each_other_and_the_last_one_is_known() {
    for length in [Some(26), None] {
        let mut supply = supply(length, false);
        assert_eq!(chunk(&mut supply, 0, 10).await, Some((b"abcdefghij".to_vec(), false)), "{length:?}");
        assert_eq!(chunk(&mut supply, 10, 10).await, Some((b"klmnopqrst".to_vec(), false)));
        assert_eq!(chunk(&mut supply, 20, 10).await, Some((b"uvwxyz".to_vec(), true)));
        assert_eq!(chunk(&mut supply, 26, 10).await, Some((Vec::new(), true)));
    }
    for length in [Some(26), None] {
        let mut supply = supply(length, false);
        assert!(!chunk(&mut supply, 0, 13).await.unwrap().1);
        assert!(chunk(&mut supply, 13, 13).await.unwrap().1, "exactly full, {length:?}");
    }
}

#[tokio::test]
async fn the_chunk_at_hand_is_sent_again_from_memory() {
    let mut supply = supply(Some(26), false);
    chunk(&mut supply, 0, 10).await.unwrap();
    assert_eq!(chunk(&mut supply, 0, 10).await.unwrap().0, b"abcdefghij");
    assert_eq!(chunk(&mut supply, 0, 4).await.unwrap().0, b"abcd", "smaller, what is left stays");
    assert_eq!(chunk(&mut supply, 4, 4).await.unwrap().0, b"efgh");
    assert_eq!(chunk(&mut supply, 6, 10).await.unwrap().0, b"ghijklmnop", "filled up");
    assert!(supply.rest(40).await.unwrap().is_err(), "what has not flowed yet");
}

#[tokio::test]
async fn the_last_bytes_that_nobody_can_bring_again_are_kept() {
    let (size, count) = (64 * 1024_usize, 200_usize);
    let all: Vec<u8> = (0..size * count).map(|at| (at / 7 % 251) as u8).collect();
    for length in [Some(all.len() as u64), None] {
        let mut supply = Supply::new(flow(&all, size), 0, length, None, false);
        assert!(supply.can_begin_again());
        let (_, lent) = supply.rest(0).await.unwrap().unwrap();
        for _ in 0..150 {
            poll_fn(|cx| lent.poll_next(cx)).await.unwrap().unwrap();
        }
        let position = supply.position();
        let first = position - WINDOW_BYTES;
        assert!(!supply.can_begin_again());
        assert!(supply.rest(first - 1).await.unwrap().is_err(), "no more than that");
        assert_eq!(chunk(&mut supply, first - 1, 10).await, None);
        // From the middle of what was given out, in chunks and then the rest.
        let from = first + 100_000;
        let (bytes, ends) = chunk(&mut supply, from, 1 << 20).await.unwrap();
        assert_eq!((&*bytes, ends), (&all[from as usize..from as usize + (1 << 20)], false));
        let (before, lent) = supply.rest(from).await.unwrap().unwrap();
        let Some(Before::Kept(kept)) = before else { panic!("bytes in memory") };
        let mut got = joined(&kept);
        assert_eq!(got.len() as u64, position - from);
        while let Some(chunk) = poll_fn(|cx| lent.poll_next(cx)).await {
            got.extend(chunk.unwrap());
        }
        assert!(got == all[from as usize..]);
    }
}

#[tokio::test]
async fn what_is_not_in_memory_any_more_is_replayed_and_the_flow_goes_on() {
    let mut supply = supply(Some(26), true);
    chunk(&mut supply, 0, 10).await.unwrap();
    chunk(&mut supply, 10, 4).await.unwrap();
    let mut all = Vec::new();
    loop {
        let (bytes, ends) = chunk(&mut supply, all.len() as u64, 6).await.unwrap();
        all.extend(bytes);
        if ends {
            break;
        }
    }
    assert_eq!(all, TEXT);
}

#[tokio::test]
async fn the_rest_is_the_replay_and_then_the_flow() {
    let mut supply = supply(Some(26), true);
    let (before, first) = supply.rest(0).await.unwrap().unwrap();
    assert!(before.is_none());
    poll_fn(|cx| first.poll_next(cx)).await.unwrap().unwrap();
    let (before, lent) = supply.rest(3).await.unwrap().unwrap();
    assert!(poll_fn(|cx| first.poll_next(cx)).await.unwrap().is_err(), "it was lent to the next one");
    let Some(Before::Again(mut again)) = before else { panic!("bytes 3 to 7") };
    let mut all = Vec::new();
    while let Some(chunk) = poll_fn(|cx| again.poll_next(cx)).await {
        all.extend(chunk.unwrap());
    }
    assert_eq!(all, b"defg", "up to where the flow stands");
    while let Some(chunk) = poll_fn(|cx| lent.poll_next(cx)).await {
        all.extend(chunk.unwrap());
    }
    assert_eq!(all, &TEXT[3..]);
    assert!(lent.is_spent());
}

#[tokio::test]
async fn why_a_flow_failed_is_known_whoever_read_it() {
    let mut supply = supply(Some(27), false);
    let (_, lent) = supply.rest(0).await.unwrap().unwrap();
    while let Some(Ok(_)) = poll_fn(|cx| lent.poll_next(cx)).await {}
    drop(lent);
    let (_, lent) = supply.rest(26).await.unwrap().unwrap();
    assert!(poll_fn(|cx| lent.poll_next(cx)).await.unwrap().is_err());
    supply.take_back();
    assert!(supply.failure().unwrap().to_string().contains("another length"));
}

#[tokio::test]
async fn a_flow_of_another_length_never_ends_well() {
    for length in [25, 27] {
        let mut supply = supply(Some(length), false);
        assert!(supply.chunk(0, 100).await.is_err(), "{length}");
    }
}
