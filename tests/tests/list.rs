//! What a registry, a repository and a layout have; and lists that somebody makes up.

use std::fs;
use std::sync::Arc;

use longshore_tests::layers::crane_push_index;
use longshore_tests::program::{Ran, finish, hasty, import, longshore};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version};
use longshore_tests::scratch::{Scratch, qcow2, raw};
use longshore_tests::script::{Script, empty, full, with};
use serde_json::{Value, json};

fn list(arguments: &[&str]) -> Ran {
    finish(longshore(["list"]).args(arguments), b"")
}

#[test]
fn repositories_tags_and_images_are_listed() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let host = registry.host();
        let plain = ["--plain-http", &*host];
        let none = list(&[&[&*format!("docker://{host}"), "--json"], &plain[..]].concat()).done().report();
        assert_eq!((&none["kind"], &none["repositories"]), (&json!("registry"), &json!([])), "{version:?}");
        raw(&scratch.path("vm.raw"), 10_000);
        let disk = qcow2(&scratch.path("vm.qcow2"));
        let (raw, qcow) = (scratch.text("vm.raw"), scratch.text("vm.qcow2"));
        for (file, to, more) in [
            (&raw, "vm:b", &[][..]),
            (&qcow, "vm:a", &["--compressor", "gzip"]),
            (&qcow, "other/vm:1", &["--platform", "linux/arm64"]),
        ] {
            import([&[&**file, &*registry.reference(to)], more, &plain].concat()).done();
        }
        crane_push_index(&format!("{host}/vm:both"), &[format!("{host}/vm:b"), format!("{host}/other/vm:1")]);
        let repositories = list(&[&[&*format!("docker://{host}/")], &plain[..]].concat()).done();
        assert_eq!(repositories.stdout, format!("{host}/other/vm\n{host}/vm\n"));
        let at = registry.reference("vm");
        let names = list(&[&[&*at, "--names"], &plain[..]].concat()).done();
        assert_eq!(names.stdout, "a\nb\nboth\n");
        let listing = list(&[&[&*at, "--json"], &plain[..]].concat()).done().report();
        assert_eq!((&listing["schema"], &listing["kind"]), (&json!("longshore.list/v1"), &json!("repository")));
        let images = listing["images"].as_array().unwrap();
        let seen: Vec<_> = images.iter().map(|image| (&image["tag"], &image["kind"])).collect();
        let (image, index) = (json!("image"), json!("index"));
        assert_eq!(seen, [(&json!("a"), &image), (&json!("b"), &image), (&json!("both"), &index)]);
        assert_eq!(images[1]["images"][0]["disk"]["name"], "vm.raw");
        assert_eq!(images[0]["images"][0]["disk"]["format"], "qcow2");
        assert_eq!(images[0]["images"][0]["labels"]["source-image-size"], disk.len().to_string());
        assert_eq!(images[2]["images"].as_array().unwrap().len(), 2);
        let people = list(&[&[&*at], &plain[..]].concat()).done().stdout;
        assert_eq!(people.lines().count(), 4, "{people}");
        assert!(people.contains("vm.raw") && people.contains("linux/arm64") && people.contains("stored"), "{people}");
        let absent = list(&[&[&*registry.reference("absent")], &plain[..]].concat());
        absent.failed(12, "registry-not-found", &["longshore list docker://"]);
        list(&[&[&*registry.reference("vm:a")], &plain[..]].concat()).failed(2, "usage", &["longshore inspect"]);
    }
}

#[test]
fn a_layout_is_listed_and_one_image_that_is_damaged_hides_no_other() {
    let scratch = Scratch::new();
    raw(&scratch.path("vm.raw"), 10_000);
    let layout = format!("oci:{}", scratch.text("layout"));
    for tag in ["1", "2"] {
        import([&*scratch.text("vm.raw"), &*format!("{layout}:{tag}"), "--label", &format!("n={tag}")]).done();
    }
    let listing = || list(&[&*layout, "--json"]).done().report();
    let first = listing();
    assert_eq!((&first["kind"], first["images"].as_array().unwrap().len()), (&json!("layout"), 2));
    let digest = first["images"][0]["document"]["digest"].as_str().unwrap()[7..].to_owned();
    fs::write(scratch.path(&format!("layout/blobs/sha256/{digest}")), "{}").unwrap();
    let damaged = listing();
    assert!(damaged["images"][0]["error"].as_str().unwrap().contains("digest"), "{damaged}");
    assert_eq!((&damaged["images"][0]["images"], &damaged["images"][1]["error"]), (&Value::Null, &Value::Null));
    assert!(list(&[&*layout]).done().stdout.contains("cannot be read"));
    list(&["oci:/nonexistent"]).failed(20, "local-file", &["not an image layout"]);
}

