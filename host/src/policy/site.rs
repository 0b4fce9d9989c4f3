//! Where a value of the policy comes from: every refusal names it, and `policy show` prints it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The origin of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// Nobody said otherwise.
    BuiltIn,
    /// A line of a policy document, from 1.
    Document {
        /// The document's file.
        file: Arc<str>,
        /// The line.
        line: usize,
    },
    /// The command line.
    Flag(&'static str),
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sited<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub site: Site,
}

/// A key of the policy and where its value comes from, as it stands in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The key, from the document's root.
    pub key: &'static str,
    /// Where it was set.
    pub site: Site,
}

/// The sites of single values by key; what is not in it is built in.
#[derive(Clone, Debug, Default)]
pub struct Sites(BTreeMap<&'static str, Site>);

impl<T> Sited<T> {
    /// A value from there.
    #[must_use]
    pub const fn new(value: T, site: Site) -> Self {
        Self { value, site }
    }
}

impl Sites {
    /// Where the value of `key` comes from.
    #[must_use]
    pub fn of(&self, key: &str) -> Site {
        self.0.get(key).cloned().unwrap_or(Site::BuiltIn)
    }

    pub(super) fn set(&mut self, key: &'static str, site: Site) {
        self.0.insert(key, site);
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::Document { file, line } => write!(f, "{file}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.key, self.site)
    }
}
