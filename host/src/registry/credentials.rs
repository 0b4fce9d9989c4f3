//! Credentials from docker's `config.json`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::error::{Code, Error, Result, Stage};
use crate::net::{Basic, Secret};
use crate::oci::Repository;

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

/// The credentials for the repository's registry in a docker config file; none if it has none. `path` is for messages.
///
/// # Errors
/// `credentials-unreadable` if the file is malformed or what it has for this registry is not a user name and a password.
pub fn credentials_from_docker_config(config: &[u8], path: &str, repository: &Repository) -> Result<Option<Basic>> {
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
    let entry = document.auths.iter().find(|(key, _)| names(key, &registry)).map(|(_, entry)| entry);
    if let Some(helper) = document.helpers.iter().find(|(key, _)| names(key, &registry)).map(|(_, helper)| helper) {
        return Err(unreadable(format!("{registry} has the credential helper `{helper}`, which is not supported yet")));
    }
    let Some(entry) = entry else { return Ok(None) };
    if entry.identitytoken.as_ref().is_some_and(|token| !token.is_empty()) {
        return Err(unreadable(format!("{registry} has an identity token, which is not supported yet")));
    }
    if let (Some(user), Some(password)) = (&entry.username, &entry.password) {
        return Ok(Some(Basic { user: user.clone(), password: Secret::new(password.clone()) }));
    }
    let Some(auth) = entry.auth.as_deref().filter(|auth| !auth.is_empty()) else {
        // Docker leaves an empty entry behind for a registry whose credentials are in a store.
        return match document.store {
            Some(store) => {
                Err(unreadable(format!("those of {registry} are in the store `{store}`, which is not supported yet")))
            }
            None => Ok(None),
        };
    };
    let decoded = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok();
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => {
            let password = password.trim_end_matches('\0').to_owned();
            Ok(Some(Basic { user: user.to_owned(), password: Secret::new(password) }))
        }
        None => Err(unreadable(format!("the `auth` of {registry} is not base64 of user:password"))),
    }
}

/// Whether a key of the file names the registry: `host[:port]`, or a URL of it as old versions of docker wrote.
fn names(key: &str, registry: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key);
    host.eq_ignore_ascii_case(registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(config: &str) -> Result<Option<Basic>> {
        let reference: crate::oci::Reference = "r.example:5000/vm".parse().unwrap();
        credentials_from_docker_config(config.as_bytes(), "config.json", &reference.repository)
    }

    #[test]
    fn credentials_are_found_however_the_key_is_written() {
        for key in
            ["r.example:5000", "https://r.example:5000", "https://R.example:5000/v1/", "http://r.example:5000/v2/"]
        {
            let basic = lookup(&format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOng="}}}}}}"#)).unwrap().unwrap();
            assert_eq!((basic.user.as_str(), basic.password.expose()), ("u", "p:x"));
        }
        let plain = lookup(r#"{"auths":{"r.example:5000":{"username":"u","password":"p"}}}"#).unwrap().unwrap();
        assert_eq!(plain.user, "u");
    }

    #[test]
    fn other_registries_have_none() {
        for config in ["{}", r#"{"auths":{"r.example":{"auth":"dTpw"}}}"#, r#"{"auths":{"r.example:5000":{}}}"#] {
            assert!(lookup(config).unwrap().is_none(), "{config}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_showing_it() {
        for config in [
            "",
            r#"{"auths":{"r.example:5000":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"auths":{"r.example:5000":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r.example:5000":{"identitytoken":"hunter2"}}}"#,
            r#"{"auths":{"r.example:5000":{"auth":hunter2}}}"#,
            r#"{"credHelpers":{"r.example:5000":"ecr-login"}}"#,
            r#"{"auths":{"r.example:5000":{}},"credsStore":"pass"}"#,
        ] {
            let error = lookup(config).unwrap_err();
            assert_eq!(error.code(), Code::CredentialsUnreadable, "{config}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
