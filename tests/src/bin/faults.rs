//! `just faults N [FIRST]`: N schedules of faults from the seed FIRST on, a random one if it is not given.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use longshore_tests::faults::sum::{EXHAUSTIVE, carry_out};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(count)), first) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: faults N [FIRST]");
        return ExitCode::from(2);
    };
    let first = match first {
        Some(Ok(first)) => first,
        Some(Err(why)) => {
            eprintln!("FIRST: {why}");
            return ExitCode::from(2);
        }
        // A million of seeds that nobody has seen.
        None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() % 1_000_000_000 * 1_000),
    };
    println!("seeds {first} to {}", first + count.saturating_sub(1));
    let seeds: Vec<u64> = (first..first + count).collect();
    let sum = carry_out(&seeds, |trial| {
        if !trial.wrong.is_empty() {
            print!("{trial}");
        }
    });
    println!("{sum}");
    // Fewer trials cannot be expected to see everything.
    let seen = count < EXHAUSTIVE || sum.not_taken().is_empty();
    if sum.is_clean() && seen { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
