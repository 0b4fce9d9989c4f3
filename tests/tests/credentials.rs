//! Credential helpers: what `docker login` leaves with them is used, and nothing they say is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use longshore_tests::program::{Ran, finish, longshore};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, raw};

/// A registry that wants porter's password, and a helper in a folder that PATH leads to.
struct Stage {
    scratch: Scratch,
    registry: Registry,
}

impl Stage {
    fn new() -> Self {
        let scratch = Scratch::new();
        let setup = Setup { basic: Some(("porter", "hunter2")), ..Setup::default() };
        let registry = Registry::start(&scratch, "registry", setup);
        raw(&scratch.path("disk.raw"), 300_000);
        Self { scratch, registry }
    }

    /// The helper `docker-credential-kept`, which notes what it is asked and does this.
    fn helper(&self, does: &str) {
        let (file, asked) = (self.scratch.folder("bin").join("docker-credential-kept"), self.scratch.text("asked"));
        let script =
            format!("#!/bin/sh\n{{ echo \"$@\"; cat; echo; }} > {asked}\necho hunter2 on stderr >&2\n{does}\n");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Imports with this config file.
    fn import(&self, config: &str) -> Ran {
        let file = self.scratch.text("config.json");
        fs::write(&file, config.replace("HOST", &self.registry.host())).unwrap();
        let (disk, to, host) = (self.scratch.text("disk.raw"), self.registry.reference("vm:1"), self.registry.host());
        let mut command = longshore(["import", &*disk, &*to, "--plain-http", &*host, "--auth-file", &*file, "-vv"]);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.scratch.path("bin").display()));
        let ran = finish(&mut command, b"");
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"), "{}", ran.stderr);
        ran
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.scratch.path("asked")).unwrap_or_default()
    }
}

const KEPT: &str = r#"{"credHelpers":{"HOST":"kept"}}"#;
const GIVES: &str = r#"echo '{"ServerURL":"x","Username":"porter","Secret":"hunter2"}'"#;

#[test]
fn a_helper_or_a_store_is_asked_for_the_registry() {
    for config in [KEPT, r#"{"auths":{"HOST":{}},"credsStore":"kept"}"#] {
        let stage = Stage::new();
        stage.helper(GIVES);
        stage.import(config).done();
        assert!(stage.registry.has_tag("vm", "1"));
        assert_eq!(stage.asked(), format!("get\n{}\n", stage.registry.host()));
    }
}

#[test]
fn nobody_is_asked_for_another_registry_or_for_what_the_file_has() {
    let stage = Stage::new();
    stage.helper(GIVES);
    stage.import(r#"{"credHelpers":{"r.example":"kept"},"credsStore":"kept"}"#).failed(16, "registry-denied", &["401"]);
    // porter:swordfish
    let config = r#"{"auths":{"HOST":{"auth":"cG9ydGVyOnN3b3JkZmlzaA=="}},"credsStore":"kept"}"#;
    stage.import(config).failed(16, "registry-denied", &["401"]);
    assert_eq!(stage.asked(), "");
    stage.registry.assert_empty();
}

#[test]
fn a_helper_that_has_nothing_is_no_failure_and_every_other_is_one() {
    let stage = Stage::new();
    stage.helper("echo 'credentials not found in native keychain'; exit 1");
    stage.import(KEPT).failed(16, "registry-denied", &["401", "docker login"]);
    let unreadable = |does: &str, says: &str| {
        stage.helper(does);
        stage.import(KEPT).failed(16, "credentials-unreadable", &["docker-credential-kept", says]);
    };
    unreadable("echo 'hunter2 is locked'; exit 1", "it failed");
    unreadable("echo hunter2", "Username and Secret");
    unreadable("head -c 100000 /dev/zero", "more than 65536 bytes");
    unreadable("exec >&-; exec sleep 60", "it does not end");
    let absent = r#"{"credHelpers":{"HOST":"absent"}}"#;
    stage.import(absent).failed(16, "credentials-unreadable", &["docker-credential-absent", "cannot be run", "PATH"]);
    for name in ["../kept", "kept get", "/bin/sh", "kept;ls"] {
        let config = KEPT.replace("kept", name);
        stage.import(&config).failed(16, "credentials-unreadable", &["no name of a program"]);
    }
    stage.registry.assert_empty();
}
