//! The bench's commands.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use longshore_bench::competitors::{floor, longshore, native};
use longshore_bench::machine::Machine;
use longshore_bench::report::{Report, Row};
use longshore_bench::rounds::play;
use longshore_bench::stand::{Stand, needs_gib};
use longshore_bench::statistics::Summary;
use longshore_bench::{bound, link, memory, quota, start, tools};
use longshore_tests::registry::{Registry, Setup, Version};

/// Rounds that count.
const ROUNDS: usize = 5;
/// Starts that count.
const STARTS: usize = 30;
/// Disks whose imports' peak memory is measured, in GiB.
const SIZES: [u64; 3] = [1, 8, 64];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["compare", folder] => compare(Path::new(folder)),
        ["quick", rounds] => quick(rounds.parse()?),
        ["bound"] => by_the_clock(),
        ["link"] => far(),
        ["memory", sizes @ ..] => peaks(sizes),
        ["start"] => starts(),
        ["quota"] => limited(),
        _ => bail!("compare FOLDER | quick ROUNDS | bound | link | memory GIB… | start | quota"),
    }
}

/// Everything that `docs/bench` shows.
fn compare(folder: &Path) -> Result<()> {
    // The disk, a download of it, a layer of it, and the registry's.
    needs_gib(6)?;
    let machine = Machine::this()?;
    let bound = bounded(machine.cores)?;
    let memory = memory::measure(&Stand::new(), &SIZES)?;
    let start = start::measure(&Stand::new(), STARTS)?;
    let stand = Stand::new();
    stand.disk(1)?;
    let peers = stand.peers()?;
    let main = play(&[floor(&stand, &peers), native(&stand, &peers), longshore(&stand, &peers)], ROUNDS)?;
    let disk = &main.first().context("no floor")?.digest;
    ensure!(main.get(1).is_some_and(|native| native.digest == *disk), "the native loop pushed something else");
    let setup = Setup { version: Version::V3, tls: Some(&stand.authority), ..Setup::default() };
    let registry = Registry::start(&stand.scratch, "distribution", setup);
    let (competitors, absent) = tools::all(&stand, &peers, &registry)?;
    let pushed = play(&competitors, ROUNDS)?;
    drop(competitors);
    let report = Report {
        schema: "longshore.bench/v1",
        machine,
        rounds: ROUNDS,
        main: main.iter().map(Row::of).collect::<Result<_>>()?,
        registry: pushed.iter().map(Row::of).collect::<Result<_>>()?,
        absent,
        bound,
        link: link::measure(&stand, &peers)?,
        memory,
        start,
        quota: quota::measure(&stand, &peers, ROUNDS)?,
    };
    report.write(folder)?;
    println!("{}", report.page());
    Ok(())
}

/// The main comparison alone.
fn quick(rounds: usize) -> Result<()> {
    needs_gib(3)?;
    let stand = Stand::new();
    stand.disk(1)?;
    let peers = stand.peers()?;
    let series = play(&[floor(&stand, &peers), native(&stand, &peers), longshore(&stand, &peers)], rounds)?;
    let [floor, native, _] = series.as_slice() else { bail!("three series") };
    let (floor, native) = (floor.cpu()?.median, native.cpu()?.median);
    for one in &series {
        let (cpu, wall, peak) = (one.cpu()?, one.wall()?, one.summary(|run| run.cost.peak_bytes as f64)?);
        println!(
            "{:10} CPU {:.3} [{:.3}-{:.3}] s per GiB, {:.3} x floor, {:.3} x native; wall {:.2} s; peak {:.1} MiB",
            one.name,
            cpu.median,
            cpu.min,
            cpu.max,
            cpu.median / floor,
            cpu.median / native,
            wall.median,
            peak.max / f64::from(1 << 20)
        );
    }
    Ok(())
}

fn by_the_clock() -> Result<()> {
    println!("{:#?}", bounded(std::thread::available_parallelism()?.get())?);
    Ok(())
}

/// With a disk of its own, which is gone afterwards.
fn bounded(cores: usize) -> Result<bound::Bound> {
    needs_gib(bound::DISK_GIB + 2)?;
    let stand = Stand::new();
    stand.disk(bound::DISK_GIB)?;
    bound::measure(&stand, &stand.peers()?, cores, ROUNDS)
}

fn far() -> Result<()> {
    needs_gib(3)?;
    let stand = Stand::new();
    stand.disk(1)?;
    println!("{}", link::described());
    link::measure(&stand, &stand.peers()?)?;
    Ok(())
}

fn peaks(sizes: &[&str]) -> Result<()> {
    let sizes = sizes.iter().map(|size| Ok(size.parse()?)).collect::<Result<Vec<u64>>>()?;
    memory::within(&memory::measure(&Stand::new(), &sizes)?)
}

fn starts() -> Result<()> {
    let starts = start::measure(&Stand::new(), STARTS)?;
    let show = |name: &str, figure: &Summary| {
        println!("{name:28} {:6.2} ms [{:.2}-{:.2}], n = {}", figure.median, figure.min, figure.max, figure.n);
    };
    show("longshore --version", &starts.version);
    for (name, start) in [("plain", &starts.plain), ("TLS", &starts.tls)] {
        show(&format!("{name}: first request after"), &start.first_request);
        show(&format!("{name}: CPU of the whole run"), &start.cpu);
        show(&format!("{name}: whole run"), &start.wall);
    }
    Ok(())
}

fn limited() -> Result<()> {
    needs_gib(3)?;
    let stand = Stand::new();
    stand.disk(1)?;
    let limited = quota::measure(&stand, &stand.peers()?, ROUNDS)?;
    println!("{limited:#?}");
    ensure!(limited.rate.median >= quota::WANTED, "{:.0} MB/s, wanted {}", limited.rate.median, quota::WANTED);
    Ok(())
}
