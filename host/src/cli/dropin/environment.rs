//! The environment of the programs that are replaced. Empty is not set, as it was.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::usage;
use crate::error::Result;

/// The environment as it was when the program began. Some of it is secret: it is not to be shown.
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// This process's own.
    pub(super) fn own() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The text of a variable. No message quotes it.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = self.0.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        value.to_str().map(|text| Some(text.to_owned())).ok_or_else(|| usage(format!("{name} is not UTF-8")))
    }

    /// The same, which must be there.
    pub(super) fn needed(&self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| usage(format!("{name} is not set")))
    }

    /// A flag, else the variable; which of them it was, for messages.
    pub(super) fn or<'a>(
        &self,
        (flag, typed): (&'a str, Option<&String>),
        name: &'a str,
    ) -> Result<Option<(&'a str, String)>> {
        match typed.filter(|typed| !typed.is_empty()) {
            Some(typed) => Ok(Some((flag, typed.clone()))),
            None => Ok(self.text(name)?.map(|text| (name, text))),
        }
    }

    /// The values of all variables whose names begin so, by their names.
    pub(super) fn beginning(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for name in self.0.keys().filter_map(|name| name.to_str()).filter(|name| name.starts_with(prefix)) {
            found.extend(self.text(name)?.map(|text| (name.to_owned(), text)));
        }
        Ok(found)
    }
}

/// What Go's `strconv.ParseBool` takes. Anything else was false without a word, and is an error.
pub(super) fn is_true(name: &str, text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(usage(format!("{name} is neither true nor false"))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An environment of these variables.
    pub(in crate::cli::dropin) fn of(variables: &[(&str, &str)]) -> Environment {
        Environment(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn empty_is_not_set() {
        let environment = of(&[("A", ""), ("B", "b"), ("X_1", "one"), ("X_2", "")]);
        assert_eq!(environment.text("A").unwrap(), None);
        assert_eq!(environment.text("B").unwrap().as_deref(), Some("b"));
        assert!(environment.needed("A").is_err() && environment.needed("C").is_err());
        assert_eq!(environment.beginning("X_").unwrap(), [("X_1".to_owned(), "one".to_owned())]);
        assert!(is_true("X", "1").unwrap() && !is_true("X", "False").unwrap() && is_true("X", "yes").is_err());
    }

    #[test]
    fn a_flag_goes_before_its_variable() {
        let environment = of(&[("B", "b")]);
        let or = |typed: Option<&str>| {
            let typed = typed.map(str::to_owned);
            environment.or(("--b", typed.as_ref()), "B").unwrap().unwrap()
        };
        assert_eq!(or(Some("x")), ("--b", "x".to_owned()));
        assert_eq!(or(None), ("B", "b".to_owned()));
        assert_eq!(or(Some("")), ("B", "b".to_owned()));
    }
}
