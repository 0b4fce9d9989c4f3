//! Transfers that are hurt at any byte, on either side: never a wrong image under a tag, never a hang, an error that names
//! who was at fault and what is left, and no restart in vain. `just faults N` does the same with as many seeds as one likes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::mem::discriminant;
use std::sync::Mutex;

use longshore_tests::faults::leg::{Carriage, Kind};
use longshore_tests::faults::recorded::Manner;
use longshore_tests::faults::schedule::SIDES;
use longshore_tests::faults::stage::RegistryKind;
use longshore_tests::faults::sum::{EXHAUSTIVE, carry_out};

#[test]
fn schedules_of_faults_harm_nobody_and_take_every_transition() {
    let seeds: Vec<u64> = (0..EXHAUSTIVE).collect();
    let (wrong, seen) = (Mutex::new(String::new()), Mutex::new(BTreeSet::new()));
    let sum = carry_out(&seeds, |trial| {
        if !trial.wrong.is_empty() {
            wrong.lock().unwrap().push_str(&trial.to_string());
        }
        let mut seen = seen.lock().unwrap();
        for side in SIDES {
            let hits = &trial.finished.hits[side as usize];
            seen.extend(hits.iter().map(|fault| format!("{side:?} {}", named(fault.kind))));
        }
        let setting = trial.schedule.setting;
        let registry = match setting.registry {
            RegistryKind::Recorded(Manner::Odd(_)) => "odd".to_owned(),
            known => format!("{known:?}"),
        };
        seen.insert(format!("{registry} {:?}", setting.upload));
        seen.insert(format!("{} {:?}", setting.ranged, setting.source));
    });
    // Past the harness, which shows the words of tests that fail alone.
    writeln!(std::io::stderr(), "{sum}").unwrap();
    assert!(sum.is_clean(), "{}{sum}", wrong.into_inner().unwrap());
    assert_eq!(sum.trials as u64, EXHAUSTIVE);
    assert!(sum.faults >= sum.trials, "{sum}");
    assert_eq!(sum.not_taken(), [""; 0], "{sum}");
    // Kinds on each side, ways to reach each registry, and ways to reach each source: a sample that leaves something out
    // proves nothing about it.
    let ways = Carriage::ALL.len();
    let everything = KINDS.len() * 2 + (RegistryKind::KNOWN.len() + 1) * ways + 2 * ways;
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), everything, "{seen:?}");
}

/// Every kind of fault, with figures that do not count.
const KINDS: [(Kind, &str); 9] = [
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

/// The kind without its figures.
fn named(kind: Kind) -> &'static str {
    KINDS.iter().find(|(of, _)| discriminant(of) == discriminant(&kind)).expect("a kind with a name").1
}
