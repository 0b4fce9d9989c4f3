//! What the command line adds to a policy, and where a document forbids it.

use std::fmt;
use std::sync::Arc;

use super::{AllowedFlag, Authority, FlagIdentity, Policy, Rule, Site, Sited, TrustAnchor};

/// What was typed that concerns the policy.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--plain-http`.
    pub plain_http: Vec<Authority>,
    /// `--ca`.
    pub anchors: Vec<TrustAnchor>,
    /// `--cert` and `--key`.
    pub identities: Vec<FlagIdentity>,
}

/// Why a flag is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum FlagDenied {
    /// The document does not allow it.
    NotAllowed {
        /// The flag with its value.
        flag: String,
        /// The document's file.
        document: Arc<str>,
        /// The key that would allow it, besides `flags.allow`.
        key: &'static str,
    },
    /// The document does not allow to listen without TLS.
    WithoutTls {
        /// The document's file.
        document: Arc<str>,
    },
    /// The document has a client certificate for that host already.
    HasCertificate {
        /// The host.
        host: Authority,
        /// The document's rule.
        rule: Rule,
    },
}

impl Policy {
    /// The rule that bounds redirects.
    #[must_use]
    pub fn redirects_rule(&self) -> Rule {
        self.rule("egress.redirects")
    }

    /// The rule that `key` is.
    #[must_use]
    pub fn rule(&self, key: &'static str) -> Rule {
        Rule { key, site: self.sites.of(key) }
    }

    /// The policy with what the command line adds. Under the built-in default everything may be added. Under a document
    /// `--plain-http` and `--ca` only what the document lists already or where `flags.allow` has the flag; a client
    /// certificate only for a host to which the document gives none.
    ///
    /// # Errors
    /// The first flag that is refused.
    pub fn with_flags(mut self, flags: Flags) -> Result<Self, FlagDenied> {
        for authority in flags.plain_http {
            if !self.egress.plain_http.iter().any(|listed| listed.value.contains(&authority)) {
                let flag = format!("--plain-http {authority}");
                self.allows(AllowedFlag::PlainHttp, &flag, "egress.plain-http")?;
                self.egress.plain_http.push(Sited::new(authority, Site::Flag("--plain-http")));
            }
        }
        for anchor in flags.anchors {
            self.allows(AllowedFlag::Ca, &format!("--ca {}", anchor.file), "tls.ca")?;
            self.tls.anchors.push(anchor);
        }
        for flag in flags.identities {
            let given =
                self.tls.hosts.iter().find(|entry| entry.identity.is_some() && entry.hosts.value.overlaps(&flag.host));
            if let Some(entry) = given {
                let rule = Rule { key: "tls.host", site: entry.hosts.site.clone() };
                return Err(FlagDenied::HasCertificate { host: flag.host, rule });
            }
            self.tls.identities.push(flag);
        }
        Ok(self)
    }

    /// The rule by which disks may be taken in over connections without TLS: under a document only where `flags.allow` has it.
    ///
    /// # Errors
    /// [`FlagDenied::WithoutTls`].
    pub fn may_listen_without_tls(&self) -> Result<Rule, FlagDenied> {
        let allowed = self.allowed_flags.iter().find(|allowed| allowed.value == AllowedFlag::WithoutTls);
        match (&self.document, allowed) {
            (Some(document), None) => Err(FlagDenied::WithoutTls { document: Arc::clone(document) }),
            (_, allowed) => {
                let site = allowed.map_or(Site::BuiltIn, |allowed| allowed.site.clone());
                Ok(Rule { key: "flags.allow", site })
            }
        }
    }

    fn allows(&self, flag: AllowedFlag, typed: &str, key: &'static str) -> Result<(), FlagDenied> {
        match &self.document {
            Some(document) if !self.allowed_flags.iter().any(|allowed| allowed.value == flag) => {
                Err(FlagDenied::NotAllowed { flag: typed.to_owned(), document: Arc::clone(document), key })
            }
            _ => Ok(()),
        }
    }
}

