//! The policy in force: which document, what the flags add; `policy check`, `policy show` and `policy explain`.

use std::path::{Path, PathBuf};

use super::args::{BuiltIn, Explain, Listener, PolicyCommand, PolicyFlags};
use super::certificates::{self, Beside};
use super::progress::Verbosity;
use super::{auth, dropin, env, messages, plan};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Repository;
use crate::pipeline::{self, Answer, Answered};
use crate::policy::{Authority, Flags, Policy, Proxies, Site, Sited};

/// Where a policy lies that nobody named.
const SYSTEM_POLICY: &str = "/etc/longshore/policy.toml";

/// Runs `policy`.
pub(super) fn run(command: &PolicyCommand, verbosity: Verbosity) -> Result<()> {
    match command {
        PolicyCommand::Check { file } => {
            let policy = read(file)?;
            pipeline::check_tls(&policy.tls)?;
            for (rule, name) in policy.require.unknown() {
                let text = format!("warning: {rule} names `{name}`, which the built-in probe does not know");
                messages::line(&messages::harmless(&text));
            }
            if verbosity != Verbosity::Quiet {
                messages::line(&format!("{}: a valid policy", file.display()));
            }
        }
        PolicyCommand::Show { built_in, policy } => {
            let policy = match built_in {
                Some(BuiltIn::Default) => Policy::default(),
                Some(BuiltIn::Dvcr) => dropin::built_in_policy()?,
                None => effective(policy, None)?,
            };
            messages::data(policy.show().trim_end())?;
            let Proxies { http, https, no_proxy: _ } = &policy.egress.proxies;
            for (scheme, proxy) in [("http", http), ("https", https)] {
                if let Some(proxy) = proxy {
                    messages::data(&messages::harmless(&format!("# {scheme} over the proxy {proxy}")))?;
                }
            }
        }
        PolicyCommand::Explain(asked) => explain(asked)?,
    }
    Ok(())
}

/// Every question of the import on a line of its own, and those of a listener. The first no is the error.
fn explain(asked: &Explain) -> Result<()> {
    let plan = plan::plan(&asked.import)?;
    let mut answers = pipeline::explain(&plan)?;
    if let Some(listener) = asked.listener {
        answers.extend(pipeline::explain_listener(&plan.policy, listener == Listener::Tls));
    }
    let mut denied = None;
    for Answer { subject, verdict } in answers {
        let line = match verdict {
            Answered::Allowed(rule) => format!("allowed  {subject}: {rule}"),
            Answered::Open(rule) => format!("open     {subject}: {rule}"),
            Answered::Denied(error) => {
                let line = format!("denied   {subject}: {error}");
                denied.get_or_insert(error);
                line
            }
        };
        messages::data(&messages::harmless(&line))?;
    }
    denied.map_or(Ok(()), Err)
}

/// The policy in force: the document that `--policy` names, else `LONGSHORE_POLICY`, else the system's, else the built-in
/// default; and what the flags add to it. `destination` is whom a client certificate without a host is for.
///
/// # Errors
/// `policy-invalid` for the document, `flag-denied` where it forbids a flag, and those of the files that flags name.
pub(super) fn effective(flags: &PolicyFlags, destination: Option<&Repository>) -> Result<Policy> {
    let policy = in_force(flags.policy.as_deref(), || Ok(Policy::default()))?;
    let plain_http = |host: &String| -> Result<Sited<Authority>> {
        let host = host.parse();
        let host = host.map_err(|why| Error::new(Code::Usage, Stage::Plan, format!("--plain-http: {why}")))?;
        Ok(Sited::new(host, Site::Flag("--plain-http")))
    };
    let flags = Flags {
        plain_http: flags.plain_http.iter().map(plain_http).collect::<Result<_>>()?,
        anchors: certificates::anchors(&flags.ca)?,
        identities: certificates::identities(&flags.cert, &flags.key, destination)?,
        ..Flags::default()
    };
    with(policy, flags)
}

/// The document that is named, else that of the environment, else the system's, else `otherwise`; and the proxies that it wants.
///
/// # Errors
/// `policy-invalid` for a document that was named or is there.
pub(super) fn in_force(named: Option<&Path>, otherwise: impl FnOnce() -> Result<Policy>) -> Result<Policy> {
    let mut policy = match document(named) {
        Some(path) => read(&path)?,
        None => otherwise()?,
    };
    if policy.egress.wants_proxies() {
        policy.egress.proxies = env::proxies()?;
    }
    Ok(policy)
}

/// A policy with what is added to it.
///
/// # Errors
/// `flag-denied` where a document forbids it, and those of the files that were named.
pub(super) fn with(policy: Policy, flags: Flags) -> Result<Policy> {
    let policy = policy
        .with_flags(flags)
        .map_err(|why| Error::new(Code::FlagDenied, Stage::Plan, why.to_string()).hint(why.advice()))?;
    pipeline::check_tls(&policy.tls)?;
    Ok(policy)
}

/// A document that was named is never passed over, not even where the name is empty.
fn document(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(env::policy).or_else(|| {
        let system = Path::new(SYSTEM_POLICY);
        // Anything but a clear "not there" counts as there.
        (!matches!(system.try_exists(), Ok(false))).then(|| system.to_owned())
    })
}

fn read(path: &Path) -> Result<Policy> {
    let invalid = |message: String| Error::new(Code::PolicyInvalid, Stage::Plan, message);
    let unreadable = |why: &str| {
        invalid(format!("the policy `{}` cannot be read: {why}", path.display()))
            .hint("a policy that was named is never passed over: --policy, then LONGSHORE_POLICY, then /etc/longshore")
    };
    let bytes = auth::read(path, Policy::MAX_DOCUMENT as u64).map_err(|why| unreadable(&why.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|why| unreadable(&format!("it is not UTF-8: {why}")))?;
    let mut files = Beside::new();
    Policy::parse(&text, &path.display().to_string(), &mut files)
        .map_err(|why| invalid(format!("the policy is invalid: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(policy: &str) -> PolicyFlags {
        let policy = Some(policy.into());
        PolicyFlags { policy, ca: Vec::new(), plain_http: Vec::new(), cert: Vec::new(), key: Vec::new() }
    }

    #[test]
    fn a_policy_that_was_named_is_never_passed_over() {
        for named in ["", "/nonexistent/policy.toml", "/"] {
            let error = effective(&flags(named), None).unwrap_err();
            assert_eq!(error.code(), Code::PolicyInvalid, "{named}");
            assert!(error.to_string().contains(&format!("`{named}` cannot be read")), "{error}");
        }
    }
}
