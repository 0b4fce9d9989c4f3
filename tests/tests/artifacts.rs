//! Components from registries: artifacts of a real registry, named by their digest, kept, and compared each time they are used.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use longshore_tests::fixtures::Fixture;
use longshore_tests::program::{Ran, finish, longshore};
use longshore_tests::registry::{Registry, Setup, Version, built};
use longshore_tests::scratch::{Scratch, raw, run};
use serde_json::{Value, json};

const DISK: usize = 200_000;
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The most bytes of a component (`engine/compile.rs`).
const MOST: u64 = 64 << 20;

fn digest_of(path: &str) -> String {
    let sum = run(Command::new("sha256sum").arg(path));
    format!("sha256:{}", sum.split_whitespace().next().unwrap())
}

/// A registry, a disk and a folder for what is kept.
struct Stage {
    scratch: Scratch,
    registry: Registry,
}

impl Stage {
    fn new(setup: Setup<'_>) -> Self {
        let scratch = Scratch::new();
        raw(&scratch.path("disk.raw"), DISK);
        let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..setup });
        Self { scratch, registry }
    }

    fn cache(&self) -> PathBuf {
        self.scratch.path("cache")
    }

    fn command(&self, arguments: &[&str], rules: &str) -> Ran {
        let policy = format!(
            "schema = \"longshore.policy/v1\"\n{rules}\n[egress]\nplain-http = [\"{}\"]\n\
             [limits]\nattempts = 1\nback-off = \"1ms\"\n",
            self.registry.host()
        );
        fs::write(self.scratch.path("policy.toml"), policy).unwrap();
        let mut command = longshore(arguments);
        command.args(["--policy", &self.scratch.text("policy.toml")]).env("LONGSHORE_CACHE", self.cache());
        finish(&mut command, b"")
    }

    fn import(&self, filter: &str, rules: &str) -> Ran {
        let (disk, to) = (self.scratch.text("disk.raw"), format!("oci:{}", self.scratch.text("layout")));
        self.command(&["import", &disk, &to, "--filter", filter, "--report", "-"], rules)
    }

    /// Pushes a component the way the layout wants it, and gives its reference.
    fn pushed(&self, name: &str, file: &str) -> String {
        let digest = self.oras(name, file, CONFIG, LAYER);
        self.named(name, &digest)
    }

    fn named(&self, name: &str, digest: &str) -> String {
        format!("{}@{digest}", self.registry.reference(name))
    }

    /// Pushes a file as the one layer of an artifact, and gives the manifest's digest.
    fn oras(&self, name: &str, file: &str, config: &str, layer: &str) -> String {
        fs::write(self.scratch.path("config.json"), "{\"architecture\":\"wasm\",\"os\":\"wasip2\"}").unwrap();
        let reference = format!("{}/{name}:1", self.registry.host());
        let config = format!("{}:{config}", self.scratch.text("config.json"));
        let file = format!("{file}:{layer}");
        run(built("oras")
            .args(["push", "--plain-http", "--disable-path-validation", "--config", &config])
            .args([&reference, &file]));
        run(built("crane").args(["digest", "--insecure", &reference])).trim().to_owned()
    }

    /// Puts a manifest as it is, by its digest.
    fn put(&self, name: &str, manifest: &Value) -> String {
        let file = self.scratch.path("manifest.json");
        fs::write(&file, manifest.to_string()).unwrap();
        let digest = digest_of(&file.display().to_string());
        let url = format!("http://{}/v2/{name}/manifests/{digest}", self.registry.host());
        let (media_type, body) = (format!("Content-Type: {MANIFEST}"), format!("@{}", file.display()));
        run(Command::new("curl").args(["-sSf", "-X", "PUT", "-H", &media_type, "--data-binary", &body, &url]));
        self.named(name, &digest)
    }

    fn manifest(&self, name: &str) -> Value {
        let reference = format!("{}/{name}:1", self.registry.host());
        serde_json::from_str(&run(built("crane").args(["manifest", "--insecure", &reference]))).unwrap()
    }

    fn kept(&self, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.cache()) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
    }

    fn nothing_was_pushed(&self) {
        assert!(!self.scratch.path("layout/index.json").exists());
    }
}

