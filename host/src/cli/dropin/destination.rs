//! The registries that the environment names: references, credentials, and how they are spoken to.

use url::Url;

use super::super::alone::alone;
use super::super::signals::signalled;
use super::super::{auth, certificates, locate};
use super::environment::{Environment, is_true};
use super::{policy, usage};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Reference, Repository, Tag};
use crate::pipeline::{Credentials, ListAt, ListPlan, SourceCredentials, Target, list};
use crate::policy::{Authority, Origin, Policy, Side};

/// Where an image goes.
pub(super) struct Destination {
    pub(super) target: Target,
    pub(super) tag: Tag,
}

/// The variables of one registry, perhaps with flags that go before them.
pub(super) struct Named<'a> {
    pub(super) endpoint: Variable<'a>,
    pub(super) user: Variable<'a>,
    pub(super) password: Variable<'a>,
    pub(super) auth_config: Variable<'a>,
    pub(super) insecure: Variable<'a>,
    pub(super) ca: Variable<'a>,
}

/// A variable, and a flag with what was typed.
#[derive(Clone, Copy)]
pub(super) struct Variable<'a> {
    pub(super) name: &'static str,
    pub(super) flag: Option<(&'static str, Option<&'a String>)>,
}

impl Variable<'_> {
    /// A variable alone.
    pub(super) const fn alone(name: &'static str) -> Self {
        Self { name, flag: None }
    }

    /// Its value, and what says so.
    pub(super) fn read(&self, environment: &Environment) -> Result<Option<(&'static str, String)>> {
        environment.or(self.flag.unwrap_or((self.name, None)), self.name)
    }
}

/// The destination, and the policy with what its variables add.
pub(super) fn destination(
    environment: &Environment,
    named: &Named<'_>,
    policy: Policy,
) -> Result<(Destination, Policy)> {
    let Some((name, endpoint)) = named.endpoint.read(environment)? else {
        return Err(usage(format!("{} is not set", named.endpoint.name)));
    };
    let locate::Destination::Registry(reference) = locate::destination(&endpoint)? else {
        return Err(usage(format!("{name} is an image layout, expected a registry")));
    };
    let Reference { repository, tag, .. } = reference;
    let policy = match named.ca.read(environment)? {
        Some((name, at)) => policy::trusting(policy, &at, name, Side::Registry)?,
        None => policy,
    };
    let credentials = credentials(environment, named, &repository)?;
    let policy = spoken_to(environment, &named.insecure, (&repository, Side::Registry), credentials.as_ref(), policy)?;
    let target = Target::Registry { repository, credentials };
    Ok((Destination { target, tag: tag.unwrap_or_else(Tag::latest) }, policy))
}

/// A user and a password, else what the file of credentials has for that repository.
pub(super) fn credentials(
    environment: &Environment,
    named: &Named<'_>,
    repository: &Repository,
) -> Result<Option<Credentials>> {
    if let Some(pair) = pair(environment, &named.user, &named.password)? {
        return Ok(Some(Credentials::Basic(pair)));
    }
    from_file(environment, named, repository)
}

/// What the file of credentials has for a repository.
pub(super) fn from_file(
    environment: &Environment,
    named: &Named<'_>,
    repository: &Repository,
) -> Result<Option<Credentials>> {
    match named.auth_config.read(environment)? {
        Some((_, file)) => auth::credentials(Some(file.as_ref()), repository),
        // Nobody's home is looked into: what is not named is not there.
        None => Ok(None),
    }
}

/// A user and a password, if one of them is set.
pub(super) fn pair(
    environment: &Environment,
    user: &Variable<'_>,
    password: &Variable<'_>,
) -> Result<Option<SourceCredentials>> {
    let (user_name, password_name) = (user.name, password.name);
    let value = |found: Option<(&str, String)>| found.map(|(_, value)| value).unwrap_or_default();
    let (user, password) = (value(user.read(environment)?), value(password.read(environment)?));
    if user.is_empty() && password.is_empty() {
        return Ok(None);
    }
    SourceCredentials::new(&user, &password).map(Some).map_err(|why| {
        let message = format!("{user_name} and {password_name} cannot be used: {why}");
        Error::new(Code::CredentialsUnreadable, Stage::Plan, message)
    })
}

