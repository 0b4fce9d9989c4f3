//! Schedules that are made for one thing each, which chance alone would hardly bring about.

use super::dice::Dice;
use super::leg::{Carriage, Fault, Kind, Traffic, Way};
use super::odd::Oddity;
use super::recorded::Manner;
use super::schedule::Setting;
use super::stage::{DISK, RegistryKind};

/// One seed in so many is aimed.
const EVERY: u64 = 8;
/// Somebody wants other credentials, forbids, forgot, or waited for too long.
const STATUSES: [u16; 4] = [401, 403, 404, 408];
/// The connection that a layer begins on, where each request has its own: behind the ping and the opening of the session.
const CONNECTION: usize = 2;
/// Where in a TLS handshake's first message there is no doubt that it has begun and not ended.
const IN_A_HELLO: (u64, u64) = (60, 100);

/// What a schedule aims at: an upload that breaks, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// It breaks in the middle, at this registry; before its first byte at the one that closes its connections.
    Break(Oddity),
    /// It is answered so in the middle.
    Answer(u16),
}

impl Aim {
    /// What a seed aims at, if it does.
    pub fn of(seed: u64) -> Option<Self> {
        let breaks = Oddity::ALL.map(Self::Break);
        let mut aims = breaks.into_iter().chain(STATUSES.map(Self::Answer)).cycle();
        let turn = seed / EVERY % (Oddity::ALL.len() + STATUSES.len()) as u64;
        aims.nth(turn as usize).filter(|_| seed.is_multiple_of(EVERY))
    }

    /// The setting that it takes, as close to this one as can be.
    pub fn setting(self, setting: Setting) -> Setting {
        let (manner, upload) = match (self, setting.upload) {
            (Self::Break(Oddity::Brief), _) => (Manner::Odd(Oddity::Brief), Carriage::Under),
            (Self::Break(oddity), upload) => (Manner::Odd(oddity), upload),
            // Who only sees TLS cannot answer, and only the recorded ones have a token server.
            (Self::Answer(_), Carriage::Under) => (Manner::Quay, Carriage::Terminated),
            (Self::Answer(_), upload) => (Manner::Quay, upload),
        };
        Setting { registry: RegistryKind::Recorded(manner), upload, ..setting }
    }

    /// The fault, on the registry's side.
    pub fn fault(self, dice: &mut Dice, undisturbed: &Traffic) -> Fault {
        let at = match (self, undisturbed.begins.get(CONNECTION)) {
            (Self::Break(Oddity::Brief), Some(begins)) => begins + IN_A_HELLO.0 + dice.below(IN_A_HELLO.1),
            // In the middle half of the disk, whatever heads and handshakes there are besides.
            _ => {
                let disk = DISK as u64;
                undisturbed.bytes[Way::Up as usize].saturating_sub(disk * 3 / 4) + dice.below(disk / 2)
            }
        };
        let kind = match self {
            Self::Break(_) => dice.pick(&[Kind::Drop, Kind::Reset, Kind::Truncate]),
            Self::Answer(status) => Kind::Status(status),
        };
        Fault { way: Way::Up, at, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_aimed_at_within_few_seeds() {
        let aims: Vec<String> = (1_000..1_104).filter_map(Aim::of).map(|aim| format!("{aim:?}")).collect();
        assert_eq!(aims.len(), Oddity::ALL.len() + STATUSES.len());
        assert!(Oddity::ALL.iter().all(|oddity| aims.contains(&format!("Break({oddity:?})"))), "{aims:?}");
        assert!(STATUSES.iter().all(|status| aims.contains(&format!("Answer({status})"))), "{aims:?}");
    }
}
