//! The effective policy as a document, with the origin of each value as a comment.

use std::fmt::{self, Write as _};

use super::document::{SCHEMA, shown_size, shown_time};
use super::limits::{Bounds, LIMITS};
use super::{
    ClientIdentity, ComponentRule, Components, Destinations, Grant, HostTls, Policy, Require, Rules, Site, Sited,
    Trust, TrustAnchor,
};

impl Policy {
    /// The policy as a document that reads as the same policy, with the origin of each value as a comment. What is
    /// of one side only, such as client certificates of the command line, is a comment: a document has no word for it.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "schema = {}", quoted(SCHEMA))?;
        self.write_tls(out)?;
        writeln!(out, "\n[egress]")?;
        list(out, "plain-http", self.egress.plain_http.iter().map(shown))?;
        let redirects = self.egress.redirects.to_string();
        single(out, "redirects", &redirects, &self.sites.of("egress.redirects"))?;
        single(out, "proxy", &quoted(self.egress.proxy.value.as_str()), &self.egress.proxy.site)?;
        for (name, rules) in [("source", &self.egress.source), ("registry", &self.egress.registry)] {
            write_rules(out, name, rules)?;
        }
        writeln!(out, "\n[limits]")?;
        let mut limits = self.limits.clone();
        for (key, bounds) in LIMITS {
            let value = match bounds {
                Bounds::Time(field, ..) => quoted(&shown_time(*field(&mut limits))),
                Bounds::Size(field, ..) => quoted(&shown_size(*field(&mut limits) as u64)),
                Bounds::Count(field, ..) => field(&mut limits).to_string(),
            };
            let name = key.strip_prefix("limits.").unwrap_or(key);
            single(out, name, &value, &self.sites.of(key))?;
        }
        self.write_components(out)?;
        self.write_destinations(out)?;
        self.write_require(out)?;
        if !self.allowed_flags.is_empty() {
            writeln!(out, "\n[flags]")?;
            let flags = self.allowed_flags.iter().map(|flag| (flag.value.as_str().to_owned(), &flag.site));
            list(out, "allow", flags)?;
        }
        Ok(())
    }

    fn write_components(&self, out: &mut String) -> fmt::Result {
        let Components { allow, built_in, unlisted } = &self.components;
        writeln!(out, "\n[components]")?;
        for (name, said, default) in [("built-in", built_in, true), ("unlisted", unlisted, allow.is_empty())] {
            let site = said.as_ref().map_or(&Site::BuiltIn, |said| &said.site);
            single(out, name, &said.as_ref().map_or(default, |said| said.value).to_string(), site)?;
        }
        for ComponentRule { digest, kinds, origins, grant } in allow {
            let Grant { hosts, methods, options, memory, cpu, idle, wait, output } = grant;
            writeln!(out, "\n[[components.allow]]")?;
            single(out, "digest", &quoted(&digest.value.to_string()), &digest.site)?;
            list(out, "kinds", kinds.iter().map(|kind| (kind.value.as_str().to_owned(), &kind.site)))?;
            list(out, "origins", origins.iter().map(|origin| (origin.value.as_str().to_owned(), &origin.site)))?;
            list(out, "hosts", hosts.iter().map(shown))?;
            list(out, "methods", methods.iter().map(|method| (method.value.as_str().to_owned(), &method.site)))?;
            list(out, "options", options.iter().map(shown))?;
            if let Some(memory) = memory {
                single(out, "memory", &quoted(&shown_size(memory.value as u64)), &memory.site)?;
            }
            for (name, time) in [("cpu", cpu), ("idle", idle), ("wait", wait)] {
                if let Some(time) = time {
                    single(out, name, &quoted(&shown_time(time.value)), &time.site)?;
                }
            }
            if let Some(output) = output {
                single(out, "output", &quoted(&shown_size(output.value)), &output.site)?;
            }
        }
        Ok(())
    }

    fn write_destinations(&self, out: &mut String) -> fmt::Result {
        let Destinations { repositories, layouts, overwrite } = &self.destinations;
        writeln!(out, "\n[destinations]")?;
        let said = |said: &Option<Sited<bool>>, otherwise: bool| match said {
            Some(said) => (said.value.to_string(), said.site.clone()),
            None => (otherwise.to_string(), Site::BuiltIn),
        };
        let (value, site) = said(overwrite, true);
        single(out, "overwrite", &value, &site)?;
        let (value, site) = said(layouts, repositories.is_empty());
        single(out, "layouts", &value, &site)?;
        for entry in repositories {
            writeln!(out, "\n[[destinations.repository]]")?;
            single(out, "match", &quoted(&entry.repositories.value.to_string()), &entry.repositories.site)?;
            list(out, "tags", entry.tags.iter().map(shown))?;
            if let Some(overwrite) = &entry.overwrite {
                single(out, "overwrite", &overwrite.value.to_string(), &overwrite.site)?;
            }
        }
        Ok(())
    }

    fn write_require(&self, out: &mut String) -> fmt::Result {
        let Require {
            checksum,
            formats,
            refused_hazards,
            accepted_hazards,
            max_size,
            max_virtual_size,
            encrypted_uploads,
        } = &self.require;
        writeln!(out, "\n[require]")?;
        list(out, "checksum", checksum.iter().map(|name| (name.value.as_str().to_owned(), &name.site)))?;
        list(out, "formats", formats.iter().map(shown))?;
        list(out, "refused-hazards", refused_hazards.iter().map(shown))?;
        list(out, "accepted-hazards", accepted_hazards.iter().map(shown))?;
        for (name, most) in [("max-size", max_size), ("max-virtual-size", max_virtual_size)] {
            if let Some(most) = most {
                single(out, name, &quoted(&shown_size(most.value)), &most.site)?;
            }
        }
        let site = encrypted_uploads.as_ref().unwrap_or(&Site::BuiltIn);
        single(out, "encrypted-uploads", &encrypted_uploads.is_some().to_string(), site)
    }

    fn write_tls(&self, out: &mut String) -> fmt::Result {
        let tls = &self.tls;
        writeln!(out, "\n[tls]")?;
        let names = |key, names: Vec<&str>| {
            let quoted: Vec<String> = names.into_iter().map(quoted).collect();
            (format!("[{}]", quoted.join(", ")), self.sites.of(key))
        };
        let (versions, site) = names("tls.versions", tls.versions.iter().map(|version| version.as_str()).collect());
        single(out, "versions", &versions, &site)?;
        let (suites, site) = names("tls.suites", tls.suites.iter().map(|suite| suite.as_str()).collect());
        single(out, "suites", &suites, &site)?;
        let (groups, site) = names("tls.groups", tls.groups.iter().map(|group| group.as_str()).collect());
        single(out, "groups", &groups, &site)?;
        single(out, "session-tickets", &tls.session_tickets.to_string(), &self.sites.of("tls.session-tickets"))?;
        single(out, "fips", &tls.fips.is_some().to_string(), &self.sites.of("tls.fips"))?;
        single(out, "system-store", &tls.system_store.to_string(), &self.sites.of("tls.system-store"))?;
        list(out, "ca", tls.anchors.iter().map(anchor))?;
        list(out, "pins", tls.pins.iter().map(shown))?;
        for entry in &tls.hosts {
            if entry.side.is_some() {
                let HostTls { hosts, .. } = entry;
                writeln!(out, "# an entry of one side for {}  # {}", hosts.value, comment(&hosts.site))?;
                continue;
            }
            writeln!(out, "\n[[tls.host]]")?;
            single(out, "match", &quoted(&entry.hosts.value.to_string()), &entry.hosts.site)?;
            match &entry.trust {
                Trust::AsUsual => {}
                Trust::Only(anchors) => list(out, "ca", anchors.iter().map(anchor))?,
                Trust::Anybody(site) => single(out, "insecure-skip-verification", "true", site)?,
            }
            list(out, "pins", entry.pins.iter().map(shown))?;
            match &entry.identity {
                Some(identity) => write_identity(out, identity)?,
                // An entry that only says that verification is not skipped.
                None if entry.trust == Trust::AsUsual && entry.pins.is_empty() => {
                    single(out, "insecure-skip-verification", "false", &entry.hosts.site)?;
                }
                None => {}
            }
        }
        for flag in &tls.identities {
            let ClientIdentity { certificate_file, key_file, site, .. } = &flag.identity;
            writeln!(out, "# client certificate for {}: {certificate_file}, {key_file}  # {site}", flag.host)?;
        }
        Ok(())
    }
}

