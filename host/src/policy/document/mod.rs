//! The policy document `longshore.policy/v1` (TOML 1.0), read once into a value.
//!
//! Whatever is not understood is an error at its line and column: unknown and duplicate keys, wrong types, empty lists,
//! contradictions, and keys that are part of the contract and not built yet. Nothing falls back to a default.
//!
//! A document may extend another one, and that a third: a key has the value of the first document that has it, a list as a
//! whole. Each must be a policy by itself too.

mod between;
mod components;
mod destinations;
mod egress;
mod extends;
#[cfg(test)]
mod json_schema;
mod keys;
mod limits;
mod reference;
mod require;
mod section;
mod tls;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use keys::KEYS;
pub(super) use limits::{shown_size, shown_time};
pub use reference::table_of_keys;
pub use section::Invalid;
use section::{Item, Section, Text};

use super::{AllowedFlag, Policy, Site, Sites, TrustAnchor};

/// What `schema` must be.
pub(super) const SCHEMA: &str = "longshore.policy/v1";
/// The most bytes of a document: its longest lists fit.
const MAX_DOCUMENT: usize = 1 << 20;

/// The files that documents name, by paths as they are written there; the site says in which document.
pub trait Files {
    /// The file's whole path, for messages, and the text of the document in it, which another one extends.
    ///
    /// # Errors
    /// With the reason, which becomes the message at the path's line and column.
    fn document(&mut self, path: &str, site: &Site) -> Result<(String, String), String>;

    /// The certificates in a file or folder.
    ///
    /// # Errors
    /// With the reason, which becomes the message at the path's line and column.
    fn anchors(&mut self, path: &str, site: &Site) -> Result<Vec<TrustAnchor>, String>;

    /// The file's whole path, for messages, and its bytes.
    ///
    /// # Errors
    /// With the reason, which becomes the message at the path's line and column.
    fn file(&mut self, path: &str, site: &Site) -> Result<(String, Vec<u8>), String>;
}

impl Policy {
    /// The most bytes that a document may have.
    pub const MAX_DOCUMENT: usize = MAX_DOCUMENT;

    /// The policy of the document `text`, which stands in `file`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, file: &str, files: &mut dyn Files) -> Result<Self, Invalid> {
        let documents = extends::documents(text, file, files)?;
        let texts: Vec<Text<'_>> = documents.iter().map(|(file, text)| Text::new(file, text)).collect();
        let tables = texts.iter().map(table).collect::<Result<Vec<_>, _>>()?;
        // What is extended is a policy by itself. Its files are looked at where they count.
        for from in 1..texts.len() {
            let (texts, tables) = (texts.get(from..).unwrap_or_default(), tables.get(from..).unwrap_or_default());
            Self::read(&Section::root(texts, tables.iter())?, &mut extends::Unread)?;
        }
        let mut policy = Self::read(&Section::root(&texts, tables.iter())?, files)?;
        policy.document = Some(file.into());
        Ok(policy)
    }

    fn read(root: &Section<'_>, files: &mut dyn Files) -> Result<Self, Invalid> {
        let mut policy = Self::default();
        let mut sites = Sites::default();
        if let Some(section) = root.section("tls")? {
            policy.tls = tls::tls(&section, files, &mut sites)?;
        }
        if let Some(section) = root.section("egress")? {
            policy.egress = egress::egress(&section, &mut sites)?;
        }
        if let Some(section) = root.section("limits")? {
            policy.limits = limits::limits(&section, &mut sites)?;
        }
        if let Some(section) = root.section("components")? {
            policy.components = components::components(&section)?;
        }
        if let Some(section) = root.section("destinations")? {
            policy.destinations = destinations::destinations(&section)?;
        }
        if let Some(section) = root.section("require")? {
            policy.require = require::require(&section)?;
        }
        if let Some(section) = root.section("flags")? {
            let allowed = section.names("allow", AllowedFlag::ALL, AllowedFlag::as_str)?;
            policy.allowed_flags = allowed.into_iter().map(Item::sited).collect();
        }
        policy.sites = sites;
        between::contradictions(root, &policy)?;
        Ok(policy)
    }
}

/// The tables of a document that says which schema it has.
fn table<'d>(text: &Text<'d>) -> Result<Spanned<DeTable<'d>>, Invalid> {
    if text.text.len() > MAX_DOCUMENT {
        let message = format!("the document has {} bytes, expected at most {MAX_DOCUMENT}", text.text.len());
        return Err(text.invalid(0, message));
    }
    let parsed = DeTable::parse(text.text)
        .map_err(|why| text.invalid(why.span().map_or(0, |span| span.start), why.message()))?;
    schema(text, parsed.get_ref())?;
    Ok(parsed)
}

