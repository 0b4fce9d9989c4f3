//! The table of keys of docs/policy.md. Types, names, defaults and bounds that the parser has come from where it has them; a test
//! writes the page (`tests/tests/policy_page.rs`).

mod rows;

use super::keys::KEYS;
use super::limits::{shown_size, shown_time};
use crate::policy::limits::{self, LIMITS};
use crate::policy::{AllowedFlag, ChecksumName, ComponentKind, ComponentOrigin, Limits, RequestMethod};
use rows::ROWS;

/// What the page says of a key.
struct Row {
    path: &'static str,
    /// Type, default and bounds; none for a limit, which has its own.
    value: Option<(&'static str, &'static str, Bounds)>,
    meaning: &'static str,
}

/// What a value may be.
enum Bounds {
    Said(&'static str),
    Kinds,
    Origins,
    Methods,
    Checksums,
    Flags,
}

/// The table, in Markdown: a row for each key, in the order of [`KEYS`].
#[must_use]
pub fn table_of_keys() -> String {
    let mut table = "| key | type | default | bounds | meaning |\n|---|---|---|---|---|\n".to_owned();
    for key in KEYS {
        let Some(row) = ROWS.iter().find(|row| row.path == *key) else { continue };
        let value = match &row.value {
            Some((kind, default, bounds)) => format!("{kind} | {default} | {}", bounds.shown()),
            None => limit_of(key),
        };
        table.push_str(&format!("| `{key}` | {value} | {} |\n", row.meaning));
    }
    table
}

/// Type, default and bounds of a limit.
fn limit_of(path: &str) -> String {
    let mut defaults = Limits::default();
    let Some((_, bounds)) = LIMITS.iter().find(|(key, _)| *key == path) else { return String::new() };
    let (kind, default, least, most) = match bounds {
        limits::Bounds::Time(field, least, most) => {
            ("time", shown_time(*field(&mut defaults)), shown_time(*least), shown_time(*most))
        }
        limits::Bounds::Size(field, least, most) => {
            ("size", shown_size(*field(&mut defaults) as u64), shown_size(*least as u64), shown_size(*most as u64))
        }
        limits::Bounds::Count(field, least, most) => {
            ("whole number", field(&mut defaults).to_string(), least.to_string(), most.to_string())
        }
    };
    format!("{kind} | `{default}` | `{least}`–`{most}`")
}

impl Bounds {
    fn shown(&self) -> String {
        fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> String {
            all.iter().map(|one| format!("`\"{}\"`", name(*one))).collect::<Vec<_>>().join(", ")
        }
        match self {
            Self::Said(text) => (*text).to_owned(),
            Self::Kinds => names(ComponentKind::ALL, ComponentKind::as_str),
            Self::Origins => names(ComponentOrigin::ALL, ComponentOrigin::as_str),
            Self::Methods => names(RequestMethod::ALL, RequestMethod::as_str),
            Self::Checksums => names(ChecksumName::ALL, ChecksumName::as_str),
            Self::Flags => names(AllowedFlag::ALL, AllowedFlag::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_row_and_nothing_else_has() {
        assert_eq!(ROWS.iter().map(|row| row.path).collect::<Vec<_>>(), KEYS, "in the same order");
        for row in ROWS {
            let limit = LIMITS.iter().any(|(key, _)| *key == row.path);
            assert_eq!(row.value.is_none(), limit, "{}", row.path);
            assert!(row.meaning.ends_with('.') && !row.meaning.contains(['|', '\n']), "{}", row.path);
        }
    }
}
