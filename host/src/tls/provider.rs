//! The policy's lists, mapped one to one to what aws-lc-rs implements: nothing else is ever offered.

use rustls::crypto::aws_lc_rs::{cipher_suite as suites, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use crate::policy::{Group, Suite, TlsPolicy, Version};

pub(super) fn provider(policy: &TlsPolicy) -> CryptoProvider {
    // Signature schemes, randomness and key loading are the library's own; suites and groups are the policy's.
    let CryptoProvider {
        cipher_suites: _,
        kx_groups: _,
        signature_verification_algorithms,
        secure_random,
        key_provider,
    } = default_provider();
    CryptoProvider {
        cipher_suites: policy.suites.iter().copied().map(suite).collect(),
        kx_groups: policy.groups.iter().copied().map(group).collect(),
        signature_verification_algorithms,
        secure_random,
        key_provider,
    }
}

pub(super) fn versions(policy: &TlsPolicy) -> Vec<&'static SupportedProtocolVersion> {
    policy
        .versions
        .iter()
        .map(|version| match version {
            Version::Tls12 => &version::TLS12,
            Version::Tls13 => &version::TLS13,
        })
        .collect()
}

/// Whether the cryptography of this build is that of a FIPS module that has passed its self-tests.
#[must_use]
pub fn in_fips_mode() -> bool {
    default_provider().fips()
}

/// What of that policy this build's cryptography does outside of its FIPS module: nothing, if it can be demanded. A build
/// without the module does everything outside of one.
pub(super) fn outside_of_module(policy: &TlsPolicy) -> Vec<&'static str> {
    let suites = policy.suites.iter().filter(|named| !suite(**named).fips()).map(|named| named.as_str());
    let groups = policy.groups.iter().filter(|named| !group(**named).fips()).map(|named| named.as_str());
    suites.chain(groups).collect()
}

fn suite(suite: Suite) -> SupportedCipherSuite {
    match suite {
        Suite::Tls13Aes128GcmSha256 => suites::TLS13_AES_128_GCM_SHA256,
        Suite::Tls13Aes256GcmSha384 => suites::TLS13_AES_256_GCM_SHA384,
        Suite::EcdheEcdsaAes128GcmSha256 => suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::EcdheEcdsaAes256GcmSha384 => suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Suite::EcdheRsaAes128GcmSha256 => suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Suite::EcdheRsaAes256GcmSha384 => suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Suite::Tls13Chacha20Poly1305Sha256 => suites::TLS13_CHACHA20_POLY1305_SHA256,
        Suite::EcdheEcdsaChacha20Poly1305Sha256 => suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Suite::EcdheRsaChacha20Poly1305Sha256 => suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(group: Group) -> &'static dyn SupportedKxGroup {
    match group {
        Group::X25519MlKem768 => kx_group::X25519MLKEM768,
        Group::X25519 => kx_group::X25519,
        Group::Secp256r1 => kx_group::SECP256R1,
        Group::Secp384r1 => kx_group::SECP384R1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_offers_aes_gcm_and_nothing_else() {
        let provider = provider(&TlsPolicy::default());
        let offered: Vec<String> = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(
            offered,
            [
                "TLS13_AES_128_GCM_SHA256",
                "TLS13_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ]
        );
        let groups: Vec<String> = provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
        assert_eq!(groups, ["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"]);
    }

    #[test]
    fn the_policy_knows_what_the_module_approves_of() {
        let all = TlsPolicy { suites: Suite::ALL.to_vec(), groups: Group::ALL.to_vec(), ..TlsPolicy::default() };
        let approved = |name: &str| {
            Suite::ALL.iter().any(|suite| suite.as_str() == name && suite.is_approved())
                || Group::ALL.iter().any(|group| group.as_str() == name && group.is_approved())
        };
        let outside = outside_of_module(&all);
        if cfg!(feature = "fips") {
            assert!(outside.iter().all(|name| !approved(name)), "{outside:?}");
            assert_eq!(outside.len(), 4, "three suites of ChaCha20, and x25519: {outside:?}");
            assert!(provider(&all).secure_random.fips() && provider(&all).key_provider.fips());
        } else {
            assert_eq!(outside.len(), Suite::ALL.len() + Group::ALL.len());
        }
    }

    #[test]
    fn a_policy_of_one_suite_offers_one() {
        let policy = TlsPolicy { suites: vec![Suite::Tls13Aes256GcmSha384], ..TlsPolicy::default() };
        assert_eq!(provider(&policy).cipher_suites.len(), 1);
    }
}
