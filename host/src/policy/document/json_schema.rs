//! The JSON Schema (draft 2020-12) of a document, `docs/policy.schema.json`: for editors, and for whoever makes documents by
//! program. It is made of the same keys, names and bounds that the parser has, and the tests hold the two together.
//!
//! What a text must be beyond being a text, and what contradicts what, it leaves to `longshore policy check`: it refuses nothing
//! that the parser takes, and of what it takes the parser refuses some.

use serde_json::{Map, Value, json};

use super::keys::KEYS;
use super::{MAX_DOCUMENT, SCHEMA};
use crate::policy::limits::{Bounds, LIMITS};
use crate::policy::{
    AllowedFlag, ChecksumName, ComponentKind, ComponentOrigin, Files, Group, Policy, ProxyUse, RequestMethod, Suite,
    Version,
};

/// What stands behind a key.
enum Shape {
    Table,
    /// An array of tables, each of which needs this key.
    Entries(&'static str),
    Text,
    Flag,
    Whole(u64, u64),
    OneOf(Vec<&'static str>),
    Texts,
    Names(Vec<&'static str>),
}

fn shape(path: &str) -> Shape {
    if let Some((_, bounds)) = LIMITS.iter().find(|(key, _)| *key == path) {
        return match bounds {
            Bounds::Count(_, least, most) => Shape::Whole((*least).into(), (*most).into()),
            Bounds::Time(..) | Bounds::Size(..) => Shape::Text,
        };
    }
    match path {
        "schema" => Shape::OneOf(vec![SCHEMA]),
        "tls" | "egress" | "egress.source" | "egress.registry" | "limits" | "flags" | "components" | "destinations"
        | "require" => Shape::Table,
        "tls.host" | "destinations.repository" => Shape::Entries("match"),
        "components.allow" => Shape::Entries("digest"),
        "tls.system-store"
        | "tls.session-tickets"
        | "tls.fips"
        | "tls.host.insecure-skip-verification"
        | "components.built-in"
        | "components.unlisted"
        | "destinations.overwrite"
        | "destinations.layouts"
        | "destinations.repository.overwrite"
        | "require.encrypted-uploads" => Shape::Flag,
        "egress.redirects" => Shape::Whole(0, 50),
        "tls.profile" => Shape::OneOf(vec!["aes-gcm", "aes-gcm-tls12"]),
        "egress.proxy" | "egress.source.proxy" | "egress.registry.proxy" => {
            Shape::OneOf(ProxyUse::ALL.iter().map(|one| one.as_str()).collect())
        }
        "tls.versions" => Shape::Names(Version::ALL.iter().map(|one| one.as_str()).collect()),
        "tls.suites" => Shape::Names(Suite::ALL.iter().map(|one| one.as_str()).collect()),
        "tls.groups" => Shape::Names(Group::ALL.iter().map(|one| one.as_str()).collect()),
        "flags.allow" => Shape::Names(AllowedFlag::ALL.iter().map(|one| one.as_str()).collect()),
        "components.allow.kinds" => Shape::Names(ComponentKind::ALL.iter().map(|one| one.as_str()).collect()),
        "components.allow.origins" => Shape::Names(ComponentOrigin::ALL.iter().map(|one| one.as_str()).collect()),
        "components.allow.methods" => Shape::Names(RequestMethod::ALL.iter().map(|one| one.as_str()).collect()),
        "require.checksum" => Shape::Names(ChecksumName::ALL.iter().map(|one| one.as_str()).collect()),
        "tls.ca"
        | "tls.pins"
        | "tls.host.ca"
        | "tls.host.pins"
        | "egress.plain-http"
        | "egress.source.hosts"
        | "egress.source.denied-hosts"
        | "egress.source.addresses"
        | "egress.source.denied-addresses"
        | "egress.registry.hosts"
        | "egress.registry.denied-hosts"
        | "egress.registry.addresses"
        | "egress.registry.denied-addresses"
        | "components.allow.hosts"
        | "components.allow.options"
        | "destinations.repository.tags"
        | "require.formats"
        | "require.refused-hazards"
        | "require.accepted-hazards" => Shape::Texts,
        "extends"
        | "tls.host.match"
        | "tls.host.certificate"
        | "tls.host.key"
        | "components.allow.digest"
        | "components.allow.memory"
        | "components.allow.cpu"
        | "components.allow.idle"
        | "components.allow.wait"
        | "components.allow.output"
        | "destinations.repository.match"
        | "require.max-size"
        | "require.max-virtual-size" => Shape::Text,
        other => panic!("the JSON Schema does not know what `{other}` is"),
    }
}

/// The meaning of each key, from the page that documents it.
fn described(path: &str) -> String {
    let page = include_str!("../../../../docs/policy.md");
    let row = page.lines().find(|line| line.starts_with(&format!("| `{path}` |"))).unwrap_or_default();
    row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default().replace('`', "")
}

fn table(path: &str, required: &[&str]) -> Value {
    let below = |key: &&&str| {
        let rest =
            if path.is_empty() { Some(**key) } else { key.strip_prefix(path).and_then(|rest| rest.strip_prefix('.')) };
        rest.is_some_and(|rest| !rest.contains('.'))
    };
    let property = |key: &&str| {
        let name = key.rsplit('.').next().unwrap_or_default().to_owned();
        let mut value = value(key);
        value["description"] = described(key).into();
        (name, value)
    };
    let properties: Map<String, Value> = KEYS.iter().filter(below).map(property).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn value(path: &str) -> Value {
    let list =
        |items: Value| json!({ "type": "array", "items": items, "minItems": 1, "maxItems": 4096, "uniqueItems": true });
    match shape(path) {
        Shape::Table => table(path, &[]),
        Shape::Entries(required) => {
            json!({ "type": "array", "items": table(path, &[required]), "minItems": 1, "maxItems": 4096 })
        }
        Shape::Text => json!({ "type": "string" }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::OneOf(names) => json!({ "type": "string", "enum": names }),
        Shape::Texts => list(json!({ "type": "string" })),
        Shape::Names(names) => list(json!({ "type": "string", "enum": names })),
    }
}

fn schema() -> Value {
    let mut schema = table("", &["schema"]);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = SCHEMA.into();
    schema["description"] = "A policy of longshore, in TOML. docs/policy.md describes every key.".into();
    schema
}

/// The part of JSON Schema that ours uses. Says what is wrong first.
fn refused(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let typed = match schema["type"].as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("{other}"),
    };
    if !typed {
        return Some(format!("{at}: type"));
    }
    if let Some(names) = schema["enum"].as_array().filter(|names| !names.contains(value)) {
        return Some(format!("{at}: none of {names:?}"));
    }
    let number = |key: &str| schema[key].as_i64();
    let outside = value.as_i64().is_some_and(|value| {
        number("minimum").is_some_and(|least| value < least) || number("maximum").is_some_and(|most| value > most)
    });
    if outside {
        return Some(format!("{at}: bounds"));
    }
    if let Some(items) = value.as_array() {
        let count = i64::try_from(items.len()).unwrap();
        let twice = items.iter().enumerate().any(|(at, item)| items[..at].contains(item));
        if count < number("minItems").unwrap() || count > number("maxItems").unwrap() {
            return Some(format!("{at}: length"));
        }
        if twice && schema["uniqueItems"] == true {
            return Some(format!("{at}: twice"));
        }
        return items.iter().find_map(|item| refused(&schema["items"], item, at));
    }
    let object = value.as_object()?;
    let absent =
        schema["required"].as_array().unwrap().iter().find(|name| !object.contains_key(name.as_str().unwrap()));
    if let Some(name) = absent {
        return Some(format!("{at}: needs {name}"));
    }
    object.iter().find_map(|(name, value)| match schema["properties"].get(name) {
        Some(below) => refused(below, value, &format!("{at}.{name}")),
        None => Some(format!("{at}: unknown {name}")),
    })
}

/// A document as the JSON that an editor checks; none if it is no TOML.
fn as_json(text: &str) -> Option<Value> {
    toml::from_str(text).ok()
}

struct Any;

impl Files for Any {
    fn document(&mut self, _: &str, _: &super::Site) -> Result<(String, String), String> {
        Ok(("base".to_owned(), format!("schema = \"{SCHEMA}\"")))
    }

    fn anchors(&mut self, path: &str, site: &super::Site) -> Result<Vec<super::TrustAnchor>, String> {
        Ok(vec![super::TrustAnchor { file: path.to_owned(), pem: Vec::new(), site: site.clone(), side: None }])
    }

    fn file(&mut self, path: &str, _: &super::Site) -> Result<(String, Vec<u8>), String> {
        Ok((path.to_owned(), Vec::new()))
    }
}

fn parses(text: &str) -> bool {
    Policy::parse(text, "p", &mut Any).is_ok()
}

#[test]
fn the_published_schema_is_this_one() {
    let published = include_str!("../../../../docs/policy.schema.json");
    let made = format!("{:#}\n", schema());
    assert!(published == made, "docs/policy.schema.json is not what the keys give, which is\n{made}");
    for key in KEYS {
        assert!(!described(key).is_empty(), "{key}");
    }
}

/// One document for each key, with a value that the parser takes, and some that neither takes.
#[test]
fn schema_and_parser_agree_about_every_key() {
    let schema = schema();
    let good = |path: &str| -> &str {
        match path {
            "tls.versions" => "[\"TLSv1.2\"]",
            "tls.suites" => "[\"TLS_AES_256_GCM_SHA384\"]",
            "tls.groups" => "[\"x25519\"]",
            "flags.allow" => "[\"--ca\"]",
            "components.allow.kinds" => "[\"source\"]",
            "components.allow.origins" => "[\"file\"]",
            "components.allow.methods" => "[\"HEAD\"]",
            "require.checksum" => "[\"sha512\"]",
            "tls.pins" | "tls.host.pins" => {
                "[\"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"]"
            }
            "components.allow.digest" => "\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
            path if path.ends_with("addresses") => "[\"10.0.0.0/8\"]",
            path if path.ends_with("size") || path.ends_with("output") => "\"5MiB\"",
            "limits.compile-memory" => "\"1GiB\"",
            "limits.client-rate" => "\"4KiB\"",
            path if path.ends_with("memory") => "\"5MiB\"",
            "tls.profile" => "\"aes-gcm\"",
            path if path.ends_with(".proxy") => "\"environment\"",
            "destinations.repository.match" => "\"a.b/c\"",
            path if path.ends_with("back-off") => "\"1s\"",
            path if path.starts_with("limits.") => "\"2s\"",
            "components.allow.cpu" | "components.allow.idle" | "components.allow.wait" => "\"2s\"",
            _ => "\"a\"",
        }
    };
    let entry = |path: &str| match path {
        path if path.starts_with("tls.host.") => "[[tls.host]]\nmatch = \"a\"\nca = [\"a\"]\n",
        path if path.starts_with("destinations.repository.") => "[[destinations.repository]]\nmatch = \"a.b/c\"\n",
        path if path.starts_with("components.allow.") => {
            "[[components.allow]]\ndigest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n"
        }
        _ => "",
    };
    let document = |path: &str, value: &str| {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let begin = match (entry(path), section) {
            ("", "") => String::new(),
            ("", section) => format!("[{section}]\n"),
            // The key that every entry has is set once.
            (entry, _) => {
                entry.lines().filter(|line| !line.starts_with(&format!("{name} ="))).collect::<Vec<_>>().join("\n")
                    + "\n"
            }
        };
        // What needs another key beside it has it.
        let beside = match path {
            "tls.host.certificate" => "key = \"k\"\n",
            "tls.host.key" => "certificate = \"c\"\n",
            _ => "",
        };
        format!("schema = \"{SCHEMA}\"\n{begin}{beside}{name} = {value}\n")
    };
    let mut judged = 0;
    for key in KEYS.iter().filter(|key| **key != "schema") {
        let wrong: Vec<&str> = match shape(key) {
            Shape::Table | Shape::Entries(_) => vec!["1", "\"a\"", "[]", "[1]"],
            Shape::Text => vec!["1", "true", "[\"a\"]", "{}"],
            Shape::Flag => vec!["1", "\"true\""],
            Shape::Whole(..) => vec!["-1", "1001", "\"1\"", "1.5"],
            Shape::OneOf(_) => vec!["1", "\"other\""],
            Shape::Texts => vec!["1", "\"a\"", "[]", "[1]"],
            Shape::Names(_) => vec!["\"a\"", "[]", "[1]", "[\"other\"]"],
        };
        let right = match shape(key) {
            Shape::Table | Shape::Entries(_) => None,
            // With the `ca` of its entry, the other would be a contradiction; without one, nobody would be trusted.
            Shape::Flag if *key == "tls.host.insecure-skip-verification" => Some("false"),
            Shape::Flag => Some("true"),
            Shape::Whole(..) => Some("3"),
            Shape::Texts if good(key) == "\"a\"" => Some("[\"a\"]"),
            Shape::Text | Shape::OneOf(_) | Shape::Texts | Shape::Names(_) => Some(good(key)),
        };
        for (value, fits) in wrong.into_iter().map(|value| (value, false)).chain(right.map(|value| (value, true))) {
            let text = document(key, value);
            let says = refused(&schema, &as_json(&text).unwrap_or_else(|| panic!("{text}")), "");
            assert_eq!(says.is_none(), fits, "the schema: {says:?} about\n{text}");
            assert_eq!(
                parses(&text),
                fits,
                "the parser: {:?} about\n{text}",
                Policy::parse(&text, "p", &mut Any).err()
            );
            judged += 1;
        }
    }
    assert!(judged > KEYS.len() * 3, "{judged}");
}

#[test]
fn whatever_the_parser_takes_the_schema_takes() {
    let schema = schema();
    let example = include_str!("../../../../docs/examples/policy.toml");
    assert_eq!(refused(&schema, &as_json(example).unwrap(), ""), None);
    assert!(example.len() < MAX_DOCUMENT);
    for text in [Policy::default().show(), Policy::parse(example, "p", &mut Any).unwrap().show()] {
        assert!(parses(&text), "{text}");
        assert_eq!(refused(&schema, &as_json(&text).unwrap(), ""), None, "{text}");
    }
    // Neither takes what has no schema, another one, or a key that is unknown.
    for text in [
        "".to_owned(),
        "schema = \"longshore.policy/v2\"".to_owned(),
        format!("schema = \"{SCHEMA}\"\nother = 1"),
        format!("schema = \"{SCHEMA}\"\n[tls]\nother = 1"),
        format!("schema = \"{SCHEMA}\"\n[egress.source]\nhosts = [\"a\", \"a\"]"),
        format!("schema = \"{SCHEMA}\"\n[[tls.host]]\nca = [\"a\"]"),
    ] {
        assert!(!parses(&text), "{text}");
        assert!(refused(&schema, &as_json(&text).unwrap(), "").is_some(), "{text}");
    }
}
