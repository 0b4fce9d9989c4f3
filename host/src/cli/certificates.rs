//! Certificates and keys from files: those that flags name, and those that a policy document names.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::args::Serve;
use super::auth;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Repository;
use crate::policy::{
    Authority, ClientDemand, ClientIdentity, Files, FlagIdentity, ListenerTls, Policy, Side, Site, TrustAnchor,
};

/// The most bytes of a file of certificates or of a key: a store of all public authorities has a quarter of one MiB.
const MAX_FILE: u64 = 4 << 20;
/// The most files of a folder of certificates.
const MAX_FILES: usize = 1024;
/// The most bytes of all files that a document names, or that `--ca` does.
const MAX_ALL: u64 = 16 << 20;

/// The files that documents name, by paths relative to the folder in which the one that names them stands.
pub(super) struct Beside {
    /// Bytes that may still be read.
    left: u64,
}

impl Beside {
    /// For the documents of one policy.
    pub(super) const fn new() -> Self {
        Self { left: MAX_ALL }
    }
}

impl Files for Beside {
    fn document(&mut self, path: &str, site: &Site) -> Result<(String, String), String> {
        let path = beside(path, site);
        let shown = path.display().to_string();
        let unreadable = |why: &str| format!("the policy `{shown}` cannot be read: {why}");
        let bytes = auth::read(&path, Policy::MAX_DOCUMENT as u64).map_err(|why| unreadable(&why.to_string()))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok((shown, text)),
            Err(why) => Err(unreadable(&format!("it is not UTF-8: {why}"))),
        }
    }

    fn anchors(&mut self, path: &str, site: &Site) -> Result<Vec<TrustAnchor>, String> {
        let path = beside(path, site);
        read_anchors(&path, site, &mut self.left)
            .map_err(|why| format!("the certificates in `{}` cannot be read: {why}", path.display()))
    }

    fn file(&mut self, path: &str, site: &Site) -> Result<(String, Vec<u8>), String> {
        let path = beside(path, site);
        let shown = path.display().to_string();
        match read(&path, &mut self.left) {
            Ok(content) => Ok((shown, content)),
            Err(why) => Err(format!("`{shown}` cannot be read: {why}")),
        }
    }
}

/// A path as the document at `site` means it.
fn beside(path: &str, site: &Site) -> PathBuf {
    match site {
        Site::Document { file, .. } => Path::new(&**file).parent().unwrap_or_else(|| Path::new("")).join(path),
        Site::BuiltIn | Site::Flag(_) => path.into(),
    }
}

/// The certificates that `--ca` names: files, and every `.pem`, `.crt` and `.cer` file of folders.
pub(super) fn anchors(paths: &[PathBuf]) -> Result<Vec<TrustAnchor>> {
    anchors_of(paths, "--ca")
}

pub(super) fn anchors_of(paths: &[PathBuf], flag: &'static str) -> Result<Vec<TrustAnchor>> {
    let (mut anchors, mut left) = (Vec::new(), MAX_ALL);
    for path in paths {
        let found = read_anchors(path, &Site::Flag(flag), &mut left).map_err(|why| {
            let message = format!("the certificates in `{}` cannot be read: {why}", path.display());
            Error::new(Code::LocalFile, Stage::Plan, message).caused_by(why)
        })?;
        anchors.extend(found);
    }
    Ok(anchors)
}

/// TLS of a listener: its certificate and key, and what it demands of clients.
pub(super) fn listener(serve: &Serve) -> Result<Option<ListenerTls>> {
    let (Some(certificate), Some(key)) = (&serve.tls_cert, &serve.tls_key) else { return Ok(None) };
    let identity = own(certificate, key, "--tls-cert")?;
    let clients = match &serve.client_ca[..] {
        [] => None,
        paths => Some(ClientDemand { anchors: anchors_of(paths, "--client-ca")?, names: serve.client_name.clone() }),
    };
    Ok(Some(ListenerTls { clients, ..ListenerTls::of(identity) }))
}

/// A listener's own certificate and key.
pub(super) fn own(certificate: &Path, key: &Path, flag: &'static str) -> Result<ClientIdentity> {
    identity(certificate, key, "listener", flag)
}

/// The client certificates of `--cert` and `--key`, which belong together by their host. Without a host they are for the
/// registry that is the destination, and for nobody else.
pub(super) fn identities(
    certificates: &[String],
    keys: &[String],
    destination: Option<&Repository>,
) -> Result<Vec<FlagIdentity>> {
    let mut keys: VecDeque<(Option<Authority>, PathBuf)> =
        keys.iter().map(|text| for_host("--key", text)).collect::<Result<_>>()?;
    let mut identities: Vec<FlagIdentity> = Vec::new();
    for text in certificates {
        let (host, certificate) = for_host("--cert", text)?;
        let Some(key) = keys.iter().position(|(of, _)| *of == host).and_then(|at| keys.remove(at)) else {
            return Err(usage(format!("`--cert {text}` has no `--key` for the same host")));
        };
        let (host, side) = match host {
            Some(host) => (host, None),
            None => (registry(destination)?, Some(Side::Registry)),
        };
        if identities.iter().any(|other| other.host == host && other.side == side) {
            return Err(usage(format!("there is more than one `--cert` for {host}")));
        }
        identities.push(FlagIdentity { host, side, identity: identity(&certificate, &key.1, "client", "--cert")? });
    }
    match keys.pop_front() {
        Some((host, _)) => {
            let host = host.map_or_else(|| "the destination".to_owned(), |host| host.to_string());
            Err(usage(format!("the `--key` for {host} has no `--cert` for the same host")))
        }
        None => Ok(identities),
    }
}

