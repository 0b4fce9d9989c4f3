//! Where the disk of `dvcr-importer` is: `IMPORTER_SOURCE` and what goes with each of its values.

use std::fs;
use std::path::Path;

use super::super::{auth, locate};
use super::destination::{Destination, Named, Variable, credentials, from_file, pair, spoken_to};
use super::environment::Environment;
use super::image::uuid;
use super::{policy, usage};
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Reference;
use crate::pipeline::{ImageAt, Input, Source, SourceFields, SourceRegistry, Target};
use crate::policy::{Authority, Policy, Side};

const KIND: &str = "IMPORTER_SOURCE";
const ENDPOINT: &str = "IMPORTER_ENDPOINT";
const CERTIFICATES: &str = "IMPORTER_CERT_DIR";
const INSECURE: &str = "INSECURE_TLS";
const USER: Variable<'static> = Variable::alone("IMPORTER_ACCESS_KEY_ID");
const PASSWORD: Variable<'static> = Variable::alone("IMPORTER_SECRET_KEY");
/// Header fields, one in each.
const FIELDS: &str = "IMPORTER_EXTRA_HEADER_";
/// Files with a header field in each, which are secret.
const FIELD_FILES: &str = "/extraheaders";
/// The most bytes of such a file, and the most files.
const MAX_FIELD_FILE: u64 = 16 * 1024;
const MAX_FIELD_FILES: usize = 32;
/// Where a pod has the disk that it is to import.
const DEVICE: &str = "/dev/xvda";
const FILE: &str = "/tmp/fs/disk.img";

/// What is to be imported.
pub(super) enum Wanted {
    /// A disk, and its name where it has none of its own; with the policy and what its variables add.
    Disk(Box<(Input, Option<String>, Policy)>),
    /// An image that is to be copied as it is, trusted and spoken to as the destination is.
    Image(Box<(Input, ImageAt, Policy)>),
}

