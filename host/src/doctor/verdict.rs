//! One line about all of it.

use super::findings::{FailureFound, MachineFound, PeerFound, RegistryFound};

/// The line: the machine, then the peer, then what it would do as a registry, or what went wrong.
pub(super) fn verdict(machine: &MachineFound, peer: Option<&PeerFound>, error: Option<&FailureFound>) -> String {
    let mut parts = vec![of_machine(machine)];
    if let Some(peer) = peer {
        parts.extend(of_tls(peer));
        parts.extend(peer.registry.as_ref().map(of_registry).filter(|_| error.is_none()));
    }
    parts.extend(error.map(|error| format!("an import would end with {}: {}", error.code, error.message)));
    parts.join("; ")
}

fn of_machine(machine: &MachineFound) -> String {
    let fastest = machine.suites.iter().filter_map(|speed| speed.bytes_per_second).fold(0.0, f64::max);
    let how = match machine.aes_gcm_in_hardware {
        Some(true) => "AES-GCM in hardware",
        Some(false) => "AES-GCM WITHOUT hardware",
        None => "the policy's ciphers",
    };
    let quota = machine.cgroup_quota_cpus.map_or_else(String::new, |cpus| format!(", a quota of {cpus:.2} CPUs"));
    format!("{how} at up to {}, SHA-256 at {}{quota}", rate(fastest), rate(machine.sha256_bytes_per_second))
}

fn of_tls(peer: &PeerFound) -> Option<String> {
    let everything = peer.of_everything.as_ref();
    let wanted = everything.and_then(|everything| everything.cipher_suite.as_deref());
    match (&peer.tls, wanted) {
        (Some(tls), Some(wanted)) if !is_aes_gcm(wanted) => {
            let host = &peer.origin;
            Some(format!("{host} would pick {wanted}, the policy keeps it at {} {}", tls.version, tls.cipher_suite))
        }
        (Some(tls), _) => Some(format!("{} speaks {} {}", peer.origin, tls.version, tls.cipher_suite)),
        (None, Some(wanted)) => Some(format!("{} picks {wanted} if it may", peer.origin)),
        (None, None) => peer.address.as_ref().map(|_| format!("{} is spoken to without TLS", peer.origin)),
    }
}

fn is_aes_gcm(suite: &str) -> bool {
    suite.contains("_AES_") && suite.contains("_GCM_")
}

fn of_registry(registry: &RegistryFound) -> String {
    match (registry.opens_sessions, registry.wants_credentials) {
        (Some(_), _) => "it takes pushes".to_owned(),
        (None, _) => "whether it takes pushes is not known: it wants credentials, and there are none".to_owned(),
    }
}

/// As people say it.
fn rate(bytes_per_second: f64) -> String {
    format!("{:.1} GB/s", bytes_per_second / 1e9)
}

#[cfg(test)]
mod tests {
    use super::super::findings::{Everything, Speed, TlsFound};
    use super::*;

    fn machine(hardware: Option<bool>, quota: Option<f64>) -> MachineFound {
        MachineFound {
            architecture: "x86_64",
            cpus: Some(2),
            cpu_features: Vec::new(),
            aes_gcm_in_hardware: hardware,
            fips_module: false,
            cgroup_quota_cpus: quota,
            suites: vec![Speed { cipher_suite: "TLS_AES_128_GCM_SHA256", bytes_per_second: Some(5.04e9) }],
            sha256_bytes_per_second: 1.75e9,
        }
    }

    fn peer(suite: Option<&str>, wanted: &str) -> PeerFound {
        PeerFound {
            origin: "https://r.example:443".to_owned(),
            address: Some("192.0.2.1:443".to_owned()),
            proxy: None,
            tls: suite.map(|suite| TlsFound {
                version: "TLSv1.3".to_owned(),
                cipher_suite: suite.to_owned(),
                key_exchange_group: None,
                handshake_seconds: 0.1,
            }),
            of_everything: Some(Everything { cipher_suite: Some(wanted.to_owned()), ..Everything::default() }),
            registry: None,
        }
    }

    #[test]
    fn one_line_says_what_matters() {
        let line = verdict(&machine(Some(true), None), None, None);
        assert_eq!(line, "AES-GCM in hardware at up to 5.0 GB/s, SHA-256 at 1.8 GB/s");
        let slow = peer(Some("TLS_AES_128_GCM_SHA256"), "TLS_CHACHA20_POLY1305_SHA256");
        let line = verdict(&machine(Some(false), Some(0.75)), Some(&slow), None);
        assert!(line.contains("WITHOUT hardware") && line.contains("a quota of 0.75 CPUs"), "{line}");
        assert!(line.contains("would pick TLS_CHACHA20_POLY1305_SHA256, the policy keeps it at TLSv1.3"), "{line}");
        let only = peer(None, "TLS_CHACHA20_POLY1305_SHA256");
        let error = FailureFound { code: "tls-handshake", message: "no session".to_owned(), hint: None };
        let line = verdict(&machine(Some(true), None), Some(&only), Some(&error));
        assert!(
            line.ends_with(
                "picks TLS_CHACHA20_POLY1305_SHA256 if it may; an import would end with tls-handshake: no session"
            ),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
