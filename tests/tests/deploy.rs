//! deploy/: the image has all that the program needs and nothing else, and the manifests are what Kubernetes takes and longshore
//! understands.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore::error::Code;
use longshore_tests::nginx::Nginx;
use longshore_tests::program::{finish, longshore, path};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::tls::Authority;
use serde_json::Value;

const MANIFESTS: [&str; 4] = ["policy.yaml", "job.yaml", "upload.yaml", "network-policy.yaml"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools").join(name);
    assert!(path.exists(), "{} is not there: run `./setup test`", path.display());
    path
}

/// The documents of a file.
fn documents(name: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let mut python = Command::new(tool("kubernetes/bin/python"));
    serde_json::from_str(&run(python.args(["-c", script]).arg(deploy().join(name)))).unwrap()
}

/// Containers with the pods that they are in.
fn pods() -> Vec<(Value, Value)> {
    let all = MANIFESTS.iter().flat_map(|name| documents(name));
    let pods = all.filter_map(|document| document["spec"]["template"]["spec"].as_object().cloned()).map(Value::Object);
    pods.map(|pod| (pod.clone(), pod["containers"][0].clone())).collect()
}

fn arguments(container: &Value) -> Vec<String> {
    container["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_manifest_fits_the_published_schemas() {
    for name in MANIFESTS {
        let mut validate = Command::new(tool("bin/kubernetes-validate"));
        validate.args(["--strict", "-k", "1.36"]);
        run(validate.arg(deploy().join(name)));
        // What does not fit is found.
        let scratch = Scratch::new();
        let text = fs::read_to_string(deploy().join(name)).unwrap().replace("\nmetadata:", "\nmetadata:\n  nmae: x");
        fs::write(scratch.path("wrong.yaml"), text).unwrap();
        let wrong = Command::new(tool("bin/kubernetes-validate"))
            .args(["--strict", "-k", "1.36", &scratch.text("wrong.yaml")])
            .output()
            .unwrap();
        assert!(!wrong.status.success(), "{name}");
    }
    let files = fs::read_dir(deploy()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".yaml")).collect();
    assert_eq!(files, MANIFESTS.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn every_pod_is_without_rights() {
    let pods = pods();
    assert_eq!(pods.len(), 2);
    for (pod, container) in pods {
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        let own = &container["securityContext"];
        assert_eq!(own["allowPrivilegeEscalation"], false);
        assert_eq!(own["readOnlyRootFilesystem"], true);
        assert_eq!(own["capabilities"]["drop"][0], "ALL");
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert!(container["resources"]["limits"]["cpu"].is_null(), "a quota is what makes an import slow");
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| mount["readOnly"] == true), "{mounts:?}");
        let volumes: BTreeSet<_> =
            pod["volumes"].as_array().unwrap().iter().map(|volume| volume["name"].clone().to_string()).collect();
        assert_eq!(volumes, mounts.iter().map(|mount| mount["name"].clone().to_string()).collect());
    }
}

