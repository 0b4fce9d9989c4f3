//! Which components do the work, and where their bytes come from.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::{Choice, Chosen};
use crate::engine::{self, Component, Embedded, Engine, Kind, MAX_COMPONENT_BYTES, built_in};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;
use crate::policy::{self, ComponentKind, ComponentOrigin, Grant, Limits, Rule};
use crate::stages::{self, Described};

/// The components of one import, loaded.
#[derive(Debug)]
pub struct Components {
    /// The source.
    pub source: Component,
    /// The filters, in the order in which the bytes pass them.
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
    /// Loads what was chosen and the policy allows: built-in ones as they are, files compiled by a child of `program`.
    ///
    /// # Errors
    /// `usage` for an unknown name, `local-file` for an unreadable file, `component-denied`, `component-invalid` for what
    /// does not load.
    pub async fn load(engine: &Engine, chosen: &Chosen, allowed: &policy::Components, program: &Path) -> Result<Self> {
        let load = async |choice, kind| load(engine, choice, kind, allowed, program).await;
        let mut filters = Vec::new();
        for filter in &chosen.filters {
            filters.push(load(filter, Kind::Filter).await?);
        }
        let compressor = match &chosen.compressor {
            Some(compressor) => Some(load(compressor, Kind::Compressor).await?),
            None => None,
        };
        Ok(Self {
            source: load(&chosen.source, Kind::Source).await?,
            filters,
            probe: load(&chosen.probe, Kind::Probe).await?,
            framing: load(&chosen.framing, Kind::Framing).await?,
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

/// Loads one component. What the policy does not allow is not even compiled.
pub(super) async fn load(
    engine: &Engine,
    choice: &Choice,
    kind: Kind,
    allowed: &policy::Components,
    program: &Path,
) -> Result<Component> {
    match choice {
        Choice::BuiltIn(name) => {
            let embedded = find_built_in(name, Some(kind))?;
            let component = Component::built_in(engine, embedded)?;
            let (_, grant) = granted(embedded.name, component.digest(), kind, ComponentOrigin::BuiltIn, allowed)?;
            Ok(component.granted(grant))
        }
        Choice::File(path) => {
            let wasm = read_file(path)?;
            let name = path.display().to_string();
            let (_, grant) = granted(&name, &Digest::of(&wasm), kind, ComponentOrigin::File, allowed)?;
            Ok(Component::from_file(engine, program, kind, path, &wasm).await?.granted(grant))
        }
    }
}

/// The digest of a component, and whether the policy lets it run: as for [`granted`]. It is not loaded.
///
/// # Errors
/// `usage` for an unknown name, `local-file` for an unreadable file.
pub(super) fn may_run(
    choice: &Choice,
    kind: Kind,
    allowed: &policy::Components,
) -> Result<(Digest, Result<(Rule, Grant)>)> {
    let (name, digest, origin) = match choice {
        Choice::BuiltIn(name) => {
            let embedded = find_built_in(name, Some(kind))?;
            let digest =
                embedded.digest.parse().map_err(|_| Error::internal(Stage::Plan, "a malformed built-in digest"))?;
            (embedded.name.to_owned(), digest, ComponentOrigin::BuiltIn)
        }
        Choice::File(path) => (path.display().to_string(), Digest::of(&read_file(path)?), ComponentOrigin::File),
    };
    Ok((digest, granted(&name, &digest, kind, origin, allowed)))
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

/// The rule that lets a component run, and what it is granted besides what its world has.
fn granted(
    name: &str,
    digest: &Digest,
    kind: Kind,
    origin: ComponentOrigin,
    allowed: &policy::Components,
) -> Result<(Rule, Grant)> {
    let kind = policy_kind(kind)?;
    let entry = allowed.check(digest, kind, origin).map_err(|why| {
        let message = format!("the component `{name}` ({digest}) must not run as {}: {why}", kind.as_str());
        Error::new(Code::ComponentDenied, Stage::Plan, message)
            .hint("whoever keeps the policy can list its digest in an entry `[[components.allow]]`")
    })?;
    let grant = entry.map(|entry| entry.grant.clone()).unwrap_or_default();
    Ok((allowed.allowing(entry, origin), grant))
}

/// The kind as the policy has it.
pub(super) fn policy_kind(kind: Kind) -> Result<ComponentKind> {
    ComponentKind::named(kind.as_str())
        .ok_or_else(|| Error::internal(Stage::Plan, format!("the policy knows no {}", kind.as_str())))
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

/// The bytes of a component's file, at most one more than a component may have.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    read(path).map_err(|why| {
        let message = format!("the component `{}` cannot be read: {why}", path.display());
        Error::new(Code::LocalFile, Stage::Plan, message).caused_by(why)
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut wasm = Vec::new();
    File::open(path)?.take(MAX_COMPONENT_BYTES.saturating_add(1)).read_to_end(&mut wasm)?;
    Ok(wasm)
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
    fn the_policy_names_the_kinds_that_there_are() {
        let kinds: Vec<&str> = ComponentKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(kinds, Kind::ALL.map(Kind::as_str));
        assert!(Kind::ALL.into_iter().all(|kind| policy_kind(kind).is_ok()));
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
