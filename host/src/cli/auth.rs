//! Credentials from files, and from the helpers that those name.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use super::{credential_helper, env};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Repository;
use crate::pipeline::Credentials;
use crate::registry::{Kept, credentials_from_docker_config};

/// The most bytes of a file of credentials.
const MAX_FILE: u64 = 16 << 20;

/// The credentials for a repository: from the file that was named, else from where docker and podman keep theirs.
pub(super) fn credentials(named: Option<&Path>, repository: &Repository) -> Result<Option<Credentials>> {
    let Some((path, wanted)) = named.map(|path| (path.to_owned(), true)).or_else(env::auth_file) else {
        return Ok(None);
    };
    let config = match read(&path, MAX_FILE) {
        Ok(config) => config,
        Err(why) if why.kind() == io::ErrorKind::NotFound && !wanted => return Ok(None),
        Err(why) => {
            let message = format!("the credentials in `{}` cannot be read: {why}", path.display());
            return Err(Error::new(Code::CredentialsUnreadable, Stage::Plan, message).caused_by(why));
        }
    };
    match credentials_from_docker_config(&config, &path.display().to_string(), repository)? {
        Some(Kept::Here(credentials)) => Ok(Some(credentials)),
        Some(Kept::ByHelper { name, server }) => credential_helper::ask(&name, &server),
        None => Ok(None),
    }
}

/// The content of a file of at most `most` bytes. A pipe is a file too: secrets come through those.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {most} bytes")));
    }
    Ok(content)
}
