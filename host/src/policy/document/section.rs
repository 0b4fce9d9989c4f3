//! Tables of the document and of those that it extends, read key by key; whatever is wrong is wrong at a line and column.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use crate::policy::{Site, Sited};

/// Why a document is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Invalid {
    /// The document's file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// The most entries of one list: every one is compared with every other.
const MAX_ENTRIES: usize = 4096;

/// A document's text.
pub(super) struct Text<'d> {
    pub(super) file: Arc<str>,
    pub(super) text: &'d str,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// A table whose keys are all known: that of the document and those of the documents that it extends, nearest first.
/// A key has the value of the first that has it.
#[derive(Clone)]
pub(super) struct Section<'d> {
    path: &'static str,
    texts: &'d [Text<'d>],
    layers: Vec<(Place, &'d DeTable<'d>)>,
}

/// A place in one of the documents.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    document: usize,
    at: usize,
}

/// One value with its place.
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) site: Site,
    pub(super) span: Place,
}

impl<T> Item<T> {
    pub(super) fn sited(self) -> Sited<T> {
        Sited::new(self.value, self.site)
    }
}

impl<'d> Text<'d> {
    pub(super) fn new(file: &str, text: &'d str) -> Self {
        let after = |(at, byte): (usize, u8)| (byte == b'\n').then(|| at.saturating_add(1));
        let lines = std::iter::once(0).chain(text.bytes().enumerate().filter_map(after)).collect();
        Self { file: file.into(), text, lines }
    }

    pub(super) fn invalid(&self, at: usize, message: impl Into<String>) -> Invalid {
        let (line, column) = self.position(at);
        Invalid { file: Arc::clone(&self.file), line, column, message: message.into() }
    }

    pub(super) fn site(&self, at: usize) -> Site {
        Site::Document { file: Arc::clone(&self.file), line: self.position(at).0 }
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|begins| *begins <= at);
        let begins = line.checked_sub(1).and_then(|before| self.lines.get(before)).copied().unwrap_or_default();
        let before = self.text.as_bytes().get(begins..at).unwrap_or_default();
        // Continuation bytes of UTF-8 begin no character.
        let within = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        (line, within.saturating_add(1))
    }
}

