//! The environment: every variable longshore reads, in one place.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::{CachePlace, SourceCredentials};
use crate::policy::{NoProxy, Proxies, Proxy};

/// A variable, as the manual has it.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
}

/// Every variable, in the order of the manual.
pub(super) const VARIABLES: [Variable; 16] = [
    POLICY,
    SOURCE_USERNAME,
    SOURCE_PASSWORD,
    SOURCE_DATE_EPOCH,
    REGISTRY_AUTH_FILE,
    DOCKER_CONFIG,
    HOME,
    CACHE,
    XDG_CACHE_HOME,
    SSL_CERT_FILE,
    HTTPS_PROXY,
    HTTP_PROXY,
    ALL_PROXY,
    NO_PROXY,
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
const CACHE: Variable = Variable {
    name: "LONGSHORE_CACHE",
    meaning: "The folder in which components are kept that were fetched or compiled; with no value, nothing is kept.",
};
const XDG_CACHE_HOME: Variable = Variable {
    name: "XDG_CACHE_HOME",
    meaning: "The folder of longshore/, where they are kept else; without it, .cache/longshore/ in HOME.",
};
/// Read by the library that finds the system's trust anchors.
const SSL_CERT_FILE: Variable = Variable {
    name: "SSL_CERT_FILE",
    meaning: "Certificates to trust instead of the system's; so does SSL_CERT_DIR for a folder of them.",
};
const HTTPS_PROXY: Variable = Variable {
    name: "HTTPS_PROXY",
    meaning: "The proxy for https, where the policy's egress.proxy takes it from the environment. Also in lower case.",
};
const HTTP_PROXY: Variable =
    Variable { name: "HTTP_PROXY", meaning: "The same for http. Refused where REQUEST_METHOD says that this is CGI." };
const ALL_PROXY: Variable = Variable { name: "ALL_PROXY", meaning: "The proxy for a scheme that has none of its own." };
const NO_PROXY: Variable =
    Variable { name: "NO_PROXY", meaning: "Hosts, domains, addresses and ranges that are connected to directly." };
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

/// The proxies that the environment names. Lower case goes before upper case, and empty is not set.
///
/// # Errors
/// `usage` for what names no proxy, SOCKS among it, and for a list that cannot be understood. No value is quoted.
pub(super) fn proxies() -> Result<Proxies> {
    proxies_of(|name| std::env::var_os(name))
}

/// The variable that makes of a request's field `Proxy` a variable `HTTP_PROXY` (RFC 3875 §4.1.18).
const CGI: &str = "REQUEST_METHOD";

fn proxies_of(value: impl Fn(&str) -> Option<OsString>) -> Result<Proxies> {
    let usage = |message: String| Error::new(Code::Usage, Stage::Plan, message);
    let set = |names: [&'static str; 2]| {
        let found = names.into_iter().find_map(|name| Some((name, value(name).filter(|value| !value.is_empty())?)));
        let text = |(name, value): (&'static str, OsString)| match value.into_string() {
            Ok(text) => Ok((name, text)),
            Err(_) => Err(usage(format!("{name} is not UTF-8"))),
        };
        found.map(text).transpose()
    };
    let proxy = |own: [&'static str; 2]| -> Result<Option<Proxy>> {
        let found = match set(own)? {
            Some(own) => Some(own),
            None => set(["all_proxy", ALL_PROXY.name])?,
        };
        let parse = |(name, text): (&'static str, String)| {
            if name == HTTP_PROXY.name && value(CGI).is_some() {
                return Err(usage(format!("{name} may be what a client sent, since {CGI} is set: it is not used"))
                    .hint("http_proxy in lower case cannot come from a client"));
            }
            Proxy::parse(&text, name).map_err(|why| usage(why.to_string()))
        };
        found.map(parse).transpose()
    };
    let no_proxy = match set(["no_proxy", NO_PROXY.name])? {
        None => NoProxy::default(),
        Some((name, text)) => text.parse().map_err(|why| usage(format!("{name}: {why}")))?,
    };
    Ok(Proxies {
        http: proxy(["http_proxy", HTTP_PROXY.name])?,
        https: proxy(["https_proxy", HTTPS_PROXY.name])?,
        no_proxy,
    })
}

/// Where components are kept. What nobody asked for is kept only where somebody has a home.
pub(super) fn cache() -> CachePlace {
    let folder = |variable: &Variable| {
        std::env::var_os(variable.name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty())
    };
    if let Some(value) = std::env::var_os(CACHE.name) {
        return if value.is_empty() { CachePlace::Nowhere } else { CachePlace::Wanted(value.into()) };
    }
    // A relative one is to be ignored (XDG Base Directory Specification).
    match (folder(&XDG_CACHE_HOME).filter(|path| path.is_absolute()), folder(&HOME)) {
        (Some(caches), _) => CachePlace::Usual(caches.clone(), caches.join("longshore")),
        (None, Some(home)) => CachePlace::Usual(home.clone(), home.join(".cache").join("longshore")),
        (None, None) => CachePlace::Nowhere,
    }
}

/// This program.
pub(super) fn program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(set: &[(&str, &str)]) -> std::result::Result<(Option<String>, Option<String>), String> {
        let value = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
        let shown = |proxy: Option<Proxy>| proxy.map(|proxy| proxy.to_string());
        proxies_of(value).map(|found| (shown(found.http), shown(found.https))).map_err(|error| error.to_string())
    }

    #[test]
    fn proxies_are_those_of_the_environment() {
        let both = |one: &str, two: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            Ok((some(one), some(two)))
        };
        assert_eq!(proxies(&[]), both("", ""));
        assert_eq!(proxies(&[("HTTPS_PROXY", "u:p@a:1")]), both("", "http://a:1 (HTTPS_PROXY)"));
        let lower = [("HTTPS_PROXY", "a:1"), ("https_proxy", "b:2"), ("http_proxy", "c:3")];
        assert_eq!(proxies(&lower), both("http://c:3 (http_proxy)", "http://b:2 (https_proxy)"));
        let all = [("ALL_PROXY", "a:1"), ("HTTP_PROXY", "b:2"), ("https_proxy", "")];
        assert_eq!(proxies(&all), both("http://b:2 (HTTP_PROXY)", "http://a:1 (ALL_PROXY)"));
        assert_eq!(
            proxies(&[("all_proxy", "https://a:1"), ("ALL_PROXY", "b:2")]).unwrap().1.unwrap(),
            "https://a:1 (all_proxy)"
        );
    }

    #[test]
    fn what_the_environment_must_not_say_is_refused_without_quoting_it() {
        for (set, says) in [
            (vec![("HTTPS_PROXY", "socks5://u:hunter2@a:1")], "speaks no SOCKS"),
            (vec![("ALL_PROXY", "http://u:hunter2@a:1/x")], "ALL_PROXY names no proxy"),
            (vec![("NO_PROXY", "a,hunter2/x")], "NO_PROXY: entry 2"),
            (vec![("HTTP_PROXY", "u:hunter2@a:1"), (CGI, "GET")], "since REQUEST_METHOD is set"),
        ] {
            let why = proxies(&set).unwrap_err();
            assert!(why.contains(says) && !why.contains("hunter2"), "{why}");
        }
        assert!(proxies(&[("http_proxy", "a:1"), ("HTTP_PROXY", "b:1"), (CGI, "GET")]).is_ok());
    }

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