/// The policy under which a registry is spoken to on that side, and on no other: where the variable says so, without looking at
/// its certificate, and without TLS if it has none.
pub(super) fn spoken_to(
    environment: &Environment,
    insecure: &Variable<'_>,
    (repository, side): (&Repository, Side),
    credentials: Option<&Credentials>,
    policy: Policy,
) -> Result<Policy> {
    let Some((name, text)) = insecure.read(environment)? else { return Ok(policy) };
    if !is_true(name, &text)? {
        return Ok(policy);
    }
    let over_tls = policy::unverified(policy, certificates::registry(Some(repository))?, name, side)?;
    let plain = origin(repository)?;
    if over_tls.egress.allows_scheme(side, &plain) || !lacks_tls(&asked(&over_tls, (repository, side), credentials)?) {
        return Ok(over_tls);
    }
    let host: Authority =
        format!("{}:{}", plain.host(), plain.port()).parse().map_err(|why| usage(format!("{why}")))?;
    let without = policy::plain(over_tls.clone(), host, name, side)?;
    // Unless a registry answers without TLS, whoever comes back is to come back with it: a server of TLS that is asked without
    // answers, too. A password is not sent to find out.
    let plain = asked(&without, (repository, side), None)?;
    Ok(if is_a_registrys(&plain) { without } else { over_tls })
}

/// Whether that is as from somebody who does not speak TLS.
fn lacks_tls(answer: &Result<()>) -> bool {
    answer.as_ref().is_err_and(|why| matches!(why.code(), Code::TlsHandshake | Code::RegistryUnreachable))
}

/// Whether only a registry answers so.
fn is_a_registrys(answer: &Result<()>) -> bool {
    match answer {
        Ok(()) => true,
        Err(why) => matches!(why.code(), Code::RegistryDenied | Code::RegistryNotFound),
    }
}

/// The registry without TLS.
fn origin(repository: &Repository) -> Result<Origin> {
    let url = Url::parse(&format!("http://{}/", repository.api())).ok();
    url.and_then(|url| Origin::of(&url).ok())
        .ok_or_else(|| usage(format!("`{}` is not a host that can be connected to", repository.registry())))
}

/// What a registry answers that is spoken to as the policy has it: one question, which is asked once.
fn asked(
    policy: &Policy,
    (repository, side): (&Repository, Side),
    credentials: Option<&Credentials>,
) -> Result<Result<()>> {
    let mut policy = policy.clone();
    (policy.limits.attempts, policy.limits.connect) = (1, policy.limits.connect.min(ASKED_WITHIN));
    policy.limits.answer = policy.limits.answer.min(ASKED_WITHIN);
    let at = ListAt::Repository(repository.clone(), credentials.cloned());
    let plan = ListPlan { at, names: true, side, policy };
    alone(async {
        tokio::select! {
            biased;
            ended = signalled() => Err(ended),
            answer = list(&plan) => Ok(answer.map(|_| ())),
        }
    })?
}

/// How long it may take to find out whether somebody speaks TLS.
const ASKED_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::environment::tests::of;
    use super::*;

    #[test]
    fn what_answers_without_tls_is_believed_if_it_is_a_registry() {
        let answer = |code| Err(Error::new(code, Stage::Upload, "no"));
        for code in [Code::RegistryDenied, Code::RegistryNotFound] {
            assert!(is_a_registrys(&answer(code)), "{code:?}");
        }
        for code in [Code::RegistryFailed, Code::RegistryProtocol, Code::RegistryStalled, Code::RegistryUnreachable] {
            assert!(!is_a_registrys(&answer(code)), "{code:?}");
        }
    }

    #[test]
    fn half_of_a_pair_is_a_pair_and_no_message_quotes_it() {
        let found = |variables: &[(&str, &str)]| {
            let (user, password) = (Variable::alone("U"), Variable::alone("P"));
            pair(&of(variables), &user, &password)
        };
        assert!(found(&[("U", "")]).unwrap().is_none());
        assert_eq!(found(&[("U", "u")]).unwrap().unwrap().user, "u");
        assert!(found(&[("P", "p")]).unwrap().is_some());
        let why = found(&[("U", "hunter2:x"), ("P", "p")]).unwrap_err();
        assert_eq!(why.code(), Code::CredentialsUnreadable);
        assert!(!why.to_string().contains("hunter2"));
    }
}