/// Reads the variables of the source.
pub(super) fn wanted(
    environment: &Environment,
    (named, destination): (&Named<'_>, &Destination),
    owner: Option<&str>,
    policy: Policy,
) -> Result<Wanted> {
    let kind = environment.needed(KIND)?;
    let policy = match environment.text(CERTIFICATES)? {
        Some(at) => policy::trusting(policy, &at, CERTIFICATES, Side::Source)?,
        None => policy,
    };
    let local = |path: &str, ending: &str| -> Result<(Input, Option<String>)> {
        Ok((input(Source::File(path.into())), Some(format!("{}.{ending}", uuid(owner)?))))
    };
    let ((input, name), policy) = match kind.as_str() {
        "http" => {
            let (input, policy) = http(environment, policy)?;
            ((input, None), policy)
        }
        "registry" => {
            let (input, policy) = registry(environment, policy)?;
            ((input, None), policy)
        }
        "blockDevice" => (local(DEVICE, "raw")?, policy),
        "filesystem" => (local(FILE, "img")?, policy),
        "dvcr" => return image(environment, (named, destination), policy).map(Box::new).map(Wanted::Image),
        other => {
            let known = "http, registry, dvcr, blockDevice or filesystem";
            return Err(usage(format!("{KIND} is `{other}`, expected {known}")));
        }
    };
    Ok(Wanted::Disk(Box::new((input, name, policy))))
}

fn input(source: Source) -> Input {
    Input { source, size: None, fields: SourceFields::default(), options: Vec::new(), registry: None, layout: None }
}

fn http(environment: &Environment, policy: Policy) -> Result<(Input, Policy)> {
    let (source, in_url) = locate::source(&environment.needed(ENDPOINT)?)?;
    let Source::Http(url) = &source else {
        return Err(usage(format!("{ENDPOINT} is not an http or https URL, as {KIND} says")));
    };
    let policy = match url.scheme() {
        "http" => {
            let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
            let host: Authority =
                format!("{host}:{port}").parse().map_err(|why| usage(format!("{ENDPOINT}: {why}")))?;
            policy::plain(policy, host, ENDPOINT, Side::Source)?
        }
        _ => policy,
    };
    let fields = fields(environment, Path::new(FIELD_FILES))?;
    let fields = match pair(environment, &USER, &PASSWORD)?.or(in_url) {
        Some(credentials) => fields.authorized(&credentials),
        None => fields,
    };
    Ok((Input { fields, ..input(source) }, policy))
}

fn registry(environment: &Environment, policy: Policy) -> Result<(Input, Policy)> {
    let reference = reference(environment)?;
    let named = Named {
        endpoint: Variable::alone(ENDPOINT),
        user: USER,
        password: PASSWORD,
        auth_config: Variable::alone("IMPORTER_AUTH_CONFIG"),
        insecure: Variable::alone(INSECURE),
        ca: Variable::alone(CERTIFICATES),
    };
    let source = locate::in_registry(&reference)?;
    let repository = reference.repository;
    let credentials = credentials(environment, &named, &repository)?;
    let policy = spoken_to(environment, &named.insecure, (&repository, Side::Source), credentials.as_ref(), policy)?;
    Ok((Input { registry: Some(SourceRegistry { repository, credentials }), ..input(source) }, policy))
}

/// An image in a registry that is the destination's as a rule: it has the destination's credentials then, else those that the
/// destination's file has for it.
fn image(
    environment: &Environment,
    (named, destination): (&Named<'_>, &Destination),
    policy: Policy,
) -> Result<(Input, ImageAt, Policy)> {
    let reference = reference(environment)?;
    let policy = match named.ca.read(environment)? {
        Some((name, at)) => policy::trusting(policy, &at, name, Side::Source)?,
        None => policy,
    };
    let repository = &reference.repository;
    let credentials = match &destination.target {
        Target::Registry { repository: to, credentials } if to.registry() == repository.registry() => {
            credentials.clone()
        }
        _ => from_file(environment, named, repository)?,
    };
    let at = (repository, Side::Source);
    let policy = spoken_to(environment, &named.insecure, at, credentials.as_ref(), policy)?;
    let input = Input {
        registry: Some(SourceRegistry { repository: repository.clone(), credentials: credentials.clone() }),
        ..input(locate::in_registry(&reference)?)
    };
    Ok((input, ImageAt::Registry { reference, credentials }, policy))
}

fn reference(environment: &Environment) -> Result<Reference> {
    match locate::image(&environment.needed(ENDPOINT)?)? {
        locate::Destination::Registry(reference) => Ok(reference),
        locate::Destination::Layout(..) => Err(usage(format!("{ENDPOINT} is an image layout, expected a registry"))),
    }
}

/// The header fields of the environment, and those of files. What they are called is nobody's secret; what they say may be.
fn fields(environment: &Environment, folder: &Path) -> Result<SourceFields> {
    let mut lines: Vec<(String, Vec<u8>)> =
        environment.beginning(FIELDS)?.into_iter().map(|(name, line)| (name, line.into_bytes())).collect();
    lines.extend(files(folder)?);
    let mut all = Vec::new();
    for (place, line) in lines {
        let line = line.trim_ascii();
        let unusable = |why: &str| {
            let message = format!("the header field of {place} cannot be used: {why}");
            Error::new(Code::CredentialsUnreadable, Stage::Plan, message)
        };
        // More than one line would be more than one field, whoever wrote the second.
        if line.contains(&b'\n') || line.starts_with(b"#") || line.is_empty() {
            return Err(unusable("expected one line, `Name: value`"));
        }
        SourceFields::parse(line).map_err(|why| unusable(&why.to_string()))?;
        all.extend_from_slice(line);
        all.push(b'\n');
    }
    SourceFields::parse(&all).map_err(|why| {
        let message = format!("the header fields of {FIELDS}* and {FIELD_FILES} cannot be used together: {why}");
        Error::new(Code::CredentialsUnreadable, Stage::Plan, message)
    })
}

/// The files of a folder and of those within it, but for what Kubernetes puts behind them.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let unreadable = |path: &Path, why: std::io::Error| {
        let message = format!("the header fields in `{}` cannot be read: {why}", path.display());
        Error::new(Code::CredentialsUnreadable, Stage::Plan, message).caused_by(why)
    };
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => continue,
            Err(why) => return Err(unreadable(&folder, why)),
        };
        for entry in entries {
            let path = entry.map_err(|why| unreadable(&folder, why))?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if found.len() + folders.len() > MAX_FIELD_FILES {
                let why = std::io::Error::other(format!("more than {MAX_FIELD_FILES} files"));
                return Err(unreadable(&folder, why));
            }
            if path.is_dir() && !hidden {
                folders.push(path);
            } else if path.is_file() {
                let bytes = auth::read(&path, MAX_FIELD_FILE).map_err(|why| unreadable(&path, why))?;
                found.push((path.display().to_string(), bytes));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::environment::tests::of;
    use super::*;
    use crate::pipeline::Credentials;
    use crate::policy::Sited;

    fn read(variables: &[(&str, &str)]) -> Result<Wanted> {
        let environment = of(variables);
        let alone = Variable::alone;
        let named = Named {
            endpoint: alone("TO"),
            user: alone("TO_USER"),
            password: alone("TO_PASSWORD"),
            auth_config: alone("TO_CONFIG"),
            insecure: alone("TO_INSECURE"),
            ca: alone("TO_CA"),
        };
        let to: Reference = "r.example/to:1".parse().unwrap();
        let credentials = pair(&environment, &named.user, &named.password)?.map(Credentials::Basic);
        let target = Target::Registry { repository: to.repository, credentials };
        let destination = Destination { target, tag: crate::oci::Tag::latest() };
        let owner = Some("b856691e-1038-11e9-a5ab-525500d15501");
        wanted(&environment, (&named, &destination), owner, policy::built_in().unwrap())
    }

    fn disk(variables: &[(&str, &str)]) -> (Input, Option<String>, Policy) {
        match read(variables).unwrap() {
            Wanted::Disk(disk) => *disk,
            Wanted::Image(_) => panic!("an image"),
        }
    }

    #[test]
    fn each_source_is_where_it_was() {
        let device = disk(&[(KIND, "blockDevice")]);
        assert_eq!(device.0.source.location(), "/dev/xvda");
        assert_eq!(device.1.as_deref(), Some("b856691e-1038-11e9-a5ab-525500d15501.raw"));
        let file = disk(&[(KIND, "filesystem")]);
        assert_eq!(file.0.source.location(), "/tmp/fs/disk.img");
        assert_eq!(file.1.as_deref(), Some("b856691e-1038-11e9-a5ab-525500d15501.img"));
        let http = disk(&[(KIND, "http"), (ENDPOINT, "https://a.example/x.qcow2?y")]);
        assert_eq!((http.0.source.scheme(), http.1, http.2.egress.source.plain_http.len()), ("https", None, 0));
        let registry = disk(&[(KIND, "registry"), (ENDPOINT, "docker://r.example:5000/vm/disk:1")]);
        assert_eq!(registry.0.source.location(), "docker://r.example:5000/vm/disk:1");
        assert!(registry.0.registry.is_some());
    }

    #[test]
    fn an_image_is_copied_with_the_destinations_credentials_where_they_are_for_it() {
        for (endpoint, credentials) in
            [("r.example/vm:1", true), ("r.example:5000/vm:1", false), ("q.example/vm:1", false)]
        {
            let variables = [(KIND, "dvcr"), (ENDPOINT, endpoint), ("TO_USER", "u"), ("TO_PASSWORD", "p")];
            let Wanted::Image(image) = read(&variables).unwrap() else { panic!("{endpoint}") };
            let (input, ImageAt::Registry { reference, credentials: found }, _) = *image else { panic!("{endpoint}") };
            assert_eq!((reference.to_string(), found.is_some()), (endpoint.to_owned(), credentials));
            assert_eq!(input.registry.unwrap().credentials.is_some(), credentials);
        }
    }

    #[test]
    fn plain_http_is_for_the_endpoint_alone() {
        for (url, listed) in [("http://a.example/x", "a.example:80"), ("http://[fd00::1]:8080/x", "[fd00::1]:8080")] {
            let (_, _, policy) = disk(&[(KIND, "http"), (ENDPOINT, url)]);
            let listed_for = |listed: &[Sited<Authority>]| -> Vec<String> {
                listed.iter().map(|host| host.value.to_string()).collect()
            };
            assert_eq!(listed_for(&policy.egress.source.plain_http), [listed]);
            assert!(policy.egress.plain_http.is_empty() && policy.egress.registry.plain_http.is_empty(), "{url}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused_without_quoting_secrets() {
        for (variables, code) in [
            (vec![], Code::Usage),
            (vec![(KIND, "s3")], Code::Usage),
            (vec![(KIND, "http")], Code::Usage),
            (vec![(KIND, "http"), (ENDPOINT, "ftp://u:hunter2@a.example/x")], Code::Unsupported),
            (vec![(KIND, "http"), (ENDPOINT, "file:///hunter2")], Code::Usage),
            (vec![(KIND, "registry"), (ENDPOINT, "oci:hunter2")], Code::Usage),
            (
                vec![(KIND, "http"), (ENDPOINT, "https://a.example/"), ("IMPORTER_EXTRA_HEADER_0", "hunter2")],
                Code::CredentialsUnreadable,
            ),
            (
                vec![(KIND, "http"), (ENDPOINT, "https://a.example/"), ("IMPORTER_EXTRA_HEADER_0", "A: hunter2\nB: c")],
                Code::CredentialsUnreadable,
            ),
            (
                vec![(KIND, "http"), (ENDPOINT, "https://a.example/"), ("IMPORTER_EXTRA_HEADER_0", "Host: hunter2")],
                Code::CredentialsUnreadable,
            ),
        ] {
            let Err(error) = read(&variables) else { panic!("{variables:?}") };
            assert_eq!(error.code(), code, "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn fields_come_from_the_environment_and_from_files() {
        let folder = std::env::temp_dir().join(format!("longshore-extraheaders-{}", std::process::id()));
        fs::create_dir_all(folder.join("secret")).unwrap();
        fs::create_dir_all(folder.join("..data")).unwrap();
        fs::write(folder.join("secret/token"), "Authorization: Bearer t\n").unwrap();
        fs::write(folder.join("..data/token"), "Authorization: Bearer t\n").unwrap();
        let environment = of(&[("IMPORTER_EXTRA_HEADER_0", "X-One: 1"), ("IMPORTER_EXTRA_HEADER_1", "x-two:2 ")]);
        let found = fields(&environment, &folder);
        fs::remove_dir_all(&folder).unwrap();
        let found = format!("{:?}", found.unwrap());
        assert_eq!(found, "[\"x-one\", \"x-two\", \"authorization\"]");
        assert!(fields(&of(&[]), Path::new("/nonexistent")).unwrap().is_empty());
    }
}
