//! `component list`, `inspect` and `check`, and the components in `--version`.

use serde_json::{Value, json};

use super::alone::alone;
use super::args::{ComponentCommand, Which};
use super::{messages, plan, policy};
use crate::error::Result;
use crate::pipeline::{self, Choice, Compiler, Fitting, Inspected, Listed};
use crate::policy::{Grant, Limits, Policy};

/// The version of the documents that `--json` writes.
const SCHEMA: &str = "longshore.component/v1";

/// Runs one of the commands.
pub(super) fn run(command: &ComponentCommand) -> Result<()> {
    match command {
        ComponentCommand::List { json } => list(*json),
        ComponentCommand::Inspect { which, json } => {
            let (choice, policy, compiler) = looked_at(which)?;
            let inspected = alone(pipeline::inspect_component(&choice, &policy, &compiler))??;
            if *json { messages::document(serde_json::to_string_pretty(&shown(&inspected))) } else { lines(&inspected) }
        }
        ComponentCommand::Check { which, kind } => {
            let (choice, policy, compiler) = looked_at(which)?;
            check(alone(pipeline::check_component(&choice, kind.as_deref(), &policy, &compiler))??)
        }
    }
}

fn looked_at(which: &Which) -> Result<(Choice, Policy, Compiler)> {
    let choice = plan::choice(&which.spec, which.auth_file.as_deref())?;
    Ok((choice, policy::effective(&which.policy, None)?, plan::compiler()?))
}

/// The version with the digests of what is built in.
pub(super) fn long_version() -> String {
    let mut text = env!("CARGO_PKG_VERSION").to_owned();
    for (name, digest) in pipeline::built_in_digests() {
        text.push_str(&format!("\n{name} {digest}"));
    }
    text
}

fn list(json: bool) -> Result<()> {
    let listed = alone(pipeline::list_built_in(&Limits::default()))??;
    if json {
        let components: Vec<Value> = listed.iter().map(described).collect();
        return messages::document(serde_json::to_string_pretty(
            &json!({ "schema": SCHEMA, "components": components }),
        ));
    }
    for Listed { name, version, kind, digest, declares } in &listed {
        messages::data(&format!("{name} {version} {kind} {digest} {declares}"))?;
    }
    Ok(())
}

fn described(listed: &Listed) -> Value {
    let Listed { name, version, kind, digest, declares } = listed;
    json!({ "name": name, "version": version, "kind": kind, "digest": digest, "declares": declares })
}

fn shown(inspected: &Inspected) -> Value {
    let kind = |(kind, misfits): &(&'static str, Vec<String>)| {
        ((*kind).to_owned(), json!({ "fits": misfits.is_empty(), "reasons": misfits }))
    };
    let kinds: serde_json::Map<String, Value> = inspected.kinds.iter().map(kind).collect();
    json!({
        "schema": SCHEMA,
        "name": inspected.name,
        "origin": inspected.origin,
        "digest": inspected.digest,
        "size": inspected.bytes,
        "imports": inspected.imports,
        "exports": inspected.exports,
        "kinds": kinds,
        "description": inspected.described.as_ref().map(described),
    })
}

fn lines(inspected: &Inspected) -> Result<()> {
    let Inspected { name, origin, digest, bytes, imports, exports, kinds, described } = inspected;
    let line = |title: &str, text: &str| messages::data(&format!("{title:<12} {text}"));
    line("name", name)?;
    line("origin", origin)?;
    line("digest", digest)?;
    line("size", &bytes.to_string())?;
    if let Some(Listed { name, version, kind, declares, .. }) = described {
        line("description", &format!("{name} {version}, a {kind}: {declares}"))?;
    }
    imports.iter().try_for_each(|import| line("imports", import))?;
    exports.iter().try_for_each(|export| line("exports", export))?;
    let fits: Vec<&str> = kinds.iter().filter(|(_, misfits)| misfits.is_empty()).map(|(kind, _)| *kind).collect();
    match &fits[..] {
        [] => line("fits", "no world; `longshore component check` says why"),
        fits => line("fits", &fits.join(", ")),
    }
}

/// The kinds that a component fits, and a line for each that says whether the policy lets it run so. If it lets it run as none,
/// the first no is the error.
fn check(fitting: Fitting) -> Result<()> {
    let Fitting { name, digest, kinds } = fitting;
    let fits: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
    messages::data(&format!("{name} {digest} fits {}", fits.join(", ")))?;
    let (mut first, mut runs) = (None, false);
    for (kind, allowed) in kinds {
        match allowed {
            Ok((rule, grant)) => {
                runs = true;
                messages::data(&messages::harmless(&format!("allowed as {kind}: {rule}{}", narrowed(&grant))))?;
            }
            Err(error) => {
                messages::data(&messages::harmless(&format!("denied as {kind}: {error}")))?;
                first.get_or_insert(error);
            }
        }
    }
    first.filter(|_| !runs).map_or(Ok(()), Err)
}

/// What an entry of the policy says of what it grants.
fn narrowed(grant: &Grant) -> String {
    let said = grant.said();
    if said.is_empty() { String::new() } else { format!(", with {}", said.join("; ")) }
}
