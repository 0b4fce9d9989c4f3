//! Checksums of what flows, in the algorithms that were demanded.
//!
//! One SHA-1 or SHA-256 is hashed inline, while the chunk is in the cache. Anything dearer would hold up the network's
//! thread, so it goes to threads beside the flow, which cost more CPU in all but let the bytes move on.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::algorithm::{Algorithm, Begun, Hashes, Sum};
use super::hasher::Hasher;
use super::{Chunks, Flow};
use crate::error::{Error, Result, Stage};
use crate::observe::{Meter, Waiting, WaitsFor};

/// What may be hashed inline, in the unit of [`Algorithm::cost`]: as much as the layer's own digest costs.
const INLINE_COST: u32 = Algorithm::Sha256.cost();
/// The most threads beside the flow.
const MAX_HASHERS: usize = 3;

/// Computes checksums of a flow as it passes, where they begin as `begun` says; `meter` has what that costs. It ends only when
/// they are there. Without algorithms it is left alone.
///
/// # Errors
/// `internal` if one of them has no mark where they begin.
pub fn checksummed(
    flow: Flow,
    algorithms: &[Algorithm],
    begun: &Begun,
    meter: &Arc<Meter>,
) -> Result<(Flow, Checksums)> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    checksummed_on(cpus, flow, algorithms, begun, meter)
}

/// The checksums of a flow, once it has ended well.
pub struct Checksums(Arc<Mutex<Option<Vec<Sum>>>>);

