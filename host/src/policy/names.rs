//! Names that say what they are before anybody resolves them. Where a proxy resolves, that is all there is to go by.

/// Metadata services of clouds, by the names that their own resolvers know: Google Cloud, AWS, Tencent Cloud, Equinix Metal,
/// Alibaba Cloud, Exoscale and others after the fashion of AWS.
const METADATA: [&str; 8] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
    "metadata.platformequinix.com",
    "metadata.exoscale.com",
];

/// Suffixes that no public name has (RFC 6761, RFC 6762, RFC 8375, ICANN's resolution 2024.07.29.06), and the one inside every
/// Kubernetes cluster.
const LOCAL: [&str; 6] = ["localhost", "local", "internal", "home.arpa", "intranet", "svc"];

/// Whether it is the name of a metadata service. `name` is in lower case.
pub(super) fn is_metadata(name: &str) -> bool {
    METADATA.contains(&bare(name))
}

/// Whether it cannot be the name of anything public: one label, or below a suffix that is nobody's. `name` is in lower case.
pub(super) fn is_local(name: &str) -> bool {
    let name = bare(name);
    let below = |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.ends_with('.'));
    !name.contains('.') || LOCAL.iter().any(below)
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_says_by_itself() {
        for name in ["metadata.google.internal", "metadata.google.internal.", "metadata", "instance-data"] {
            assert!(is_metadata(name), "{name}");
        }
        for name in
            ["intranet", "a.local", "r.svc.cluster.local", "r.ns.svc", "x.internal.", "localhost", "nas.home.arpa"]
        {
            assert!(is_local(name), "{name}");
        }
        for name in ["a.example", "internal.example", "local.example.com.", "notlocal.com"] {
            assert!(!is_local(name) && !is_metadata(name), "{name}");
        }
    }
}
