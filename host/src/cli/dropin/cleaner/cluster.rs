//! What the cluster does not know any more goes: the images of resources that are gone, and of disks that are ready.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use url::Url;

use super::super::super::alone::alone;
use super::super::super::args::{Cleaner, PolicyFlags};
use super::super::super::{messages, policy};
use super::{clearing, is_old, pause, swept};
use crate::error::{Code, Error, Result, Stage};
use crate::layout::Storage;
use crate::pipeline::{Cluster, ClusterImages};

/// The most bytes of a token.
const MAX_TOKEN: u64 = 64 * 1024;
/// Where the API is, as every pod is told.
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// Says what would go.
pub(super) fn check(cleaner: &Cleaner) -> Result<()> {
    let storage = Storage::open(&cleaner.storage)?;
    let stale = stale(&storage, &cluster(cleaner)?)?;
    state(&storage, None)?;
    if stale.is_empty() {
        return messages::data("No images eligible for auto-cleanup.");
    }
    messages::data("Images eligible for cleanup:")?;
    stale.iter().try_for_each(|name| messages::data(&messages::harmless(name)))
}

/// Lets it go, clears the storage, and leaves the result in the secret of that name, if it has one: then it waits until it is ended.
pub(super) fn clean(cleaner: &Cleaner, secret: &str, within: Duration) -> Result<()> {
    let storage = Storage::open(&cleaner.storage)?;
    let before = storage.room()?;
    let cluster = cluster(cleaner);
    let cleaned = cluster.as_ref().map_err(Error::retold).and_then(|cluster| cleaned(&storage, cluster, within));
    let mut result = BTreeMap::from([("result", "success".to_owned())]);
    if let Err(error) = &cleaned {
        result.insert("result", "fail".to_owned());
        result.insert("error", error.to_string());
    }
    let told = state(&storage, Some(before)).map(|(total, available)| {
        let freed = available.saturating_sub(before.1);
        result.insert("total", total.to_string());
        result.insert("available", available.to_string());
        result.insert("freed", freed.to_string());
        let message = format!(
            "Freed space after cleanup: {}. Available space {} of total {}.",
            HumanBytes(freed),
            HumanBytes(available),
            HumanBytes(total)
        );
        result.insert("message", message);
    });
    if secret.is_empty() {
        return cleaned.and(told);
    }
    // Whoever waits for it learns of a failure too.
    let left = alone(cluster?.cleaned(secret, &result))?;
    cleaned.and(told).and(left)?;
    messages::data("Wait for signal before terminate.")?;
    pause()
}

fn cleaned(storage: &Storage, cluster: &Cluster, within: Duration) -> Result<()> {
    let until = Instant::now().checked_add(within);
    let stale = stale(storage, cluster)?;
    if stale.is_empty() {
        messages::data("No images eligible for cleanup.")?;
    }
    // Before anything goes: what ends the clearing ends it here.
    storage.clearable(clearing(until))?;
    for name in &stale {
        if is_old(storage, name)? {
            storage.remove(name)?;
            messages::data(&messages::harmless(&format!("removed {name}")))?;
        } else {
            // Its resource may have been made after the cluster was asked.
            messages::data(&messages::harmless(&format!("{name} is younger than an hour and stays")))?;
        }
    }
    // What was too young the last time is not.
    swept(storage, until)
}

/// The repositories of images that the cluster does not know. The registry is asked first: what is made meanwhile is known.
fn stale(storage: &Storage, cluster: &Cluster) -> Result<Vec<String>> {
    let repositories = storage.repositories()?;
    let known = alone(cluster.images())??;
    Ok(repositories.into_iter().filter(|name| is_stale(name, &known)).collect())
}

/// Whether a repository is that of an image, and of none that is known.
fn is_stale(repository: &str, known: &ClusterImages) -> bool {
    let parts: Vec<&str> = repository.split('/').collect();
    let named = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    match parts[..] {
        ["cvi", name] => !known.cluster.contains(name),
        ["vi", namespace, name] => !known.images.contains(&named(namespace, name)),
        ["vd", namespace, name] => !known.unfinished_disks.contains(&named(namespace, name)),
        _ => false,
    }
}

/// The cluster that this pod is in.
fn cluster(cleaner: &Cleaner) -> Result<Cluster> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(host), Some(port)) = (variable(HOST), variable(PORT)) else {
        let message = format!("{HOST} and {PORT} do not say where the cluster's API is: this is no pod");
        return Err(Error::new(Code::Usage, Stage::Plan, message));
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let api = Url::parse(&format!("https://{host}:{port}/")).map_err(|why| {
        Error::new(Code::Usage, Stage::Plan, format!("{HOST} and {PORT} name no API of a cluster: {why}"))
    })?;
    let flags = PolicyFlags {
        policy: None,
        ca: vec![cleaner.service_account.join("ca.crt")],
        plain_http: Vec::new(),
        cert: Vec::new(),
        key: Vec::new(),
    };
    Cluster::new(api, &token(&cleaner.service_account.join("token"))?, policy::effective(&flags, None)?)
}

fn token(path: &Path) -> Result<String> {
    let read = fs::metadata(path).and_then(|metadata| match metadata.len() <= MAX_TOKEN {
        true => fs::read_to_string(path),
        false => Err(std::io::Error::other("it is too large")),
    });
    read.map_err(|why| {
        let message = format!("the service account's token cannot be read from `{}`: {why}", path.display());
        Error::new(Code::CredentialsUnreadable, Stage::Plan, message)
    })
}

/// Says how full the file system is, and what is free that was not `before`. All of it, and what is free.
fn state(storage: &Storage, before: Option<(u64, u64)>) -> Result<(u64, u64)> {
    let (total, available) = storage.room()?;
    if let Some((_, before)) = before {
        messages::data(&format!("Freed space after cleanup: {}", HumanBytes(available.saturating_sub(before))))?;
    }
    let used = 100 - available.saturating_mul(100).checked_div(total).unwrap_or_default().min(100);
    messages::data(&format!("{:>10}  {:>10}  {:>10}  {:>7}", "Total", "Used", "Avail", "Use%"))?;
    let [total_shown, used_shown, available_shown] =
        [total, total.saturating_sub(available), available].map(|bytes| HumanBytes(bytes).to_string());
    messages::data(&format!("{total_shown:>10}  {used_shown:>10}  {available_shown:>10}  {used:>6}%"))?;
    Ok((total, available))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_stale_if_nobody_knows_it() {
        let named = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        let known = ClusterImages {
            cluster: ["a".to_owned()].into(),
            images: [named("n", "b")].into(),
            unfinished_disks: [named("n", "c")].into(),
        };
        for kept in ["cvi/a", "vi/n/b", "vd/n/c", "other/x", "vi/n", "cvi/a/b", "vi/n/b/c", "x"] {
            assert!(!is_stale(kept, &known), "{kept}");
        }
        // A name in one place says nothing about the same name in another.
        for gone in ["cvi/b", "vi/n/a", "vi/m/b", "vd/n/a", "vd/m/c", "vi/n/c"] {
            assert!(is_stale(gone, &known), "{gone}");
        }
    }
}
