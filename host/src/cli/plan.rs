//! From arguments, environment and files to a plan that has nothing left to ask.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::args::{From, Import, Inspect, Making, Probe, Serve};
use super::locate::{self, Destination};
use super::source_fields::{source_fields, source_options};
use super::{auth, copying, env, image, policy};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Tag;
use crate::pipeline::{
    Artifact, Choice, Chosen, Compiler, Credentials, Filters, ImageAt, Input, InspectPlan, Plan, ProbePlan, Source,
    SourceConnections, SourceRegistry, Target, built_in_schemes, source_for, stored_image,
};
use crate::policy::ProbeName;

/// The probe and the framing, unless somebody names another.
pub(super) const PROBE: &str = "probe-disk";
pub(super) const FRAMING: &str = "framing-tar";
/// No filter at all.
const NONE: &str = "none";
/// The location of standard input.
const STANDARD_INPUT: &str = "-";
/// Filters chosen by what the bytes look like.
const AUTO: &str = "auto";

/// The file of a checkpoint, where there is an upload that could be continued.
fn checkpoint(import: &Import, target: &Target) -> Result<Option<PathBuf>> {
    match (&import.checkpoint, target) {
        (Some(_), Target::Layout(_)) => {
            Err(usage("--checkpoint continues uploads to registries, and an image layout is none".to_owned()))
        }
        (path, _) => Ok(path.clone()),
    }
}

/// Resolves everything.
pub(super) fn plan(import: &Import) -> Result<Plan> {
    let plan = made(&import.from, &import.destination, &import.making)?;
    let copy = copying::copy(import, &plan)?;
    Ok(Plan {
        copy,
        connections: import.source_connections,
        checkpoint: checkpoint(import, &plan.target)?,
        checksum_files: import.checksum_file.iter().map(|text| locate::checksum_file(text)).collect::<Result<_>>()?,
        ..plan
    })
}

/// What an upload will be: everything but the upload itself, which is told apart from standard input once it is there.
pub(super) fn serve_plan(serve: &Serve) -> Result<Plan> {
    let from = From {
        location: STANDARD_INPUT.to_owned(),
        size: None,
        source: None,
        source_option: Vec::new(),
        source_credentials: None,
        source_header_file: None,
        probe: serve.probe.clone(),
        policy: serve.policy.clone(),
    };
    made(&from, &serve.destination, &serve.making)
}

/// SOURCE made into an image at DESTINATION.
fn made(from: &From, destination: &str, making: &Making) -> Result<Plan> {
    let auth_file = making.auth_file.as_deref();
    let input = input(from, auth_file)?;
    let (target, tag) = target(destination, auth_file)?;
    let mut tags: Vec<Tag> = tag.into_iter().collect();
    for tag in &making.tag {
        tags.push(tag.parse().map_err(|why| usage(format!("{why}")))?);
    }
    if tags.is_empty() {
        tags.push(Tag::latest());
    }
    let mut seen = HashSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    let filters = filters(&making.filter, auth_file)?;
    // A size is the disk's: of what a source gives to a filter it says nothing.
    let disk_size = input.size;
    let input = Input { size: input.size.filter(|_| filters.are_none()), ..input };
    let (source, probe) = readers(from, &input.source, auth_file)?;
    let registry = match &target {
        Target::Registry { repository, .. } => Some(repository),
        Target::Layout(_) => None,
    };
    let policy = policy::effective(&from.policy, registry)?;
    Ok(Plan {
        chosen: Chosen {
            source,
            filters,
            probe,
            framing: choice_or(making.framing.as_deref(), FRAMING, auth_file)?,
            compressor: making.compressor.as_deref().map(|spec| choice(spec, auth_file)).transpose()?,
        },
        input,
        disk_size,
        connections: SourceConnections::ONE,
        limit: making.limit_rate,
        spool: making.spool.clone().zip(making.spool_max),
        checkpoint: None,
        target,
        tags,
        name: making.name.clone(),
        checksums: making.checksum.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        checksum_files: Vec::new(),
        format: making.format.as_deref().map(format).transpose()?,
        not_empty: false,
        image: image::wishes(making)?,
        copy: None,
        epoch: env::source_date_epoch().transpose().map_err(usage)?,
        policy,
        compiler: compiler()?,
    })
}

