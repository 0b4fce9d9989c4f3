//! The environment: every variable longshore reads, in one place.

use std::path::PathBuf;

/// A policy document; none is read yet, so one that is named is refused.
const POLICY: &str = "LONGSHORE_POLICY";
/// Seconds since 1970 for reproducible builds (reproducible-builds.org).
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The credentials file of podman, skopeo and buildah.
const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// The folder of docker's config.json.
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";

pub(super) fn policy() -> Option<PathBuf> {
    std::env::var_os(POLICY).filter(|path| !path.is_empty()).map(PathBuf::from)
}

pub(super) fn source_date_epoch() -> Option<Result<u64, String>> {
    let value = std::env::var(SOURCE_DATE_EPOCH).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().map_err(|_| format!("{SOURCE_DATE_EPOCH} is `{value}`, expected seconds since 1970")))
}

/// Where credentials are looked for when no file is named, and whether it was somebody's explicit wish.
pub(super) fn auth_file() -> Option<(PathBuf, bool)> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = path(REGISTRY_AUTH_FILE) {
        return Some((file, true));
    }
    if let Some(folder) = path(DOCKER_CONFIG) {
        return Some((folder.join("config.json"), false));
    }
    path("HOME").map(|home| (home.join(".docker").join("config.json"), false))
}

/// This program.
pub(super) fn program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}
