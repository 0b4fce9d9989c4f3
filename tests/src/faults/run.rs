//! One transfer: two legs, the program between them, and how long it may take.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::leg::{Fault, Leg, Traffic};
use super::schedule::{SIDES, Setting, Side};
use super::stage::{Holds, Stage};
use crate::program::{Ran, longshore, ran};

/// Every limit of the trials' policy. Far above every delay that a fault makes, but for the one that never ends, and above
/// what a busy machine makes of a transfer of three megabytes.
const LIMIT: &str = "20s";
/// A run that takes longer hangs. Several faults that are each waited for, three looks for a commit's result, and a cancel
/// of 10 s are far below.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often it is looked whether a run has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a run was and left.
pub struct Finished {
    /// None if it hung.
    pub ran: Option<Ran>,
    /// Its report, if it could write one.
    pub report: Value,
    /// The leg's host by [`Side`].
    pub hosts: [String; 2],
    /// Faults that struck, by [`Side`].
    pub hits: [Vec<Fault>; 2],
    /// What the legs carried, by [`Side`].
    pub traffic: [Traffic; 2],
    pub holds: Holds,
    pub took: Duration,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Runs one import in that setting.
pub fn run(stage: &Stage, setting: Setting, faults: [&[Fault]; 2]) -> Finished {
    let number = NEXT.fetch_add(1, SeqCst);
    let target = stage.registry(setting.registry, setting.upload);
    let upstream = |side| match side {
        Side::Source => stage.source(setting.ranged, setting.source.is_tls_behind()),
        Side::Registry => target.port(),
    };
    let legs = SIDES.map(|side| {
        let ends_tls = setting.carriage(side) == super::leg::Carriage::Terminated;
        Leg::start(upstream(side), ends_tls.then(|| stage.authority.server_config()), faults[side as usize])
    });
    let hosts = SIDES.map(|side| legs[side as usize].host());
    let repository = format!("vm/t{number}");
    let (policy, report) =
        (stage.scratch.path(&format!("{number}.toml")), stage.scratch.path(&format!("{number}.json")));
    fs::write(&policy, document(stage, setting, &hosts)).expect("a policy");
    let scheme = if setting.source.is_tls() { "https" } else { "http" };
    let (from, to) = (format!("{scheme}://{}/disk.raw", hosts[0]), format!("docker://{}/{repository}:1", hosts[1]));
    let mut command = longshore(["import", &*from, &*to, "--checksum", &*stage.checksum, "--progress", "none"]);
    command.args(["--source-connections", &setting.connections.to_string()]);
    command.arg("--policy").arg(&policy).arg("--report").arg(&report);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let ran = within_deadline(command.spawn().expect("the program"), began);
    let took = began.elapsed();
    let traffic = SIDES.map(|side| legs[side as usize].traffic());
    let hits = SIDES.map(|side| legs[side as usize].hits());
    // Connections that were left half open close with their leg.
    drop(legs);
    let written = fs::read_to_string(&report).ok().and_then(|text| serde_json::from_str(&text).ok());
    let _ = (fs::remove_file(&policy), fs::remove_file(&report));
    Finished { ran, report: written.unwrap_or_default(), hosts, hits, traffic, holds: target.holds(&repository), took }
}

fn within_deadline(mut child: Child, began: Instant) -> Option<Ran> {
    // What it says fits the pipes.
    while child.try_wait().expect("a status").is_none() {
        if began.elapsed() > DEADLINE {
            child.kill().expect("an end");
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Some(ran(&child.wait_with_output().expect("an end")))
}

/// No byte that is changed on the way may lead anywhere else.
fn document(stage: &Stage, setting: Setting, hosts: &[String; 2]) -> String {
    let plain: Vec<String> = SIDES
        .iter()
        .filter(|side| !setting.carriage(**side).is_tls())
        .map(|side| format!("\"{}\"", hosts[*side as usize]))
        .collect();
    let plain = if plain.is_empty() { String::new() } else { format!("plain-http = [{}]\n", plain.join(", ")) };
    let limits = ["connect", "answer", "commit", "source-stall", "registry-stall"];
    let limits: String = limits.iter().map(|limit| format!("{limit} = \"{LIMIT}\"\n")).collect();
    format!(
        "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"{}\"]\n[egress]\n{plain}\
         [egress.source]\nhosts = [\"{}\"]\naddresses = [\"127.0.0.1\"]\n\
         [egress.registry]\nhosts = [\"{}\"]\naddresses = [\"127.0.0.1\"]\n[limits]\n{limits}",
        stage.authority.ca(),
        hosts[0],
        hosts[1]
    )
}