/// The same for a command that only looks.
pub(super) fn probe_plan(probe: &Probe) -> Result<ProbePlan> {
    let input = input(&probe.from, probe.auth_file.as_deref())?;
    let policy = policy::effective(&probe.from.policy, None)?;
    let (source, probe) = readers(&probe.from, &input.source, probe.auth_file.as_deref())?;
    Ok(ProbePlan { input, source, probe, policy, compiler: compiler()? })
}

fn format(text: &str) -> Result<ProbeName> {
    text.parse().map_err(|why| usage(format!("--format: {why}")))
}

fn usage(message: String) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

fn input(from: &From, auth_file: Option<&Path>) -> Result<Input> {
    if let Some((folder, tag)) = locate::layout(&from.location)? {
        if from.source_credentials.is_some() || from.source_header_file.is_some() {
            let words = "--source-credentials and --source-header-file are for a SOURCE that is reached over a network";
            return Err(usage(words.to_owned()));
        }
        let image = stored_image(folder, tag.as_ref(), source_options(&from.source_option)?)?;
        return Ok(Input { size: from.size, ..image });
    }
    let (source, in_url) = locate::source(&from.location)?;
    let (fields, given) = source_fields(from, &source, in_url)?;
    let registry = match (locate::source_repository(&from.location)?, given) {
        (None, _) => None,
        (Some(repository), Some(basic)) => {
            Some(SourceRegistry { repository, credentials: Some(Credentials::Basic(basic)) })
        }
        (Some(repository), None) => {
            let credentials = auth::credentials(auth_file, &repository)?;
            Some(SourceRegistry { repository, credentials })
        }
    };
    Ok(Input { size: from.size, fields, options: source_options(&from.source_option)?, registry, layout: None, source })
}

/// What is to be looked at.
pub(super) fn inspect(inspect: &Inspect) -> Result<InspectPlan> {
    let image = match locate::image(&inspect.reference)? {
        Destination::Layout(folder, tag) => ImageAt::Layout(folder, tag),
        Destination::Registry(reference) => {
            let credentials = auth::credentials(inspect.auth_file.as_deref(), &reference.repository)?;
            ImageAt::Registry { reference, credentials }
        }
    };
    let registry = match &image {
        ImageAt::Registry { reference, .. } => Some(&reference.repository),
        ImageAt::Layout(..) => None,
    };
    let policy = policy::effective(&inspect.policy, registry)?;
    Ok(InspectPlan { image, policy })
}

/// Who compiles strangers' components: this program, which keeps what comes of it.
pub(super) fn compiler() -> Result<Compiler> {
    let program = env::program()
        .map_err(|why| Error::internal(Stage::Plan, format!("this program cannot find itself: {why}")))?;
    Ok(Compiler { program, cache: env::cache() })
}

fn target(destination: &str, auth_file: Option<&Path>) -> Result<(Target, Option<Tag>)> {
    Ok(match locate::destination(destination)? {
        Destination::Layout(folder, tag) => (Target::Layout(folder), tag),
        Destination::Registry(reference) => {
            let credentials = auth::credentials(auth_file, &reference.repository)?;
            (Target::Registry { repository: reference.repository, credentials }, reference.tag)
        }
    })
}

/// The source and the probe.
fn readers(from: &From, source: &Source, auth_file: Option<&Path>) -> Result<(Choice, Choice)> {
    let reader = match (&from.source, source_for(source.scheme())) {
        (Some(spec), _) => choice(spec, auth_file)?,
        (None, Some(name)) => Choice::BuiltIn(name.to_owned()),
        (None, None) => {
            let known: Vec<&str> = built_in_schemes().collect();
            let (scheme, known) = (source.scheme(), known.join(", "));
            let message = format!("no built-in source opens `{scheme}` locations: they declare {known}");
            return Err(usage(message).hint("name a component that declares the scheme: --source FILE"));
        }
    };
    Ok((reader, choice_or(from.probe.as_deref(), PROBE, auth_file)?))
}

/// The filters in their order; `none` and `auto` stand alone.
fn filters(specs: &[String], auth_file: Option<&Path>) -> Result<Filters> {
    match specs {
        [only] if only == NONE => Ok(Filters::Named(Vec::new())),
        [only] if only == AUTO => Ok(Filters::Auto(Vec::new())),
        specs => {
            let named = specs.iter().map(|spec| match spec.as_str() {
                alone @ (AUTO | NONE) => Err(usage(format!("`--filter {alone}` excludes every other filter"))),
                spec => choice(spec, auth_file),
            });
            named.collect::<Result<_>>().map(Filters::Named)
        }
    }
}

