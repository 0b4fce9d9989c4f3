//! Whether the policy would let an import happen, and by which line: the questions that an import asks it, without the import.
//! Nothing is connected to, resolved, compiled or read but the files of components.

mod listener;

use std::sync::Arc;

pub use listener::explain_listener;

use super::accepted::checksum_named;
use super::components::may_be_told;
use super::destination::{allowed, registry_at};
use super::loader::{MayRun, may_run};
use super::{ChecksumFile, Choice, Plan, Target};
use crate::engine::{Kind, built_in};
use crate::error::{Code, Error, Result, Stage};
use crate::net::{Net, redacted};
use crate::policy::{Grant, Origin, Rule, Scheme, Side, Site};

/// One question that an import asks its policy.
#[derive(Debug)]
pub struct Answer {
    /// What is asked for.
    pub subject: String,
    /// What the policy says.
    pub verdict: Answered,
}

/// What a policy says.
#[derive(Debug)]
pub enum Answered {
    /// Yes, by this rule.
    Allowed(Rule),
    /// No: the error that an import ends with.
    Denied(Error),
    /// What it will say depends on what is found: this rule decides.
    Open(Rule),
}

/// Asks everything that an import of that plan would ask.
///
/// # Errors
/// `usage` and `local-file` for components that are not there, `usage` for a registry that is no host.
pub fn explain(plan: &Plan) -> Result<Vec<Answer>> {
    let net = Net::new(Arc::new(plan.policy.clone()));
    let mut answers = components(plan, &net)?;
    if let Some(origin) = plan.input.source.origin(&plan.policy.egress)?.filter(|_| plan.input.layout.is_none()) {
        connection(plan, &net, Side::Source, &origin, &mut answers);
        let rule = plan.policy.redirects_rule();
        let subject = format!("follow at most {} redirects of one read", plan.policy.egress.redirects);
        answers.push(Answer { subject, verdict: Answered::Allowed(rule) });
    }
    for file in &plan.checksum_files {
        if let ChecksumFile::Http(url) = file {
            let origin = Origin::of(url).map_err(|_| {
                Error::new(Code::Usage, Stage::Plan, format!("{} is not a URL that can be asked", redacted(url)))
            })?;
            if plan.input.source.origin(&plan.policy.egress)?.as_ref() != Some(&origin) {
                connection(plan, &net, Side::Source, &origin, &mut answers);
            }
        }
    }
    demands(plan, &mut answers);
    destination(plan, &mut answers);
    if let Target::Registry { repository, .. } = &plan.target {
        let (origin, _) = registry_at(repository, Side::Registry, &plan.policy)?;
        connection(plan, &net, Side::Registry, &origin, &mut answers);
    }
    Ok(answers)
}

fn components(plan: &Plan, net: &Net) -> Result<Vec<Answer>> {
    let chosen = &plan.chosen;
    let mut all = vec![(Kind::Source, &chosen.source)];
    all.extend(chosen.filters.named().iter().map(|filter| (Kind::Filter, filter)));
    all.push((Kind::Probe, &chosen.probe));
    all.push((Kind::Framing, &chosen.framing));
    all.extend(chosen.compressor.iter().map(|compressor| (Kind::Compressor, compressor)));
    let mut answers = Vec::new();
    for (kind, choice) in all {
        let name = choice.shown();
        if let Choice::Registry(artifact) = choice {
            let (origin, _) = registry_at(&artifact.reference.repository, Side::Registry, &plan.policy)?;
            connection(plan, net, Side::Registry, &origin, &mut answers);
        }
        let (digest, allowed) = match may_run(choice, kind, &plan.policy, &plan.compiler)? {
            MayRun::Known(digest, allowed) => (digest, *allowed),
            MayRun::Open(rule) => {
                let subject = format!("run `{name}` as {}", kind.as_str());
                answers.push(Answer { subject, verdict: Answered::Open(rule) });
                continue;
            }
        };
        let subject = format!("run `{name}` ({digest}) as {}", kind.as_str());
        match allowed {
            Ok((rule, grant)) => {
                answers.push(Answer { subject, verdict: Answered::Allowed(rule) });
                if kind == Kind::Source {
                    answers.extend(plan.input.options.iter().map(|(key, _)| option(&name, &grant, key)));
                }
            }
            Err(error) => answers.push(Answer { subject, verdict: Answered::Denied(error) }),
        }
    }
    let require = &plan.policy.require;
    if chosen.filters.are_chosen_by_bytes() {
        by_the_bytes(plan, "if the bytes ask for it", &mut answers)?;
    } else if ["archive", "wrapped"].into_iter().any(|hazard| require.accepts_hazard(hazard)) {
        // What is stored as it is, is looked into all the same.
        by_the_bytes(plan, "to look into what a disk is wrapped in", &mut answers)?;
    }
    Ok(answers)
}

