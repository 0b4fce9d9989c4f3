//! How far an input may expand.

use crate::{Refusal, Step, Unwrapper};

/// The most bytes of output for each byte of input. Disks that people publish expand 2 to 200 times, mostly empty ones among
/// them. DEFLATE ends at 1032 by itself, which nothing but zeros reaches; the others go on to a million.
pub const RATIO: u64 = 1000;
/// Output that is free, whatever the ratio: a small empty disk is no bomb.
pub const FREE_BYTES: u64 = 64 << 20;

/// An unwrapper that ends where a bomb begins, and where it makes no headway.
#[derive(Debug)]
pub struct Bounded<U> {
    inner: U,
    /// The length of all input, if it is known. An empty part in front then counts with the full one behind it.
    whole: u64,
    taken: u64,
    given: u64,
    ratio: u64,
}

impl<U: Unwrapper> Bounded<U> {
    /// Bounds `inner`, whose whole input has `size` bytes, if that is known.
    pub fn new(inner: U, size: Option<u64>) -> Self {
        Self::expanding(inner, size, RATIO)
    }

    /// The same for whoever takes so many bytes for each.
    pub fn expanding(inner: U, size: Option<u64>, ratio: u64) -> Self {
        Self { inner, whole: size.unwrap_or(0), taken: 0, given: 0, ratio }
    }

    /// What it bounds.
    pub const fn inner(&self) -> &U {
        &self.inner
    }

    /// Whether it has expanded further than it may.
    pub fn is_beyond(&self) -> bool {
        self.given > self.most()
    }

    fn most(&self) -> u64 {
        self.taken.max(self.whole).saturating_mul(self.ratio).max(FREE_BYTES)
    }

    /// See [`Unwrapper::step`].
    ///
    /// # Errors
    /// The unwrapper's, and [`Refusal::Limit`] for more than its ratio and [`FREE_BYTES`] allow.
    pub fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
        let step = self.inner.step(input, last, output)?;
        let idle = step.taken == 0 && step.given == 0 && !step.ended;
        if idle && !output.is_empty() && (last || !input.is_empty()) {
            return Err(Refusal::invalid("the decoder makes no headway"));
        }
        self.taken = self.taken.saturating_add(step.taken as u64);
        self.given = self.given.saturating_add(step.given as u64);
        if self.is_beyond() {
            let most = self.most();
            return Err(Refusal::limit(format!(
                "{} bytes expand to more than {most}: at most {} bytes for each are accepted",
                self.taken.max(self.whole),
                self.ratio
            )));
        }
        Ok(step)
    }
}

/// All that comes out of `pieces`, of which no single step gives more than `room` bytes. Without the glue, for tests and for
/// whoever fuzzes.
///
/// # Errors
/// See [`Bounded::step`].
pub fn unwrapped<'a>(
    unwrapper: impl Unwrapper,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    room: usize,
) -> Result<Vec<u8>, Refusal> {
    let pieces: Vec<&[u8]> = pieces.into_iter().collect();
    let size = pieces.iter().map(|piece| piece.len() as u64).sum();
    let mut unwrapper = Bounded::new(unwrapper, Some(size));
    let (mut output, mut all) = (vec![0; room.max(1)], Vec::new());
    for (piece, last) in pieces.into_iter().map(|piece| (piece, false)).chain([(&[][..], true)]) {
        let mut rest = piece;
        while last || !rest.is_empty() {
            let step = unwrapper.step(rest, last, &mut output)?;
            rest = rest.get(step.taken..).unwrap_or_default();
            all.extend_from_slice(output.get(..step.given).unwrap_or_default());
            if step.ended {
                return Ok(all);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Announced;

    /// Gives `0` times what it takes.
    struct Times(u64, u64, Announced);

    impl Times {
        fn new(times: u64) -> Self {
            Self(times, 0, Announced::default())
        }
    }

    impl Unwrapper for Times {
        fn step(&mut self, input: &[u8], last: bool, output: &mut [u8]) -> Result<Step, Refusal> {
            self.1 += input.len() as u64 * self.0;
            let given = output.len().min(usize::try_from(self.1).unwrap());
            self.1 -= given as u64;
            Ok(Step { taken: input.len(), given, ended: last && self.1 == 0 })
        }

        fn announced(&self) -> Option<&Announced> {
            Some(&self.2)
        }
    }

    fn given(times: u64, size: Option<u64>, input: usize) -> Result<u64, Refusal> {
        let mut bounded = Bounded::new(Times::new(times), size);
        let mut output = vec![0; 1 << 20];
        let mut all = 0;
        let mut input = vec![0; input];
        loop {
            let step = bounded.step(&input, true, &mut output)?;
            input.clear();
            all += step.given as u64;
            if step.ended {
                return Ok(all);
            }
        }
    }

    #[test]
    fn an_input_expands_only_so_far() {
        assert_eq!(given(RATIO, None, 100_000).unwrap(), 100_000 * RATIO);
        let refused = given(RATIO + 1, None, 100_000).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "100000 bytes expand to more than 100000000: at most 1000 bytes for each are accepted"
        );
        assert!(matches!(refused, Refusal::Limit(_)));
    }

    #[test]
    fn what_is_small_may_expand_further() {
        assert_eq!(given(FREE_BYTES, None, 1).unwrap(), FREE_BYTES);
        assert!(given(FREE_BYTES + 1, None, 1).is_err());
    }

    #[test]
    fn what_is_still_to_come_counts_where_it_is_known() {
        assert_eq!(given(100 << 20, Some(1 << 20), 1).unwrap(), 100 << 20);
        assert!(given(100 << 20, Some(100_000), 1).is_err());
    }

    /// Does nothing.
    struct Stuck(Announced);

    impl Unwrapper for Stuck {
        fn step(&mut self, _: &[u8], _: bool, _: &mut [u8]) -> Result<Step, Refusal> {
            Ok(Step::default())
        }

        fn announced(&self) -> Option<&Announced> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_decoder_that_is_stuck_is_no_endless_loop() {
        assert!(unwrapped(Stuck(Announced::default()), [&b"x"[..]], 10).is_err());
        assert!(unwrapped(Stuck(Announced::default()), [&b""[..]], 10).is_err());
    }

    #[test]
    fn a_decoder_gets_all_of_it_however_it_is_split() {
        let split = unwrapped(Times::new(3), [&b"ab"[..], b"", b"cde"], 4).unwrap();
        assert_eq!(split.len(), 15);
    }
}