#[test]
fn pages_are_followed_to_their_end_and_no_further() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup { version: Version::V3, ..Setup::default() });
    raw(&scratch.path("vm.raw"), 100);
    import([&*scratch.text("vm.raw"), &*registry.reference("vm:1"), "--plain-http", &*registry.host()]).done();
    let policy = hasty(&scratch);
    let served = |play: fn(&str) -> (Value, Option<String>)| {
        let script = Script::start(
            None,
            Arc::new(move |request| {
                let uri = request.uri().to_string();
                let answer = match uri.as_str() {
                    "/v2/" => empty(200),
                    uri => {
                        let (page, link) = play(uri);
                        let mut answer = full(200, page.to_string());
                        if let Some(link) = link {
                            answer.headers_mut().insert("link", link.parse().unwrap());
                        }
                        answer
                    }
                };
                Box::pin(async move { answer })
            }),
        );
        let ran =
            list(&[&*format!("docker://{}", script.host()), "--plain-http", &*script.host(), "--policy", &*policy]);
        (ran, script)
    };
    // Three pages, the second one empty.
    let (ran, _script) = served(|uri| match uri {
        "/v2/_catalog?n=1000" => {
            (json!({"repositories": ["b"]}), Some("</v2/_catalog?last=b>; rel=\"next\"".to_owned()))
        }
        "/v2/_catalog?last=b" => (json!({"repositories": null}), Some("<?last=c>; rel=next".to_owned())),
        _ => (json!({"repositories": ["a", "b"]}), None),
    });
    let names = ran.done().stdout;
    assert!(names.lines().count() == 2 && names.lines().all(|line| line.ends_with("/a") || line.ends_with("/b")));
    for (play, says) in [
        // A circle.
        (
            (|uri| {
                let next = if uri.ends_with("last=1") { 2 } else { 1 };
                (json!({"repositories": []}), Some(format!("</v2/_catalog?last={next}>; rel=\"next\"")))
            }) as fn(&str) -> _,
            "that was there before",
        ),
        // Without end.
        (
            |uri| {
                let number = uri.rsplit('=').next().unwrap().parse::<u64>().unwrap();
                (json!({"repositories": []}), Some(format!("</v2/_catalog?last={}>; rel=\"next\"", number + 1)))
            },
            "more than 1000 pages",
        ),
        // Elsewhere.
        (
            |_| (json!({"repositories": []}), Some("<http://169.254.169.254/x>; rel=\"next\"".to_owned())),
            "leads elsewhere",
        ),
        // No names.
        (|_| (json!({"repositories": ["../x"]}), None), "a name that is none"),
        (|_| (json!({"repositories": ["a\u{1b}[2J"]}), None), "a name that is none"),
        (|_| (json!({"repositories": 7}), None), "no list of names"),
        (|_| (json!({"repositories": vec!["x".repeat(100); 50_000]}), None), ""),
    ] {
        let (ran, _script) = served(play);
        assert_eq!(ran.code, Some(12), "{says}: {}", ran.stderr);
        assert!(ran.stderr.contains(says) && !ran.stderr.contains('\u{1b}'), "{says}: {}", ran.stderr);
    }
    // One that does not tell.
    let script = Script::start(
        None,
        Arc::new(|request| {
            let answer = if request.uri().path() == "/v2/" { empty(200) } else { with(404, "x", "y") };
            Box::pin(async move { answer })
        }),
    );
    let ran = list(&[&*format!("docker://{}", script.host()), "--plain-http", &*script.host()]);
    ran.failed(12, "registry-not-found", &["many registries do not tell"]);
}
