//! What the command line adds to a policy, and where a document forbids it.

use std::fmt;
use std::sync::Arc;

use super::{
    AllowedFlag, Authority, FlagIdentity, HostPattern, HostTls, Policy, Rule, Side, Site, Sited, Trust, TrustAnchor,
};

/// What was typed that concerns the policy.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--plain-http`.
    pub plain_http: Vec<Sited<Authority>>,
    /// `--ca`.
    pub anchors: Vec<TrustAnchor>,
    /// `--cert` and `--key`.
    pub identities: Vec<FlagIdentity>,
    /// Hosts whose certificates are not to be verified. No flag says so; the environment of a replaced program may.
    pub unverified: Vec<Sited<Authority>>,
    /// The side that the hosts without TLS and those without a verification are for; none is both. No flag says so either.
    pub side: Option<Side>,
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
    /// The document has the certificates of that host verified.
    Verified {
        /// What would not.
        flag: String,
        /// The document's file.
        document: Arc<str>,
    },
    /// The document does not allow to listen without TLS.
    WithoutTls {
        /// What would.
        flag: &'static str,
        /// What is said there for everybody to read and change.
        what: &'static str,
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
            if !self.egress.plain(flags.side).any(|listed| listed.value.contains(&authority.value)) {
                let flag = format!("{} {}", authority.site, authority.value);
                self.allows(AllowedFlag::PlainHttp, &flag, "egress.plain-http")?;
                let listed = match flags.side {
                    Some(side) => &mut self.egress.rules_mut(side).plain_http,
                    None => &mut self.egress.plain_http,
                };
                listed.push(authority);
            }
        }
        for anchor in flags.anchors {
            self.allows(AllowedFlag::Ca, &format!("{} {}", anchor.site, anchor.file), "tls.ca")?;
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
        for authority in flags.unverified {
            self.skip_verification(authority, flags.side)?;
        }
        Ok(self)
    }

    /// Under a document only for a host whose certificates are not verified anyway.
    fn skip_verification(&mut self, authority: Sited<Authority>, side: Option<Side>) -> Result<(), FlagDenied> {
        let hosts = HostPattern::from(&authority.value);
        let entry = self.tls.hosts.iter().find(|entry| entry.is_for(side) && entry.hosts.value.meets(&hosts));
        let already =
            entry.is_some_and(|entry| entry.hosts.value.contains(&hosts) && matches!(entry.trust, Trust::Anybody(_)));
        match &self.document {
            _ if already => {}
            Some(document) => {
                let flag = format!("{} {}", authority.site, authority.value);
                return Err(FlagDenied::Verified { flag, document: Arc::clone(document) });
            }
            None => {
                let trust = Trust::Anybody(authority.site.clone());
                let hosts = Sited::new(hosts, authority.site);
                self.tls.hosts.insert(0, HostTls { hosts, side, trust, pins: Vec::new(), identity: None });
            }
        }
        Ok(())
    }

    /// The rule by which `flag` may have `what` said over connections without TLS: under a document only where `flags.allow` has
    /// `--without-tls`.
    ///
    /// # Errors
    /// [`FlagDenied::WithoutTls`].
    pub fn may_listen_without_tls(&self, flag: &'static str, what: &'static str) -> Result<Rule, FlagDenied> {
        let allowed = self.allowed_flags.iter().find(|allowed| allowed.value == AllowedFlag::WithoutTls);
        match (&self.document, allowed) {
            (Some(document), None) => Err(FlagDenied::WithoutTls { flag, what, document: Arc::clone(document) }),
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
            Self::Verified { .. } => {
                "whoever keeps the policy can set `insecure-skip-verification` in an entry `[[tls.host]]` for that host".to_owned()
            }
            Self::WithoutTls { .. } => {
                "whoever keeps the policy can list `--without-tls` in `flags.allow`; else name a certificate and its key"
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
            Self::Verified { flag, document } => {
                write!(f, "`{flag}` skips a verification that the policy `{document}` does not skip")
            }
            Self::WithoutTls { flag, what, document } => {
                write!(f, "`{flag}` {what} unprotected, which the policy `{document}` does not allow")
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
    use super::super::{Origin, Site};
    use super::*;

    fn plain(host: &str) -> Flags {
        let plain_http = vec![Sited::new(host.parse().unwrap(), Site::Flag("--plain-http"))];
        Flags { plain_http, ..Flags::default() }
    }

    fn ca() -> Flags {
        let anchor = TrustAnchor { file: "ca.pem".to_owned(), pem: Vec::new(), site: Site::Flag("--ca"), side: None };
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
        let asked = |policy: Policy| policy.may_listen_without_tls("--x", "says things");
        assert_eq!(asked(Policy::default()).unwrap().site, Site::BuiltIn);
        assert!(asked(parsed("").unwrap()).is_err());
        assert!(asked(parsed("[flags]\nallow = [\"--plain-http\"]").unwrap()).is_err());
        let allowed = asked(parsed("[flags]\nallow = [\"--without-tls\"]").unwrap()).unwrap();
        assert!(allowed.key == "flags.allow" && allowed.site != Site::BuiltIn);
    }

    #[test]
    fn one_host_may_go_unverified_unless_a_document_says_otherwise() {
        let unverified = |host: &str| {
            let unverified = vec![Sited::new(host.parse().unwrap(), Site::Flag("INSECURE"))];
            Flags { unverified, ..Flags::default() }
        };
        let policy = Policy::default().with_flags(unverified("a.example:443")).unwrap();
        let anybody = |url: &str| {
            let origin = Origin::of(&url::Url::parse(url).unwrap()).unwrap();
            matches!(policy.tls.entry(Side::Source, &origin).map(|entry| &entry.trust), Some(Trust::Anybody(_)))
        };
        assert!(anybody("https://a.example/") && !anybody("https://a.example:8443/") && !anybody("https://b.example/"));
        let denied = parsed("").unwrap().with_flags(unverified("a.example")).unwrap_err().to_string();
        assert!(denied.contains("`INSECURE a.example`") && denied.contains("policy.toml"), "{denied}");
        let skipped = "[[tls.host]]\nmatch = \"*.example\"\ninsecure-skip-verification = true";
        assert!(parsed(skipped).unwrap().with_flags(unverified("a.example:5000")).is_ok());
        let not_all = "[[tls.host]]\nmatch = \"a.example:443\"\nca = [\"c\"]\n\
                       [[tls.host]]\nmatch = \"*.example\"\ninsecure-skip-verification = true";
        assert!(parsed(not_all).unwrap().with_flags(unverified("a.example")).is_err());
    }

    #[test]
    fn what_one_side_is_allowed_the_other_is_not() {
        let host = |text: &str| vec![Sited::new(text.parse().unwrap(), Site::Flag("ENDPOINT"))];
        let origin = |url: &str| Origin::of(&url::Url::parse(url).unwrap()).unwrap();
        for (one, other) in [(Side::Source, Side::Registry), (Side::Registry, Side::Source)] {
            let own = |side| Flags {
                plain_http: host("a.example:80"),
                unverified: host("a.example:443"),
                side: Some(side),
                ..Flags::default()
            };
            let may = |policy: &Policy, side| {
                let entry = policy.tls.entry(side, &origin("https://a.example/"));
                let anybody = entry.is_some_and(|entry| matches!(entry.trust, Trust::Anybody(_)));
                (policy.egress.allows_scheme(side, &origin("http://a.example/")), anybody)
            };
            let policy = Policy::default().with_flags(own(one)).unwrap();
            assert_eq!((may(&policy, one), may(&policy, other)), ((true, true), (false, false)));
            let policy = policy.with_flags(own(other)).unwrap();
            assert_eq!((may(&policy, one), may(&policy, other)), ((true, true), (true, true)));
        }
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
