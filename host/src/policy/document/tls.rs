//! The section `tls`.

use super::Files;
use super::section::{Invalid, Item, Section, sited};
use crate::policy::{
    ClientIdentity, Group, HostPattern, HostTls, Rule, Site, Sites, Suite, TlsPolicy, Trust, TrustAnchor, Version,
};

/// The profiles: what is offered where no list says so.
const PROFILES: [(&str, &[Version]); 2] = [("aes-gcm", Version::ALL), ("aes-gcm-tls12", &[Version::Tls12])];

pub(super) fn tls(section: &Section<'_>, files: &mut dyn Files, sites: &mut Sites) -> Result<TlsPolicy, Invalid> {
    let mut policy = offered(section, sites)?;
    if let Some(Item { value, site, .. }) = section.boolean("fips")? {
        sites.set("tls.fips", site.clone());
        policy.fips = value.then_some(site);
    }
    if let Some(demanded) = &policy.fips {
        approved(section, demanded)?;
        policy.offered_by.push(Rule { key: "tls.fips", site: demanded.clone() });
        // What nobody listed follows.
        policy.groups.retain(|group| group.is_approved());
    }
    if let Some(Item { value, site, .. }) = section.boolean("session-tickets")? {
        policy.session_tickets = value;
        sites.set("tls.session-tickets", site);
    }
    policy.anchors = anchors(section, files)?;
    policy.pins = sited(section.list("pins")?);
    policy.hosts = hosts(section, files)?;
    if let Some(Item { value, site, span }) = section.boolean("system-store")? {
        let trusting = |entry: &HostTls| matches!(entry.trust, Trust::Only(_));
        if !value && policy.anchors.is_empty() && !policy.hosts.iter().any(trusting) {
            return Err(
                section.invalid(&span, "`tls.system-store` is false and there is no `ca`: nobody would be trusted")
            );
        }
        policy.system_store = value;
        sites.set("tls.system-store", site);
    }
    Ok(policy)
}

fn offered(section: &Section<'_>, sites: &mut Sites) -> Result<TlsPolicy, Invalid> {
    let versions = section.names("versions", Version::ALL, Version::as_str)?;
    let suites = section.names("suites", Suite::ALL, Suite::as_str)?;
    let groups = section.names("groups", Group::ALL, Group::as_str)?;
    let listed = ["versions", "suites", "groups"].into_iter().find_map(|name| section.span_of(name));
    let profile = section.string("profile")?;
    if let (Some(profile), Some(span)) = (&profile, &listed) {
        let message =
            format!("`tls.profile` at {} has versions, suites and groups already: name one or the other", profile.site);
        return Err(section.invalid(span, message));
    }
    let Some(Item { value: profile, site, span }) = profile else {
        return lists(section, versions, suites, groups, sites);
    };
    let Some((_, versions)) = PROFILES.iter().find(|(name, _)| *name == profile) else {
        let known = PROFILES.map(|(name, _)| name).join("`, `");
        return Err(section.invalid(&span, format!("`{profile}` is no profile: there is `{known}`")));
    };
    for key in ["tls.versions", "tls.suites", "tls.groups"] {
        sites.set(key, site.clone());
    }
    Ok(TlsPolicy {
        versions: versions.to_vec(),
        suites: suites_of(versions),
        groups: groups_of(versions),
        offered_by: vec![Rule { key: "tls.profile", site }],
        ..TlsPolicy::default()
    })
}

/// What the lists say; what they leave out follows from what they say.
fn lists(
    section: &Section<'_>,
    versions: Vec<Item<Version>>,
    suites: Vec<Item<Suite>>,
    groups: Vec<Item<Group>>,
    sites: &mut Sites,
) -> Result<TlsPolicy, Invalid> {
    let mut policy = TlsPolicy::default();
    let listed = [
        ("tls.versions", versions.first().map(|first| &first.site)),
        ("tls.suites", suites.first().map(|first| &first.site)),
        ("tls.groups", groups.first().map(|first| &first.site)),
    ];
    let listed = listed.into_iter().filter_map(|(key, site)| Some(Rule { key, site: site?.clone() }));
    let decided: Vec<Rule> = listed.inspect(|rule| sites.set(rule.key, rule.site.clone())).collect();
    if !decided.is_empty() {
        policy.offered_by = decided;
    }
    policy.versions = match (versions.is_empty(), suites.is_empty()) {
        (true, true) => policy.versions,
        (true, false) => {
            let used = |version: &Version| suites.iter().any(|suite| suite.value.version() == *version);
            Version::ALL.iter().copied().filter(used).collect()
        }
        (false, _) => {
            let unused = |version: &&Item<Version>| {
                !suites.is_empty() && !suites.iter().any(|suite| suite.value.version() == version.value)
            };
            if let Some(Item { value, span, .. }) = versions.iter().find(unused) {
                let message = format!("`tls.versions` has `{}`, and `tls.suites` has no suite of it", value.as_str());
                return Err(section.invalid(span, message));
            }
            versions.iter().map(|version| version.value).collect()
        }
    };
    for Item { value, span, .. } in &suites {
        if !policy.versions.contains(&value.version()) {
            let (suite, version) = (value.as_str(), value.version().as_str());
            let message = format!("`{suite}` is a suite of `{version}`, which `tls.versions` does not have");
            return Err(section.invalid(span, message));
        }
    }
    policy.suites = match suites.is_empty() {
        true => suites_of(&policy.versions),
        false => suites.into_iter().map(|suite| suite.value).collect(),
    };
    if let Some(Item { span, .. }) = groups.first() {
        let with_group = |version: &Version| groups.iter().any(|group| group.value.is_of(*version));
        if let Some(version) = policy.versions.iter().find(|version| !with_group(version)) {
            return Err(section.invalid(span, format!("`tls.groups` has no group that `{}` knows", version.as_str())));
        }
    }
    for Item { value, span, .. } in &groups {
        if !policy.versions.iter().any(|version| value.is_of(*version)) {
            let message =
                format!("`{}` is a group of `{}`, which is not offered", value.as_str(), Version::Tls13.as_str());
            return Err(section.invalid(span, message));
        }
    }
    policy.groups = match groups.is_empty() {
        true => groups_of(&policy.versions),
        false => groups.into_iter().map(|group| group.value).collect(),
    };
    Ok(policy)
}

