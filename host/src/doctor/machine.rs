//! This machine: what its CPU has, and how fast it is at what every byte goes through.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::findings::{MachineFound, Speed};
use crate::observe::Cgroup;
use crate::oci::Digest;
use crate::policy::TlsPolicy;
use crate::tls::{in_fips_mode, sealed_per_second};

/// How long each speed is measured.
const MEASURED_FOR: Duration = Duration::from_millis(50);
/// Bytes that are hashed at once.
const HASHED: usize = 256 * 1024;

const ARCHITECTURE: &str = if cfg!(target_arch = "x86_64") {
    "x86_64"
} else if cfg!(target_arch = "aarch64") {
    "aarch64"
} else {
    "unknown"
};

/// Looks at the machine. Takes a twentieth of a second for each suite of the policy and for SHA-256.
pub(super) fn machine(policy: &TlsPolicy) -> MachineFound {
    let (cpu_features, aes_gcm_in_hardware) = features();
    let speed = |suite: &crate::policy::Suite| Speed {
        cipher_suite: suite.as_str(),
        bytes_per_second: sealed_per_second(*suite, MEASURED_FOR),
    };
    MachineFound {
        architecture: ARCHITECTURE,
        cpus: std::thread::available_parallelism().ok().map(usize::from),
        cpu_features,
        aes_gcm_in_hardware,
        fips_module: in_fips_mode(),
        cgroup_quota_cpus: Cgroup::own().and_then(|cgroup| cgroup.quota_cpus()),
        suites: policy.suites.iter().map(speed).collect(),
        sha256_bytes_per_second: hashed_per_second(),
    }
}

fn hashed_per_second() -> f64 {
    let (bytes, began, mut hashed) = (vec![7; HASHED], Instant::now(), 0_u32);
    loop {
        black_box(Digest::of(&bytes));
        hashed = hashed.saturating_add(1);
        let took = began.elapsed();
        if took >= MEASURED_FOR {
            return f64::from(hashed) * HASHED as f64 / took.as_secs_f64();
        }
    }
}

/// The features of this CPU, and whether they are enough for AES-GCM.
#[cfg(target_arch = "x86_64")]
fn features() -> (Vec<&'static str>, Option<bool>) {
    let all = [
        ("aes", is_x86_feature_detected!("aes")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("vaes", is_x86_feature_detected!("vaes")),
        ("vpclmulqdq", is_x86_feature_detected!("vpclmulqdq")),
        ("sha", is_x86_feature_detected!("sha")),
    ];
    enough(&all, &["aes", "pclmulqdq"])
}

/// The features of this CPU, and whether they are enough for AES-GCM.
#[cfg(target_arch = "aarch64")]
fn features() -> (Vec<&'static str>, Option<bool>) {
    let all = [
        ("aes", std::arch::is_aarch64_feature_detected!("aes")),
        ("pmull", std::arch::is_aarch64_feature_detected!("pmull")),
        ("sha2", std::arch::is_aarch64_feature_detected!("sha2")),
    ];
    enough(&all, &["aes", "pmull"])
}

/// Nothing is known of other CPUs.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> (Vec<&'static str>, Option<bool>) {
    (Vec::new(), None)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn enough(all: &[(&'static str, bool)], needed: &[&str]) -> (Vec<&'static str>, Option<bool>) {
    let there: Vec<_> = all.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    let enough = needed.iter().all(|needed| there.contains(needed));
    (there, Some(enough))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_the_policy_is_measured() {
        let found = machine(&TlsPolicy::default());
        assert_eq!(found.suites.len(), TlsPolicy::default().suites.len());
        assert!(found.suites.iter().all(|speed| speed.bytes_per_second.is_some_and(|rate| rate > 0.0)));
        assert!(found.sha256_bytes_per_second > 0.0);
        assert!(enough(&[("aes", true), ("pclmulqdq", false)], &["aes", "pclmulqdq"]) == (vec!["aes"], Some(false)));
    }
}