fn write_rules(out: &mut String, name: &str, rules: &Rules) -> fmt::Result {
    let Rules { hosts, denied_hosts, addresses, denied_addresses, plain_http, proxy } = rules;
    for Sited { value, site } in plain_http {
        writeln!(out, "# egress.{name}: without TLS to {value}  # {}", comment(site))?;
    }
    if proxy.is_none()
        && hosts.is_empty()
        && denied_hosts.is_empty()
        && addresses.is_empty()
        && denied_addresses.is_empty()
    {
        return writeln!(
            out,
            "# egress.{name}: any host; private addresses only where the user typed the host  # built-in"
        );
    }
    writeln!(out, "\n[egress.{name}]")?;
    list(out, "hosts", hosts.iter().map(shown))?;
    list(out, "denied-hosts", denied_hosts.iter().map(shown))?;
    list(out, "addresses", addresses.iter().map(shown))?;
    list(out, "denied-addresses", denied_addresses.iter().map(shown))?;
    proxy.as_ref().map_or(Ok(()), |own| single(out, "proxy", &quoted(own.value.as_str()), &own.site))
}

fn write_identity(out: &mut String, identity: &ClientIdentity) -> fmt::Result {
    single(out, "certificate", &quoted(&identity.certificate_file), &identity.site)?;
    single(out, "key", &quoted(&identity.key_file), &identity.site)
}

