//! Components under the magnifying glass: what one is, which worlds it fits, and what keeps it from the others.

use std::sync::Arc;

use super::Choice;
use super::components::Listed;
use super::loader::{Loader, granted};
use crate::engine::{Compiler, Component, Engine, Kind, Unchecked};
use crate::error::{Code, Error, Result, Stage};
use crate::net::Net;
use crate::policy::{Grant, Policy, Rule};
use crate::stages::{self, Compressor};

/// What can be seen of a component.
#[derive(Debug)]
pub struct Inspected {
    /// The name it goes by.
    pub name: String,
    /// `built-in` or its file.
    pub origin: String,
    /// The digest of its bytes.
    pub digest: String,
    /// Its bytes.
    pub bytes: u64,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Each kind, and what keeps the component from being of it: nothing, if it fits.
    pub kinds: Vec<(&'static str, Vec<String>)>,
    /// Its own description; none if it fits no world, must not run, or does not get as far as describing itself.
    pub described: Option<Listed>,
}

/// A component that fits.
#[derive(Debug)]
pub struct Fitting {
    /// The name it goes by.
    pub name: String,
    /// The digest of its bytes.
    pub digest: String,
    /// The kinds it fits, at least one, and the rule of the policy that lets it run as such with what it is granted; or why it
    /// must not.
    pub kinds: Vec<(&'static str, Result<(Rule, Grant)>)>,
}

/// Looks at a component. Nothing of it runs but its description, with nothing within reach, and that only where the policy lets
/// it run at all.
///
/// # Errors
/// `usage` for an unknown name, `local-file` for an unreadable file, those of a registry, `component-invalid` for what cannot be
/// compiled.
pub async fn inspect_component(choice: &Choice, policy: &Policy, compiler: &Compiler) -> Result<Inspected> {
    let engine = Engine::new(&policy.limits)?;
    let _ticker = engine.ticker()?;
    let found = compiled(&engine, choice, policy, compiler).await?;
    let mut kinds = Vec::new();
    let mut described = None;
    for kind in Kind::ALL {
        let may = granted(&choice.shown(), found.digest(), kind, choice.origin(), &policy.components);
        let misfits = match fits(&engine, &found, kind, may.is_ok()).await {
            Ok(listed) => {
                described = described.or(listed);
                Vec::new()
            }
            Err(error) => std::iter::once(error.to_string()).chain(error.causes()).collect(),
        };
        kinds.push((kind.as_str(), misfits));
    }
    Ok(Inspected {
        name: found.name().to_owned(),
        origin: found.origin().describe(),
        digest: found.digest().to_string(),
        bytes: found.bytes(),
        imports: found.imports(&engine),
        exports: found.exports(&engine),
        kinds,
        described,
    })
}

/// Whether a component fits the world of `kind`, or without one a world whose interface it exports.
///
/// # Errors
/// Everything that keeps it from fitting, exit code 14; otherwise as for [`inspect_component`].
pub async fn check_component(
    choice: &Choice,
    kind: Option<&str>,
    policy: &Policy,
    compiler: &Compiler,
) -> Result<Fitting> {
    let engine = Engine::new(&policy.limits)?;
    let _ticker = engine.ticker()?;
    let found = compiled(&engine, choice, policy, compiler).await?;
    let kinds = match kind {
        Some(name) => Kind::ALL.into_iter().filter(|kind| kind.as_str() == name).collect(),
        None => found.exported_kinds(&engine),
    };
    let mut fitting = Vec::new();
    let mut wrong: Option<Error> = None;
    for kind in kinds {
        let may = granted(&choice.shown(), found.digest(), kind, choice.origin(), &policy.components);
        match (fits(&engine, &found, kind, may.is_ok()).await, wrong) {
            (Ok(_), before) => {
                fitting.push((kind.as_str(), may));
                wrong = before;
            }
            (Err(error), None) => wrong = Some(error),
            (Err(error), Some(before)) => {
                wrong = Some(error.causes().into_iter().fold(before.context(error.to_string()), Error::context));
            }
        }
    }
    if fitting.is_empty() {
        return Err(wrong.unwrap_or_else(|| {
            let interfaces: Vec<String> = Kind::ALL.into_iter().map(Kind::interface).collect();
            let message = format!("`{}` exports the interface of no stage", found.name());
            Error::new(Code::ComponentInvalid, Stage::Plan, message)
                .hint(format!("it would be one of {}", interfaces.join(", ")))
        }));
    }
    Ok(Fitting { name: found.name().to_owned(), digest: found.digest().to_string(), kinds: fitting })
}

/// Fits the component into the world of that kind and has it describe itself there, if it may run.
async fn fits(engine: &Engine, found: &Unchecked, kind: Kind, may_run: bool) -> Result<Option<Listed>> {
    let component: Component = found.fit(engine, kind)?;
    if !may_run {
        return Ok(None);
    }
    let described = match kind {
        // A compressor must also declare a format that somebody reads.
        Kind::Compressor => Compressor::new(engine, &component).await?.described().clone(),
        _ => stages::describe(engine, &component).await?,
    };
    Ok(Some(Listed::of(&component, described)))
}

async fn compiled(engine: &Engine, choice: &Choice, policy: &Policy, compiler: &Compiler) -> Result<Unchecked> {
    let net = Net::new(Arc::new(policy.clone()));
    let loader = Loader { engine, compiler, policy, net: &net };
    let found = loader.found(choice, None, |_, _| Ok(())).await;
    found.map(|(found, ())| found).map_err(|error| net.advise(error))
}