fn choice_or(spec: Option<&str>, default: &str, auth_file: Option<&Path>) -> Result<Choice> {
    spec.map_or_else(|| Ok(Choice::BuiltIn(default.to_owned())), |spec| choice(spec, auth_file))
}

/// A component as it is named: in a registry, in a file, or built in.
pub(super) fn choice(spec: &str, auth_file: Option<&Path>) -> Result<Choice> {
    if spec.starts_with("docker://") {
        let reference = locate::component(spec)?;
        let credentials = auth::credentials(auth_file, &reference.repository)?;
        return Ok(Choice::Registry(Box::new(Artifact { reference, credentials })));
    }
    let file = spec.contains('/') || is_file_name(spec);
    Ok(if file { Choice::File(spec.into()) } else { Choice::BuiltIn(spec.to_owned()) })
}

fn is_file_name(spec: &str) -> bool {
    Path::new(spec).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("wasm"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::*;

    fn planned(arguments: &[&str]) -> Result<Plan> {
        let all = ["longshore", "import", "disk.raw", "oci:out"].iter().chain(arguments);
        let Command::Import(import) = Args::try_parse_from(all).unwrap().command else { panic!() };
        plan(&import)
    }

    fn tags(arguments: &[&str]) -> Vec<String> {
        planned(arguments).unwrap().tags.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_any_tag_it_is_latest() {
        assert_eq!(tags(&[]), ["latest"]);
        assert_eq!(tags(&["--tag", "a", "--tag", "b"]), ["a", "b"]);
        assert_eq!(tags(&["--tag", "b", "--tag", "a", "--tag", "b"]), ["b", "a"], "in order, each once");
    }

    #[test]
    fn a_component_is_a_name_or_a_file() {
        let source = |spec| planned(&["--source", spec]).unwrap().chosen.source;
        assert!(matches!(source("source-file"), Choice::BuiltIn(_)));
        assert!(matches!(source("./x"), Choice::File(_)));
        assert!(matches!(source("x.wasm"), Choice::File(_)));
    }

    #[test]
    fn filters_are_taken_in_their_order_and_none_and_auto_stand_alone() {
        let filters = |arguments: &[&str]| planned(arguments).map(|plan| plan.chosen.filters);
        assert!(filters(&[]).unwrap().are_none());
        assert!(filters(&["--filter", "none"]).unwrap().are_none());
        assert!(matches!(filters(&["--filter", "auto"]).unwrap(), Filters::Auto(named) if named.is_empty()));
        let Filters::Named(two) = filters(&["--filter", "./a", "--filter", "b"]).unwrap() else { panic!() };
        assert!(matches!(&two[..], [Choice::File(a), Choice::BuiltIn(b)] if a.as_os_str() == "./a" && b == "b"));
        for alone in ["none", "auto"] {
            assert_eq!(filters(&["--filter", "./a", "--filter", alone]).unwrap_err().code(), Code::Usage);
            assert_eq!(filters(&["--filter", alone, "--filter", alone]).unwrap_err().code(), Code::Usage);
        }
    }

    #[test]
    fn a_component_in_a_registry_is_a_reference() {
        for flag in ["--source", "--filter", "--probe", "--framing", "--compressor"] {
            let error = planned(&[flag, "docker://r.example/x@sha256:0"]).unwrap_err();
            assert_eq!(error.code(), Code::Usage, "{flag}");
        }
        let digest = crate::oci::Digest::of(b"");
        for named in [format!("docker://r.example:5000/a/x@{digest}"), "docker://r.example/x:1".to_owned()] {
            let Choice::Registry(artifact) = planned(&["--probe", &named]).unwrap().chosen.probe else { panic!() };
            assert_eq!(artifact.shown(), named);
        }
    }

    #[test]
    fn what_is_wrong_is_refused_before_anything_happens() {
        for arguments in [["--tag", "a b"], ["--checksum", "sha256:x"], ["--plain-http", "http://x"]] {
            assert_eq!(planned(&arguments).unwrap_err().code(), Code::Usage, "{arguments:?}");
        }
        assert_eq!(planned(&["--ca", "/nonexistent"]).unwrap_err().code(), Code::LocalFile);
    }
}
