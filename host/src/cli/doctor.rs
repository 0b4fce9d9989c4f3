//! `doctor`: what this machine and a peer can do, for people or as JSON. Both are data and go to standard output.

use super::alone::alone;
use super::args::Doctor;
use super::locate::{self, Destination};
use super::{auth, messages, policy};
use crate::doctor::{Examined, Findings, Peer, examine};
use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::Source;

/// Looks and tells.
pub(super) fn run(doctor: &Doctor) -> Result<()> {
    let peer = doctor.peer.as_deref().map(|text| peer(doctor, text)).transpose()?;
    let registry = match &peer {
        Some(Peer::Registry(repository, _)) => Some(repository),
        Some(Peer::Source(_)) | None => None,
    };
    let policy = policy::effective(&doctor.policy, registry)?;
    let Examined { findings, outcome } = alone(examine(peer.as_ref(), policy))?;
    if doctor.json {
        messages::document(serde_json::to_string_pretty(&findings))?;
    } else {
        messages::data(&shown(&findings))?;
    }
    outcome
}

/// A URL with a scheme of HTTP is a source, everything else a reference.
fn peer(doctor: &Doctor, text: &str) -> Result<Peer> {
    let is_url = ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    if is_url {
        let Source::Http(url) = locate::source(text)?.0 else {
            return Err(Error::internal(Stage::Plan, "a URL that is none"));
        };
        return Ok(Peer::Source(url));
    }
    match locate::image(text)? {
        Destination::Registry(reference) => {
            let credentials = auth::credentials(doctor.auth_file.as_deref(), &reference.repository)?;
            Ok(Peer::Registry(reference.repository, credentials))
        }
        Destination::Layout(..) => Err(Error::new(
            Code::Usage,
            Stage::Plan,
            "an image layout is no peer: expected a URL or docker://host/repository",
        )),
    }
}

/// The findings for people: name and value, the verdict last.
fn shown(findings: &Findings) -> String {
    let machine = &findings.machine;
    let rate =
        |rate: Option<f64>| rate.map_or_else(|| "does not work".to_owned(), |rate| format!("{:.2} GB/s", rate / 1e9));
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let mut rows = vec![
        ("cpu", format!("{}, {} CPUs", machine.architecture, or_none(machine.cpus.map(|cpus| cpus.to_string())))),
        ("features", machine.cpu_features.join(" ")),
        ("tls", if machine.fips_module { "AWS-LC, its FIPS module" } else { "AWS-LC" }.to_owned()),
        ("quota", or_none(machine.cgroup_quota_cpus.map(|cpus| format!("{cpus:.2} CPUs")))),
    ];
    rows.extend(
        machine
            .suites
            .iter()
            .map(|speed| ("suite", format!("{} {}", speed.cipher_suite, rate(speed.bytes_per_second)))),
    );
    rows.push(("sha-256", rate(Some(machine.sha256_bytes_per_second))));
    if let Some(peer) = &findings.peer {
        let address = peer.address.as_ref().map_or_else(String::new, |address| format!(" at {address}"));
        rows.push(("peer", format!("{}{address}", peer.origin)));
        rows.extend(peer.proxy.clone().map(|proxy| ("proxy", proxy)));
        if let Some(tls) = &peer.tls {
            let group = or_none(tls.key_exchange_group.clone());
            let took = tls.handshake_seconds * 1e3;
            rows.push(("policy", format!("{} {} {group}, {took:.0} ms", tls.version, tls.cipher_suite)));
        }
        if let Some(everything) = &peer.of_everything {
            let parts =
                [&everything.version, &everything.cipher_suite, &everything.key_exchange_group, &everything.refused];
            let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
            rows.push(("everything", parts.join(" ")));
        }
        if let Some(registry) = &peer.registry {
            rows.push(("api", or_none(registry.api_version.clone())));
            rows.push(("challenges", or_none(Some(registry.challenges.join(" ")).filter(|text| !text.is_empty()))));
            let session = match registry.opens_sessions {
                Some(true) => "opened, and given up",
                Some(false) => "refused",
                None => "not tried: it wants credentials, and there are none",
            };
            rows.push(("session", session.to_owned()));
            rows.extend(registry.chunk_min_bytes.map(|bytes| ("least chunk", format!("{bytes} bytes"))));
            rows.extend(registry.left.clone().map(|left| ("left behind", left)));
        }
    }
    rows.push(("verdict", findings.verdict.clone()));
    let rows = rows.iter().map(|(name, value)| format!("{name:11} {}", messages::harmless(value)));
    rows.collect::<Vec<_>>().join("\n")
}