impl FlagDenied {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::NotAllowed { key, .. } => {
                format!("whoever keeps the policy can list it in `{key}`, or allow the flag in `flags.allow`")
            }
            Self::WithoutTls { .. } => {
                "whoever keeps the policy can allow the flag in `flags.allow`; else name --tls-cert and --tls-key"
                    .to_owned()
            }
            Self::HasCertificate { .. } => "leave the flag out: the policy's certificate is used".to_owned(),
        }
    }
}

impl fmt::Display for FlagDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { flag, document, key } => {
                write!(f, "`{flag}` would add to the policy `{document}`, whose `{key}` does not list it")
            }
            Self::WithoutTls { document } => {
                write!(f, "`--without-tls` takes disks in unprotected, which the policy `{document}` does not allow")
            }
            Self::HasCertificate { host, rule } => {
                write!(f, "`--cert` for {host}, to which the policy's {rule} gives a client certificate already")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::parsed;
    use super::*;

    fn plain(host: &str) -> Flags {
        Flags { plain_http: vec![host.parse().unwrap()], ..Flags::default() }
    }

    fn ca() -> Flags {
        let anchor = TrustAnchor { file: "ca.pem".to_owned(), pem: Vec::new(), site: Site::Flag("--ca") };
        Flags { anchors: vec![anchor], ..Flags::default() }
    }

    #[test]
    fn the_built_in_policy_takes_every_flag() {
        let policy = Policy::default().with_flags(plain("a:80")).unwrap().with_flags(ca()).unwrap();
        assert_eq!((policy.egress.plain_http.len(), policy.tls.anchors.len()), (1, 1));
    }

    #[test]
    fn a_document_holds_against_flags() {
        let policy = || parsed("[egress]\nplain-http = [\"a:80\", \"b\"]").unwrap();
        for listed in ["a:80", "b", "b:5000"] {
            assert_eq!(policy().with_flags(plain(listed)).unwrap().egress.plain_http.len(), 2, "{listed} adds nothing");
        }
        for other in ["a", "a:81", "c"] {
            let denied = policy().with_flags(plain(other)).unwrap_err().to_string();
            assert!(denied.contains("policy.toml") && denied.contains("egress.plain-http"), "{denied}");
        }
        let denied = policy().with_flags(ca()).unwrap_err().to_string();
        assert!(denied.contains("`--ca ca.pem`") && denied.contains("tls.ca"), "{denied}");
    }

    #[test]
    fn a_document_may_allow_flags() {
        let policy = || parsed("[flags]\nallow = [\"--ca\"]").unwrap();
        assert!(policy().with_flags(ca()).is_ok());
        assert!(policy().with_flags(plain("a")).is_err());
    }

    #[test]
    fn a_document_decides_whether_a_listener_goes_without_tls() {
        assert_eq!(Policy::default().may_listen_without_tls().unwrap().site, Site::BuiltIn);
        assert!(parsed("").unwrap().may_listen_without_tls().is_err());
        assert!(parsed("[flags]\nallow = [\"--plain-http\"]").unwrap().may_listen_without_tls().is_err());
        let allowed = parsed("[flags]\nallow = [\"--without-tls\"]").unwrap().may_listen_without_tls().unwrap();
        assert!(allowed.key == "flags.allow" && allowed.site != Site::BuiltIn);
    }

    #[test]
    fn a_certificate_of_the_document_is_not_replaced() {
        let policy = || parsed("[[tls.host]]\nmatch = \"*.example:443\"\ncertificate = \"c\"\nkey = \"k\"").unwrap();
        let flags = |host: &str| {
            let [certificate, key] = ["c", "k"].map(str::to_owned);
            let identity = super::super::ClientIdentity {
                certificate_file: certificate,
                certificate: Vec::new(),
                key_file: key,
                key: Vec::new(),
                site: Site::Flag("--cert"),
            };
            let flag = FlagIdentity { host: host.parse().unwrap(), side: None, identity };
            Flags { identities: vec![flag], ..Flags::default() }
        };
        assert!(policy().with_flags(flags("example:443")).is_ok());
        assert!(policy().with_flags(flags("a.example:8443")).is_ok());
        assert!(policy().with_flags(flags("a.example")).is_err(), "port 443 among them");
    }
}
