//! What the user gives for SOURCE besides its location: credentials, header fields, options.

use std::path::Path;

use super::args::From;
use super::auth::read;
use super::env;
use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::{REGISTRY_SCHEME, Source, SourceCredentials, SourceFields};

/// The most bytes of a file of credentials or header fields.
const MAX_FILE: u64 = 64 * 1024;
/// The most options, and their bytes in all.
const MAX_OPTIONS: (usize, usize) = (64, 64 * 1024);

fn usage(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

/// The header fields for SOURCE's own origin. `in_url` are the credentials that stood in its URL. What is on the command
/// line goes before the environment; what is said twice on it is refused, as one of the two would be ignored.
///
/// The credentials come beside the fields for a registry, which says itself what it makes of them.
pub(super) fn source_fields(
    from: &From,
    source: &Source,
    in_url: Option<SourceCredentials>,
) -> Result<(SourceFields, Option<SourceCredentials>)> {
    let (credentials, header) = (from.source_credentials.as_deref(), from.source_header_file.as_deref());
    if !matches!(source, Source::Http(_) | Source::Other(_)) {
        return match (credentials, header) {
            (None, None) => Ok((SourceFields::default(), None)),
            (Some(_), _) => Err(usage("--source-credentials is for a SOURCE that is reached over http or https")),
            (None, Some(_)) => Err(usage("--source-header-file is for a SOURCE that is reached over http or https")),
        };
    }
    let fields = header.map(header_file).transpose()?.unwrap_or_default();
    let credentials = match (credentials, in_url, fields.has_authorization()) {
        (Some(_), Some(_), _) => return Err(twice("--source-credentials", "the URL of SOURCE")),
        (Some(_), None, true) => return Err(twice("--source-credentials", "--source-header-file (Authorization)")),
        (None, Some(_), true) => return Err(twice("the URL of SOURCE", "--source-header-file (Authorization)")),
        (Some(path), None, false) => Some(credentials_file(path)?),
        (None, Some(in_url), false) => Some(in_url),
        (None, None, true) => None,
        (None, None, false) => env::source_credentials()?,
    };
    Ok(match credentials {
        Some(credentials) if source.scheme() != REGISTRY_SCHEME => (fields.authorized(&credentials), None),
        credentials => (fields, credentials),
    })
}

/// `K=V` as options for the source component, in the order given.
pub(super) fn source_options(typed: &[String]) -> Result<Vec<(String, String)>> {
    let (most, most_bytes) = MAX_OPTIONS;
    if typed.len() > most || typed.iter().map(String::len).sum::<usize>() > most_bytes {
        return Err(usage(format!("more than {most} times --source-option, or {most_bytes} bytes of them")));
    }
    let option = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(usage("--source-option is not of the form KEY=VALUE")),
    };
    typed.iter().map(option).collect()
}

fn twice(one: &str, other: &str) -> Error {
    usage(format!("credentials for SOURCE are in {one} and in {other}, expected them once"))
}

fn credentials_file(path: &Path) -> Result<SourceCredentials> {
    SourceCredentials::parse(&bytes(path, "credentials")?)
        .map_err(|why| unusable(path, "credentials", &why.to_string()))
}

fn header_file(path: &Path) -> Result<SourceFields> {
    let what = "header fields";
    SourceFields::parse(&bytes(path, what)?).map_err(|why| unusable(path, what, &why.to_string()))
}

fn bytes(path: &Path, what: &str) -> Result<Vec<u8>> {
    read(path, MAX_FILE).map_err(|why| {
        let message = format!("the {what} in `{}` cannot be read: {why}", path.display());
        Error::new(Code::CredentialsUnreadable, Stage::Plan, message).caused_by(why)
    })
}

fn unusable(path: &Path, what: &str, why: &str) -> Error {
    let message = format!("the {what} in `{}` cannot be used: {why}", path.display());
    Error::new(Code::CredentialsUnreadable, Stage::Plan, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_keys_with_values() {
        let options = |typed: &[&str]| source_options(&typed.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(options(&["a=b", "c=d=e", "a="]).unwrap(), [pair("a", "b"), pair("c", "d=e"), pair("a", "")]);
        for typed in [&["a"][..], &["=b"], &[""], &["a=b"; 65]] {
            assert_eq!(options(typed).unwrap_err().code(), Code::Usage);
        }
        let secret = options(&["hunter2"]).unwrap_err();
        assert!(!secret.to_string().contains("hunter2"), "half of an option may be a secret");
    }
}
