//! What a run found, as JSON, as a page with tables, and as a plot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::bound::Bound;
use crate::link::{self, Reached};
use crate::machine::Machine;
use crate::memory::{ALLOWED_MIB, Peak};
use crate::plot::{Bar, Panel, svg};
use crate::quota::{Limited, WANTED};
use crate::rounds::Series;
use crate::start::Starts;
use crate::statistics::Summary;

/// Everything.
#[derive(Serialize)]
pub struct Report {
    /// Of the layout of this document.
    pub schema: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// Measured rounds per competitor, one more to warm up.
    pub rounds: usize,
    /// Against the registry that forgets the layer; the first is the floor, the second the native loop.
    pub main: Vec<Row>,
    /// Against distribution 3 with its storage in memory; the first is longshore.
    pub registry: Vec<Row>,
    /// Tools that are not there.
    pub absent: Vec<&'static str>,
    /// The bound by the clock.
    pub bound: Bound,
    /// The far source.
    pub link: Vec<Reached>,
    /// Peak memory by the disk's size.
    pub memory: Vec<Peak>,
    /// Until the first request.
    pub start: Starts,
    /// With 0.75 of a CPU.
    pub quota: Limited,
}

/// One competitor.
#[derive(Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// CPU seconds per GiB.
    pub cpu: Summary,
    /// Of these, in user mode.
    pub user: Summary,
    /// Seconds on the clock per GiB.
    pub wall: Summary,
    /// MiB resident at most.
    pub peak_mib: Summary,
    /// CPU seconds of each of its programs, medians.
    pub parts: Vec<(&'static str, f64)>,
    /// Of what it pushed.
    pub digest: String,
}

impl Row {
    /// Of a series.
    ///
    /// # Errors
    /// If it is empty.
    pub fn of(series: &Series) -> Result<Self> {
        let first = series.runs.first().context("no run")?;
        let parts = first.parts.iter().enumerate().map(|(index, (name, _))| {
            let costs = series.runs.iter().filter_map(|run| run.parts.get(index));
            let summary = Summary::of(costs.map(|(_, cost)| cost.cpu().as_secs_f64())).context("no run")?;
            Ok((*name, summary.median))
        });
        Ok(Self {
            name: series.name,
            does: series.does,
            cpu: series.cpu()?,
            user: series.summary(|run| run.cost.user.as_secs_f64())?,
            wall: series.wall()?,
            peak_mib: series.summary(|run| run.cost.peak_bytes as f64 / f64::from(1 << 20))?,
            parts: parts.collect::<Result<_>>()?,
            digest: series.digest.clone(),
        })
    }
}

