//! The environment: every variable longshore reads, in one place.

use std::path::PathBuf;

use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::SourceCredentials;

/// A variable, as the manual has it.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
}

/// Every variable, in the order of the manual.
pub(super) const VARIABLES: [Variable; 10] = [
    POLICY,
    SOURCE_USERNAME,
    SOURCE_PASSWORD,
    SOURCE_DATE_EPOCH,
    REGISTRY_AUTH_FILE,
    DOCKER_CONFIG,
    HOME,
    SSL_CERT_FILE,
    NO_COLOR,
    TERM,
];

const POLICY: Variable = Variable { name: "LONGSHORE_POLICY", meaning: "The policy document, without --policy." };
const SOURCE_USERNAME: Variable = Variable {
    name: "LONGSHORE_SOURCE_USERNAME",
    meaning: "The user for SOURCE, where neither its URL nor --source-credentials nor --source-header-file has one.",
};
const SOURCE_PASSWORD: Variable =
    Variable { name: "LONGSHORE_SOURCE_PASSWORD", meaning: "The password that goes with it: both are set or neither." };
const SOURCE_DATE_EPOCH: Variable = Variable {
    name: "SOURCE_DATE_EPOCH",
    meaning: "Seconds since 1970: the image's date where the source has none (reproducible-builds.org).",
};
const REGISTRY_AUTH_FILE: Variable = Variable {
    name: "REGISTRY_AUTH_FILE",
    meaning: "The registry's credentials, without --auth-file: the file of podman, skopeo and buildah.",
};
const DOCKER_CONFIG: Variable = Variable {
    name: "DOCKER_CONFIG",
    meaning: "The folder of docker's config.json, where credentials are looked for next.",
};
const HOME: Variable =
    Variable { name: "HOME", meaning: "The folder of .docker/config.json, where credentials are looked for last." };
/// Read by the library that finds the system's trust anchors.
const SSL_CERT_FILE: Variable = Variable {
    name: "SSL_CERT_FILE",
    meaning: "Certificates to trust instead of the system's; so does SSL_CERT_DIR for a folder of them.",
};
const NO_COLOR: Variable =
    Variable { name: "NO_COLOR", meaning: "With any value, nothing is coloured unless --color always is given." };
const TERM: Variable =
    Variable { name: "TERM", meaning: "Nothing is coloured or redrawn on a terminal that is dumb or has no name." };

/// The last second that RFC 3339 can write.
const MAX_EPOCH: u64 = 253_402_300_799;

pub(super) fn policy() -> Option<PathBuf> {
    // Empty is a name too, of no file: a variable that was meant to be filled must not open what a policy closes.
    std::env::var_os(POLICY.name).map(PathBuf::from)
}

/// Whether colours are unwelcome (no-color.org).
pub(super) fn no_color() -> bool {
    std::env::var_os(NO_COLOR.name).is_some_and(|value| !value.is_empty())
}

/// Whether the terminal can do nothing but text.
pub(super) fn dumb_terminal() -> bool {
    std::env::var_os(TERM.name).is_none_or(|value| value.is_empty() || value == "dumb")
}

pub(super) fn source_date_epoch() -> Option<std::result::Result<u64, String>> {
    let name = SOURCE_DATE_EPOCH.name;
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    let seconds = value.parse().ok().filter(|seconds| *seconds <= MAX_EPOCH);
    Some(seconds.ok_or_else(|| {
        format!("{name} is `{value}`, expected seconds since 1970, at most {MAX_EPOCH} (the year 9999)")
    }))
}

/// Credentials for SOURCE: both variables or none.
pub(super) fn source_credentials() -> Result<Option<SourceCredentials>> {
    let (name, secret) = (SOURCE_USERNAME.name, SOURCE_PASSWORD.name);
    let value = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let unreadable = |why: String| Error::new(Code::CredentialsUnreadable, Stage::Plan, why);
    let (user, password) = match (value(name), value(secret)) {
        (None, None) => return Ok(None),
        (Some(user), Some(password)) => (user, password),
        (Some(_), None) => return Err(unreadable(format!("{name} is set and {secret} is not"))),
        (None, Some(_)) => return Err(unreadable(format!("{secret} is set and {name} is not"))),
    };
    let unusable = |why: &str| unreadable(format!("{name} and {secret} cannot be used: {why}"));
    let (Some(user), Some(password)) = (user.to_str(), password.to_str()) else { return Err(unusable("not UTF-8")) };
    SourceCredentials::new(user, password).map(Some).map_err(|why| unusable(&why.to_string()))
}

/// Where credentials are looked for when no file is named, and whether it was somebody's explicit wish.
pub(super) fn auth_file() -> Option<(PathBuf, bool)> {
    let path =
        |variable: &Variable| std::env::var_os(variable.name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = path(&REGISTRY_AUTH_FILE) {
        return Some((file, true));
    }
    if let Some(folder) = path(&DOCKER_CONFIG) {
        return Some((folder.join("config.json"), false));
    }
    path(&HOME).map(|home| (home.join(".docker").join("config.json"), false))
}

/// This program.
pub(super) fn program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_variable() {
        let constants = include_str!("env.rs").matches(": Variable =").count();
        // This line is the one that is none.
        assert_eq!(constants - 1, VARIABLES.len());
        for variable in &VARIABLES {
            assert!(variable.meaning.ends_with('.'), "{}", variable.name);
        }
    }
}
