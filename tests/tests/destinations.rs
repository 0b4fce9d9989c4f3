//! Where a policy lets images be put, under which tags, and that a tag it keeps is never moved: looked for before the disk is
//! sent and again before the first tag is put.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use longshore_tests::program::{Ran, import};
use longshore_tests::registry::{Registry, Setup, VERSIONS};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Handler, Script, streamed};

const DISK: usize = 300_000;
/// How often it is looked whether an upload was opened.
const MOST_LOOKS: u32 = 3000;

/// A document that lets a host be spoken to without TLS, and then whatever follows.
fn policy(scratch: &Scratch, host: &str, more: &str) -> String {
    let text = format!("schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{host}\"]\n{more}\n");
    fs::write(scratch.path("policy.toml"), text).unwrap();
    scratch.text("policy.toml")
}

#[test]
fn only_what_the_policy_lists_is_written() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup::default());
    raw(&scratch.path("disk.raw"), DISK);
    let (disk, host) = (scratch.text("disk.raw"), registry.host());
    let port = registry.port();
    let rules = format!(
        "[[destinations.repository]]\nmatch = \"127.0.0.1:{port}/disks/**\"\ntags = [\"v*\"]\n\
         [[destinations.repository]]\nmatch = \"127.0.0.1:{port}/free\""
    );
    let into = |reference: &str, more: &[&str]| {
        let policy = policy(&scratch, &host, &rules);
        import([&[&*disk, &*registry.reference(reference), "--policy", &*policy], more].concat())
    };
    let says = ["must not be written", "`destinations.repository` (", "policy.toml:5) does not list it"];
    into("disks:v1", &[]).failed(13, "destination-denied", &says).golden("destination-not-listed");
    into("free/more:v1", &[]).failed(13, "destination-denied", &says);
    let says = ["`destinations.repository.tags` (", "policy.toml:6) does not list the tag `latest`"];
    into("disks/a", &[]).failed(13, "destination-denied", &says).golden("destination-tag-not-listed");
    into("disks/a:v1", &["--tag", "latest"]).failed(13, "destination-denied", &says);
    let layout = format!("oci:{}", scratch.text("layout"));
    let ran = import([&*disk, &*layout, "--policy", &policy(&scratch, &host, &rules)]);
    ran.failed(13, "destination-denied", &["`destinations.layouts` is not true"]).golden("destination-layout-denied");
    let no_layouts = policy(&scratch, &host, "[destinations]\nlayouts = false");
    let says = ["`destinations.layouts` (", "policy.toml:5) allows no image layouts"];
    import([&*disk, &*layout, "--policy", &no_layouts]).failed(13, "destination-denied", &says);
    registry.assert_empty();
    assert!(!scratch.path("layout").exists());
    // Before anything is read: the source need not even be there.
    let elsewhere = registry.reference("elsewhere");
    let ran = import(["/nonexistent", &elsewhere, "--policy", &policy(&scratch, &host, &rules)]);
    ran.failed(13, "destination-denied", &[]);

    into("disks/a/b:v1", &["--tag", "v2"]).done();
    into("free", &[]).done();
    let layouts = format!("[destinations]\nlayouts = true\n{rules}");
    import([&*disk, &*layout, "--policy", &policy(&scratch, &host, &layouts)]).done();
}

