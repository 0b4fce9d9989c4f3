//! What the programs that are replaced are held to: an operator's own policy, else one that is built in; and what their
//! environment adds to it, which a document must allow.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{certificates, policy};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{Authority, Flags, Policy, Side, Site, Sited, TrustAnchor};

/// The built-in one, as a document.
const DOCUMENT: &str = include_str!("policy.toml");
/// What it is called in messages.
const NAME: &str = "dvcr";
/// Where certificates of proxies are, if there are any.
const PROXY_CERTIFICATES: &str = "/proxycerts";
/// How a certificate begins.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The built-in policy of the replaced programs.
pub(in crate::cli) fn built_in() -> Result<Policy> {
    let mut files = certificates::Beside::new();
    let read = Policy::parse(DOCUMENT, NAME, &mut files)
        .map_err(|why| Error::internal(Stage::Plan, format!("the built-in policy is none: {why}")))?;
    // It holds against nobody: what is added to it is what it is for.
    Ok(Policy { document: None, ..read })
}

/// The policy in force, with what is trusted whatever is imported.
pub(super) fn in_force() -> Result<Policy> {
    let policy = policy::in_force(None, built_in)?;
    let there = Path::new(PROXY_CERTIFICATES).is_dir();
    let anchors = if there { anchors_in(Path::new(PROXY_CERTIFICATES), PROXY_CERTIFICATES)? } else { Vec::new() };
    policy::with(policy, Flags { anchors, ..Flags::default() })
}

/// With certificates that the peers of one side are trusted by: of a file, or of all files of a folder, as Kubernetes mounts them.
///
/// # Errors
/// `local-file` if there are none, or they cannot be read.
pub(super) fn trusting(policy: Policy, at: &str, named_by: &'static str, side: Side) -> Result<Policy> {
    let mut anchors = anchors_in(Path::new(at), named_by)?;
    if anchors.is_empty() {
        let message = format!("there is no certificate in `{at}`, which {named_by} names");
        return Err(Error::new(Code::LocalFile, Stage::Plan, message));
    }
    anchors.iter_mut().for_each(|anchor| anchor.side = Some(side));
    policy::with(policy, Flags { anchors, ..Flags::default() })
}

/// With a host that one side may speak to without TLS.
pub(super) fn plain(policy: Policy, host: Authority, named_by: &'static str, side: Side) -> Result<Policy> {
    let plain_http = vec![Sited::new(host, Site::Flag(named_by))];
    policy::with(policy, Flags { plain_http, side: Some(side), ..Flags::default() })
}

/// With a host whose certificates are not verified on one side.
pub(super) fn unverified(policy: Policy, host: Authority, named_by: &'static str, side: Side) -> Result<Policy> {
    let unverified = vec![Sited::new(host, Site::Flag(named_by))];
    policy::with(policy, Flags { unverified, side: Some(side), ..Flags::default() })
}

fn anchors_in(at: &Path, named_by: &'static str) -> Result<Vec<TrustAnchor>> {
    let unreadable = |why: std::io::Error| {
        let message = format!("the certificates in `{}`, which {named_by} names, cannot be read: {why}", at.display());
        Error::new(Code::LocalFile, Stage::Plan, message).caused_by(why)
    };
    let mut files = vec![at.to_owned()];
    if fs::metadata(at).map_err(unreadable)?.is_dir() {
        // Of what Kubernetes mounts, `..data` and its like are behind the files.
        let visible = |path: &PathBuf| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let entries = fs::read_dir(at).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(unreadable)?;
        files = entries.into_iter().map(|entry| entry.path()).filter(|path| visible(path) && path.is_file()).collect();
        files.sort();
    }
    let mut anchors = certificates::anchors_of(&files, named_by)?;
    anchors.retain(|anchor| anchor.pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE));
    Ok(anchors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Origin, Provenance, ProxyUse};

    #[test]
    fn the_built_in_policy_opens_what_the_replaced_programs_reached_and_no_more() {
        let policy = built_in().unwrap();
        assert_eq!(policy.egress.proxy.value, ProxyUse::Environment);
        assert_eq!(policy.limits.total.as_secs(), 17 * 60);
        let learned = |address: &str| {
            let origin = Origin::of(&url::Url::parse("https://a.example").unwrap()).unwrap();
            [Side::Source, Side::Registry].map(|side| {
                policy.egress.check_address(side, &origin, Provenance::Learned, address.parse().unwrap()).is_ok()
            })
        };
        for open in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "100.64.0.1",
            "fd00::1",
            "::1",
            "8.8.8.8",
            "2001:4860::1",
        ] {
            assert_eq!(learned(open), [true; 2], "{open}");
        }
        for closed in ["169.254.169.254", "fe80::1", "100.100.100.200", "fd00:ec2::254", "0.0.0.0", "224.0.0.1"] {
            assert_eq!(learned(closed), [false; 2], "{closed}");
        }
    }

    #[test]
    fn what_is_shown_of_it_reads_as_a_policy() {
        let shown = built_in().unwrap().show();
        assert!(shown.contains("total = \"17m\"  # dvcr:"), "{shown}");
        let again = Policy::parse(&shown, "shown", &mut certificates::Beside::new()).unwrap();
        assert_eq!(again.limits.attempts, 40);
    }
}
