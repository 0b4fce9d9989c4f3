//! SOURCE and DESTINATION as they are typed.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Reference, Repository, Tag, as_typed};
use crate::pipeline::{ChecksumFile, Location, MalformedLocation, REGISTRY_SCHEME, Source, SourceCredentials};

/// DESTINATION.
#[derive(Debug)]
pub(super) enum Destination {
    Registry(Reference),
    Layout(PathBuf, Option<Tag>),
}

fn usage(message: String) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

fn unsupported(message: String) -> Error {
    Error::new(Code::Unsupported, Stage::Plan, message)
}

/// A URL, a path, or `-`; and the credentials that stood in the URL, which nobody else gets to see. No message quotes the
/// text before they are out of it.
pub(super) fn source(text: &str) -> Result<(Source, Option<SourceCredentials>)> {
    if text == "-" {
        return Ok((Source::StandardInput, None));
    }
    let Some((scheme, _)) = text.split_once("://") else {
        return local(text).map(|source| (source, None));
    };
    let url = || Url::parse(text).map_err(|why| usage(format!("SOURCE is not a URL: {why}")));
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {
            let (url, credentials) = without_credentials(url()?)?;
            Ok((Source::Http(url), credentials))
        }
        "file" => {
            let (url, credentials) = without_credentials(url()?)?;
            let path = url.to_file_path().ok().filter(|_| credentials.is_none());
            let path = path.ok_or_else(|| usage(format!("`{}` names no file on this machine", as_typed(text))))?;
            Ok((Source::File(path), None))
        }
        REGISTRY_SCHEME => {
            let reference = reference(text, "expected docker://host[:port]/repository[:tag|@digest]")?;
            Ok((in_registry(&reference)?, None))
        }
        _ => match Location::parse(text) {
            Ok(location) => Ok((Source::Other(location), None)),
            Err(MalformedLocation::UserInformation) => {
                Err(unsupported("user information in SOURCE is not supported yet".to_owned()))
            }
            Err(why) => Err(usage(format!("SOURCE cannot be used: {why}"))),
        },
    }
}

/// `--checksum-file`: a URL or a path.
pub(super) fn checksum_file(text: &str) -> Result<ChecksumFile> {
    let wrong = |words: &str| usage(format!("--checksum-file: {words}"));
    let Some((scheme, _)) = text.split_once("://") else {
        return if text.is_empty() { Err(wrong("it is empty")) } else { Ok(ChecksumFile::File(text.into())) };
    };
    let url = Url::parse(text).map_err(|why| wrong(&format!("not a URL: {why}")))?;
    match url.scheme() {
        "http" | "https" if url.username().is_empty() && url.password().is_none() => Ok(ChecksumFile::Http(url)),
        "http" | "https" => Err(wrong("credentials in its URL are not supported")),
        "file" => {
            let path = url
                .to_file_path()
                .map_err(|()| wrong(&format!("`{}` names no file on this machine", as_typed(text))))?;
            Ok(ChecksumFile::File(path))
        }
        _ => Err(wrong(&format!("the scheme is `{scheme}`, expected https, http or file"))),
    }
}

fn local(text: &str) -> Result<Source> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        // A URL parser would take it, user information and all; as a path it would be shown.
        Some("http" | "https") => {
            Err(usage(format!("`{}` is not a URL: expected `//` behind the scheme", as_typed(text))))
        }
        _ if text.is_empty() => Err(usage("SOURCE is empty".to_owned())),
        _ => Ok(Source::File(text.into())),
    }
}

/// Takes the user information out of a URL.
fn without_credentials(mut url: Url) -> Result<(Url, Option<SourceCredentials>)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    let malformed = |why: &str| usage(format!("the user information in the URL of SOURCE cannot be used: {why}"));
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return Ok((url, None));
    }
    let (Ok(user), Ok(password)) = (decoded(user), decoded(password.unwrap_or_default())) else {
        return Err(malformed("not UTF-8"));
    };
    let credentials = SourceCredentials::new(&user, &password).map_err(|why| malformed(&why.to_string()))?;
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(malformed("it cannot be taken out"));
    }
    Ok((url, Some(credentials)))
}

