//! What a seed decides: the setting, and the faults in it.

use std::fmt;

use super::aim::Aim;
use super::dice::Dice;
use super::leg::{Carriage, Fault, Kind, Traffic, Way};
use super::odd::Oddity;
use super::recorded::Manner;
use super::stage::{DISK, RegistryKind};

/// Which of longshore's two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Source,
    Registry,
}

pub const SIDES: [Side; 2] = [Side::Source, Side::Registry];

/// Everything about a transfer but its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// Whether the source has ranges.
    pub ranged: bool,
    /// Connections that a ranged source is read over.
    pub connections: u8,
    /// How the source is reached.
    pub source: Carriage,
    pub registry: RegistryKind,
    /// How it is reached.
    pub upload: Carriage,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub setting: Setting,
    /// In the order of their places on each side.
    pub faults: Vec<(Side, Fault)>,
}

/// What somebody on the way answers: for now, too often, too slow, too large, unknown, out of place.
const STATUSES: [u16; 10] = [500, 502, 503, 504, 429, 401, 413, 408, 404, 416];
/// The most faults of a schedule.
const MOST_FAULTS: u64 = 3;
/// How far behind the turn of a conversation a fault strikes that is meant for heads.
const NEAR_A_TURN: u64 = 400;
/// Heads differ from run to run by a few bytes: dates, sessions. No fault is put closer than this to the end.
const SLACK: u64 = 48;

/// One registry in so many is an odd one.
const ODD: u64 = 9;

impl Setting {
    fn of(dice: &mut Dice, aim: Option<Aim>) -> Self {
        let ranged = !dice.once_in(3);
        let drawn = Self {
            ranged,
            connections: if ranged && dice.once_in(4) { 3 } else { 1 },
            source: dice.pick(&Carriage::ALL),
            registry: registry(dice),
            upload: dice.pick(&Carriage::ALL),
        };
        aim.map_or(drawn, |aim| aim.setting(drawn))
    }

    pub const fn carriage(&self, side: Side) -> Carriage {
        match side {
            Side::Source => self.source,
            Side::Registry => self.upload,
        }
    }
}

/// The setting of a seed.
pub fn setting(seed: u64) -> Setting {
    Setting::of(&mut Dice::new(seed), Aim::of(seed))
}

impl Schedule {
    /// The schedule of a seed, from what an undisturbed run of its setting carried on the source's side and the registry's.
    pub fn of(seed: u64, undisturbed: [&Traffic; 2]) -> Self {
        let mut dice = Dice::new(seed);
        let aim = Aim::of(seed);
        let setting = Setting::of(&mut dice, aim);
        if let Some(aim) = aim {
            let fault = aim.fault(&mut dice, undisturbed[Side::Registry as usize]);
            return Self { seed, setting, faults: vec![(Side::Registry, fault)] };
        }
        let count = if dice.once_in(2) { 1 } else { 1 + dice.below(MOST_FAULTS) };
        let mut faults: Vec<(Side, Fault)> = (0..count)
            .map(|_| {
                let side = dice.pick(&SIDES);
                let traffic = undisturbed[side as usize];
                // Over several connections it is chance who brings what, and how many handshakes there are.
                let varies = side == Side::Source && setting.connections > 1;
                // How soon it is seen what is too large is chance too; the disk flows in any case.
                let capped = side == Side::Registry && setting.registry == RegistryKind::Recorded(Manner::Capped);
                let [up, down] = traffic.bytes;
                let slack = match side {
                    _ if varies => [up / 4, down / 4],
                    _ if capped => [up.saturating_sub(DISK as u64).max(SLACK), down * 3 / 4],
                    // How much flows before the disk is asked for by range, and in how many TLS records, is chance.
                    Side::Source => [SLACK, down.saturating_sub(DISK as u64).max(SLACK)],
                    Side::Registry => [SLACK; 2],
                };
                (side, fault(&mut dice, setting.carriage(side), traffic, slack))
            })
            .collect();
        faults.sort_by_key(|(_, fault)| fault.at);
        Self { seed, setting, faults }
    }

