//! Counts that noise does not touch: allocations of the hot functions, and their instructions where callgrind is.
//!
//!     bench-counts check BASELINE [allocations]     fails on a regression
//!     bench-counts baseline                         prints what there is now, as a new baseline
//!     bench-counts run WORK CHUNKS                  does one work, for callgrind
//!
//! Every figure is what one chunk of 64 KiB more costs: what a run costs once is not in it.

mod allocator;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use self::work::Work;

/// The numbers of chunks whose difference counts.
const FEW: usize = 256;
const MANY: usize = 1280;

/// How far above its baseline a figure may be: a chunk more or less in a batch of the engine, another compiler.
const TOLERANCE: f64 = 1.1;
/// What a figure of nothing may be: a queue that doubles once.
const NOTHING: f64 = 0.05;

/// What one chunk costs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Costs {
    allocations: f64,
    allocated_bytes: f64,
    /// Of the release build; none where wasm runs, which valgrind cannot follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instructions: Option<f64>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["check", baseline] => check(baseline, true),
        ["check", baseline, "allocations"] => check(baseline, false),
        ["baseline"] => {
            println!("{}", serde_json::to_string_pretty(&measured(true)?)?);
            Ok(())
        }
        ["run", work, chunks] => Work::named(work)?.run(chunks.parse()?),
        _ => bail!("check BASELINE [allocations] | baseline | run WORK CHUNKS"),
    }
}

fn check(baseline: &str, instructions: bool) -> Result<()> {
    let text = fs::read_to_string(baseline).with_context(|| format!("{baseline} cannot be read"))?;
    let expected: BTreeMap<String, Costs> = serde_json::from_str(&text)?;
    let found = measured(instructions)?;
    ensure!(expected.keys().eq(found.keys()), "the baseline has other works: {:?}", expected.keys());
    let mut worse = Vec::new();
    for (name, now) in &found {
        let before = expected.get(name).context("a work")?;
        let mut compare = |what: &str, before: f64, now: f64| {
            let verdict = if now > before * TOLERANCE + NOTHING { "WORSE" } else { "ok" };
            println!("{name:10} {what:16} {now:12.2} per chunk, baseline {before:12.2} {verdict}");
            if verdict != "ok" {
                worse.push(format!("{name} {what}: {now:.2}, baseline {before:.2}"));
            }
        };
        compare("allocations", before.allocations, now.allocations);
        compare("allocated bytes", before.allocated_bytes, now.allocated_bytes);
        if instructions {
            ensure!(
                before.instructions.is_some() == now.instructions.is_some(),
                "{name}: instructions on one side only"
            );
            if let (Some(before), Some(now)) = (before.instructions, now.instructions) {
                compare("instructions", before, now);
            }
        }
    }
    ensure!(worse.is_empty(), "per chunk: {}", worse.join("; "));
    Ok(())
}

fn measured(instructions: bool) -> Result<BTreeMap<String, Costs>> {
    let each = Work::ALL.into_iter().map(|work| {
        // What is allocated once, for good, is.
        work.run(FEW)?;
        let few = counted(work, FEW)?;
        let many = counted(work, MANY)?;
        let per_chunk = |few: u64, many: u64| (many as f64 - few as f64) / (MANY - FEW) as f64;
        let instructions = match instructions && work.native() {
            true => Some(per_chunk(callgrind(work, FEW)?, callgrind(work, MANY)?)),
            false => None,
        };
        let costs =
            Costs { allocations: per_chunk(few.0, many.0), allocated_bytes: per_chunk(few.1, many.1), instructions };
        Ok((work.name().to_owned(), costs))
    });
    each.collect()
}

/// Allocations and allocated bytes of one run.
fn counted(work: Work, chunks: usize) -> Result<(u64, u64)> {
    let before = allocator::so_far();
    work.run(chunks)?;
    let after = allocator::so_far();
    Ok((after.0 - before.0, after.1 - before.1))
}

/// Instructions of one run, by the simulated CPU of callgrind: the same on every machine of an architecture.
fn callgrind(work: Work, chunks: usize) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let output = valgrind.args(["run", work.name(), &chunks.to_string()]).output().context("valgrind is not there")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "valgrind: {text}");
    let line = text.lines().find_map(|line| line.split_once("Collected : ").map(|(_, count)| count));
    Ok(line.with_context(|| format!("no count: {text}"))?.trim().parse()?)
}
