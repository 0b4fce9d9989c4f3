//! Which components do the work.

use super::Chosen;
use super::loader::Loader;
use crate::engine::{self, Component, Embedded, Engine, Kind, built_in};
use crate::error::{Code, Error, Result, Stage};
use crate::policy::{Grant, Limits};
use crate::stages::{self, Described};

/// The components of one import, loaded.
#[derive(Debug)]
pub struct Components {
    /// The source.
    pub source: Component,
    /// The filters that were named, in the order in which the bytes pass them.
    pub filters: Vec<Component>,
    /// The probe.
    pub probe: Component,
    /// The framing.
    pub framing: Component,
    /// The compressor.
    pub compressor: Option<Component>,
}

/// A component as it describes itself, for people.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `source`, `filter`, `probe`, `framing`, `compressor`.
    pub kind: &'static str,
    /// The digest of the component.
    pub digest: String,
    /// What it declares.
    pub declares: String,
}

impl Components {
    /// Loads what was chosen and the policy allows.
    ///
    /// # Errors
    /// As for [`Loader::load`].
    pub(super) async fn load(chosen: &Chosen, loader: Loader<'_>) -> Result<Self> {
        let mut filters = Vec::new();
        // Which the bytes ask for is known once they flow: until then none of them costs anything.
        for filter in chosen.filters.named() {
            filters.push(loader.load(filter, Kind::Filter).await?);
        }
        let compressor = match &chosen.compressor {
            Some(compressor) => Some(loader.load(compressor, Kind::Compressor).await?),
            None => None,
        };
        Ok(Self {
            source: loader.load(&chosen.source, Kind::Source).await?,
            filters,
            probe: loader.load(&chosen.probe, Kind::Probe).await?,
            framing: loader.load(&chosen.framing, Kind::Framing).await?,
            compressor,
        })
    }
}

impl Listed {
    pub(super) fn of(component: &Component, described: Described) -> Self {
        Self {
            name: described.name,
            version: described.version,
            kind: component.kind().as_str(),
            digest: component.digest().to_string(),
            declares: described.declares,
        }
    }
}

/// Every built-in component, as it describes itself.
///
/// # Errors
/// `component-invalid` if the program is damaged.
pub async fn list_built_in(limits: &Limits) -> Result<Vec<Listed>> {
    let engine = Engine::new(limits)?;
    let _ticker = engine.ticker()?;
    let mut all = Vec::new();
    for embedded in built_in() {
        let component = Component::built_in(&engine, embedded)?;
        let described = stages::describe(&engine, &component).await?;
        all.push(Listed::of(&component, described));
    }
    Ok(all)
}

/// Name and digest of every built-in component.
pub fn built_in_digests() -> impl Iterator<Item = (&'static str, &'static str)> {
    built_in().iter().map(|embedded| (embedded.name, embedded.digest))
}

/// The built-in source that declares a scheme.
#[must_use]
pub fn source_for(scheme: &str) -> Option<&'static str> {
    built_in().iter().find(|embedded| embedded.schemes.contains(&scheme)).map(|embedded| embedded.name)
}

/// Every scheme that a built-in source declares.
pub fn built_in_schemes() -> impl Iterator<Item = &'static str> {
    built_in().iter().flat_map(|embedded| embedded.schemes).copied()
}

/// See [`engine::compile_child`].
///
/// # Errors
/// Words for the parent process.
pub fn compile_child(arguments: &[String]) -> Option<std::result::Result<(), String>> {
    engine::compile_child(arguments)
}

/// Whether a source may be told an option.
///
/// # Errors
/// `component-denied`.
pub(super) fn may_be_told(name: &str, grant: &Grant, key: &str) -> Result<()> {
    let Some(rule) = grant.refuses_option(key) else { return Ok(()) };
    let message =
        format!("the source `{name}` must not be told the option `{key}`: the policy's {rule} does not list it");
    Err(Error::new(Code::ComponentDenied, Stage::Plan, message))
}

/// The built-in component of that name, of that kind if one is asked for.
pub(super) fn find_built_in(name: &str, kind: Option<Kind>) -> Result<&'static Embedded> {
    let fits = |embedded: &&Embedded| kind.is_none_or(|kind| embedded.kind == kind);
    // Where the kind is known its name may be left out: `gzip` for `compressor-gzip`.
    let named = |embedded: &&Embedded| {
        let short = kind.and_then(|kind| embedded.name.strip_prefix(kind.as_str())?.strip_prefix('-'));
        embedded.name == name || short == Some(name)
    };
    built_in().iter().filter(fits).find(named).ok_or_else(|| {
        let what = kind.map_or("component", Kind::as_str);
        let names: Vec<_> = built_in().iter().filter(fits).map(|embedded| embedded.name).collect();
        let mut message = format!("there is no built-in {what} `{name}`");
        if !names.is_empty() {
            message.push_str(&format!(": expected {}", names.join(" or ")));
        }
        Error::new(Code::Usage, Stage::Plan, message).hint("a file is named with a slash in it: ./name.wasm")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_table_of_schemes_is_what_the_sources_declare() {
        let listed = list_built_in(&Limits::default()).await.unwrap();
        assert_eq!(listed.len(), built_in().len());
        for (listed, embedded) in listed.iter().zip(built_in()) {
            assert_eq!(listed.name, embedded.name);
            let schemes = if embedded.kind == Kind::Source { listed.declares.clone() } else { String::new() };
            assert_eq!(embedded.schemes.join(", "), schemes, "{}", embedded.name);
        }
    }

    #[test]
    fn the_kind_may_be_left_out_of_a_name_where_it_is_known() {
        let found = |name, kind| find_built_in(name, kind).ok().map(|embedded| embedded.name);
        assert_eq!(found("gzip", Some(Kind::Compressor)), Some("compressor-gzip"));
        assert_eq!(found("compressor-zstd", Some(Kind::Compressor)), Some("compressor-zstd"));
        assert_eq!(found("compressor-zstd", None), Some("compressor-zstd"));
        assert_eq!(found("zstd", None), None, "of any kind");
        for name in ["gzip", "compressor-gzip", "", "-http"] {
            assert_eq!(found(name, Some(Kind::Source)), None, "{name}");
        }
    }
}