#[test]
fn the_policy_holds_for_what_the_pods_do() {
    let scratch = Scratch::new();
    let policy = documents("policy.yaml")[0]["data"]["policy.toml"].as_str().unwrap().to_owned();
    fs::write(scratch.path("policy.toml"), policy).unwrap();
    let policy = scratch.text("policy.toml");
    finish(&mut longshore(["policy", "check", &policy]), b"").done();
    fs::write(scratch.path("auth.json"), "{}").unwrap();
    let [(_, import), (_, serve)] = &pods()[..] else { panic!("two pods") };

    let own =
        |text: String| if text.starts_with("/var/run/longshore/auth/") { scratch.text("auth.json") } else { text };
    let import: Vec<String> = arguments(import).into_iter().map(own).collect();
    assert_eq!(import[0], "import");
    let mut explain = longshore(["policy", "explain"]);
    let ran = finish(explain.args(&import[1..]).args(["--policy", &policy]), b"").done();
    assert!(!ran.stdout.contains("denied"), "{}", ran.stdout);
    assert!(ran.stdout.contains("`destinations.repository` ("), "{}", ran.stdout);

    // The endpoint's destination is one that may be written, and its flags are flags.
    let serve = arguments(serve);
    assert_eq!(serve[0], "serve");
    let ran = finish(
        &mut longshore([
            "policy",
            "explain",
            "-",
            &*serve[1],
            "--size",
            "1",
            "--policy",
            &*policy,
            "--listener",
            "tls",
        ]),
        b"",
    );
    assert!(ran.stdout.contains("allowed  listen with TLSv1.3"), "{}", ran.stdout);
    assert!(ran.stdout.contains("allowed  write registry.example/disks/uploaded"), "{}", ran.stdout);
    let help = finish(&mut longshore(["serve", "--help"]), b"").done().stdout;
    for flag in serve.iter().filter(|argument| argument.starts_with("--")) {
        assert!(help.contains(&format!("{flag} ")), "`serve` has no {flag}");
    }
}

#[test]
fn the_job_ends_with_what_another_attempt_cannot_mend() {
    let job = &documents("job.yaml")[0];
    let values = job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"].as_array().unwrap().clone();
    for exit in values {
        let exit = exit.as_u64().unwrap();
        let codes: Vec<&Code> = Code::ALL.iter().filter(|code| u64::from(code.exit()) == exit).collect();
        assert!(!codes.is_empty(), "no error has the exit code {exit}");
    }
}

#[test]
fn the_image_has_all_that_the_program_needs_and_nothing_else() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let nginx = Nginx::start(&scratch, &authority);
    let disk = raw(&scratch.folder("www").join("disk.raw"), 300_000);
    let registry = Registry::start(&scratch, "registry", Setup { tls: Some(&authority), ..Setup::default() });
    let root = scratch.path("root");
    run(Command::new(deploy().join("root")).arg(&root).arg(path()));
    let files: BTreeSet<String> = run(Command::new("find").arg(&root).args(["-type", "f", "-printf", "%f\n"]))
        .lines()
        .filter(|name| !name.contains(".so"))
        .map(str::to_owned)
        .collect();
    let expected = ["ca-certificates.crt", "group", "longshore", "nsswitch.conf", "passwd"];
    assert_eq!(files, expected.map(str::to_owned).into());

    // As a pod has it: what the runtime mounts, the policy where it is found by itself, a root that cannot be written, a user without rights.
    fs::copy(&authority.ca, root.join("etc/longshore/ca.crt")).unwrap();
    let policy = "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"ca.crt\"]\n";
    fs::write(root.join("etc/longshore/policy.toml"), policy).unwrap();
    run(Command::new("chmod").arg("-R").arg("a+rX").arg(&root));
    fs::create_dir(root.join("proc")).unwrap();
    let script = "mount --bind \"$1\" \"$1\" && mount --rbind /proc \"$1/proc\" && mount -o remount,bind,ro \"$1\" && root=$1 && shift && \
                  exec chroot --userspec=65532:65532 \"$root\" /usr/bin/longshore \"$@\"";
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script, "sh"]).arg(&root).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        finish(&mut command, b"")
    };
    assert!(inside(&["--version"]).done().stdout.starts_with("longshore "));
    let (url, to) = (nginx.url("disk.raw"), registry.reference("vm:1"));
    let report = inside(&["import", &url, &to, "--report", "-"]).done().report();
    assert_eq!((&report["source"]["size"], &report["outcome"]), (&disk.len().into(), &"done".into()));
    assert!(registry.has_tag("vm", "1"));
    // A name is looked up, and a component is compiled by a child of it.
    inside(&["import", "https://localhost.invalid/x", &to]).failed(10, "source-unreachable", &["localhost.invalid"]);
    inside(&["component", "inspect", "source-http"]).done();
    inside(&["import", &url, "oci:/layout"]).failed(20, "local-file", &["Read-only"]);
}