impl<'d> Section<'d> {
    /// The root of documents, each of which extends the next.
    pub(super) fn root(
        texts: &'d [Text<'d>],
        tables: impl Iterator<Item = &'d Spanned<DeTable<'d>>>,
    ) -> Result<Self, Invalid> {
        let layer = |(document, table): (usize, &'d Spanned<DeTable<'d>>)| {
            (Place { document, at: table.span().start }, table.get_ref())
        };
        Self::new(texts, "", tables.enumerate().map(layer).collect())
    }

    /// The tables at `path`, the empty one being the root.
    fn new(texts: &'d [Text<'d>], path: &'static str, layers: Vec<(Place, &'d DeTable<'d>)>) -> Result<Self, Invalid> {
        let section = Self { path, texts, layers };
        for (begins, table) in &section.layers {
            for name in table.keys() {
                let at = Place { at: name.span().start, ..*begins };
                let whole = joined(path, name.get_ref());
                if keys::find(&whole).is_none() {
                    let known = keys::below(path).join("`, `");
                    let place = if path.is_empty() { "the document".to_owned() } else { format!("`{path}`") };
                    let message = format!("unknown key `{whole}`: {place} has `{known}`");
                    return Err(section.invalid(&at, message));
                }
            }
        }
        Ok(section)
    }

    pub(super) fn invalid(&self, at: &Place, message: impl Into<String>) -> Invalid {
        let message = message.into();
        match self.texts.get(at.document) {
            Some(text) => text.invalid(at.at, message),
            None => Invalid { file: "".into(), line: 0, column: 0, message },
        }
    }

    /// The whole name of a key.
    pub(super) fn key(&self, name: &str) -> String {
        joined(self.path, name)
    }

    /// Where the section begins.
    pub(super) fn span(&self) -> Place {
        self.layers.first().map_or_else(Place::default, |(begins, _)| *begins)
    }

    /// Where the key stands, if it does.
    pub(super) fn span_of(&self, name: &str) -> Option<Place> {
        let of = |(begins, table): &(Place, &'d DeTable<'d>)| {
            let key = table.keys().find(|key| key.get_ref() == name)?;
            Some(Place { at: key.span().start, ..*begins })
        };
        self.layers.iter().find_map(of)
    }

    pub(super) fn section(&self, name: &str) -> Result<Option<Self>, Invalid> {
        let mut layers = Vec::new();
        for (begins, table) in &self.layers {
            let Some(value) = table.get(name) else { continue };
            let place = Place { at: value.span().start, ..*begins };
            match value.get_ref() {
                DeValue::Table(table) => layers.push((place, table)),
                other => return Err(self.mistyped(name, place, other, "a table")),
            }
        }
        if layers.is_empty() { Ok(None) } else { self.below(name, layers).map(Some) }
    }

    /// An array of tables, with something in it.
    pub(super) fn sections(&self, name: &str) -> Result<Vec<Self>, Invalid> {
        let Some((place, value)) = self.value(name) else { return Ok(Vec::new()) };
        let mistyped = |place, other| self.mistyped(name, place, other, "an array of tables");
        let DeValue::Array(entries) = value else { return Err(mistyped(place, value)) };
        self.check_length(name, entries.len(), place)?;
        let section = |entry: &'d Spanned<DeValue<'d>>| {
            let place = Place { at: entry.span().start, ..place };
            match entry.get_ref() {
                DeValue::Table(table) => self.below(name, vec![(place, table)]),
                other => Err(mistyped(place, other)),
            }
        };
        entries.iter().map(section).collect()
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<Item<&'d str>>, Invalid> {
        let Some((place, value)) = self.value(name) else { return Ok(None) };
        match value {
            DeValue::String(string) => Ok(Some(self.item(&**string, place))),
            other => Err(self.mistyped(name, place, other, "a string")),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<Item<bool>>, Invalid> {
        let Some((place, value)) = self.value(name) else { return Ok(None) };
        match value {
            DeValue::Boolean(boolean) => Ok(Some(self.item(*boolean, place))),
            other => Err(self.mistyped(name, place, other, "true or false")),
        }
    }

    /// A whole number between `least` and `most`.
    pub(super) fn integer(&self, name: &str, least: u64, most: u64) -> Result<Option<Item<u64>>, Invalid> {
        let Some((place, value)) = self.value(name) else { return Ok(None) };
        let DeValue::Integer(integer) = value else {
            return Err(self.mistyped(name, place, value, "a whole number"));
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(self.item(number, place))),
            _ => {
                let message = format!("`{}` must be from {least} to {most}", joined(self.path, name));
                Err(self.invalid(&place, message))
            }
        }
    }

    /// A list of strings, none of them twice, none if the key is absent.
    pub(super) fn strings(&self, name: &str) -> Result<Vec<Item<&'d str>>, Invalid> {
        let Some((place, value)) = self.value(name) else { return Ok(Vec::new()) };
        let mistyped = |place, other| self.mistyped(name, place, other, "a list of strings");
        let DeValue::Array(entries) = value else { return Err(mistyped(place, value)) };
        self.check_length(name, entries.len(), place)?;
        let mut items: Vec<Item<&'d str>> = Vec::new();
        for entry in entries {
            let place = Place { at: entry.span().start, ..place };
            let DeValue::String(string) = entry.get_ref() else { return Err(mistyped(place, entry.get_ref())) };
            if let Some(first) = items.iter().find(|first| first.value == &**string) {
                let message = format!("`{}` has `{string}` twice, first at {}", joined(self.path, name), first.site);
                return Err(self.invalid(&place, message));
            }
            items.push(self.item(&**string, place));
        }
        Ok(items)
    }

    /// A list of what `T` can be read from, none of it twice.
    pub(super) fn list<T>(&self, name: &str) -> Result<Vec<Item<T>>, Invalid>
    where
        T: FromStr + PartialEq,
        T::Err: fmt::Display,
    {
        self.list_of(name, |text| text.parse().map_err(|why: T::Err| why.to_string()))
    }

    /// A list of names out of a fixed set, none of them twice.
    pub(super) fn names<T>(
        &self,
        name: &str,
        all: &[T],
        shown: impl Fn(T) -> &'static str,
    ) -> Result<Vec<Item<T>>, Invalid>
    where
        T: Copy + PartialEq,
    {
        self.list_of(name, |text| {
            all.iter().copied().find(|one| shown(*one) == text).ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|one| shown(*one)).collect();
                format!("`{text}` is not among what longshore has: `{}`", known.join("`, `"))
            })
        })
    }

    /// One name out of a fixed set.
    pub(super) fn name<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        shown: impl Fn(T) -> &'static str,
    ) -> Result<Option<Item<T>>, Invalid> {
        let Some(Item { value: text, site, span }) = self.string(name)? else { return Ok(None) };
        match all.iter().copied().find(|one| shown(*one) == text) {
            Some(value) => Ok(Some(Item { value, site, span })),
            None => {
                let known: Vec<&str> = all.iter().map(|one| shown(*one)).collect();
                let (key, known) = (self.key(name), known.join("`, `"));
                Err(self.invalid(&span, format!("`{key}` is `{text}`, there is `{known}`")))
            }
        }
    }

    fn list_of<T: PartialEq>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<Item<T>>, Invalid> {
        let mut items: Vec<Item<T>> = Vec::new();
        for Item { value: text, site, span } in self.strings(name)? {
            let path = joined(self.path, name);
            let value = read(text).map_err(|why| self.invalid(&span, format!("`{path}`: {why}")))?;
            if let Some(first) = items.iter().find(|item| item.value == value) {
                let message = format!("`{path}` has `{text}` twice, first at {}", first.site);
                return Err(self.invalid(&span, message));
            }
            items.push(Item { value, site, span });
        }
        Ok(items)
    }

    fn below(&self, name: &str, layers: Vec<(Place, &'d DeTable<'d>)>) -> Result<Self, Invalid> {
        let path = joined(self.path, name);
        let key = keys::find(&path).ok_or_else(|| self.invalid(&self.span(), format!("unknown section `{path}`")))?;
        Self::new(self.texts, key, layers)
    }

    /// The value of a key, and where it stands.
    fn value(&self, name: &str) -> Option<(Place, &'d DeValue<'d>)> {
        let of = |(begins, table): &(Place, &'d DeTable<'d>)| {
            let value = table.get(name)?;
            Some((Place { at: value.span().start, ..*begins }, value.get_ref()))
        };
        self.layers.iter().find_map(of)
    }

    fn item<T>(&self, value: T, place: Place) -> Item<T> {
        let site = self.texts.get(place.document).map_or(Site::BuiltIn, |text| text.site(place.at));
        Item { value, site, span: place }
    }

    /// An empty list would be read as everything by one and as nothing by another.
    fn check_length(&self, name: &str, entries: usize, place: Place) -> Result<(), Invalid> {
        let path = joined(self.path, name);
        let message = match entries {
            0 => format!("`{path}` is empty: leave the key out for the default, or list what is allowed"),
            1..=MAX_ENTRIES => return Ok(()),
            _ => format!("`{path}` has {entries} entries, expected at most {MAX_ENTRIES}"),
        };
        Err(self.invalid(&place, message))
    }

    fn mistyped(&self, name: &str, place: Place, found: &DeValue<'_>, expected: &str) -> Invalid {
        let path = joined(self.path, name);
        self.invalid(&place, format!("`{path}` has a value of type {}, expected {expected}", found.type_str()))
    }
}

/// Entries without their places in the text.
pub(super) fn sited<T>(items: Vec<Item<T>>) -> Vec<Sited<T>> {
    items.into_iter().map(Item::sited).collect()
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
