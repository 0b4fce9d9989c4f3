//! What this machine and one peer can do: before an import is blamed for what is theirs.

mod findings;
mod machine;
mod verdict;

use std::sync::Arc;

use url::Url;

pub use findings::{
    Everything, FailureFound, Findings, MachineFound, PeerFound, RegistryFound, SCHEMA, Speed, TlsFound,
};

use crate::error::{Code, Error, Result, Stage};
use crate::net::Net;
use crate::oci::Repository;
use crate::policy::{Origin, Policy, Scheme, Side};
use crate::registry::{Abilities, Credentials, abilities};
use crate::tls::{MAX_ANSWER, Picked, hello, picked};

/// Whom to look at besides the machine.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A source, at that URL.
    Source(Url),
    /// The registry of that repository, with credentials for it.
    Registry(Repository, Option<Credentials>),
}

/// What was found, and whether an import would get as far.
#[derive(Debug)]
pub struct Examined {
    /// Everything that was found.
    pub findings: Findings,
    /// The error that would end an import.
    pub outcome: Result<()>,
}

/// Looks at this machine and at `peer` under `policy`. Nothing is left anywhere.
pub async fn examine(peer: Option<&Peer>, policy: Policy) -> Examined {
    let machine = machine::machine(&policy.tls);
    let net = Net::new(Arc::new(policy));
    let mut outcome = Ok(());
    let found = match peer {
        None => None,
        Some(peer) => {
            let (found, looked) = look(peer, &net).await;
            outcome = looked.map_err(|error| net.advise(error));
            found
        }
    };
    let error = outcome.as_ref().err().map(|error| FailureFound {
        code: error.code().as_str(),
        message: error.to_string(),
        hint: error.advice().map(str::to_owned),
    });
    let verdict = verdict::verdict(&machine, found.as_ref(), error.as_ref());
    let version = env!("CARGO_PKG_VERSION");
    Examined { findings: Findings { schema: SCHEMA, version, machine, peer: found, error, verdict }, outcome }
}

/// As much as could be found, and the first thing that went wrong.
async fn look(peer: &Peer, net: &Net) -> (Option<PeerFound>, Result<()>) {
    let (side, origin, url) = match whom(peer, net.policy()) {
        Ok(whom) => whom,
        Err(error) => return (None, Err(error)),
    };
    let proxy = net.policy().egress.proxy_to(side, &origin).map(|proxy| proxy.origin.to_string());
    let origin_shown = origin.to_string();
    let mut found =
        PeerFound { origin: origin_shown, address: None, proxy, tls: None, of_everything: None, registry: None };
    let mut outcome = Ok(());
    match net.greet(side, &origin).await {
        Ok(connection) => {
            found.address = Some(connection.address.to_string());
            found.tls = connection.tls.map(|tls| TlsFound {
                version: tls.version,
                cipher_suite: tls.suite,
                key_exchange_group: tls.group,
                handshake_seconds: connection.handshake.map_or(0.0, |took| took.as_secs_f64()),
            });
        }
        Err(error) => outcome = Err(error),
    }
    if origin.scheme() == Scheme::Https {
        // Of use most where the policy found no common ground.
        match of_everything(net, side, &origin).await {
            Ok(everything) => found.of_everything = everything,
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    if let (Ok(()), Peer::Registry(repository, credentials)) = (&outcome, peer) {
        // An upload session is opened there, as an import would.
        let allowed = net.policy().destinations.check(repository, &[]).map_err(|why| {
            Error::new(Code::DestinationDenied, Stage::Plan, format!("{repository} must not be written: {why}"))
        });
        if let Err(error) = allowed {
            return (Some(found), Err(error));
        }
        let client = net.client(side, vec![origin]);
        match abilities(client, &url, repository.clone(), credentials.clone()).await {
            Ok(found_there) => {
                let (registry, opened) = of_registry(found_there);
                found.registry = Some(registry);
                outcome = opened;
            }
            Err(error) => outcome = Err(error),
        }
    }
    (Some(found), outcome)
}

/// Side, origin and URL of a peer: a registry is spoken to over TLS unless the policy has it otherwise.
fn whom(peer: &Peer, policy: &Policy) -> Result<(Side, Origin, Url)> {
    let unusable =
        |what: String| Error::new(Code::Usage, Stage::Plan, format!("`{what}` is not a host that can be connected to"));
    match peer {
        Peer::Source(url) => {
            let origin = Origin::of(url).map_err(|_| unusable(url.host_str().unwrap_or_default().to_owned()))?;
            Ok((Side::Source, origin, url.clone()))
        }
        Peer::Registry(repository, _) => {
            let at = |scheme: Scheme| {
                let url = Url::parse(&format!("{}://{}/", scheme.as_str(), repository.api())).ok();
                let found = url.and_then(|url| Some((Origin::of(&url).ok()?, url)));
                found.ok_or_else(|| unusable(repository.registry()))
            };
            let plain = at(Scheme::Http)?;
            let (origin, url) =
                if policy.egress.allows_scheme(Side::Registry, &plain.0) { plain } else { at(Scheme::Https)? };
            Ok((Side::Registry, origin, url))
        }
    }
}

/// What a peer picks from everything; none if it ended without a word.
async fn of_everything(net: &Net, side: Side, origin: &Origin) -> Result<Option<Everything>> {
    let host = origin.host().to_string();
    let hello = hello(origin.address().is_none().then_some(host.as_str()))?;
    let answer = net.exchange(side, origin, &hello, MAX_ANSWER, |answer| picked(answer).is_some()).await?;
    Ok(picked(&answer).map(|picked| match picked {
        Picked::Session { version, suite, group } => {
            Everything { version: Some(version), cipher_suite: Some(suite), key_exchange_group: group, refused: None }
        }
        Picked::Alert(alert) => Everything { refused: Some(format!("alert {alert}")), ..Everything::default() },
        Picked::Nonsense => Everything { refused: Some("no TLS".to_owned()), ..Everything::default() },
    }))
}

fn of_registry(found: Abilities) -> (RegistryFound, Result<()>) {
    let mut registry = RegistryFound {
        api_version: found.api_version,
        challenges: found.challenges,
        wants_credentials: found.status == 401,
        opens_sessions: None,
        chunk_min_bytes: None,
        left: None,
    };
    let outcome = match found.session {
        None => Ok(()),
        Some(Ok(session)) => {
            registry.opens_sessions = Some(true);
            registry.chunk_min_bytes = session.chunk_min_bytes;
            registry.left =
                session.left.map(|status| format!("an empty upload, which it did not let us cancel ({status})"));
            Ok(())
        }
        Some(Err(error)) => {
            registry.opens_sessions = Some(false);
            Err(error)
        }
    };
    (registry, outcome)
}
