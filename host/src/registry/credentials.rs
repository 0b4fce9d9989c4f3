//! Credentials from docker's `config.json`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::error::{Code, Error, Result, Stage};
use crate::net::{Basic, Secret};
use crate::oci::Repository;

/// What a user has for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password or access token.
    Basic(Basic),
    /// An identity token, which a token server exchanges for bearer tokens (OAuth2's refresh token).
    Identity(Secret),
}

/// Where a config file has a registry's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In itself.
    Here(Credentials),
    /// With a helper: the program `docker-credential-NAME`, which knows the registry as `server`.
    ByHelper {
        /// What the file says, unchecked.
        name: String,
        /// The registry's host and port; docker's own has a longer name.
        server: String,
    },
}

/// What a helper's answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum HelperAnswer {
    /// These.
    Found(Credentials),
    /// It has none for that server.
    Nothing,
    /// It says something else.
    Failed,
}

/// What helpers say, with a failure, if they have nothing (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name beside which the secret is an identity token.
const IDENTITY_USER: &str = "<token>";
/// What docker's own registry is called in config files and by helpers.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

/// Where a docker config file has the credentials for the repository's registry; none if it has none. A helper of the registry
/// goes before what the file has itself, and that before the store of all. `path` is for messages.
///
/// # Errors
/// `credentials-unreadable` if the file is malformed or what it has for this registry is neither a user name and a password
/// nor an identity token.
pub fn credentials_from_docker_config(config: &[u8], path: &str, repository: &Repository) -> Result<Option<Kept>> {
    let registry = repository.registry();
    let unreadable = |why: String| {
        Error::new(
            Code::CredentialsUnreadable,
            Stage::Plan,
            format!("the credentials in `{path}` cannot be used: {why}"),
        )
    };
    // The parser's words could quote a secret: only the place is told.
    let document: Document = serde_json::from_slice(config)
        .map_err(|why| unreadable(format!("malformed JSON at line {} column {}", why.line(), why.column())))?;
    let by_helper = |name: &str| {
        let hub = repository.host() == "docker.io";
        let server = if hub { DOCKER_HUB.to_owned() } else { registry.clone() };
        Ok(Some(Kept::ByHelper { name: name.to_owned(), server }))
    };
    // An empty name is how one registry is taken out of a store's care.
    if let Some(helper) = best(&document.helpers, repository).filter(|helper| !helper.is_empty()) {
        return by_helper(helper);
    }
    let Some(entry) = best(&document.auths, repository) else { return Ok(None) };
    if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Kept::Here(Credentials::Identity(Secret::new(token.clone())))));
    }
    if let (Some(user), Some(password)) = (&entry.username, &entry.password) {
        return Ok(pair(user, password).map(Kept::Here));
    }
    let Some(auth) = entry.auth.as_deref().map(str::trim).filter(|auth| !auth.is_empty()) else {
        // Docker leaves an empty entry behind for a registry whose credentials are in a store.
        return match document.store.as_deref().filter(|store| !store.is_empty()) {
            Some(store) => by_helper(store),
            None => Ok(None),
        };
    };
    let decoded = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|decoded| decoded.split_once(':')) {
        Some((user, password)) => Ok(pair(user, password.trim_end_matches('\0')).map(Kept::Here)),
        None => Err(unreadable(format!("the `auth` of {registry} is not base64 of user:password"))),
    }
}

/// What the answer of a helper comes to, which ended `well` or not.
#[must_use]
pub fn credentials_from_helper(answer: &[u8], well: bool) -> HelperAnswer {
    if !well {
        let nothing = String::from_utf8_lossy(answer).contains(NOT_FOUND);
        return if nothing { HelperAnswer::Nothing } else { HelperAnswer::Failed };
    }
    let Ok(Answer { username, secret }) = serde_json::from_slice(answer) else { return HelperAnswer::Failed };
    if username == IDENTITY_USER {
        return HelperAnswer::Found(Credentials::Identity(Secret::new(secret)));
    }
    match pair(&username, &secret) {
        Some(credentials) => HelperAnswer::Found(credentials),
        None => HelperAnswer::Nothing,
    }
}

