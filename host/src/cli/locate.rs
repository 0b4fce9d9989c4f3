//! SOURCE and DESTINATION as they are typed.

use std::path::PathBuf;

use url::Url;

use crate::error::{Code, Error, Result, Stage};
use crate::oci::{Reference, Tag, as_typed};
use crate::pipeline::{ChecksumFile, Location, MalformedLocation, Source};

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

/// A URL, a path, or `-`.
pub(super) fn source(text: &str) -> Result<Source> {
    if text == "-" {
        return Ok(Source::StandardInput);
    }
    if ["http:", "https:"].iter().any(|scheme| text.starts_with(scheme)) && !text.contains("://") {
        return Err(usage(format!("`{}` is not a URL: expected `//` behind the scheme", as_typed(text))));
    }
    let Some((scheme, _)) = text.split_once("://") else {
        return if text.is_empty() { Err(usage("SOURCE is empty".to_owned())) } else { Ok(Source::File(text.into())) };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {
            let url = Url::parse(text).map_err(|why| usage(format!("SOURCE is not a URL: {why}")))?;
            if !url.username().is_empty() || url.password().is_some() {
                let message = "user information in SOURCE is not supported yet".to_owned();
                return Err(unsupported(message));
            }
            Ok(Source::Http(url))
        }
        "file" => {
            let url = Url::parse(text).map_err(|why| usage(format!("SOURCE is not a URL: {why}")))?;
            let path = url
                .to_file_path()
                .map_err(|()| usage(format!("`{}` names no file on this machine", as_typed(text))))?;
            Ok(Source::File(path))
        }
        "docker" => Err(unsupported(format!("a registry as SOURCE is not supported yet: `{}`", as_typed(text)))),
        _ => match Location::parse(text) {
            Ok(location) => Ok(Source::Other(location)),
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

fn reference(text: &str, expected: &str) -> Result<Reference> {
    let reference = text.strip_prefix("docker://").unwrap_or(text).parse();
    reference.map_err(|why| usage(format!("{why}")).hint(expected))
}

/// `oci:DIR[:tag]`; none if it is something else.
fn layout(text: &str) -> Result<Option<(PathBuf, Option<Tag>)>> {
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
        assert!(matches!(source("https://a.example/x").unwrap(), Source::Http(_)));
        assert!(matches!(source("HTTP://a.example/x").unwrap(), Source::Http(_)));
        assert!(matches!(source("-").unwrap(), Source::StandardInput));
        let Source::Other(location) = source("FOO://a.example/x?y").unwrap() else { panic!("another scheme") };
        assert_eq!((location.scheme(), location.as_typed()), ("foo", "FOO://a.example/x?y"));
        for (text, path) in [("a/b.raw", "a/b.raw"), ("/x:y", "/x:y"), ("file:///a%20b", "/a b")] {
            let Source::File(found) = source(text).unwrap() else { panic!("{text}") };
            assert_eq!(found, PathBuf::from(path));
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let code = |text: &str| source(text).unwrap_err().code();
        for text in ["", "1tp://a/x", "foo://[a/x", "https://", "file://host/x", "https:/a/x", "http:a"] {
            assert_eq!(code(text), Code::Usage, "{text}");
        }
        for text in ["docker://r.example/x", "https://u:p@a.example/", "foo://u:p@a.example/"] {
            assert_eq!(code(text), Code::Unsupported, "{text}");
        }
        for text in ["https://u:hunter2@a.example/", "https:/u:hunter2@a/x", "docker://u:hunter2@r.example/x"] {
            assert!(!source(text).unwrap_err().to_string().contains("hunter2"), "{text}");
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