#[test]
fn a_component_of_a_registry_runs_and_is_kept() {
    let mut stage = Stage::new(Setup::default());
    let rot = Fixture::FilterRot.path();
    let reference = stage.pushed("filters/rot", &rot);
    let ran = stage.import(&reference, "").done();
    let report = ran.report();
    let stages = report["stages"].as_array().unwrap();
    let component = &stages.iter().find(|entry| entry["stage"] == "filter").unwrap()["component"];
    assert_eq!(component["name"], "rot");
    assert_eq!((&component["digest"], &component["origin"]), (&json!(digest_of(&rot)), &json!(reference)));
    // The connection is on record, under the registry's side.
    assert!(report["connections"].as_array().unwrap().iter().any(|one| one["side"] == "registry"), "{report}");
    assert_eq!((stage.kept("content-").len(), stage.kept("artifact-").len()), (2, 1));
    let layer = report["image"]["layer_digest"].clone();

    // Without the registry it runs all the same, and it is the same.
    stage.registry.kill();
    assert_eq!(stage.import(&reference, "").done().report()["image"]["layer_digest"], layer);

    // What is kept and was changed is not used: neither the component nor what it was compiled to.
    for prefix in ["artifact-", "content-"] {
        for path in stage.kept(prefix) {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        let ran = stage.import(&reference, "");
        if prefix == "artifact-" {
            // Compiled again.
            let ran = ran.done();
            assert!(
                ran.stderr.contains("what is cached is not used and removed: it has the digest sha256:"),
                "{}",
                ran.stderr
            );
            assert_eq!(ran.report()["image"]["layer_digest"], layer);
        } else {
            let says = ["127.0.0.1", &format!("asked for the component {reference}")];
            ran.failed(12, "registry-unreachable", &says);
        }
    }
}

#[test]
fn the_policy_decides_by_digest_kind_and_origin() {
    let stage = Stage::new(Setup::default());
    let rot = Fixture::FilterRot.path();
    let reference = stage.pushed("filters/rot", &rot);
    let entry = |more: &str| format!("[[components.allow]]\ndigest = \"{}\"\n{more}", digest_of(&rot));
    for (rules, says) in [
        ("[components]\nunlisted = false".to_owned(), "`components.unlisted` ("),
        (entry("origins = [\"file\"]"), "`components.allow.origins` ("),
        (entry("kinds = [\"probe\"]"), "`components.allow.kinds` ("),
        (
            format!("[[components.allow]]\ndigest = \"{}\"", digest_of(&Fixture::FilterPass.path())),
            "does not list its digest",
        ),
    ] {
        let name = format!("the component `{reference}` ({})", digest_of(&rot));
        stage.import(&reference, &rules).failed(13, "component-denied", &[says, &name]);
        let check = stage.command(&["component", "check", &reference], &rules);
        check.failed(13, "component-denied", &[says]);
    }
    // Not even fetched: its manifest says what it is.
    assert_eq!(stage.kept("artifact-").len(), 1, "compiled by `component check` alone");
    stage.nothing_was_pushed();
    let rules = entry("origins = [\"registry\"]\nkinds = [\"filter\"]\nmemory = \"5MiB\"\nidle = \"7s\"");
    stage.import(&reference, &rules).done();
    let ran = stage.command(&["component", "check", &reference], &rules).done();
    let allowed = "allowed as filter: `components.allow` (";
    assert!(ran.stdout.contains(allowed) && ran.stdout.contains(", with memory 5MiB; idle 7s\n"), "{}", ran.stdout);
    let ran = stage.command(&["component", "inspect", &reference, "--json"], "").done();
    assert_eq!(ran.report()["origin"], reference);

    // Before anything is fetched it is open, then known.
    let (disk, to) = (stage.scratch.text("disk.raw"), "oci:/nowhere");
    let explain =
        |reference: &str| stage.command(&["policy", "explain", &disk, to, "--filter", reference], &rules).stdout;
    let other = stage.pushed("filters/pass", &Fixture::FilterPass.path());
    let said = explain(&other);
    assert!(said.contains(&format!("open     run `{other}` as filter: `components.allow` (")), "{said}");
    assert!(said.contains(&format!("allowed  connect to http://{}: ", stage.registry.host())), "{said}");
    let said = explain(&reference);
    assert!(said.contains(&format!("allowed  run `{reference}` ({}) as filter", digest_of(&rot))), "{said}");
    // And where it may not be connected to, it is not.
    let denied = "[egress.registry]\nhosts = [\"other.example\"]";
    fs::remove_dir_all(stage.cache()).unwrap();
    stage.import(&reference, denied).failed(13, "egress-denied", &["`egress.registry.hosts`"]);
}

#[test]
fn a_tag_is_no_name_for_a_component() {
    let stage = Stage::new(Setup::default());
    let reference = stage.pushed("filters/rot", &Fixture::FilterRot.path());
    let hint = format!("now it would be {reference}");
    for tag in ["filters/rot:1", "filters/rot:2", "filters/rot"] {
        let named = stage.registry.reference(tag);
        let says = format!("the component {named} is named without its digest");
        let ran = stage.import(&named, "").failed(2, "usage", &[&says]);
        assert_eq!(ran.stderr.contains(&hint), tag.ends_with(":1"), "{}", ran.stderr);
        if tag.ends_with(":1") {
            // With both, the digest counts.
            let digest = reference.split_once('@').unwrap().1;
            stage.import(&format!("{named}@{digest}"), "").done();
            fs::remove_dir_all(stage.scratch.path("layout")).unwrap();
        }
    }
    stage.nothing_was_pushed();
    let absent = stage.named("filters/rot", &format!("sha256:{}", "a".repeat(64)));
    stage.import(&absent, "").failed(12, "registry-not-found", &["asked for the component docker://"]);
}

#[test]
fn an_artifact_that_is_something_else_or_lies_is_refused() {
    let stage = Stage::new(Setup::default());
    let rot = Fixture::FilterRot.path();
    let image = "application/vnd.oci.image.config.v1+json";
    for (name, config, layer, says) in [
        ("config", image, LAYER, "its config has the media type"),
        ("layer", CONFIG, "application/vnd.oci.image.layer.v1.tar", "its layer has the media type"),
    ] {
        let digest = stage.oras(name, &rot, config, layer);
        let reference = stage.named(name, &digest);
        stage.import(&reference, "").failed(
            14,
            "component-invalid",
            &[&format!("{reference} is not a component"), says],
        );
    }
    let length = fs::metadata(&rot).unwrap().len();
    stage.pushed("lies", &rot);
    let honest = stage.manifest("lies");
    let lying = |change: &dyn Fn(&mut Value)| {
        let mut manifest = honest.clone();
        change(&mut manifest);
        stage.put("lies", &manifest)
    };
    let two = lying(&|manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    stage.import(&two, "").failed(14, "component-invalid", &["has 2 layers, expected 1"]);
    let large = lying(&|manifest| manifest["layers"][0]["size"] = json!(MOST + 1));
    stage.import(&large, "").failed(14, "component-invalid", &[&format!("expected at most {MOST}")]);
    let shorter = lying(&|manifest| manifest["layers"][0]["size"] = json!(length - 1));
    stage.import(&shorter, "").failed(12, "registry-protocol", &[&format!("more than {} bytes", length - 1)]);
    let longer = lying(&|manifest| manifest["layers"][0]["size"] = json!(length + 1));
    stage.import(&longer, "").failed(
        12,
        "registry-mismatch",
        &[&format!("expected {} as its descriptor says", length + 1)],
    );
    // What is no component is compiled by the child that finds it out.
    fs::write(stage.scratch.path("text"), "this is text").unwrap();
    let text = stage.pushed("text", &stage.scratch.text("text"));
    stage.import(&text, "").failed(14, "component-invalid", &["`text` is not a component that can be compiled"]);
    assert!(stage.kept("artifact-").is_empty(), "nothing of it was compiled");
    stage.nothing_was_pushed();

    // Storage that gives other bytes than their digest.
    let reference = stage.pushed("rotten", &Fixture::FilterPass.path());
    let hex = digest_of(&Fixture::FilterPass.path()).split_off("sha256:".len());
    let blob = stage.registry.storage().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex).join("data");
    let mut bytes = fs::read(&blob).unwrap();
    bytes[100] ^= 1;
    fs::write(&blob, bytes).unwrap();
    stage.import(&reference, "").failed(12, "registry-mismatch", &[&format!("has as `sha256:{hex}`")]);
    stage.nothing_was_pushed();
}

#[test]
fn credentials_are_those_of_the_registry() {
    let stage = Stage::new(Setup { basic: Some(("user", "hunter2")), ..Setup::default() });
    let config = stage.scratch.folder("docker");
    let host = stage.registry.host();
    let login = ["auth", "login", &*host, "-u", "user", "-p", "hunter2"];
    run(built("crane").args(login).env("DOCKER_CONFIG", &config));
    let auth = config.join("config.json").display().to_string();
    fs::write(stage.scratch.path("config.json"), "{}").unwrap();
    let reference = format!("{}/f/rot:1", stage.registry.host());
    let (file, with) =
        (format!("{}:{LAYER}", Fixture::FilterRot.path()), format!("{}:{CONFIG}", stage.scratch.text("config.json")));
    run(built("oras")
        .args(["push", "--plain-http", "--disable-path-validation", "--registry-config", &auth, "--config", &with])
        .args([&reference, &file]));
    let digest = run(built("crane").args(["digest", "--insecure", &reference]).env("DOCKER_CONFIG", &config));
    let named = stage.named("f/rot", digest.trim());
    let ran = stage.import(&named, "").failed(16, "registry-denied", &[]);
    assert!(!ran.stderr.contains("hunter2"));
    let (disk, to) = (stage.scratch.text("disk.raw"), format!("oci:{}", stage.scratch.text("layout")));
    stage.command(&["import", &disk, &to, "--filter", &named, "--auth-file", &auth], "").done();
    stage.command(&["component", "inspect", &named, "--auth-file", &auth], "").done();
}

#[test]
fn a_cache_that_others_can_write_is_refused() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let stage = Stage::new(Setup::default());
    let rot = Fixture::FilterRot.path();
    fs::create_dir(stage.cache()).unwrap();
    fs::set_permissions(stage.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    let says = ["is not safe: others may write there: its mode is 777", "LONGSHORE_CACHE names another folder"];
    stage.import(&rot, "").failed(20, "local-file", &says);
    fs::rename(stage.cache(), stage.scratch.path("elsewhere")).unwrap();
    symlink(stage.scratch.path("elsewhere"), stage.cache()).unwrap();
    stage.import(&rot, "").failed(20, "local-file", &["is not safe: it is a Symlink, expected a Directory"]);
    fs::remove_file(stage.cache()).unwrap();
    stage.nothing_was_pushed();
    // Built-in components need none, and none is made.
    let (disk, to) = (stage.scratch.text("disk.raw"), format!("oci:{}", stage.scratch.text("layout")));
    stage.command(&["import", &disk, &to], "").done();
    assert!(!stage.cache().exists());
}
