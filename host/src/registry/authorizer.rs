//! Who we are to one registry: its challenges answered with the user's credentials, or with a token made of them.

use std::time::Instant;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::challenge::{Challenge, challenges};
use super::conversation::is_broken;
use super::credentials::Credentials;
use super::retry::{BackOff, Tries};
use super::token::{Realm, Token};
use crate::error::{Code, Result, Retryable, Stage};
use crate::net::{Client, Request};

/// The actions on a repository that are asked for when a registry wants more than was foreseen: giving an upload up is
/// `delete` to some.
const KNOWN_ACTIONS: [&str; 3] = ["pull", "push", "delete"];

/// Credentials for one repository, and what the registry made of them so far.
pub(super) struct Authorizer {
    registry: Url,
    /// `repository`, or `registry` for what is no repository's.
    kind: &'static str,
    repository: String,
    actions: Vec<&'static str>,
    /// Another repository of the registry that is read from as well.
    also_pulls: Option<String>,
    credentials: Option<Credentials>,
    state: State,
}

enum State {
    /// Nothing was asked for.
    Anonymous,
    Basic(HeaderValue),
    Bearer(Realm, Token),
}

impl Authorizer {
    /// For requests to the repository `repository` of the registry at `registry`. `actions` are what will be done there.
    pub(super) fn new(
        registry: &Url,
        repository: &str,
        actions: &[&'static str],
        credentials: Option<Credentials>,
    ) -> Self {
        Self {
            registry: registry.clone(),
            kind: "repository",
            repository: repository.to_owned(),
            actions: actions.to_vec(),
            also_pulls: None,
            credentials,
            state: State::Anonymous,
        }
    }

    /// For the list of its repositories (distribution's token scope `registry:catalog:*`).
    pub(super) fn of_catalog(registry: &Url, credentials: Option<Credentials>) -> Self {
        Self { kind: "registry", ..Self::new(registry, "catalog", &["*"], credentials) }
    }

    /// Whether a URL is the registry's own: nothing else gets credentials or tokens.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.registry.origin()
    }

    /// Puts the Authorization field into a request to the registry, with a fresh token if the one at hand gets old.
    ///
    /// # Errors
    /// What keeps the token server from giving one.
    pub(super) async fn authorize(&mut self, client: &Client, stage: Stage, request: &mut Request) -> Result<()> {
        if !self.is_own(&request.url) {
            return Ok(());
        }
        if let State::Bearer(realm, token) = &self.state
            && token.is_old(Instant::now())
        {
            let realm = realm.clone();
            self.renew(client, realm, stage).await?;
        }
        let value = match &self.state {
            State::Anonymous => return Ok(()),
            State::Basic(value) => value.clone(),
            State::Bearer(_, token) => token.header(),
        };
        request.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// The header fields of a 401 from the registry. Whether it is worth to ask again.
    ///
    /// # Errors
    /// What keeps the token server from giving a token.
    pub(super) async fn challenged(&mut self, client: &Client, stage: Stage, headers: &HeaderMap) -> Result<bool> {
        let fields = headers.get_all(WWW_AUTHENTICATE).iter();
        let found: Vec<Challenge> = fields.filter_map(|value| value.to_str().ok()).flat_map(challenges).collect();
        // A registry that takes both means the token: credentials themselves travel less.
        if let Some(bearer) = found.iter().find(|challenge| challenge.is("bearer")) {
            let realm = Realm::of(bearer, &self.registry, stage)?;
            self.want(bearer.parameter("scope").unwrap_or_default());
            self.renew(client, realm, stage).await?;
            return Ok(true);
        }
        let basic = found.iter().any(|challenge| challenge.is("basic"));
        match (&self.credentials, &self.state) {
            (Some(Credentials::Basic(pair)), State::Anonymous | State::Bearer(..)) if basic => {
                tracing::debug!(stage = stage.as_str(), "the registry asks for a user name and a password");
                self.state = State::Basic(pair.header());
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A token server that is away for a moment must not end a transfer of hours.
    async fn renew(&mut self, client: &Client, realm: Realm, stage: Stage) -> Result<()> {
        tracing::debug!(stage = stage.as_str(), scope = self.scope(), "the registry asks for a bearer token");
        let had_one = matches!(self.state, State::Bearer(..));
        let mut tries = Tries::new(BackOff::of(client));
        let granted = loop {
            let error = match realm.token(client, self.credentials.as_ref(), &self.scope(), stage).await {
                Ok(granted) => break granted,
                Err(error) => error,
            };
            let away = is_broken(&error) || error.code() == Code::SourceUnreachable;
            // One that never answered may not be one.
            let may_pass = error.retryable() == Retryable::Yes && (had_one || !away);
            let Some(waits) = tries.failed(error.wanted_pause()).filter(|_| may_pass) else { return Err(error) };
            tracing::info!(why = %error, "a token is asked for again in {:.1} s", waits.as_secs_f64());
            tokio::time::sleep(waits).await;
        };
        // A token server may hand out a new identity token and end the old one.
        if let (Some(Credentials::Identity(identity)), Some(next)) = (&mut self.credentials, granted.identity) {
            *identity = next;
        }
        self.state = State::Bearer(realm, granted.token);
        Ok(())
    }

    /// Has tokens that are asked for from now on let somebody read from another repository of the registry too, or no longer.
    pub(super) fn also_pull(&mut self, repository: Option<&str>) {
        self.also_pulls = repository.map(str::to_owned);
    }

    /// All actions at once: some servers read only the first scope.
    fn scope(&self) -> String {
        let own = format!("{}:{}:{}", self.kind, self.repository, self.actions.join(","));
        match &self.also_pulls {
            Some(other) => format!("{own} repository:{other}:pull"),
            None => own,
        }
    }

    /// Adds the actions that a challenge asks for on this repository.
    fn want(&mut self, scope: &str) {
        for part in scope.split_ascii_whitespace() {
            let Some((name, actions)) = part.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':')) else {
                continue;
            };
            for action in KNOWN_ACTIONS {
                let wanted = self.kind == "repository"
                    && name == self.repository
                    && actions.split(',').any(|wanted| wanted == action);
                if wanted && !self.actions.contains(&action) {
                    self.actions.push(action);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorizer() -> Authorizer {
        Authorizer::new(&Url::parse("https://r.example/v2/vm/disk/").unwrap(), "vm/disk", &["pull", "push"], None)
    }

    #[test]
    fn only_known_actions_on_this_repository_are_added() {
        let mut authorizer = authorizer();
        authorizer.want("repository:other:delete registry:catalog:* repository:vm/disk:*,pull nonsense repository:x");
        assert_eq!(authorizer.scope(), "repository:vm/disk:pull,push");
        authorizer.want("repository:vm/disk:delete repository:vm/disk:delete,push");
        assert_eq!(authorizer.scope(), "repository:vm/disk:pull,push,delete");
    }

    #[test]
    fn another_repository_is_read_from_as_long_as_it_is_wanted() {
        let mut authorizer = authorizer();
        authorizer.also_pull(Some("a/b"));
        assert_eq!(authorizer.scope(), "repository:vm/disk:pull,push repository:a/b:pull");
        authorizer.also_pull(None);
        assert_eq!(authorizer.scope(), "repository:vm/disk:pull,push");
    }

    #[test]
    fn nobody_but_the_registry_itself_is_own() {
        let own = |url: &str| authorizer().is_own(&Url::parse(url).unwrap());
        assert!(own("https://r.example:443/v2/other"));
        for url in ["http://r.example/", "https://r.example:444/", "https://storage.example/", "https://r.example.x/"] {
            assert!(!own(url), "{url}");
        }
    }
}