fn single(out: &mut String, key: &str, value: &str, site: &Site) -> fmt::Result {
    writeln!(out, "{key} = {value}  # {}", comment(site))
}

/// One line for each entry; nothing for none, which a document cannot say.
fn list<'a>(out: &mut String, key: &str, entries: impl Iterator<Item = (String, &'a Site)>) -> fmt::Result {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "{key} = [")?;
    for (entry, site) in entries {
        writeln!(out, "    {},  # {}", quoted(&entry), comment(site))?;
    }
    writeln!(out, "]")
}

fn shown<T: fmt::Display>(sited: &Sited<T>) -> (String, &Site) {
    (sited.value.to_string(), &sited.site)
}

fn anchor(anchor: &TrustAnchor) -> (String, &Site) {
    (anchor.file.clone(), &anchor.site)
}

/// A comment ends with its line, whatever the name of a file has in it.
fn comment(site: &Site) -> String {
    site.to_string().replace(char::is_control, "?")
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::{Any, parsed};
    use super::super::{Flags, TlsPolicy};
    use super::*;

    const DOCUMENT: &str = "[tls]\nversions = [\"TLSv1.3\"]\nfips = true\nsession-tickets = false\nca = [\"a\\\"b\\u0007\"]\n\
        [[tls.host]]\nmatch = \"a:1\"\nca = [\"x\"]\ncertificate = \"c\"\nkey = \"k\"\n\
        [[tls.host]]\nmatch = \"b\"\ninsecure-skip-verification = true\n\
        [[tls.host]]\nmatch = \"c\"\ninsecure-skip-verification = false\n\
        [egress]\nplain-http = [\"p:80\", \"[::1]\"]\nredirects = 3\n\
        [egress.source]\nhosts = [\"*\"]\ndenied-hosts = [\"*.d\"]\naddresses = [\"::/0\"]\ndenied-addresses = [\"::1\"]\nproxy = \"environment\"\n\
        [limits]\ncommit = \"90m\"\ncomponent-memory = \"65MiB\"\n[components]\nbuilt-in = false\n\
        [[components.allow]]\ndigest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n\
        kinds = [\"source\"]\norigins = [\"file\"]\nhosts = [\"a:1\"]\nmethods = [\"GET\"]\noptions = [\"o\"]\n\
        memory = \"5MiB\"\ncpu = \"90s\"\nidle = \"3s\"\nwait = \"4s\"\noutput = \"3TiB\"\n[destinations]\noverwrite = false\n[[destinations.repository]]\nmatch = \"a.b/**\"\n\
        tags = [\"v*\"]\noverwrite = true\n[[destinations.repository]]\nmatch = \"*:5000/c*\"\n[require]\nchecksum = [\"sha256\"]\n\
        formats = [\"raw\"]\nrefused-hazards = [\"a\"]\naccepted-hazards = [\"wrapped\"]\nmax-size = \"3TiB\"\nencrypted-uploads = true\n[flags]\nallow = [\"--ca\"]";

    #[test]
    fn what_is_shown_reads_as_the_same_policy() {
        for policy in [Policy::default(), parsed("").unwrap(), parsed(DOCUMENT).unwrap()] {
            let shown = policy.show();
            let again = Policy::parse(&shown, "shown", &mut Any).unwrap_or_else(|why| panic!("{why} in\n{shown}"));
            let bare = |shown: &str| -> Vec<String> {
                shown.lines().map(|line| line.split("  # ").next().unwrap_or(line).to_owned()).collect()
            };
            assert_eq!(bare(&again.show()), bare(&shown));
        }
    }

    #[test]
    fn every_value_says_where_it_comes_from() {
        let anchor = TrustAnchor { file: "/ca.pem".to_owned(), pem: Vec::new(), site: Site::Flag("--ca"), side: None };
        let flags = Flags { anchors: vec![anchor], ..Flags::default() };
        let shown = parsed(DOCUMENT).unwrap().with_flags(flags).unwrap().show();
        for line in [
            "versions = [\"TLSv1.3\"]  # policy.toml:3",
            "    \"/ca.pem\",  # --ca",
            "fips = true  # policy.toml:4",
            "redirects = 3  # policy.toml:20",
            "commit = \"1h 30m\"  # policy.toml:28",
            "connect = \"30s\"  # built-in",
            "insecure-skip-verification = true  # policy.toml:14",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "expected `{line}` in\n{shown}");
        }
        assert!(Policy { tls: TlsPolicy::default(), ..Policy::default() }.show().contains("# built-in"));
    }
}
