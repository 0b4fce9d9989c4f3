//! The section `egress`.

use super::section::{Invalid, Item, Section, sited};
use crate::policy::{AddressRange, Egress, HostPattern, ProxyUse, Rules, Sited, Sites};

/// The most redirects that a document may allow.
const MAX_REDIRECTS: u64 = 50;

pub(super) fn egress(section: &Section<'_>, sites: &mut Sites) -> Result<Egress, Invalid> {
    let mut egress = Egress { plain_http: sited(section.list("plain-http")?), ..Egress::default() };
    if let Some(Item { value, site, .. }) = section.integer("redirects", 0, MAX_REDIRECTS)? {
        egress.redirects = usize::try_from(value).unwrap_or(egress.redirects);
        sites.set("egress.redirects", site);
    }
    if let Some(said) = proxy(section)? {
        egress.proxy = said;
    }
    if let Some(source) = section.section("source")? {
        egress.source = rules(&source)?;
    }
    if let Some(registry) = section.section("registry")? {
        egress.registry = rules(&registry)?;
    }
    Ok(egress)
}

fn rules(section: &Section<'_>) -> Result<Rules, Invalid> {
    let (hosts, denied_hosts) = (section.list("hosts")?, section.list("denied-hosts")?);
    no_contradiction(section, &hosts, &denied_hosts, HostPattern::contains)?;
    let (addresses, denied_addresses) = (section.list("addresses")?, section.list("denied-addresses")?);
    no_contradiction(section, &addresses, &denied_addresses, AddressRange::contains)?;
    Ok(Rules {
        hosts: sited(hosts),
        denied_hosts: sited(denied_hosts),
        addresses: sited(addresses),
        denied_addresses: sited(denied_addresses),
        plain_http: Vec::new(),
        proxy: proxy(section)?,
    })
}

fn proxy(section: &Section<'_>) -> Result<Option<Sited<ProxyUse>>, Invalid> {
    Ok(section.name("proxy", ProxyUse::ALL, ProxyUse::as_str)?.map(Item::sited))
}

/// An entry that is denied as a whole allows nothing: whoever wrote it meant something else.
fn no_contradiction<T: std::fmt::Display>(
    section: &Section<'_>,
    allowed: &[Item<T>],
    denied: &[Item<T>],
    contains: impl Fn(&T, &T) -> bool,
) -> Result<(), Invalid> {
    for one in allowed {
        if let Some(other) = denied.iter().find(|other| contains(&other.value, &one.value)) {
            let message = format!("`{}` is allowed here and denied by `{}` at {}", one.value, other.value, other.site);
            return Err(section.invalid(&one.span, message));
        }
    }
    Ok(())
}