/// A reference with or without `docker://`, or `oci:DIR[:tag]`.
pub(super) fn destination(text: &str) -> Result<Destination> {
    if let Some((folder, tag)) = layout(text)? {
        return Ok(Destination::Layout(folder, tag));
    }
    let reference = reference(text, "expected docker://host[:port]/repository[:tag] or oci:DIR[:tag]")?;
    if reference.digest.is_some() {
        return Err(usage("DESTINATION has a digest, which only the finished image has".to_owned()));
    }
    Ok(Destination::Registry(reference))
}

/// The same for an image that is there: a digest may name it.
pub(super) fn image(text: &str) -> Result<Destination> {
    if let Some((folder, tag)) = layout(text)? {
        return Ok(Destination::Layout(folder, tag));
    }
    let expected = "expected docker://host[:port]/repository[:tag|@digest] or oci:DIR[:tag]";
    Ok(Destination::Registry(reference(text, expected)?))
}

/// The repository that SOURCE is in, if that is a registry.
pub(super) fn source_repository(text: &str) -> Result<Option<Repository>> {
    let is_registry = text.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(REGISTRY_SCHEME));
    if !is_registry {
        return Ok(None);
    }
    reference(text, "").map(|reference| Some(reference.repository))
}

/// The disk of an image in a registry.
pub(super) fn in_registry(reference: &Reference) -> Result<Source> {
    let location = Location::parse(&api(reference)).map_err(|why| usage(format!("SOURCE cannot be used: {why}")))?;
    Ok(Source::Other(location))
}

/// A reference as a source component is told: with the host that is asked.
fn api(reference: &Reference) -> String {
    let Reference { repository, tag, digest } = reference;
    let tag = tag.as_ref().map_or_else(String::new, |tag| format!(":{}", tag.as_str()));
    let digest = digest.map_or_else(String::new, |digest| format!("@{digest}"));
    format!("docker://{}/{}{tag}{digest}", repository.api(), repository.path())
}

/// A component in a registry.
pub(super) fn component(text: &str) -> Result<Reference> {
    reference(text, "expected docker://host[:port]/repository@sha256:…")
}

fn reference(text: &str, expected: &str) -> Result<Reference> {
    let reference = text.strip_prefix("docker://").unwrap_or(text).parse();
    reference.map_err(|why| usage(format!("{why}")).hint(expected))
}

