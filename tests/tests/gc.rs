//! What nothing names in a layout, and what something does.

use std::fs;
use std::path::Path;

use longshore_tests::layers::pull;
use longshore_tests::program::{Ran, finish, import, longshore};
use longshore_tests::scratch::{Scratch, raw, run};
use serde_json::json;

fn gc(arguments: &[&str]) -> Ran {
    finish(longshore(["gc"]).args(arguments), b"")
}

fn blobs(layout: &Path) -> Vec<String> {
    let all = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut names: Vec<_> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_a_moved_tag_leaves_is_removed_and_nothing_else() {
    let scratch = Scratch::new();
    let layout = scratch.path("layout");
    let at = format!("oci:{}", layout.display());
    let put = |length: usize, tag: &str| {
        let disk = raw(&scratch.path("vm.raw"), length);
        import([&*scratch.text("vm.raw"), &*format!("{at}:{tag}")]).done();
        disk
    };
    put(10_000, "1");
    let before = blobs(&layout);
    let disk = put(20_000, "1");
    put(30_000, "2");
    // And one that somebody else put there.
    let mut skopeo = std::process::Command::new("skopeo");
    run(skopeo.args(["--insecure-policy", "copy", "--quiet", &format!("{at}:2"), &format!("{at}:skopeo")]));
    let all = blobs(&layout);

    let young = gc(&[&*at, "--json"]).done().report();
    assert_eq!((&young["blobs"], &young["young"], &young["removed"]), (&json!([]), &json!(3), &json!(false)));
    let dry = gc(&[&*at, "--grace", "0s"]).done();
    assert!(dry.stdout.lines().count() == 3 && dry.stderr.contains("--yes does it"), "{} {}", dry.stdout, dry.stderr);
    assert_eq!(blobs(&layout), all, "nothing happened");
    // What is no blob is left alone.
    fs::write(layout.join("blobs/sha256/README"), "x").unwrap();
    let done = gc(&[&*at, "--grace", "0s", "--yes", "--json"]).done().report();
    let removed: Vec<_> =
        done["blobs"].as_array().unwrap().iter().map(|blob| blob["digest"].as_str().unwrap()[7..].to_owned()).collect();
    assert_eq!(removed, before, "config, layer and manifest of the first");
    let expected: Vec<_> = all.iter().filter(|blob| !before.contains(blob)).cloned().collect();
    let left: Vec<_> = blobs(&layout).into_iter().filter(|blob| blob != "README").collect();
    assert_eq!(left, expected);
    for (tag, name) in [("1", "one"), ("2", "two"), ("skopeo", "three")] {
        let pulled = pull(&scratch, name, &[], &format!("{at}:{tag}")).file("disk/vm.raw");
        assert!(tag != "1" || pulled == disk);
    }
    assert_eq!(gc(&[&*at, "--grace", "0s", "--yes"]).done().stdout, "");
}

#[test]
fn what_is_not_understood_is_not_cleared() {
    let scratch = Scratch::new();
    let layout = scratch.path("layout");
    let at = format!("oci:{}", layout.display());
    raw(&scratch.path("vm.raw"), 10_000);
    import([&*scratch.text("vm.raw"), &*at]).done();
    let stray = "0".repeat(64);
    fs::write(layout.join("blobs/sha256").join(&stray), "x").unwrap();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifest = layout.join("blobs/sha256").join(&index["manifests"][0]["digest"].as_str().unwrap()[7..]);
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, "{}").unwrap();
    gc(&[&*at, "--grace", "0s", "--yes"]).failed(20, "local-file", &["has other bytes"]);
    assert!(blobs(&layout).contains(&stray));
    // Neither is what cannot be read, or what says nothing.
    fs::remove_file(&manifest).unwrap();
    gc(&[&*at, "--grace", "0s", "--yes"]).failed(20, "local-file", &["is not there, or cannot be read"]);
    fs::write(&manifest, &good).unwrap();
    for (index_says, says) in [
        ("{\"manifests\": {}}".to_owned(), "`manifests` is not a list"),
        (
            format!("{{\"manifests\": [{{\"digest\": \"sha256:{stray}\", \"size\": 1}}]}}"),
            "is not there, or cannot be read",
        ),
    ] {
        fs::write(layout.join("index.json"), index_says).unwrap();
        gc(&[&*at, "--grace", "0s", "--yes"]).failed(20, "local-file", &[says]);
    }
    fs::remove_file(layout.join("index.json")).unwrap();
    gc(&[&*at, "--grace", "0s", "--yes"]).failed(20, "local-file", &["there is no `index.json`"]);
    assert_eq!(blobs(&layout).len(), 4);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let policy = scratch.text("policy.toml");
    fs::write(&policy, "schema = \"longshore.policy/v1\"\n[destinations]\nlayouts = false\n").unwrap();
    gc(&[&*at, "--grace", "0s", "--yes", "--policy", &*policy]).failed(
        13,
        "destination-denied",
        &["destinations.layouts"],
    );
    assert!(blobs(&layout).contains(&stray));
    gc(&["oci:/nonexistent"]).failed(20, "local-file", &["not an image layout"]);
    gc(&["docker://127.0.0.1:1/vm"]).failed(2, "usage", &["distribution:DIR"]);
    gc(&[&*at, "--untagged"]).failed(2, "usage", &["longshore delete oci:DIR --untagged"]);
    gc(&[&*format!("{at}:1")]).failed(2, "usage", &["as a whole"]);
    gc(&[&*at, "--grace", "0s", "--yes"]).done();
    assert!(!blobs(&layout).contains(&stray));
}
