//! What `dvcr-uploader` listens with: its certificate, whom it wants to see, and what of the policy's TLS it speaks.

use std::path::Path;

use super::super::args::DvcrUploader;
use super::super::certificates;
use super::environment::Environment;
use super::usage;
use crate::error::Result;
use crate::policy::{ClientDemand, ListenerTls, Suite, Version, Withheld};

/// TLS of the listener; none without a certificate.
pub(super) fn tls(typed: &DvcrUploader, environment: &Environment) -> Result<Option<ListenerTls>> {
    let value = |flag, typed: &Option<String>, name| environment.or((flag, typed.as_ref()), name);
    let certificate = value("--server-cert", &typed.server_cert, "TLS_CERT_FILE")?;
    let key = value("--server-key", &typed.server_key, "TLS_KEY_FILE")?;
    let client_ca = value("--client-ca", &typed.client_ca, "CLIENT_CA_FILE")?;
    let client_name = value("--client-name", &typed.client_name, "CLIENT_NAME")?;
    let (certificate, key) = match (certificate, key) {
        (Some((_, certificate)), Some((_, key))) => (certificate, key),
        (None, None) => {
            return match client_ca.or(client_name) {
                Some((name, _)) => {
                    Err(usage(format!("{name} is for a listener with a certificate, and there is none")))
                }
                None => Ok(None),
            };
        }
        (Some((name, _)), None) | (None, Some((name, _))) => {
            return Err(usage(format!("{name} is set alone: a certificate and its key belong together")));
        }
    };
    let identity = certificates::own(Path::new(&certificate), Path::new(&key), "--server-cert")?;
    let clients = match (client_ca, client_name) {
        (Some((_, ca)), name) => Some(ClientDemand {
            anchors: certificates::anchors_of(&[ca.into()], "--client-ca")?,
            names: name.into_iter().map(|(_, name)| name).collect(),
        }),
        (None, Some((name, _))) => return Err(usage(format!("{name} is set, and no CA of clients"))),
        (None, None) => None,
    };
    let mut without = Withheld::default();
    if let Some((name, text)) = value("--tls-min-version", &typed.tls_min_version, "TLS_MIN_VERSION")? {
        without.versions = older_than(name, &text)?;
    }
    if let Some((name, text)) = value("--tls-ciphers", &typed.tls_ciphers, "TLS_CIPHERS")? {
        without.suites = not_among(name, &text)?;
    }
    Ok(Some(ListenerTls { clients, without, ..ListenerTls::of(identity) }))
}

/// Versions before that one, by Go's names for them. Those before TLS 1.2 are never spoken.
fn older_than(name: &str, text: &str) -> Result<Vec<Version>> {
    match text {
        "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(Vec::new()),
        "VersionTLS13" => Ok(vec![Version::Tls12]),
        _ => Err(usage(format!("{name} is none of VersionTLS10, VersionTLS11, VersionTLS12 and VersionTLS13"))),
    }
}

/// Suites of TLS 1.2 that are not listed. Those of TLS 1.3 were never chosen by the list. What is listed and not ours is left
/// out; at least one must be there.
fn not_among(name: &str, text: &str) -> Result<Vec<Suite>> {
    let listed: Vec<&str> = text.split(',').map(str::trim).collect();
    let (kept, left): (Vec<Suite>, Vec<Suite>) =
        Suite::ALL.iter().partition(|suite| listed.contains(&suite.as_str()) && suite.version() == Version::Tls12);
    let of_tls13 = Suite::ALL.iter().any(|suite| suite.version() == Version::Tls13 && listed.contains(&suite.as_str()));
    if kept.is_empty() && !of_tls13 {
        let known: Vec<&str> = Suite::ALL.iter().map(|suite| suite.as_str()).collect();
        return Err(usage(format!("{name} lists no suite that longshore has: {}", known.join(", "))));
    }
    Ok(left.into_iter().filter(|suite| suite.version() == Version::Tls12).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_suites_are_narrowed_and_never_widened() {
        assert!(older_than("X", "VersionTLS10").unwrap().is_empty());
        assert_eq!(older_than("X", "VersionTLS13").unwrap(), [Version::Tls12]);
        assert!(older_than("X", "TLSv1.2").is_err());
        let one = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let left = not_among("X", &format!("{one}, TLS_RSA_WITH_AES_128_CBC_SHA")).unwrap();
        assert!(!left.iter().any(|suite| suite.as_str() == one || suite.version() == Version::Tls13));
        assert_eq!(not_among("X", "TLS_AES_128_GCM_SHA256").unwrap().len(), left.len() + 1);
        assert!(not_among("X", "TLS_RSA_WITH_AES_128_CBC_SHA").is_err());
    }
}