impl Report {
    /// Writes `bench.json`, `README.md` and `cpu.svg`.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("bench.json"), format!("{}\n", serde_json::to_string_pretty(self)?))?;
        fs::write(folder.join("cpu.svg"), self.plot())?;
        fs::write(folder.join("README.md"), self.page())?;
        Ok(())
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::from(INTRODUCTION);
        let machine = &self.machine;
        let _ = writeln!(
            page,
            "{}: {}, {} cores ({}), {} GiB, {}, {}. {} rounds.\n",
            machine.date,
            machine.cpu,
            machine.cores,
            machine.flags.join(", "),
            machine.memory_gib,
            machine.kernel,
            machine.system,
            self.rounds
        );
        page.push_str("![CPU seconds per GiB](cpu.svg)\n\n## TLS to TLS, registry that forgets the layer\n\n");
        page.push_str(&table(&self.main, &self.main.iter().take(2).collect::<Vec<_>>()));
        page.push_str("\n## The same into distribution 3 (TLS, storage in memory)\n\n");
        page.push_str(&table(&self.registry, &self.registry.iter().take(1).collect::<Vec<_>>()));
        if !self.absent.is_empty() {
            let _ = writeln!(page, "\nNot installed, so not measured: {}.", self.absent.join(", "));
        }
        page.push_str(&self.bounded());
        page.push_str(&self.far());
        page.push_str(&self.resident());
        page.push_str(&self.started());
        page.push_str(&self.limited());
        page.push_str("\n## Versions\n\n");
        for (name, version) in &machine.versions {
            let _ = writeln!(page, "* {name}: {version}");
        }
        page
    }

    fn bounded(&self) -> String {
        let Bound { download_alone, hash_alone, upload_alone, cpu_of_all, cores_allow, bound, reached, share, cpu } =
            &self.bound;
        let [ours, source, sink] = cpu;
        format!(
            "\n## By the clock\n\nAlone, in MB/s: download {download_alone:.0}, hash {hash_alone:.0}, upload \
             {upload_alone:.0}. One import costs {cpu_of_all:.2} CPU s per GiB in all (longshore {ours:.2}, nginx \
             {source:.2}, registry {sink:.2}): {} cores allow {cores_allow:.0}. The bound is the least of the four, \
             {bound:.0} MB/s; longshore moved {reached:.0}, **{share:.2} of it**.\n",
            self.machine.cores
        )
    }

    fn far(&self) -> String {
        let mut text = format!("\n## A source far away\n\n{}.\n\n", link::described());
        text.push_str("| --source-connections | MB/s | CPU s per GiB | peak MiB |\n|---|---|---|---|\n");
        for Reached { connections, rate, peak_mib, cpu } in &self.link {
            let _ = writeln!(text, "| {connections} | {rate:.0} | {cpu:.2} | {peak_mib:.1} |");
        }
        text
    }

    fn resident(&self) -> String {
        let mut text = format!("\n## Memory\n\nAllowed: {ALLOWED_MIB} MiB at most, whatever the disk's size.\n\n");
        text.push_str("| disk GiB | peak MiB | CPU s per GiB |\n|---|---|---|\n");
        for Peak { gib, peak_mib, cpu, .. } in &self.memory {
            let _ = writeln!(text, "| {gib} | {peak_mib:.1} | {cpu:.2} |");
        }
        text
    }

    fn started(&self) -> String {
        let Starts { version, plain, tls } = &self.start;
        let shown = |figure: &Summary| format!("{:.1} [{:.1}-{:.1}]", figure.median, figure.min, figure.max);
        let mut text =
            format!("\n## Start\n\nMilliseconds, n = {}. TLS has the handshake and the crypto library's ", version.n);
        text.push_str("entropy start in it.\n\n| | first request | CPU of the run | whole run |\n|---|---|---|---|\n");
        let _ = writeln!(text, "| `longshore --version` | | | {} |", shown(version));
        for (name, start) in [("a plain source that is not there", plain), ("the same over TLS", tls)] {
            let [first, cpu, wall] = [&start.first_request, &start.cpu, &start.wall].map(shown);
            let _ = writeln!(text, "| {name} | {first} | {cpu} | {wall} |");
        }
        text
    }

    fn limited(&self) -> String {
        let Limited { rate, cpu, throttled_periods, group, .. } = &self.quota;
        format!(
            "\n## With 0.75 of a CPU\n\nOnly longshore in the group ({group}), held back in {throttled_periods} periods: \
             **{:.0} MB/s** [{:.0}-{:.0}], {:.2} CPU s per GiB. Wanted: {WANTED:.0}.\n",
            rate.median, rate.min, rate.max, cpu.median
        )
    }

    fn plot(&self) -> String {
        let panel = |heading: &str, rows: &[Row]| {
            let base = rows.first().map_or(1.0, |row| row.cpu.median);
            let bars = rows.iter().map(|row| Bar {
                name: row.name.to_owned(),
                figure: row.cpu,
                note: format!(" ({:.2} x)", row.cpu.median / base),
                ours: row.name == "longshore",
            });
            Panel { heading: heading.to_owned(), bars: bars.collect() }
        };
        let main = panel("TLS to a registry that forgets the layer (ratios to the floor)", &self.main);
        let registry = panel("TLS to distribution 3 (ratios to longshore)", &self.registry);
        svg("CPU seconds per GiB, user and system, all processes of a way", "s", &[main, registry])
    }
}

/// Rows with ratios of their CPU time to some of them.
fn table(rows: &[Row], bases: &[&Row]) -> String {
    let mut text = String::from("| | CPU s per GiB [range] | ");
    for base in bases {
        let _ = write!(text, "x {} | ", base.name);
    }
    text.push_str("user / system | wall s [range] | peak MiB | what it does |\n|---|---|");
    text.push_str(&"---|".repeat(bases.len() + 4));
    text.push('\n');
    for row in rows {
        let Row { name, does, cpu, user, wall, peak_mib, .. } = row;
        let _ = write!(text, "| {name} | {:.3} [{:.3}-{:.3}] | ", cpu.median, cpu.min, cpu.max);
        for base in bases {
            let _ = write!(text, "{:.2} | ", cpu.median / base.cpu.median);
        }
        let parts: Vec<_> = row.parts.iter().map(|(part, cpu)| format!("{part} {cpu:.2}")).collect();
        let parts = if parts.len() > 1 { format!(" ({})", parts.join(", ")) } else { String::new() };
        let _ = writeln!(
            text,
            "{:.2} / {:.2} | {:.2} [{:.2}-{:.2}] | {:.1} | {does}{parts} |",
            user.median,
            (cpu.median - user.median).max(0.0),
            wall.median,
            wall.min,
            wall.max,
            peak_mib.max
        );
    }
    text
}

const INTRODUCTION: &str = "# What an import costs\n\n\
    Written by `just bench`; `./setup bench` installs what it needs and runs it, from nothing, within half an hour. A raw \
    disk of 1 GiB of noise, made anew and the same every time, from nginx over TLS into a registry over TLS, everybody with \
    TLS 1.3 and AES-128-GCM, all on one machine, files in memory. The ways take turns, each round begins with another, the \
    first round does not count. CPU is user and system time of all processes of a way as the kernel gives it (`wait4`); the \
    peers are not in it. Figures are medians. Compare ratios of one run, not seconds of two. The floor is what three \
    well-known tools cost that each do one part of the job; the native loop is [bench/src/bin/native.rs]\
    (../../bench/src/bin/native.rs), without components, probe or framing.\n\n\
    Each part has a command of its own: `just bench-quick`, `-bound`, `-link`, `-memory`, `-start`, `-quota`; `just bench-counts` \
    counts allocations and instructions of the hot functions. What the figures are made of: [performance.md](../performance.md).\n\n";