/// `oci:DIR[:tag]`; none if it is something else.
pub(super) fn layout(text: &str) -> Result<Option<(PathBuf, Option<Tag>)>> {
    let Some(layout) = text.strip_prefix("oci:") else { return Ok(None) };
    let (folder, tag) = match layout.rsplit_once(':') {
        Some((folder, tag)) if !tag.contains('/') => {
            (folder, Some(tag.parse().map_err(|why| usage(format!("{why}")))?))
        }
        _ => (layout, None),
    };
    if folder.is_empty() {
        return Err(usage("`oci:` names no folder".to_owned()));
    }
    Ok(Some((folder.into(), tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_url_a_path_or_a_dash() {
        let source = |text: &str| source(text).unwrap().0;
        assert!(matches!(source("https://a.example/x"), Source::Http(_)));
        assert!(matches!(source("HTTP://a.example/x"), Source::Http(_)));
        assert!(matches!(source("-"), Source::StandardInput));
        let Source::Other(location) = source("FOO://a.example/x?y") else { panic!("another scheme") };
        assert_eq!((location.scheme(), location.as_typed()), ("foo", "FOO://a.example/x?y"));
        for (text, location) in [
            ("docker://r.example:5000/vm/disk:1", "docker://r.example:5000/vm/disk:1"),
            ("docker://docker.io/alpine", "docker://registry-1.docker.io/library/alpine"),
        ] {
            let Source::Other(found) = source(text) else { panic!("{text}") };
            assert_eq!((found.scheme(), found.as_typed()), ("docker", location));
            assert!(source_repository(text).unwrap().is_some());
        }
        for (text, path) in [("a/b.raw", "a/b.raw"), ("/x:y", "/x:y"), ("x:y", "x:y"), ("file:///a%20b", "/a b")] {
            let Source::File(found) = source(text) else { panic!("{text}") };
            assert_eq!(found, PathBuf::from(path));
        }
    }

    #[test]
    fn user_information_is_taken_out_of_the_url() {
        for (text, user, password) in [
            ("https://u:p@a.example/x?y", "u", "p"),
            ("https://u%40b:p%3Aw%C3%A9@a.example/x?y", "u@b", "p:w\u{e9}"),
            ("https://token@a.example/x?y", "token", ""),
            ("https://:p@a.example/x?y", "", "p"),
        ] {
            let (Source::Http(url), Some(credentials)) = source(text).unwrap() else { panic!("{text}") };
            assert_eq!(url.as_str(), "https://a.example/x?y");
            assert_eq!(credentials, SourceCredentials::new(user, password).unwrap());
        }
        assert!(source("https://a.example/@x").unwrap().1.is_none());
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let refused = |text: &str| source(text).unwrap_err();
        for text in ["", "1tp://a/x", "foo://[a/x", "https://", "file://host/x", "https:a", "https:/a/x", "HTTP:/a"] {
            assert_eq!(refused(text).code(), Code::Usage, "{text}");
        }
        assert_eq!(refused("foo://u:p@a.example/").code(), Code::Unsupported);
        for text in [
            "https://u:hunter2@",
            "https:u:hunter2@a.example/x",
            "https://u:hunter2%FF@a.example/",
            "https://u:hunter2%0A@a.example/",
            "https://hunter2%3Ax@a.example/",
            "https://u:hunter2@a.example:99999/",
            "docker://u:hunter2@a.example/x",
            "file://u:hunter2@a.example/x",
            "ftp://u:hunter2@a.example/x",
        ] {
            assert!(!refused(text).to_string().contains("hunter2"), "{text}");
        }
        assert!(!destination("docker://u:hunter2@h/vm:1").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_checksum_file_is_a_url_or_a_path() {
        assert!(matches!(checksum_file("https://a.example/SHA256SUMS").unwrap(), ChecksumFile::Http(_)));
        for (text, path) in [("a/SUMS", "a/SUMS"), ("file:///a%20b", "/a b"), ("-", "-")] {
            let ChecksumFile::File(found) = checksum_file(text).unwrap() else { panic!("{text}") };
            assert_eq!(found, PathBuf::from(path));
        }
        for text in ["", "ftp://a/x", "https://", "file://host/x", "https://u:hunter2@a.example/"] {
            let error = checksum_file(text).unwrap_err();
            assert_eq!(error.code(), Code::Usage, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_destination_is_a_reference_or_a_layout() {
        for text in ["docker://r.example/vm:1", "r.example/vm:1"] {
            let Destination::Registry(reference) = destination(text).unwrap() else { panic!("{text}") };
            assert_eq!(reference.to_string(), "r.example/vm:1");
        }
        for (text, folder, tag) in
            [("oci:d", "d", None), ("oci:/x/d:1", "/x/d", Some("1")), ("oci:/a:b/d", "/a:b/d", None)]
        {
            let Destination::Layout(found, found_tag) = destination(text).unwrap() else { panic!("{text}") };
            assert_eq!((found, found_tag.as_ref().map(Tag::as_str)), (PathBuf::from(folder), tag));
        }
        let digested = format!("r.example/vm@{}", crate::oci::Digest::of(b""));
        assert!(matches!(image(&digested).unwrap(), Destination::Registry(_)));
        for text in ["", "oci:", "oci::x", "vm", &digested] {
            assert_eq!(destination(text).unwrap_err().code(), Code::Usage, "{text}");
        }
    }
}
