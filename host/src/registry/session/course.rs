//! The machine against models of the registries, under faults drawn from a seed: the bytes are right or nothing is committed.

use std::time::Duration;

use super::{Failed, How, Manner, Next, Step, Stored, Told, Transfer};
use crate::registry::retry::BackOff;

/// What a registry does with a request that breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Keeps what arrived, tells it, checks where a piece begins.
    Distribution3,
    /// Keeps what arrived, but knows the session no more; appends whatever comes.
    Distribution2,
    /// Deletes the session.
    Zot,
    /// Forgets the piece, keeps the session.
    Quay,
    /// Keeps what arrived and answers no questions.
    Ecr,
}

struct Model {
    kind: Kind,
    stored: Vec<u8>,
    lost: bool,
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

impl Model {
    /// Takes a piece that breaks after `arrives` bytes, if it does. What the machine learns of it.
    fn patch(&mut self, from: u64, piece: &[u8], ranged: bool, arrives: Option<usize>) -> Option<How> {
        let answered = |status, stored| Some(How::Answered { status, stored, asks: None });
        if self.lost {
            return answered(404, Stored::Unsaid);
        }
        let has = self.stored.len() as u64;
        if self.kind != Kind::Distribution2 && ranged && from != has {
            return answered(416, Stored::Bytes(has));
        }
        let Some(arrives) = arrives else {
            self.stored.extend_from_slice(piece);
            return None;
        };
        match self.kind {
            Kind::Distribution3 | Kind::Ecr => self.stored.extend_from_slice(&piece[..arrives]),
            Kind::Distribution2 => {
                self.stored.extend_from_slice(&piece[..arrives]);
                self.lost |= arrives > 0;
            }
            Kind::Zot => self.lost = true,
            Kind::Quay => {}
        }
        Some(How::Broke)
    }

    fn told(&self) -> Told {
        let has = self.stored.len() as u64;
        match self.kind {
            _ if self.lost => Told::Unknown,
            Kind::Ecr => Told::Unknown,
            _ if has <= 1 => Told::Stored(Stored::AtMostOne),
            _ => Told::Stored(Stored::Bytes(has)),
        }
    }
}

/// Carries `layer` into a registry of that kind. Whether it got there; panics if something else did.
fn carry(kind: Kind, layer: &[u8], seed: u64) -> bool {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let total = layer.len() as u64;
    let mut transfer = Transfer::new(
        Manner::of("registry.example"),
        BackOff::new(6, Duration::ZERO, Duration::MAX, seed),
        Some(total),
    );
    let mut model = Model { kind, stored: Vec::new(), lost: false };
    let mut step = Ok(transfer.opened(None));
    for _ in 0..10_000 {
        let Ok(Step { next, .. }) = step else { return false };
        step = match next {
            Next::Commit => {
                assert_eq!(model.stored, layer, "{kind:?}, seed {seed}");
                return true;
            }
            Next::Open => {
                model = Model { kind, stored: Vec::new(), lost: false };
                match chance.below(8) {
                    0 => transfer.not_opened(),
                    _ => Ok(transfer.opened(None)),
                }
            }
            Next::Ask => match chance.below(6) {
                0 => transfer.told(Told::Nothing),
                _ => transfer.told(model.told()),
            },
            Next::Send(piece) => {
                let to = piece.at_most.map_or(total, |most| total.min(piece.from + most));
                let bytes = &layer[usize::try_from(piece.from).unwrap()..usize::try_from(to).unwrap()];
                let breaks = chance.below(3) > 0;
                let arrives = usize::try_from(chance.below(bytes.len() as u64 + 1)).unwrap();
                let ranged = piece.at_most.is_some() || piece.from > 0;
                match model.patch(piece.from, bytes, ranged, breaks.then_some(arrives)) {
                    None => Ok(transfer.took(to, to == total)),
                    // Now and then the answer is lost of what arrived whole.
                    Some(how) => {
                        let handed = piece.from + arrives as u64 + chance.below(1 + (bytes.len() - arrives) as u64);
                        transfer.failed(Failed { how, handed, age: Duration::from_secs(chance.below(100)) })
                    }
                }
            }
        };
    }
    panic!("{kind:?}, seed {seed}: it goes on for ever");
}

#[test]
fn whatever_breaks_the_bytes_are_right_or_nothing_is_committed() {
    let layer: Vec<u8> = (0..3_u32 << 20).map(|at| (at / 4099 + at) as u8).collect();
    for kind in [Kind::Distribution3, Kind::Distribution2, Kind::Zot, Kind::Quay, Kind::Ecr] {
        let arrived = (0..60).filter(|seed| carry(kind, &layer, *seed)).count();
        assert!(arrived > 0, "{kind:?}");
        assert!(kind != Kind::Distribution3 || arrived >= 45, "it can always be gone on with: {arrived}");
    }
}