#[test]
fn a_tag_that_the_policy_keeps_is_not_moved() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        raw(&scratch.path("one.raw"), DISK);
        raw(&scratch.path("two.raw"), DISK + 512);
        let host = registry.host();
        let rules = "[destinations]\noverwrite = false\n[[destinations.repository]]\nmatch = \"127.0.0.1:*/x\"\n";
        // A port is a number or absent.
        let invalid = policy(&scratch, &host, rules);
        import(["/nonexistent", "oci:x", "--policy", &invalid]).failed(13, "policy-invalid", &["is not HOST"]);
        let rules = "[destinations]\noverwrite = false\n[[destinations.repository]]\nmatch = \"*/free\"\noverwrite = true\n\
                     [[destinations.repository]]\nmatch = \"*/vm\"";
        let into = |disk: &str, reference: &str, more: &[&str]| {
            let (disk, policy) = (scratch.text(disk), policy(&scratch, &host, rules));
            import([&[&*disk, &*registry.reference(reference), "--policy", &*policy], more].concat())
        };
        let first = into("one.raw", "vm:1", &[]).done().digest();
        let says =
            [&*format!("the tag {host}/vm:1 leads to {first} already"), "`destinations.overwrite` (", "policy.toml:5)"];
        let ran = into("two.raw", "vm:2", &["--tag", "1", "--report", "-"]).failed(13, "tag-exists", &says);
        assert_eq!(ran.report()["transfer"]["bytes_received"], 0, "refused before bulk data");
        assert!(ran.stderr.contains("left behind: nothing in "), "{}", ran.stderr);
        assert!(!registry.has_tag("vm", "2"));
        into("one.raw", "vm:1", &[]).failed(13, "tag-exists", &says);
        into("two.raw", "vm:2", &[]).done();
        into("one.raw", "free:1", &[]).done();
        into("two.raw", "free:1", &[]).done();
    }
}

#[test]
fn a_tag_in_a_layout_is_kept_too() {
    let scratch = Scratch::new();
    raw(&scratch.path("one.raw"), DISK);
    raw(&scratch.path("two.raw"), DISK + 512);
    let layout = format!("oci:{}:1", scratch.text("layout"));
    let keeping = policy(&scratch, "a", "[destinations]\noverwrite = false");
    let into =
        |disk: &str, more: &[&str]| import([&[&*scratch.text(disk), &*layout, "--policy", &*keeping], more].concat());
    into("one.raw", &[]).done();
    let index = fs::read(scratch.path("layout/index.json")).unwrap();
    into("two.raw", &[])
        .failed(13, "tag-exists", &["leads to sha256:", "`destinations.overwrite`"])
        .golden("tag-exists");
    assert_eq!(fs::read(scratch.path("layout/index.json")).unwrap(), index);
    into("two.raw", &["--tag", "2"]).failed(13, "tag-exists", &[]);
    import([&*scratch.text("two.raw"), &*layout]).done();
}

/// A tag that somebody else puts while the disk is on its way.
#[test]
fn a_tag_that_appears_meanwhile_is_not_moved_either() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup::default());
    raw(&scratch.path("one.raw"), DISK);
    let disk = raw(&scratch.path("two.raw"), DISK + 512);
    let (host, reference) = (registry.host(), registry.reference("vm:1"));
    let (one, to, plain) = (scratch.text("one.raw"), reference.clone(), host.clone());
    let uploads = registry.storage().join("docker/registry/v2/repositories/vm/_uploads");
    // The second half of the disk comes once the upload is open, which is after the first look, and the other import done.
    let handler: Handler = Arc::new(move |_| {
        let (one, to, plain, uploads) = (one.clone(), to.clone(), plain.clone(), uploads.clone());
        let (first, second) = disk.split_at(DISK / 2);
        let (first, second) = (Bytes::copy_from_slice(first), Bytes::copy_from_slice(second));
        let length = (first.len() + second.len()) as u64;
        let meanwhile = async move {
            for _ in 0..MOST_LOOKS {
                if fs::read_dir(&uploads).is_ok_and(|mut uploads| uploads.next().is_some()) {
                    let other = move || import([&*one, &*to, "--plain-http", &*plain]);
                    tokio::task::spawn_blocking(other).await.unwrap().done();
                    return Ok(second);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("no upload was opened");
        };
        let body = stream::once(async { Ok(first) }).chain(stream::once(meanwhile));
        Box::pin(async move { streamed(Some(length), body) })
    });
    let source = Script::start(None, handler);
    let rules = "[destinations]\noverwrite = false";
    let text = format!(
        "schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{host}\", \"{}\"]\n{rules}\n",
        source.host()
    );
    fs::write(scratch.path("policy.toml"), text).unwrap();
    let ran: Ran = import([&*source.url("two.raw"), &*reference, "--policy", &*scratch.text("policy.toml")]);
    ran.failed(13, "tag-exists", &["leads to sha256:", "`destinations.overwrite`", "left behind: "]);
}