/// The built-in filters that run, `when` what flows is of that kind. One that must not run keeps out only disks that need it.
fn by_the_bytes(plan: &Plan, when: &str, answers: &mut Vec<Answer>) -> Result<()> {
    for filter in built_in().iter().filter(|component| component.kind == Kind::Filter) {
        let choice = Choice::BuiltIn(filter.name.to_owned());
        if let MayRun::Known(digest, allowed) = may_run(&choice, Kind::Filter, &plan.policy, &plan.compiler)?
            && let Ok((rule, _)) = *allowed
        {
            let subject = format!("run `{}` ({digest}) as filter, {when}", filter.name);
            answers.push(Answer { subject, verdict: Answered::Open(rule) });
        }
    }
    Ok(())
}

/// Whether a source may be told an option.
fn option(name: &str, grant: &Grant, key: &str) -> Answer {
    let site = grant.options.first().map_or(Site::BuiltIn, |first| first.site.clone());
    let rule = Rule { key: "components.allow.options", site };
    let verdict = may_be_told(name, grant, key).map_or_else(Answered::Denied, |()| Answered::Allowed(rule));
    Answer { subject: format!("tell the source the option `{key}`"), verdict }
}

fn connection(plan: &Plan, net: &Net, side: Side, origin: &Origin, answers: &mut Vec<Answer>) {
    let egress = &plan.policy.egress;
    let client = net.client(side, vec![origin.clone()]);
    let verdict = match client.check(origin) {
        Ok(()) => Answered::Allowed(egress.allowing(side, origin)),
        Err(error) => Answered::Denied(error),
    };
    let connected = matches!(verdict, Answered::Allowed(_));
    answers.push(Answer { subject: format!("connect to {origin}"), verdict });
    if connected && origin.scheme() == Scheme::Http {
        let rule = egress.allowing_plain_http(side, origin);
        answers.push(Answer { subject: format!("speak to {origin} without TLS"), verdict: Answered::Allowed(rule) });
    }
    let proxy = egress.proxy_to(side, origin);
    if let (true, Some(proxy)) = (connected, proxy) {
        let verdict = Answered::Allowed(egress.proxy_rule(side));
        answers.push(Answer { subject: format!("connect to it over the proxy {proxy}"), verdict });
    }
    // Names of proxies and of peers that are connected to directly are resolved here, all others by the proxy.
    let dialled = proxy.map_or(origin, |proxy| &proxy.origin);
    if connected && dialled.address().is_none() {
        let subject = format!("connect to the addresses of {}", dialled.host());
        answers.push(Answer { subject, verdict: Answered::Open(egress.addresses_rule(side)) });
    }
}

fn demands(plan: &Plan, answers: &mut Vec<Answer>) {
    let require = &plan.policy.require;
    if let Some(first) = require.checksum.first() {
        let rule = Rule { key: "require.checksum", site: first.site.clone() };
        let verdict = match checksum_named(require, &plan.checksums) {
            Ok(()) => Answered::Allowed(rule),
            Err(_) if !plan.checksum_files.is_empty() => Answered::Open(rule),
            Err(error) => Answered::Denied(error),
        };
        answers.push(Answer { subject: "push a disk with the checksums that were named".to_owned(), verdict });
    }
    let open = [
        ("require.formats", "a disk of that format", require.formats.first().map(|first| &first.site)),
        ("require.refused-hazards", "a disk with hazards", require.refused_hazards.first().map(|first| &first.site)),
        ("require.max-size", "a disk of that size", require.max_size.as_ref().map(|most| &most.site)),
        (
            "require.max-virtual-size",
            "a disk of that virtual size",
            require.max_virtual_size.as_ref().map(|most| &most.site),
        ),
    ];
    for (key, what, site) in open {
        if let Some(site) = site {
            let verdict = Answered::Open(Rule { key, site: site.clone() });
            answers.push(Answer { subject: format!("push {what}"), verdict });
        }
    }
}

fn destination(plan: &Plan, answers: &mut Vec<Answer>) {
    let destinations = &plan.policy.destinations;
    let repository = match &plan.target {
        Target::Registry { repository, .. } => Some(repository),
        Target::Layout(_) => None,
    };
    let tags: Vec<String> = plan.tags.iter().map(ToString::to_string).collect();
    let verdict = match allowed(&plan.target, &plan.tags, &plan.policy) {
        Ok(()) => Answered::Allowed(destinations.allowing(repository)),
        Err(error) => Answered::Denied(error),
    };
    let subject = format!("write {}, tagged {}", plan.target.shown(), tags.join(", "));
    answers.push(Answer { subject, verdict });
    if let Some(rule) = destinations.keeps_tags(repository) {
        let subject = format!("put tags that may be there already in {}", plan.target.shown());
        answers.push(Answer { subject, verdict: Answered::Open(rule) });
    }
}