/// Neither name nor password is what an anonymous login leaves behind.
fn pair(user: &str, password: &str) -> Option<Credentials> {
    let some = !user.is_empty() || !password.is_empty();
    some.then(|| Credentials::Basic(Basic { user: user.to_owned(), password: Secret::new(password.to_owned()) }))
}

/// The entry that names the repository most closely.
fn best<'a, T>(entries: &'a BTreeMap<String, T>, repository: &Repository) -> Option<&'a T> {
    let fitting = entries.iter().filter_map(|(key, entry)| Some((closeness(key, repository)?, entry)));
    fitting.max_by_key(|(closeness, _)| *closeness).map(|(_, entry)| entry)
}

/// How closely a key of the file names the repository: `host[:port]`, a URL of it as old versions of docker wrote, or with
/// a path behind it, as podman has for the credentials of a namespace (containers-auth.json(5)).
fn closeness(key: &str, repository: &Repository) -> Option<usize> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let name = bare.unwrap_or(key);
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    // Docker has always written its own registry's key like this.
    let hub = repository.host() == "docker.io" && host == "index.docker.io";
    if !hub && !host.eq_ignore_ascii_case(&repository.registry()) {
        return None;
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() || bare.is_some() || matches!(path, "v1" | "v2") {
        return Some(0);
    }
    let rest = repository.path().strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(config: &str) -> Result<Option<Kept>> {
        let reference: crate::oci::Reference = "r.example:5000/vm/disk".parse().unwrap();
        credentials_from_docker_config(config.as_bytes(), "config.json", &reference.repository)
    }

    fn lookup(config: &str) -> Result<Option<Credentials>> {
        Ok(kept(config)?.map(|kept| match kept {
            Kept::Here(credentials) => credentials,
            Kept::ByHelper { .. } => panic!("{config}"),
        }))
    }

    fn found(config: &str) -> (String, String) {
        match lookup(config).unwrap().unwrap() {
            Credentials::Basic(basic) => (basic.user, basic.password.expose().to_owned()),
            Credentials::Identity(token) => (String::new(), token.expose().to_owned()),
        }
    }

    #[test]
    fn credentials_are_found_however_the_key_is_written() {
        for key in
            ["r.example:5000", "https://r.example:5000", "https://R.example:5000/v1/", "http://r.example:5000/v2/"]
        {
            let pair = found(&format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOng="}}}}}}"#));
            assert_eq!(pair, ("u".to_owned(), "p:x".to_owned()));
        }
        assert_eq!(found(r#"{"auths":{"r.example:5000":{"username":"u","password":"p"}}}"#).0, "u");
        assert_eq!(
            found(r#"{"auths":{"r.example:5000":{"auth":" dTpwOng\n"}}}"#).1,
            "p:x",
            "unpadded, with a line's end"
        );
        assert_eq!(found(r#"{"auths":{"r.example:5000":{"auth":"dTo="}}}"#), ("u".to_owned(), String::new()));
    }

    #[test]
    fn docker_hub_has_a_key_of_its_own() {
        let reference: crate::oci::Reference = "docker.io/vm/disk".parse().unwrap();
        let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOng="}}}"#;
        assert!(credentials_from_docker_config(config, "config.json", &reference.repository).unwrap().is_some());
    }

    #[test]
    fn the_closest_key_counts() {
        let all = r#"{"auths":{
            "r.example:5000":{"auth":"YTpw"},
            "r.example:5000/vm":{"auth":"Yjpw"},
            "r.example:5000/vm/dis":{"auth":"Yzpw"},
            "r.example:5000/other":{"auth":"ZDpw"}
        }}"#;
        assert_eq!(found(all).0, "b");
        assert_eq!(lookup(r#"{"auths":{"r.example:5000/other":{"auth":"ZDpw"}}}"#).unwrap(), None);
    }

    #[test]
    fn an_identity_token_is_more_than_the_pair_beside_it() {
        let config = r#"{"auths":{"r.example:5000":{"auth":"PHRva2VuPjo=","identitytoken":"hunter2"}}}"#;
        assert_eq!(lookup(config).unwrap(), Some(Credentials::Identity(Secret::new("hunter2".to_owned()))));
        assert!(!format!("{:?}", lookup(config)).contains("hunter2"));
    }

    #[test]
    fn other_registries_have_none() {
        for config in [
            "{}",
            r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#,
            r#"{"auths":{"r.example:5000":{}}}"#,
            r#"{"auths":{"r.example:5000":{"auth":"Og=="}}}"#,
        ] {
            assert!(lookup(config).unwrap().is_none(), "{config}");
        }
    }

    #[test]
    fn a_helper_is_named_where_it_has_them() {
        let by = |config: &str| match kept(config).unwrap() {
            Some(Kept::ByHelper { name, server }) => format!("{name} {server}"),
            other => format!("{other:?}"),
        };
        let pair = r#""auths":{"r.example:5000":{"auth":"dTpw"}}"#;
        assert_eq!(by(r#"{"credHelpers":{"r.example:5000":"ecr-login"}}"#), "ecr-login r.example:5000");
        assert_eq!(by(&format!(r#"{{{pair},"credHelpers":{{"r.example:5000":"x"}}}}"#)), "x r.example:5000");
        assert_eq!(by(r#"{"auths":{"r.example:5000":{}},"credsStore":"pass"}"#), "pass r.example:5000");
        // What the file has itself, and what no one has logged in to.
        assert!(by(&format!(r#"{{{pair},"credsStore":"pass"}}"#)).contains("Here"));
        assert!(by(&format!(r#"{{{pair},"credHelpers":{{"r.example:5000":""}}}}"#)).contains("Here"));
        assert_eq!(by(r#"{"credsStore":"pass"}"#), "None");
        let hub: crate::oci::Reference = "docker.io/vm/disk".parse().unwrap();
        let config = br#"{"credHelpers":{"index.docker.io":"x"}}"#;
        let kept = credentials_from_docker_config(config, "config.json", &hub.repository).unwrap();
        assert_eq!(kept, Some(Kept::ByHelper { name: "x".to_owned(), server: DOCKER_HUB.to_owned() }));
    }

    #[test]
    fn a_helper_answers_with_a_pair_an_identity_token_or_nothing() {
        let answer = |text: &str| credentials_from_helper(text.as_bytes(), true);
        let found = answer(r#"{"ServerURL":"r.example","Username":"u","Secret":"hunter2"}"#);
        let HelperAnswer::Found(Credentials::Basic(basic)) = &found else { panic!("{found:?}") };
        assert_eq!((&*basic.user, basic.password.expose()), ("u", "hunter2"));
        assert!(!format!("{found:?}").contains("hunter2"));
        let token = answer(r#"{"Username":"<token>","Secret":"t"}"#);
        assert_eq!(token, HelperAnswer::Found(Credentials::Identity(Secret::new("t".to_owned()))));
        assert_eq!(answer(r#"{"Username":"","Secret":""}"#), HelperAnswer::Nothing);
        for text in ["", "{}", "[]", r#"{"Username":"u"}"#, "credentials not found in native keychain"] {
            assert_eq!(answer(text), HelperAnswer::Failed, "{text}");
        }
        let failed = |text: &str| credentials_from_helper(text.as_bytes(), false);
        assert_eq!(failed("credentials not found in native keychain\n"), HelperAnswer::Nothing);
        assert_eq!(failed(r#"{"Username":"u","Secret":"p"}"#), HelperAnswer::Failed);
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_showing_it() {
        for config in [
            "",
            r#"{"auths":{"r.example:5000":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"auths":{"r.example:5000":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r.example:5000":{"auth":"/////w=="}}}"#,
            r#"{"auths":{"r.example:5000":{"auth":hunter2}}}"#,
        ] {
            let error = lookup(config).unwrap_err();
            assert_eq!(error.code(), Code::CredentialsUnreadable, "{config}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