/// The schema comes before everything else: the keys of another one are not ours to judge.
fn schema(text: &Text<'_>, root: &DeTable<'_>) -> Result<(), Invalid> {
    let Some(value) = root.get("schema") else {
        return Err(text.invalid(0, format!("the document does not say what it is: expected `schema = \"{SCHEMA}\"`")));
    };
    match value.get_ref() {
        DeValue::String(schema) if **schema == *SCHEMA => Ok(()),
        DeValue::String(schema) => {
            let message = format!("`schema` is `{schema}`, which this longshore does not know: expected `{SCHEMA}`");
            Err(text.invalid(value.span().start, message))
        }
        other => {
            let message = format!("`schema` has a value of type {}, expected a string", other.type_str());
            Err(text.invalid(value.span().start, message))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Group, Suite, Trust, Version};
    use super::*;

    /// What others extend.
    const BASE: &str = "[tls]\nca = [\"a\"]\n[egress]\nredirects = 3\nplain-http = [\"a\"]\n[egress.source]\n\
        hosts = [\"a.b\"]\n[limits]\nconnect = \"5s\"\nanswer = \"6s\"";

    /// Files that are always there.
    pub(in crate::policy) struct Any;

    impl Files for Any {
        fn document(&mut self, path: &str, _: &Site) -> Result<(String, String), String> {
            let rest = match path {
                "base.toml" => BASE,
                "middle.toml" => "extends = \"base.toml\"\n[egress]\nredirects = 4",
                "wrong.toml" => "[limits]\nconnect = 5",
                "circle.toml" | "./circle.toml" => "extends = \"./circle.toml\"",
                _ => return Err(format!("`{path}` cannot be read")),
            };
            Ok((path.to_owned(), format!("schema = \"{SCHEMA}\"\n{rest}")))
        }

        fn anchors(&mut self, path: &str, site: &Site) -> Result<Vec<TrustAnchor>, String> {
            match path {
                "missing" => Err("`missing` cannot be read".to_owned()),
                _ => Ok(vec![TrustAnchor { file: path.to_owned(), pem: Vec::new(), site: site.clone(), side: None }]),
            }
        }

        fn file(&mut self, path: &str, _: &Site) -> Result<(String, Vec<u8>), String> {
            if path == "missing" {
                Err("`missing` cannot be read".to_owned())
            } else {
                Ok((path.to_owned(), Vec::new()))
            }
        }
    }

    /// The policy of a document that begins with its schema on a line of its own.
    pub(in crate::policy) fn parsed(rest: &str) -> Result<Policy, Invalid> {
        Policy::parse(&format!("schema = \"{SCHEMA}\"\n{rest}"), "policy.toml", &mut Any)
    }

    fn refused(rest: &str, line: usize, column: usize, says: &str) {
        let why = parsed(rest).expect_err(rest);
        assert!(why.message.contains(says), "expected `{says}` in `{why}` for\n{rest}");
        assert_eq!((why.line, why.column), (line, column), "{why} for\n{rest}");
    }

    #[test]
    fn an_empty_document_is_the_default() {
        let policy = parsed("").unwrap();
        assert_eq!(policy.tls.suites, Suite::AES_GCM);
        assert_eq!(policy.egress.redirects, 10);
        assert_eq!(policy.document.as_deref(), Some("policy.toml"));
    }

    #[test]
    fn a_document_that_is_no_policy_is_refused_where_it_goes_wrong() {
        let parse = |text: &str| Policy::parse(text, "p", &mut Any).unwrap_err().to_string();
        assert!(parse("").starts_with("p:1:1: the document does not say what it is"));
        assert!(
            parse("schema = \"longshore.policy/v2\"\nnew = 1").starts_with("p:1:10: `schema` is `longshore.policy/v2`")
        );
        assert!(parse("schema = 1").starts_with("p:1:10: `schema` has a value of type integer"));
        assert!(parse(&"#".repeat(MAX_DOCUMENT + 1)).contains("expected at most"));
        refused("[tls", 2, 5, "");
        refused("[tls]\nprofile = \"aes-gcm\"\nprofile = \"aes-gcm\"", 4, 1, "duplicate key");
        refused("[tls]\n[tls]", 3, 2, "duplicate key");
        refused("[tls]\n# ü\n\"ü\" = 1", 4, 1, "unknown key `tls.ü`: `tls` has `profile`, `versions`");
        refused("[tsl]", 2, 2, "unknown key `tsl`: the document has `schema`, `extends`, `tls`");
        let many = (0..4097).map(|host| format!("\"h{host}\",")).collect::<String>();
        refused(&format!("[egress.source]\nhosts = [{many}]"), 3, 9, "has 4097 entries, expected at most 4096");
        refused("[egress.source]\nhosts = [\"ü\", 1]", 3, 15, "`egress.source.hosts` has a value of type integer");
    }

    /// Arrays of tables, and what an entry can be for.
    const ENTRIES: [(&str, &str, &str); 3] = [
        ("tls.host", "match", "a"),
        ("destinations.repository", "match", "a.b/c"),
        ("components.allow", "digest", "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ];

    #[test]
    fn every_key_of_a_wrong_type_is_refused_by_name() {
        for key in KEYS.iter().filter(|key| **key != "schema") {
            let of_entry = ENTRIES
                .iter()
                .find_map(|(entry, by, whose)| Some((entry, by, whose, key.strip_prefix(entry)?.strip_prefix('.')?)));
            let text = match of_entry {
                Some((entry, by, _, name)) if *by == name => format!("[[{entry}]]\n{by} = 1979-05-27"),
                Some((entry, by, whose, name)) => format!("[[{entry}]]\n{by} = \"{whose}\"\n{name} = 1979-05-27"),
                None => format!("{key} = 1979-05-27"),
            };
            let why = parsed(&text).expect_err(&text);
            let says = format!("`{key}` has a value of type datetime");
            assert!(why.message.contains(&says), "expected `{says}` in `{why}`");
        }
    }

    #[test]
    fn profiles_and_lists_decide_what_is_offered() {
        let tls = |rest: &str| parsed(&format!("[tls]\n{rest}")).unwrap().tls;
        let only12 = tls("profile = \"aes-gcm-tls12\"");
        assert_eq!((only12.versions.len(), only12.suites.len(), only12.groups.len()), (1, 4, 3));
        let approved = tls("fips = true");
        assert_eq!(approved.suites, Suite::AES_GCM);
        assert_eq!(approved.groups, [Group::X25519MlKem768, Group::Secp256r1, Group::Secp384r1]);
        assert!(approved.fips.is_some() && tls("fips = false").fips.is_none());
        assert_eq!(tls("fips = true\nprofile = \"aes-gcm-tls12\"").groups, [Group::Secp256r1, Group::Secp384r1]);
        assert_eq!(only12.offered_by[0].to_string(), "`tls.profile` (policy.toml:3)");
        let only13 = tls("versions = [\"TLSv1.3\"]");
        assert_eq!((only13.suites.len(), only13.groups.len()), (2, 4));
        assert_eq!(only13.offered_by[0].key, "tls.versions");
        let one = tls("suites = [\"TLS_AES_256_GCM_SHA384\"]\ngroups = [\"secp384r1\", \"x25519\"]");
        assert_eq!((one.versions, one.suites), (vec![Version::Tls13], vec![Suite::Tls13Aes256GcmSha384]));
        assert_eq!(one.groups, [Group::Secp384r1, Group::X25519], "in the order of the document");
    }

    #[test]
    fn tls_that_cannot_be_is_refused() {
        let tls = |rest: &str, line, column, says| refused(&format!("[tls]\n{rest}"), line, column, says);
        tls("profile = \"modern\"", 3, 11, "there is `aes-gcm`, `aes-gcm-tls12`");
        tls("profile = \"aes-gcm\"\nversions = [\"TLSv1.3\"]", 4, 1, "`tls.profile` at policy.toml:3");
        tls("versions = []", 3, 12, "`tls.versions` is empty");
        tls("versions = [\"TLSv1.1\"]", 3, 13, "longshore has: `TLSv1.3`, `TLSv1.2`");
        tls("suites = [\"TLS_AES_128_CCM_SHA256\"]", 3, 11, "`TLS_AES_128_GCM_SHA256`, `TLS_AES_256_GCM_SHA384`");
        tls("groups = [\"x448\"]", 3, 11, "`X25519MLKEM768`, `x25519`");
        tls("groups = [\"x25519\", \"x25519\"]", 3, 21, "twice, first at policy.toml:3");
        tls("versions = [\"TLSv1.2\"]\nsuites = [\"TLS_AES_128_GCM_SHA256\"]", 3, 13, "no suite of it");
        tls(
            "versions = [\"TLSv1.3\"]\nsuites = [\"TLS_AES_128_GCM_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]",
            4,
            37,
            "is a suite of `TLSv1.2`",
        );
        tls("versions = [\"TLSv1.2\"]\ngroups = [\"X25519MLKEM768\"]", 4, 11, "no group that `TLSv1.2` knows");
        tls("system-store = false", 3, 16, "nobody would be trusted");
        tls("ca = [\"missing\"]", 3, 7, "`missing` cannot be read");
    }

    #[test]
    fn entries_for_hosts() {
        let policy = parsed(
            "[[tls.host]]\nmatch = \"a.example:5000\"\nca = [\"ca.pem\"]\n\
             [[tls.host]]\nmatch = \"*.example\"\ninsecure-skip-verification = true\n\
             [[tls.host]]\nmatch = \"*\"\ncertificate = \"c\"\nkey = \"k\"",
        );
        let [first, second, third] = &policy.unwrap().tls.hosts[..] else { panic!() };
        assert!(matches!(&first.trust, Trust::Only(anchors) if anchors[0].file == "ca.pem"));
        assert!(matches!(&second.trust, Trust::Anybody(site) if site.to_string() == "policy.toml:7"));
        assert_eq!((&third.trust, third.identity.as_ref().unwrap().key_file.as_str()), (&Trust::AsUsual, "k"));
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        let host = |rest: &str, line, column, says| refused(&format!("[[tls.host]]\n{rest}"), line, column, says);
        host("ca = [\"a\"]", 2, 1, "needs `match`");
        host("match = \"a.*\"", 3, 9, "`a.*` is not HOST");
        host("match = \"a\"", 3, 9, "says nothing");
        host("match = \"a\"\ncertificate = \"c\"", 4, 15, "needs `key`");
        host("match = \"a\"\nkey = \"c\"", 4, 7, "needs `certificate`");
        host("match = \"a\"\nkey = \"missing\"\ncertificate = \"c\"", 4, 7, "cannot be read");
        host("match = \"a\"\nca = [\"c\"]\ninsecure-skip-verification = true", 5, 30, "contradicts `ca`");
        let two = "match = \"*.a\"\nca = [\"c\"]\n[[tls.host]]\nca = [\"c\"]\nmatch = \"b.a:443\"";
        host(two, 7, 1, "never reached: `*.a` at policy.toml:3");
        refused("[tls]\nhost = [1]", 3, 9, "expected an array of tables");
    }

    #[test]
    fn egress_is_read_and_contradictions_are_refused() {
        let policy =
            parsed("[egress]\nredirects = 0\nplain-http = [\"a:5000\"]\n[egress.source]\nhosts = [\"*.a\"]").unwrap();
        assert_eq!((policy.egress.redirects, policy.egress.plain_http.len()), (0, 1));
        assert_eq!(policy.egress.source.hosts[0].site.to_string(), "policy.toml:6");
        assert_eq!(policy.sites.of("egress.redirects").to_string(), "policy.toml:3");
        refused("[egress]\nredirects = 51", 3, 13, "from 0 to 50");
        refused("[egress]\nredirects = -1", 3, 13, "from 0 to 50");
        refused("[egress]\nplain-http = [\"*.a\"]", 3, 15, "`*.a` is not HOST or HOST:PORT");
        refused("[egress.source]\naddresses = [\"10.0.0.1/8\"]", 3, 14, "expected `10.0.0.0/8`");
        let both = "[egress.registry]\nhosts = [\"a.b\"]\ndenied-hosts = [\"*.b\"]";
        refused(both, 3, 10, "`a.b` is allowed here and denied by `*.b` at policy.toml:4");
        let both = "[egress.registry]\naddresses = [\"10.1.0.0/16\"]\ndenied-addresses = [\"10.0.0.0/8\"]";
        refused(both, 3, 14, "denied by `10.0.0.0/8`");
    }

    #[test]
    fn a_key_has_the_value_of_the_first_document_that_has_it() {
        let policy = parsed(
            "extends = \"middle.toml\"\n[egress]\nplain-http = [\"b\"]\n[egress.source]\n\
             denied-hosts = [\"c\"]\n[limits]\nanswer = \"7s\"",
        )
        .unwrap();
        let egress = &policy.egress;
        let listed = |authority: &super::super::Sited<super::super::Authority>| {
            format!("{} {}", authority.value, authority.site)
        };
        assert_eq!(egress.plain_http.iter().map(listed).collect::<Vec<_>>(), ["b policy.toml:4"], "as a whole");
        assert_eq!(egress.source.hosts[0].site.to_string(), "base.toml:8", "and the same table's other key");
        assert_eq!(egress.source.denied_hosts[0].site.to_string(), "policy.toml:6");
        for (key, site) in [
            ("egress.redirects", "middle.toml:4"),
            ("limits.connect", "base.toml:10"),
            ("limits.answer", "policy.toml:8"),
        ] {
            assert_eq!(policy.sites.of(key).to_string(), site);
        }
        assert_eq!((egress.redirects, policy.limits.answer.as_secs()), (4, 7));
        assert_eq!(policy.tls.anchors[0].file, "a");
        assert_eq!(policy.document.as_deref(), Some("policy.toml"));
    }

    #[test]
    fn what_is_extended_must_be_a_policy_itself() {
        refused("extends = \"absent.toml\"", 2, 11, "`absent.toml` cannot be read");
        refused("extends = \"\"", 2, 11, "`extends` is empty");
        let why = parsed("extends = \"wrong.toml\"\n[limits]\nconnect = \"5s\"").unwrap_err();
        assert_eq!((&*why.file, why.line, why.column), ("wrong.toml", 3, 11), "though it is not what counts: {why}");
        let why = parsed("extends = \"circle.toml\"").unwrap_err();
        assert!(why.message.contains("more than 8 documents"), "{why}");
        assert_eq!((&*why.file, why.line), ("./circle.toml", 2));
        // Together they may contradict each other though each is a policy by itself.
        let why = parsed("extends = \"base.toml\"\n[egress.source]\ndenied-hosts = [\"*.b\"]").unwrap_err();
        assert!(why.message.contains("denied by `*.b` at policy.toml:4"), "{why}");
        assert_eq!((&*why.file, why.line), ("base.toml", 8));
    }

    #[test]
    fn limits_have_units_and_bounds() {
        let policy = parsed("[limits]\ncommit = \"1h 30m\"\ncomponent-memory = \"128MiB\"").unwrap();
        assert_eq!(policy.limits.commit.as_secs(), 5400);
        assert_eq!(policy.limits.component_memory, 128 << 20);
        refused("[limits]\nconnect = \"30\"", 3, 11, "expected a time like `30s`");
        refused("[limits]\nconnect = \"1h\"", 3, 11, "expected from 1s to 10m");
        refused("[limits]\nconnect = \"0s\"", 3, 11, "expected from 1s to 10m");
        refused("[limits]\ncomponent-memory = \"64MB\"", 3, 20, "expected a size like `64MiB`");
        refused("[limits]\ncomponent-memory = \"5GiB\"", 3, 20, "expected from 4MiB to 4GiB");
        refused("[flags]\nallow = [\"--policy\"]", 3, 10, "`--ca`, `--plain-http`");
    }

    #[test]
    fn the_example_is_a_policy_with_its_comments_and_without() {
        let example = include_str!("../../../../docs/examples/policy.toml");
        Policy::parse(example, "policy.toml", &mut Any).unwrap();
        // What is indented in a comment is an example of its own.
        let all: String = example
            .lines()
            .filter(|line| !line.starts_with("#     longshore") && !line.starts_with("profile"))
            .map(|line| line.strip_prefix("#     ").unwrap_or(line).to_owned() + "\n")
            .collect();
        let policy = Policy::parse(&all, "policy.toml", &mut Any).unwrap_or_else(|why| panic!("{why} in\n{all}"));
        assert_eq!((policy.tls.versions.len(), policy.tls.anchors.len(), policy.tls.hosts.len()), (1, 1, 1));
    }

    #[test]
    fn no_document_makes_it_panic() {
        let example = include_str!("../../../../docs/examples/policy.toml");
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below.max(1)
        };
        let pieces = [
            "[",
            "]",
            "[[tls.host]]\n",
            "\"",
            "\n",
            " = ",
            "\u{fc}",
            "9999999999999999999",
            "'''",
            ".",
            "{",
            "}",
            ",",
            "\0",
            "*:",
        ];
        let mut understood = 0;
        for _ in 0..4000 {
            let mut text: Vec<char> = example.chars().collect();
            for _ in 0..=random(3) {
                let (at, length) = (random(text.len()), random(12));
                let end = (at + length).min(text.len());
                let piece: Vec<char> = pieces[random(pieces.len())].chars().collect();
                text.splice(at..end, piece);
            }
            let text: String = text.into_iter().collect();
            understood += usize::from(Policy::parse(&text, "p", &mut Any).is_ok());
        }
        assert!((1..4000).contains(&understood), "some survive in comments, some do not: {understood}");
    }
}
