//! Credentials and certificates from files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::env;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Repository;
use crate::pipeline::Credentials;
use crate::policy::TrustAnchor;
use crate::registry::credentials_from_docker_config;

/// The most bytes of a file of either kind.
const MAX_FILE: u64 = 16 << 20;

/// The credentials for a repository: from the file that was named, else from where docker and podman keep theirs.
pub(super) fn credentials(named: Option<&Path>, repository: &Repository) -> Result<Option<Credentials>> {
    let Some((path, wanted)) = named.map(|path| (path.to_owned(), true)).or_else(env::auth_file) else {
        return Ok(None);
    };
    let config = match read(&path) {
        Ok(config) => config,
        Err(why) if why.kind() == io::ErrorKind::NotFound && !wanted => return Ok(None),
        Err(why) => {
            let message = format!("the credentials in `{}` cannot be read: {why}", path.display());
            return Err(Error::new(Code::CredentialsUnreadable, Stage::Plan, message).caused_by(why));
        }
    };
    credentials_from_docker_config(&config, &path.display().to_string(), repository)
}

/// The certificates in the named files, and in every `.pem`, `.crt` and `.cer` file of the named folders.
pub(super) fn anchors(paths: &[PathBuf]) -> Result<Vec<TrustAnchor>> {
    let mut anchors = Vec::new();
    for path in paths {
        let failed = |why: io::Error| {
            let message = format!("the certificates in `{}` cannot be read: {why}", path.display());
            Error::new(Code::LocalFile, Stage::Plan, message).caused_by(why)
        };
        for file in files(path).map_err(failed)? {
            anchors.push(TrustAnchor { origin: file.display().to_string(), pem: read(&file).map_err(failed)? });
        }
    }
    Ok(anchors)
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
    if files.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no .pem, .crt or .cer file in it"));
    }
    Ok(files)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes, expected at most {MAX_FILE}")));
    }
    fs::read(path)
}