    /// The faults of one side.
    pub fn on(&self, side: Side) -> Vec<Fault> {
        self.faults.iter().filter(|(on, _)| *on == side).map(|(_, fault)| *fault).collect()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {:?}", self.seed, self.setting)?;
        self.faults.iter().try_for_each(|(side, fault)| write!(f, "; {side:?} {fault:?}"))
    }
}

fn registry(dice: &mut Dice) -> RegistryKind {
    if dice.once_in(ODD) {
        RegistryKind::Recorded(Manner::Odd(dice.pick(&Oddity::ALL)))
    } else {
        dice.pick(&RegistryKind::KNOWN)
    }
}

fn fault(dice: &mut Dice, carriage: Carriage, traffic: &Traffic, slack: [u64; 2]) -> Fault {
    let kind = kind(dice, carriage);
    // An answer in place of the registry's or the source's strikes in a request.
    let way = if let Kind::Status(_) = kind { Way::Up } else { dice.pick(&[Way::Up, Way::Down]) };
    let (total, turns) = (traffic.bytes[way as usize], &traffic.turns[way as usize]);
    // Nearly all bytes are the disk's: half of the faults go to where the conversation turns.
    let at = if dice.once_in(2) && !turns.is_empty() {
        dice.pick(turns) + dice.below(NEAR_A_TURN)
    } else {
        dice.below(total.max(1))
    };
    Fault { way, at: at.min(total.saturating_sub(slack[way as usize])), kind }
}

fn kind(dice: &mut Dice, carriage: Carriage) -> Kind {
    let everywhere = 9;
    let kinds = if carriage == Carriage::Under { everywhere } else { everywhere + 4 };
    match dice.below(kinds) {
        0 => Kind::Drop,
        1 | 2 => Kind::Reset,
        3 => Kind::HalfOpen,
        4 => Kind::Stall { milliseconds: 50 + dice.below(1_150) },
        5 => Kind::Throttle,
        6 => Kind::Truncate,
        7 => Kind::Corrupt { bit: dice.below(8) as u8 },
        8 => Kind::Duplicate { bytes: 1 + dice.below(2_048) as usize },
        // Who only sees TLS cannot answer.
        _ => Kind::Status(dice.pick(&STATUSES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic() -> Traffic {
        Traffic { bytes: [DISK as u64 + 5_000, 900], turns: [vec![0, 300], vec![0, 200]], begins: vec![0; 3] }
    }

    #[test]
    fn a_seed_is_a_schedule_and_its_first_fault_is_within_what_flows() {
        let traffic = traffic();
        for seed in 0..2_000 {
            let schedule = Schedule::of(seed, [&traffic, &traffic]);
            assert_eq!(schedule.setting, setting(seed));
            assert_eq!(schedule.to_string(), Schedule::of(seed, [&traffic, &traffic]).to_string());
            assert!((1..=3).contains(&schedule.faults.len()));
            for (side, fault) in &schedule.faults {
                assert!(fault.at + SLACK <= traffic.bytes[fault.way as usize], "{schedule}");
                let hidden = schedule.setting.carriage(*side) == Carriage::Under;
                assert!(!(hidden && matches!(fault.kind, Kind::Status(_))), "{schedule}");
            }
        }
    }

    #[test]
    fn every_kind_of_fault_and_every_setting_comes_up() {
        let traffic = traffic();
        let words: String = (0..500).map(|seed| Schedule::of(seed, [&traffic, &traffic]).to_string()).collect();
        for kind in ["Drop", "Reset", "HalfOpen", "Stall", "Throttle", "Truncate", "Corrupt", "Duplicate"] {
            assert!(words.contains(kind), "{kind}");
        }
        for status in STATUSES {
            assert!(words.contains(&format!("Status({status})")), "{status}");
        }
        let odd = Oddity::ALL.map(|oddity| RegistryKind::Recorded(Manner::Odd(oddity)));
        for registry in RegistryKind::KNOWN.iter().chain(&odd) {
            assert!(words.contains(&format!("registry: {registry:?}")), "{registry:?}");
        }
    }
}