impl Checksums {
    /// One for each algorithm; none before the flow's successful end.
    #[must_use]
    pub fn get(&self) -> Option<Vec<Sum>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn checksummed_on(
    cpus: usize,
    flow: Flow,
    algorithms: &[Algorithm],
    begun: &Begun,
    meter: &Arc<Meter>,
) -> Result<(Flow, Checksums)> {
    let mut algorithms = algorithms.to_vec();
    algorithms.sort_unstable();
    algorithms.dedup();
    if algorithms.is_empty() {
        return Ok((flow, Checksums(Arc::new(Mutex::new(Some(Vec::new()))))));
    }
    let hashes = |algorithms: &[Algorithm]| {
        let why = || Error::internal(Stage::Checksum, "a checksum has no mark where the flow begins");
        Hashes::new(algorithms, begun).ok_or_else(why)
    };
    let (mut inline, beside) = placed(&algorithms, cpus);
    let mut hashers = Vec::new();
    for group in beside {
        match Hasher::start(hashes(&group)?, Arc::clone(meter)) {
            Ok(hasher) => hashers.push(hasher),
            // Slower, but no reason to fail.
            Err(_) => inline.extend(group),
        }
    }
    let result = Arc::new(Mutex::new(None));
    let inline = Some(hashes(&inline)?);
    let step = Checksummed {
        flow,
        inline,
        hashers,
        meter: Arc::clone(meter),
        waiting: Waiting::new(WaitsFor::Checksums),
        ended: false,
        sums: Vec::new(),
        result: Arc::clone(&result),
    };
    Ok((Flow::through(step), Checksums(result)))
}

/// What is hashed inline, and what by each thread beside the flow: of about equal cost, dearest first.
fn placed(algorithms: &[Algorithm], cpus: usize) -> (Vec<Algorithm>, Vec<Vec<Algorithm>>) {
    let cost = |group: &[Algorithm]| group.iter().map(|algorithm| algorithm.cost()).sum::<u32>();
    let threads = cpus.saturating_sub(1).min(MAX_HASHERS).min(algorithms.len());
    if threads == 0 || cost(algorithms) <= INLINE_COST {
        return (algorithms.to_vec(), Vec::new());
    }
    let mut dearest_first = algorithms.to_vec();
    dearest_first.sort_by_key(|algorithm| Reverse(algorithm.cost()));
    let mut groups = vec![Vec::new(); threads];
    for algorithm in dearest_first {
        if let Some(group) = groups.iter_mut().min_by_key(|group| cost(group)) {
            group.push(algorithm);
        }
    }
    (Vec::new(), groups)
}

struct Checksummed {
    flow: Flow,
    inline: Option<Hashes>,
    hashers: Vec<Hasher>,
    meter: Arc<Meter>,
    waiting: Waiting,
    ended: bool,
    sums: Vec<Sum>,
    result: Arc<Mutex<Option<Vec<Sum>>>>,
}

impl Chunks for Checksummed {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if !self.ended {
            for hasher in &self.hashers {
                let room = hasher.poll_ready(cx);
                self.waiting.set(room.is_pending());
                if let Err(error) = ready!(room) {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let next = ready!(self.flow.poll_next(cx));
            if let Some(Ok(chunk)) = &next {
                if let Some(inline) = &mut self.inline {
                    self.meter.working(|| inline.update(chunk));
                }
                for hasher in &self.hashers {
                    hasher.push(chunk.clone());
                }
            }
            if next.is_some() {
                return Poll::Ready(next);
            }
            self.ended = true;
            self.hashers.iter().for_each(Hasher::end);
        }
        while let Some(hasher) = self.hashers.last() {
            let sums = hasher.poll_sums(cx);
            self.waiting.set(sums.is_pending());
            match ready!(sums) {
                Ok(sums) => self.sums.extend(sums),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            self.hashers.pop();
        }
        self.sums.extend(self.inline.take().into_iter().flat_map(Hashes::finish));
        self.sums.sort_unstable_by_key(Sum::algorithm);
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::mem::take(&mut self.sums));
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::tests::{collect, flow};
    use super::*;

    #[tokio::test]
    async fn every_algorithm_gives_the_same_wherever_it_is_hashed() {
        let bytes = vec![7; 3 << 20];
        let chunks: Vec<&[u8]> = bytes.chunks(100_001).collect();
        let mut expected = Hashes::new(&Algorithm::ALL, &Begun::default()).unwrap();
        expected.update(&bytes);
        let expected = expected.finish();
        for cpus in [1, 2, 3, 64] {
            let twice = [&Algorithm::ALL[..], &Algorithm::ALL[..]].concat();
            let (flow, checksums) =
                checksummed_on(cpus, flow(&chunks), &twice, &Begun::default(), &Arc::default()).unwrap();
            assert!(checksums.get().is_none());
            assert!(collect(flow).await.unwrap() == bytes);
            assert_eq!(checksums.get().unwrap(), expected, "{cpus} CPUs");
        }
    }

    #[tokio::test]
    async fn a_flow_that_fails_has_no_checksums() {
        let (setter, outcome) = super::super::outcome(Stage::Source, "test");
        drop(setter);
        let failing = Flow::new(super::super::flow::tests::Listed([Bytes::from_static(b"abc")].into()), outcome, None);
        let (flow, checksums) =
            checksummed_on(4, failing, &[Algorithm::Streebog512], &Begun::default(), &Arc::default()).unwrap();
        assert!(collect(flow).await.is_err());
        assert!(checksums.get().is_none());
    }

    #[test]
    fn one_cheap_checksum_stays_inline_and_the_rest_goes_beside() {
        use Algorithm::{Md5, Sha1, Sha256, Sha512, Streebog256, Streebog512};
        assert_eq!(placed(&[Sha256], 8), (vec![Sha256], vec![]));
        assert_eq!(placed(&[Sha1], 8), (vec![Sha1], vec![]));
        assert_eq!(placed(&[Md5], 8), (vec![], vec![vec![Md5]]));
        assert_eq!(placed(&[Sha1, Sha256], 2), (vec![], vec![vec![Sha256, Sha1]]));
        // A second CPU is what it takes.
        assert_eq!(placed(&[Md5, Streebog512], 1), (vec![Md5, Streebog512], vec![]));
        let all = [Md5, Sha1, Sha256, Sha512, Streebog256, Streebog512];
        let (inline, beside) = placed(&all, 64);
        assert_eq!((inline, beside.len()), (vec![], MAX_HASHERS));
        assert_eq!(beside[0], [Streebog256]);
        assert_eq!(beside[2], [Md5, Sha512, Sha256, Sha1]);
    }
}