/// Refuses what is listed and not approved, where that is demanded.
fn approved(section: &Section<'_>, demanded: &Site) -> Result<(), Invalid> {
    let suites = section.names("suites", Suite::ALL, Suite::as_str)?.into_iter();
    let suites = suites.filter(|suite| !suite.value.is_approved()).map(|suite| (suite.value.as_str(), suite.span));
    let groups = section.names("groups", Group::ALL, Group::as_str)?.into_iter();
    let groups = groups.filter(|group| !group.value.is_approved()).map(|group| (group.value.as_str(), group.span));
    match suites.chain(groups).next() {
        None => Ok(()),
        Some((name, span)) => {
            let message = format!("`{name}` is not approved by FIPS 140-3, which `tls.fips` at {demanded} demands");
            Err(section.invalid(&span, message))
        }
    }
}

fn suites_of(versions: &[Version]) -> Vec<Suite> {
    Suite::AES_GCM.iter().copied().filter(|suite| versions.contains(&suite.version())).collect()
}

fn groups_of(versions: &[Version]) -> Vec<Group> {
    Group::ALL.iter().copied().filter(|group| versions.iter().any(|version| group.is_of(*version))).collect()
}

fn anchors(section: &Section<'_>, files: &mut dyn Files) -> Result<Vec<TrustAnchor>, Invalid> {
    let mut anchors = Vec::new();
    for Item { value: path, site, span } in section.strings("ca")? {
        let found = files.anchors(path, &site).map_err(|why| section.invalid(&span, why))?;
        anchors.extend(found);
    }
    Ok(anchors)
}

fn hosts(section: &Section<'_>, files: &mut dyn Files) -> Result<Vec<HostTls>, Invalid> {
    let mut hosts: Vec<HostTls> = Vec::new();
    for entry in section.sections("host")? {
        let host = host(&entry, files)?;
        let earlier = hosts.iter().find(|earlier| earlier.hosts.value.contains(&host.hosts.value));
        if let Some(earlier) = earlier {
            let (hosts, earlier) = (&host.hosts.value, &earlier.hosts);
            let message = format!("`{hosts}` is never reached: `{}` at {} covers it", earlier.value, earlier.site);
            return Err(entry.invalid(&entry.span_of("match").unwrap_or_default(), message));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

fn host(entry: &Section<'_>, files: &mut dyn Files) -> Result<HostTls, Invalid> {
    let Some(Item { value: pattern, site, span }) = entry.string("match")? else {
        return Err(entry.invalid(&entry.span(), "an entry of `tls.host` needs `match`: the host it is for"));
    };
    let pattern: HostPattern =
        pattern.parse().map_err(|why| entry.invalid(&span, format!("`tls.host.match`: {why}")))?;
    let anchors = anchors(entry, files)?;
    let insecure = entry.boolean("insecure-skip-verification")?;
    let trust = match (anchors.is_empty(), &insecure) {
        (false, Some(Item { value: true, span, .. })) => {
            let message = "`insecure-skip-verification` contradicts `ca`: with it nobody's certificate is looked at";
            return Err(entry.invalid(span, message));
        }
        (true, Some(Item { value: true, site, .. })) => Trust::Anybody(site.clone()),
        (true, _) => Trust::AsUsual,
        (false, _) => Trust::Only(anchors),
    };
    let pins = sited(entry.list("pins")?);
    if let (Some(Item { value: true, span, .. }), false) = (&insecure, pins.is_empty()) {
        let message =
            "`insecure-skip-verification` contradicts `pins`: with it no path is verified that could have them";
        return Err(entry.invalid(span, message));
    }
    let identity = identity(entry, files)?;
    if trust == Trust::AsUsual && identity.is_none() && insecure.is_none() && pins.is_empty() {
        return Err(entry.invalid(&span, format!("the entry for `{pattern}` says nothing about it")));
    }
    Ok(HostTls { hosts: crate::policy::Sited::new(pattern, site), side: None, trust, pins, identity })
}

fn identity(entry: &Section<'_>, files: &mut dyn Files) -> Result<Option<ClientIdentity>, Invalid> {
    let (certificate, key) = match (entry.string("certificate")?, entry.string("key")?) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(alone), None) => return Err(entry.invalid(&alone.span, "`certificate` needs `key` beside it")),
        (None, Some(alone)) => return Err(entry.invalid(&alone.span, "`key` needs `certificate` beside it")),
    };
    let mut read = |item: &Item<&str>| files.file(item.value, &item.site).map_err(|why| entry.invalid(&item.span, why));
    let ((certificate_file, pem), (key_file, key)) = (read(&certificate)?, read(&key)?);
    Ok(Some(ClientIdentity { certificate_file, certificate: pem, key_file, key, site: certificate.site }))
}
