//! Transfers that are hurt at any byte, on either side: never a wrong image under a tag, never a hang, and an error that names
//! who was at fault and what is left. `just faults N` does the same with as many seeds as one likes.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::sync::Mutex;

use longshore_tests::faults::leg::{Kind, Traffic};
use longshore_tests::faults::schedule::{SIDES, Schedule};
use longshore_tests::faults::sum::carry_out;

/// Seeds that are looked through for the sample.
const SEEDS: u64 = 5_000;
/// The first of them are in it whatever they are: half have more than one fault.
const ANY: u64 = 8;
/// Kinds on each side, ways to reach each registry, and ways to reach each source.
const EVERYTHING: usize = 2 * 9 + 9 * 3 + 2 * 3;

/// Seeds of one fault each that together have every kind of fault on both sides, every registry reached in every way, and
/// every source. A sample that leaves something out would prove nothing about it.
fn sample() -> Vec<u64> {
    // What is at stake does not depend on how much flows, only where.
    let traffic = Traffic { bytes: [5_000; 2], turns: [vec![0], vec![0]] };
    let mut seen = BTreeSet::new();
    let mut seeds = Vec::new();
    for seed in 0..SEEDS {
        let schedule = Schedule::of(seed, [&traffic, &traffic]);
        // What never ends costs the whole of a limit: once on each side is enough.
        let endless = schedule.faults.iter().any(|(_, fault)| fault.kind == Kind::HalfOpen);
        if seed < ANY && !endless {
            seeds.push(seed);
            continue;
        }
        let [(side, fault)] = schedule.faults[..] else { continue };
        let setting = schedule.setting;
        let has = [
            format!("{side:?} {}", named(fault.kind)),
            format!("{:?} {:?}", setting.registry, setting.upload),
            format!("{} {:?}", setting.ranged, setting.source),
        ];
        // Two of them at once while there is much to see, then whatever is missing.
        if endless && seen.contains(&has[0]) {
            continue;
        }
        let new = has.iter().filter(|has| !seen.contains(*has)).count();
        let wanted = if seed < SEEDS / 2 { 2 } else { 1 };
        if new >= wanted {
            seen.extend(has);
            seeds.push(seed);
        }
    }
    assert_eq!(seen.len(), EVERYTHING, "{seen:?}");
    seeds
}

#[test]
fn a_sample_of_schedules_harms_nobody() {
    let seeds = sample();
    let (wrong, struck) = (Mutex::new(String::new()), Mutex::new(BTreeSet::new()));
    let sum = carry_out(&seeds, |trial| {
        if !trial.wrong.is_empty() {
            wrong.lock().unwrap().push_str(&trial.to_string());
        }
        for side in SIDES {
            let kinds = trial.finished.hits[side as usize].iter().map(|fault| (side as usize, named(fault.kind)));
            struck.lock().unwrap().extend(kinds);
        }
    });
    assert!(sum.is_clean(), "{}{sum}", wrong.into_inner().unwrap());
    assert_eq!(sum.trials, seeds.len());
    assert!(sum.faults >= seeds.len(), "{sum}");
    let struck = struck.into_inner().unwrap();
    assert_eq!(struck.len(), 2 * 9, "not every kind struck on both sides: {struck:?}");
}

/// The kind without its figures.
fn named(kind: Kind) -> &'static str {
    let kinds = [
        (Kind::Drop, "drop"),
        (Kind::Reset, "reset"),
        (Kind::HalfOpen, "half-open"),
        (Kind::Stall { milliseconds: 0 }, "stall"),
        (Kind::Throttle, "throttle"),
        (Kind::Truncate, "truncate"),
        (Kind::Corrupt { bit: 0 }, "corrupt"),
        (Kind::Duplicate { bytes: 0 }, "duplicate"),
        (Kind::Status(0), "status"),
    ];
    kinds.iter().find(|(of, _)| discriminant(of) == discriminant(&kind)).expect("a kind with a name").1
}
