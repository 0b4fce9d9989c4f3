//! Loading components: where their bytes come from, and whether the policy lets them run.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::Choice;
use super::components::find_built_in;
use crate::engine::{Compiler, Component, Engine, Kind, MAX_COMPONENT_BYTES, Origin, Unchecked};
use crate::error::{Code, Error, Result, Stage};
use crate::net::Net;
use crate::oci::Digest;
use crate::policy::{self, ComponentKind, ComponentOrigin, Grant, Policy, Rule};

/// What loading a component takes.
#[derive(Clone, Copy)]
pub(super) struct Loader<'a> {
    pub(super) engine: &'a Engine,
    pub(super) compiler: &'a Compiler,
    pub(super) policy: &'a Policy,
    pub(super) net: &'a Net,
}

/// Whether a component may run, as far as that is known before it is fetched.
pub(super) enum MayRun {
    /// By its digest: the rule that lets it, and what it is granted; or why not.
    Known(Digest, Box<Result<(Rule, Grant)>>),
    /// Its digest is in a manifest that the registry has. This rule decides.
    Open(Rule),
}

impl Loader<'_> {
    /// Loads one component as one of that kind. What the policy does not allow is not even compiled.
    ///
    /// # Errors
    /// `usage` for an unknown name, `local-file` for an unreadable file, those of a registry, `component-denied`,
    /// `component-invalid`.
    pub(super) async fn load(self, choice: &Choice, kind: Kind) -> Result<Component> {
        let origin = choice.origin();
        let allowed = &self.policy.components;
        let may = |name: &str, digest: &Digest| granted(name, digest, kind, origin, allowed).map(|(_, grant)| grant);
        let (found, grant) = self.found(choice, Some(kind), may).await?;
        Ok(found.fit(self.engine, kind)?.granted(grant))
    }

    /// Loads one that is yet to show what it is, if `may` lets one of that name and digest be loaded.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub(super) async fn found<T>(
        self,
        choice: &Choice,
        kind: Option<Kind>,
        may: impl FnOnce(&str, &Digest) -> Result<T>,
    ) -> Result<(Unchecked, T)> {
        let (origin, name, wasm, allowed) = match choice {
            Choice::BuiltIn(name) => {
                let found = Unchecked::built_in(self.engine, find_built_in(name, kind)?)?;
                let allowed = may(found.name(), found.digest())?;
                return Ok((found, allowed));
            }
            Choice::File(path) => {
                let wasm = read_file(path)?;
                let allowed = may(&path.display().to_string(), &Digest::of(&wasm))?;
                let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                (Origin::File(path.clone()), name, wasm, allowed)
            }
            Choice::Registry(artifact) => {
                let may = |digest: &Digest| may(&artifact.shown(), digest);
                let (wasm, allowed) = artifact.fetch(&self.compiler.cache, self.policy, self.net, may).await?;
                (Origin::Registry(artifact.shown()), artifact.name().to_owned(), wasm, allowed)
            }
        };
        Ok((Unchecked::compiled(self.engine, self.compiler, (&name, origin), &wasm).await?, allowed))
    }
}

/// Whether the policy lets a component run. It is neither fetched nor loaded.
///
/// # Errors
/// `usage` for an unknown name and for a reference without a digest, `local-file` for an unreadable file.
pub(super) fn may_run(choice: &Choice, kind: Kind, policy: &Policy, compiler: &Compiler) -> Result<MayRun> {
    let allowed = &policy.components;
    let (name, digest) = match choice {
        Choice::BuiltIn(name) => {
            let found = find_built_in(name, Some(kind))?;
            let digest = found.digest.parse();
            let digest = digest.map_err(|_| Error::internal(Stage::Plan, "a malformed built-in digest"))?;
            (found.name.to_owned(), digest)
        }
        Choice::File(path) => (choice.shown(), Digest::of(&read_file(path)?)),
        Choice::Registry(artifact) => match (artifact.known(&compiler.cache)?, allowed.undecided()) {
            (Some(digest), _) => (choice.shown(), digest),
            (None, Some(rule)) => return Ok(MayRun::Open(rule)),
            (None, None) => return Ok(MayRun::Open(allowed.allowing(None, ComponentOrigin::Registry))),
        },
    };
    Ok(MayRun::Known(digest, Box::new(granted(&name, &digest, kind, choice.origin(), allowed))))
}

/// The rule that lets a component run, and what it is granted besides what its world has.
///
/// # Errors
/// `component-denied`.
pub(super) fn granted(
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
fn policy_kind(kind: Kind) -> Result<ComponentKind> {
    ComponentKind::named(kind.as_str())
        .ok_or_else(|| Error::internal(Stage::Plan, format!("the policy knows no {}", kind.as_str())))
}

/// The bytes of a component's file, at most one more than a component may have.
fn read_file(path: &Path) -> Result<Vec<u8>> {
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

    #[test]
    fn the_policy_names_the_kinds_that_there_are() {
        let kinds: Vec<&str> = ComponentKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(kinds, Kind::ALL.map(Kind::as_str));
        assert!(Kind::ALL.into_iter().all(|kind| policy_kind(kind).is_ok()));
    }
}