fn identity(certificate: &Path, key: &Path, whose: &str, flag: &'static str) -> Result<ClientIdentity> {
    let read = |what: &str, path: &Path| {
        auth::read(path, MAX_FILE).map_err(|why| {
            let message = format!("the {what} in `{}` cannot be read: {why}", path.display());
            Error::new(Code::CredentialsUnreadable, Stage::Plan, message).caused_by(why)
        })
    };
    Ok(ClientIdentity {
        certificate_file: certificate.display().to_string(),
        certificate: read(&format!("{whose} certificate"), certificate)?,
        key_file: key.display().to_string(),
        key: read(&format!("key of the {whose} certificate"), key)?,
        site: Site::Flag(flag),
    })
}

/// `[HOST=]FILE`. What stands before the first `=` is a host unless it has a `/`: `./a=b` is a file.
fn for_host(flag: &str, text: &str) -> Result<(Option<Authority>, PathBuf)> {
    match text.split_once('=') {
        Some((host, file)) if !host.contains('/') => {
            let host = host.parse().map_err(|why| usage(format!("{flag}: {why}")))?;
            Ok((Some(host), file.into()))
        }
        _ => Ok((None, text.into())),
    }
}

/// The destination's host and port. Only over TLS does a certificate go anywhere.
pub(super) fn registry(destination: Option<&Repository>) -> Result<Authority> {
    let Some(destination) = destination else {
        return Err(usage(
            "`--cert` without a host is for a registry as DESTINATION: expected `--cert HOST=FILE`".to_owned(),
        ));
    };
    let registry = destination.registry();
    let host: Authority = registry.parse().map_err(|why| usage(format!("DESTINATION: {why}")))?;
    let with_port = if host.port().is_some() { registry } else { format!("{registry}:443") };
    with_port.parse().map_err(|why| usage(format!("DESTINATION: {why}")))
}

fn usage(message: String) -> Error {
    Error::new(Code::Usage, Stage::Plan, message)
}

fn read_anchors(path: &Path, site: &Site, left: &mut u64) -> io::Result<Vec<TrustAnchor>> {
    let anchor = |file: PathBuf| {
        let pem = read(&file, left)?;
        Ok(TrustAnchor { file: file.display().to_string(), pem, site: site.clone(), side: None })
    };
    files(path)?.into_iter().map(anchor).collect()
}

/// A file that is taken off what may still be read.
fn read(path: &Path, left: &mut u64) -> io::Result<Vec<u8>> {
    let content = auth::read(path, MAX_FILE.min(*left))?;
    *left = left.saturating_sub(content.len() as u64);
    Ok(content)
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let certificate = |path: &PathBuf| {
        path.extension()
            .is_some_and(|ending| ["pem", "crt", "cer"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path)? {
        files.push(entry?.path());
    }
    files.retain(certificate);
    files.sort();
    match files.len() {
        0 => Err(io::Error::new(io::ErrorKind::NotFound, "no .pem, .crt or .cer file in it")),
        1..=MAX_FILES => Ok(files),
        many => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{many} files, expected at most {MAX_FILES}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Reference;

    fn failed(certificates: &[&str], keys: &[&str], destination: Option<&str>) -> Error {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let destination = destination.map(|text| text.parse::<Reference>().unwrap().repository);
        identities(&owned(certificates), &owned(keys), destination.as_ref()).unwrap_err()
    }

    #[test]
    fn what_stands_before_the_first_equals_sign_is_a_host() {
        let read = |text| for_host("--cert", text).unwrap();
        assert_eq!(read("c.pem"), (None, "c.pem".into()));
        assert_eq!(read("./a=b"), (None, "./a=b".into()));
        assert_eq!(read("h:5000=a=b"), (Some("h:5000".parse().unwrap()), "a=b".into()));
        assert_eq!(for_host("--cert", "a b=c").unwrap_err().code(), Code::Usage);
    }

    #[test]
    fn the_destinations_port_is_that_of_https() {
        let registry = |text: &str| registry(Some(&text.parse::<Reference>().unwrap().repository)).unwrap().to_string();
        assert_eq!(registry("r.example/x"), "r.example:443");
        assert_eq!(registry("r.example:5000/x"), "r.example:5000");
    }

    #[test]
    fn certificates_and_keys_come_in_pairs() {
        for (certificates, keys, says) in [
            (&["c"][..], &[][..], "`--cert c` has no `--key`"),
            (&[], &["k"], "the `--key` for the destination has no `--cert`"),
            (&["a=c"], &["b=k"], "`--cert a=c` has no `--key`"),
            (&["c"], &["k"], "expected `--cert HOST=FILE`"),
        ] {
            let error = failed(certificates, keys, None);
            assert_eq!(error.code(), Code::Usage);
            assert!(error.to_string().contains(says), "{error}");
        }
        let error = failed(&["/nonexistent"], &["k"], Some("r.example/x"));
        assert_eq!(error.code(), Code::CredentialsUnreadable, "{error}");
    }
}
