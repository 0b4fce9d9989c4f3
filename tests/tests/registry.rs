//! Registries as they are met: tokens, errors, lost answers, what is there already, full disks.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_tests::layers::pull;
use longshore_tests::program::{Ran, finish, hasty, import, import_from, longshore};
use longshore_tests::proxy::{Fault, Proxy};
use longshore_tests::ranges::{self, Content};
use longshore_tests::registry::{Registry, Setup, VERSIONS, Version};
use longshore_tests::scratch::{Scratch, raw, run};
use longshore_tests::script::{Script, empty, full, with};
use longshore_tests::signer::Signer;
use longshore_tests::sink::{self, Seen, Turn, Turning};
use longshore_tests::tls::Authority;
use longshore_tests::tokens::{Manner, Tokens, turning};

const DISK: usize = 3_000_000;

/// A disk, and a sink over TLS.
struct Stage {
    scratch: Scratch,
    authority: Authority,
    sink: Script,
    seen: Arc<Seen>,
}

impl Stage {
    fn new(turning: Turning) -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        raw(&scratch.path("disk.raw"), DISK);
        let (sink, seen) = sink::start_turned(Some(authority.server_config()), turning);
        Self { scratch, authority, sink, seen }
    }

    fn with_tokens(manner: Manner) -> (Self, Arc<Tokens>) {
        let (turning, tokens) = turning(manner);
        (Self::new(turning), tokens)
    }

    fn import(&self, more: &[&str]) -> Ran {
        let (disk, to, ca) =
            (self.scratch.text("disk.raw"), format!("docker://{}/vm:1", self.sink.host()), self.authority.ca());
        import([&[&*disk, &to, "--ca", &ca], more].concat())
    }

    /// With this entry in docker's configuration.
    fn import_as(&self, entry: &str, more: &[&str]) -> Ran {
        let path = self.scratch.path("config.json");
        fs::write(&path, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, self.sink.host())).unwrap();
        self.import(&[&["--auth-file", &path.display().to_string()], more].concat())
    }
}

const PORTER: &str = r#"{"username":"porter","password":"hunter2"}"#;
/// `porter:hunter2` in base64.
const PORTER_BASIC: &str = "Basic cG9ydGVyOmh1bnRlcjI=";

#[test]
fn a_bearer_token_is_fetched_once_and_used_for_everything() {
    let (stage, tokens) = Stage::with_tokens(Manner::default());
    let ran = stage.import_as(PORTER, &["-vv"]).done();
    let asked = tokens.asked.lock().unwrap();
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(asked.method, "GET");
    assert_eq!(asked.query, "a=1&service=the+%22sink%22&scope=repository%3Avm%3Apull%2Cpush");
    assert_eq!(asked.authorization.as_deref(), Some(PORTER_BASIC));
    let bearers = tokens.bearers.lock().unwrap();
    for method in ["GET", "POST", "PATCH", "PUT", "HEAD"] {
        assert!(bearers.contains(&format!("{method} 1")), "{method} in {bearers:?}");
    }
    for secret in ["hunter2", "cG9ydGVy", "token-1"] {
        assert!(!ran.stderr.contains(secret), "{secret} in {}", ran.stderr);
    }
}

#[test]
fn without_credentials_a_token_is_asked_for_all_the_same() {
    let (stage, tokens) = Stage::with_tokens(Manner { answer: r#"{"access_token":"token-{n}"}"#, ..Manner::default() });
    stage.import(&[]).done();
    let asked = tokens.asked.lock().unwrap();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()));
    // A token that does not say how long it lives lives a minute, and is renewed before each request.
    let bearers = tokens.bearers.lock().unwrap();
    assert!(asked.len() > 5 && bearers.last() == Some(&format!("PUT {}", asked.len())), "{bearers:?}");
}

#[test]
fn an_identity_token_is_exchanged_in_the_body_of_a_request() {
    let answer = r#"{"access_token":"token-{n}","expires_in":300,"refresh_token":"next"}"#;
    let (stage, tokens) = Stage::with_tokens(Manner { answer, newest_from: Some("PUT"), ..Manner::default() });
    let ran = stage.import_as(r#"{"auth":"PHRva2VuPjo=","identitytoken":"hunter2"}"#, &["-vv"]).done();
    assert!(!ran.stderr.contains("hunter2"));
    let asked = tokens.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    for asked in asked.iter() {
        assert_eq!((asked.method.as_str(), asked.query.as_str()), ("POST", "a=1"), "no secret in a URL");
        assert_eq!(asked.authorization, None);
    }
}

#[test]
fn a_token_that_is_not_taken_any_more_is_renewed() {
    for method in ["POST", "HEAD", "PUT"] {
        let (stage, tokens) = Stage::with_tokens(Manner { newest_from: Some(method), ..Manner::default() });
        stage.import_as(PORTER, &[]).done();
        assert!(tokens.bearers.lock().unwrap().contains(&format!("{method} 2")), "{method}");
        assert_eq!(tokens.asked.lock().unwrap().len(), 2, "{method}");
    }
    // A layer on its way goes on, here in another session: this registry does not tell what it has.
    let (stage, tokens) = Stage::with_tokens(Manner { newest_from: Some("PATCH"), ..Manner::default() });
    stage.import_as(PORTER, &[]).done();
    assert_eq!((stage.seen.count("PATCH"), stage.seen.count("DELETE")), (2, 1));
    assert!(tokens.bearers.lock().unwrap().contains(&"PATCH 2".to_owned()));
}

#[test]
fn to_cancel_an_upload_the_token_gets_the_right_to_delete() {
    let (turning, tokens) = turning(Manner { wants_delete: true, ..Manner::default() });
    let stage = Stage::new(Arc::new(move |request, count| match turning(request, count) {
        Turn::Sink if request.method == "PATCH" => Turn::Answer(empty(500)),
        other => other,
    }));
    let says = ["PATCH", "500", "left behind: nothing"];
    stage.import_as(PORTER, &["--policy", &hasty(&stage.scratch)]).failed(12, "registry-failed", &says);
    let asked = tokens.asked.lock().unwrap();
    assert!(asked.last().unwrap().query.ends_with("scope=repository%3Avm%3Apull%2Cpush%2Cdelete"), "{asked:?}");
    assert_eq!(stage.seen.count("DELETE"), 6, "five sessions, and one DELETE that lacked the right");
}

#[test]
fn a_token_server_that_gives_no_token_is_named() {
    let no = r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
    for (status, answer, exit, code, says) in [
        (401, no, 16, "registry-denied", "answered 401 UNAUTHORIZED: who are you"),
        (403, "{}", 16, "registry-denied", "answered 403"),
        (500, "{}", 12, "registry-failed", "answered 500"),
        (302, "{}", 12, "registry-protocol", "answered 302"),
        (200, "<html>", 12, "registry-protocol", "its answer is not a token document"),
        (200, "{}", 12, "registry-protocol", "its answer has no token"),
    ] {
        let (stage, tokens) = Stage::with_tokens(Manner { status, answer, ..Manner::default() });
        let server = format!("the token server GET {}", stage.sink.url("token?<redacted>"));
        let more = ["-vv", "--policy", &*hasty(&stage.scratch)];
        let ran = stage.import_as(PORTER, &more).failed(exit, code, &[&server, says, "left behind: nothing"]);
        assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("cG9ydGVy"));
        // What it decides is not asked again.
        assert_eq!(tokens.asked.lock().unwrap().len(), if status == 500 { 5 } else { 1 });
        assert_eq!(stage.seen.count("POST"), 0);
    }
}

#[test]
fn credentials_do_not_go_where_the_policy_does_not_let_them() {
    let elsewhere = Script::start(None, Arc::new(|_| Box::pin(async { full(200, r#"{"token":"token-1"}"#) })));
    let realm: &'static str = Box::leak(elsewhere.url("token").replace("http:", "https:").into_boxed_str());
    let clear: &'static str = Box::leak(elsewhere.url("token").into_boxed_str());
    for (realm, exit, code, says) in [
        (realm, 13, "egress-denied", "not public"),
        ("https://169.254.169.254/token", 13, "egress-denied", "link-local"),
        (clear, 13, "plain-http-denied", "names a token server that does not"),
        ("/token", 12, "registry-protocol", "the realm is not a URL"),
        ("https://user:pass@{own}/token", 12, "registry-protocol", "the realm"),
    ] {
        let (stage, tokens) = Stage::with_tokens(Manner { realm, ..Manner::default() });
        // Not even if plain HTTP is allowed there.
        let ran = stage.import_as(PORTER, &["--plain-http", &elsewhere.host()]).failed(exit, code, &[says]);
        assert!(!ran.stderr.contains("hunter2"));
        assert_eq!(tokens.asked.lock().unwrap().len(), 0);
    }
}

#[test]
fn an_upload_that_moves_to_an_address_only_a_user_may_name() {
    let elsewhere = Script::start(None, Arc::new(|_| Box::pin(async { empty(202) })));
    let location = elsewhere.url("upload").replace("http:", "https:");
    let stage = Stage::new(Arc::new(move |request, _| match request.method.as_str() {
        "POST" => Turn::Answer(with(202, "location", &location)),
        _ => Turn::Sink,
    }));
    stage.import(&[]).failed(13, "egress-denied", &["not public"]);
    assert!(!stage.seen.committed());
}

#[test]
fn every_error_of_a_registry_says_what_to_do() {
    let said = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"no","detail":null}}]}}"#);
    let page = "<html>\n<head><title>413 Request Entity Too Large</title></head>\n</html>".to_owned();
    let rows = [
        (
            "POST",
            403,
            said("DENIED"),
            16,
            "registry-denied",
            "403 DENIED: no",
            "right to push",
            "golden:registry-says-denied",
        ),
        (
            "POST",
            401,
            said("UNAUTHORIZED"),
            16,
            "registry-denied",
            "401 UNAUTHORIZED: no",
            "docker login",
            "golden:registry-says-unauthorized",
        ),
        (
            "POST",
            404,
            said("NAME_UNKNOWN"),
            12,
            "registry-failed",
            "404 NAME_UNKNOWN",
            "created before a push",
            "golden:registry-says-name-unknown",
        ),
        (
            "POST",
            400,
            said("NAME_INVALID"),
            12,
            "registry-failed",
            "400 NAME_INVALID",
            "this name",
            "golden:registry-says-name-invalid",
        ),
        (
            "POST",
            405,
            said("UNSUPPORTED"),
            12,
            "registry-failed",
            "405 UNSUPPORTED",
            "read-only",
            "golden:registry-says-unsupported",
        ),
        (
            "POST",
            405,
            String::new(),
            12,
            "registry-failed",
            "answered 405",
            "read-only",
            "golden:registry-says-method-not-allowed",
        ),
        (
            "PATCH",
            413,
            page,
            12,
            "registry-failed",
            "413 with a page of a proxy: `413",
            "client_max_body_size",
            "golden:registry-says-proxy-limits-the-body",
        ),
        (
            "PATCH",
            404,
            said("BLOB_UPLOAD_UNKNOWN"),
            12,
            "registry-failed",
            "BLOB_UPLOAD_UNKNOWN",
            "lost the upload",
            "golden:registry-says-upload-unknown",
        ),
        (
            "PATCH",
            400,
            said("SIZE_INVALID"),
            12,
            "registry-failed",
            "400 SIZE_INVALID",
            "counted other bytes",
            "golden:registry-says-size-invalid",
        ),
        (
            "PATCH",
            507,
            String::new(),
            12,
            "registry-failed",
            "answered 507",
            "storage is full",
            "golden:registry-says-storage-full",
        ),
        (
            "PUT",
            400,
            said("DIGEST_INVALID"),
            12,
            "registry-mismatch",
            "400 DIGEST_INVALID",
            "changed on their way",
            "golden:registry-says-digest-invalid",
        ),
        (
            "PUT",
            404,
            said("BLOB_UPLOAD_INVALID"),
            12,
            "registry-failed",
            "BLOB_UPLOAD_INVALID",
            "http.secret",
            "golden:registry-says-upload-invalid",
        ),
    ];
    std::thread::scope(|scope| {
        for (method, status, body, exit, code, says, hint, golden) in rows {
            scope.spawn(move || {
                let stage = Stage::new(Arc::new(move |request, _| match request.method.as_str() == method {
                    true => Turn::Answer(full(status, body.clone())),
                    false => Turn::Sink,
                }));
                let ran = stage.import(&["--policy", &hasty(&stage.scratch)]);
                let ran = ran.failed(exit, code, &[&format!("{method} https://"), says]).golden(golden);
                let advice = ran.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
                assert!(advice.contains(hint), "{status} {says}: {}", ran.stderr);
                assert!(!stage.seen.committed());
                // A session that is lost is no decision; after the second there are chunks, which are no repetition. What is
                // too large is sent in chunks of 16, 8, 4, 2 and 1 MiB.
                let attempts = match status {
                    404 if method != "POST" => 5 + 1,
                    413 => 6,
                    _ => 1,
                };
                assert_eq!(stage.seen.count(method), attempts, "{says}: what the registry decided is not asked again");
                assert_eq!(stage.seen.count("DELETE"), if method == "POST" { 0 } else { attempts }, "{says}");
            });
        }
    });
}

#[test]
fn manifests_that_are_refused_leave_blobs_without_a_tag_and_say_so() {
    for (code, hint) in [("MANIFEST_INVALID", "--media-types"), ("MANIFEST_BLOB_UNKNOWN", "garbage collection")] {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
        let stage = Stage::new(Arc::new(move |request, _| {
            match request.method == "PUT" && request.uri.path().contains("/manifests/") {
                true => Turn::Answer(full(400, body.clone())),
                false => Turn::Sink,
            }
        }));
        let ran = stage.import(&[]).failed(12, "registry-failed", &[code, hint, "left behind: the blob sha256:"]);
        assert_eq!(ran.stderr.matches("left behind: the blob sha256:").count(), 2, "{}", ran.stderr);
    }
}

#[test]
fn what_was_put_is_there_although_looking_at_it_is_refused() {
    // The HEAD behind the layer's commit, and what reads the config and the manifest back.
    let rows =
        [("HEAD", "/blobs/", "the blob"), ("GET", "/blobs/", "the blob"), ("GET", "/manifests/", "the manifest")];
    for (method, part, what) in rows {
        for (status, exit, code) in
            [(401, 16, "registry-denied"), (403, 16, "registry-denied"), (413, 12, "registry-failed")]
        {
            let looks = AtomicUsize::new(0);
            let stage = Stage::new(Arc::new(move |request, _| {
                let looks_at_it = request.method == method && request.uri.path().contains(part);
                // The first look is before it is put.
                match looks_at_it && looks.fetch_add(1, SeqCst) > 0 {
                    true => Turn::Answer(empty(status)),
                    false => Turn::Sink,
                }
            }));
            let says = [&*format!("answered {status}"), &format!("left behind: perhaps {what}")];
            let ran = stage.import(&[]).failed(exit, code, &says);
            assert!(stage.seen.committed() && !ran.stderr.contains("left behind: nothing"), "{}", ran.stderr);
        }
    }
    // What was refused itself is not there.
    for (part, left) in [("/blobs/", "left behind: nothing"), ("/manifests/", "left behind: the blob")] {
        let stage = Stage::new(Arc::new(move |request, _| {
            match request.method == "PUT" && request.uri.path().contains(part) {
                true => Turn::Answer(empty(403)),
                false => Turn::Sink,
            }
        }));
        let ran = stage.import(&[]).failed(16, "registry-denied", &["PUT", "answered 403", left]);
        assert!(!ran.stderr.contains("perhaps"), "{}", ran.stderr);
    }
}

#[test]
fn what_is_temporary_is_asked_again_and_not_for_ever() {
    let turning = |method: &'static str, until: usize, status: u16, after: &'static str| -> Turning {
        Arc::new(move |request, count| match request.method.as_str() == method && count <= until {
            true => Turn::Answer(with(status, "retry-after", after)),
            false => Turn::Sink,
        })
    };
    for (method, status) in [("GET", 503), ("POST", 429), ("HEAD", 500), ("PUT", 429)] {
        let stage = Stage::new(turning(method, 2, status, "0"));
        stage.import(&[]).done();
        assert!(stage.seen.count(method) > 2, "{method}");
    }
    let stage = Stage::new(turning("POST", 100, 503, "0"));
    stage.import(&[]).failed(12, "registry-failed", &["503", "after 0 s"]);
    assert_eq!(stage.seen.count("POST"), 5);
    // Longer than anybody should be kept waiting: told instead.
    let stage = Stage::new(turning("POST", 100, 429, "3600"));
    stage.import(&[]).failed(12, "registry-failed", &["429", "hint: the registry limits", "after 3600 s"]);
    assert_eq!(stage.seen.count("POST"), 1);
    let stage = Stage::new(turning("PATCH", 100, 503, "0"));
    stage.import(&[]).failed(12, "registry-failed", &["PATCH", "503"]);
    assert_eq!(stage.seen.count("PATCH"), 5);
}

#[test]
fn an_answer_that_is_lost_is_looked_for() {
    // The layer's commit, the config's commit, the manifest and the tag.
    for number in 1..=4 {
        let stage = Stage::new(Arc::new(move |request, count| match request.method == "PUT" && count == number {
            true => Turn::LoseAnswer,
            false => Turn::Sink,
        }));
        stage.import(&[]).done();
        assert_eq!(stage.seen.count("PATCH"), 1);
        assert!(stage.seen.committed());
    }
}

#[test]
fn what_gives_back_something_else_gets_no_tag() {
    let rows: [(&str, Turning); 4] = [
        // The second GET of a blob or manifest reads back what was put.
        ("has other bytes", other_at("/blobs/", 2)),
        ("has other bytes", other_at("/manifests/", 2)),
        ("has other bytes", other_at("/manifests/", 1)),
        (
            "has the content sha256:e3b0",
            Arc::new(|request, _| match request.method == "PUT" && request.uri.path().contains("/manifests/") {
                true => {
                    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
                    Turn::Answer(with(201, "docker-content-digest", digest))
                }
                false => Turn::Sink,
            }),
        ),
    ];
    for (says, turning) in rows {
        let stage = Stage::new(turning);
        stage.import(&[]).failed(12, "registry-mismatch", &[says, "left behind: the blob"]);
        let tagged = stage.seen.requests.lock().unwrap().iter().any(|request| request.ends_with("/manifests/1"));
        assert!(!tagged, "{says}");
    }
}

/// Other bytes at the `nth` GET of a path with that part.
fn other_at(part: &'static str, nth: usize) -> Turning {
    let count = AtomicUsize::new(0);
    Arc::new(move |request, _| match request.method == "GET" && request.uri.path().contains(part) {
        true if count.fetch_add(1, SeqCst) + 1 == nth => Turn::Answer(full(200, "{}")),
        _ => Turn::Sink,
    })
}

#[test]
fn what_is_there_already_is_not_committed_again() {
    let stage = Stage::new(Arc::new(|_, _| Turn::Sink));
    let first = stage.import(&[]).done().digest();
    stage.seen.forget_requests();
    assert_eq!(stage.import(&[]).done().digest(), first);
    let put: Vec<String> =
        stage.seen.requests.lock().unwrap().iter().filter(|request| request.starts_with("PUT")).cloned().collect();
    assert_eq!(put, ["PUT /v2/vm/manifests/1"], "the tag alone");
    assert_eq!((stage.seen.count("POST"), stage.seen.count("DELETE")), (1, 1));

    // A registry that does not let a session go gets its commit all the same.
    let stage = Stage::new(Arc::new(|request, _| match request.method == "DELETE" {
        true => Turn::Answer(empty(405)),
        false => Turn::Sink,
    }));
    stage.import(&[]).done();
    stage.seen.forget_requests();
    stage.import(&[]).done();
    assert_eq!(stage.seen.count("PUT"), 2, "the layer's commit and the tag");

    // Nor does it matter that such a registry tells what the session has.
    let stage = Stage::new(Arc::new(|request, _| match (request.method.as_str(), request.uri.path()) {
        ("DELETE", _) => Turn::Answer(empty(405)),
        ("GET", path) if path.contains("/blobs/uploads/") => Turn::Answer(with(204, "range", "0-3001343")),
        _ => Turn::Sink,
    }));
    stage.import(&[]).done();
    stage.seen.forget_requests();
    stage.import(&[]).done();
    assert_eq!(stage.seen.count("PUT"), 2, "the layer's commit and the tag");
}

#[test]
fn a_commit_that_outlasts_somebodys_patience_is_waited_for() {
    let stage = Stage::new(Arc::new(|request, count| match request.method == "PUT" && count == 1 {
        true => Turn::Later(empty(504), Duration::from_secs(17)),
        false => Turn::Sink,
    }));
    stage.import(&[]).done();
    assert_eq!((stage.seen.count("PATCH"), stage.seen.count("DELETE")), (1, 0), "nothing is sent again or given up");
}

#[test]
fn a_host_that_an_upload_moved_to_names_no_token_server() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heads = Arc::clone(&asked);
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let elsewhere = Script::start(
        Some(authority.server_config()),
        Arc::new(move |request| {
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            let fields: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
            heads.lock().unwrap().push(format!("{} {} {}", request.method(), request.uri().path(), fields.join(" ")));
            let realm = format!("Bearer realm=\"https://{host}/token\",service=\"s\"");
            Box::pin(async move { with(401, "www-authenticate", &realm) })
        }),
    );
    let location = format!("https://{}/v2/vm/blobs/uploads/1", elsewhere.host());
    let turning: Turning = Arc::new(move |request, _| match request.method == "POST" {
        true => Turn::Answer(with(202, "location", &location)),
        false => Turn::Sink,
    });
    let (sink, _) = sink::start_turned(Some(authority.server_config()), turning);
    raw(&scratch.path("disk.raw"), DISK);
    let text = "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n\
                [egress.registry]\naddresses = [\"127.0.0.0/8\"]\n[limits]\nback-off = \"1ms\"\n";
    fs::write(scratch.path("policy.toml"), text).unwrap();
    fs::write(scratch.path("config.json"), format!(r#"{{"auths":{{"{}":{PORTER}}}}}"#, sink.host())).unwrap();
    let (disk, to) = (scratch.text("disk.raw"), format!("docker://{}/vm:1", sink.host()));
    let with = ["--policy", &*scratch.text("policy.toml"), "--auth-file", &*scratch.text("config.json")];
    import([&[&*disk, &*to], &with[..]].concat()).failed(16, "registry-denied", &["PATCH https://", "401"]);
    let asked = asked.lock().unwrap();
    assert!(asked.iter().any(|head| head.starts_with("PATCH ")), "{asked:?}");
    assert!(asked.iter().all(|head| !head.contains("authorization") && !head.contains("/token")), "{asked:?}");
}

#[test]
fn real_registries_with_tokens_take_what_the_token_server_signs() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let signer = Signer::start(&scratch, &authority);
        let more = signer.configuration();
        let setup = Setup { version, tls: Some(&authority), more: &more, ..Setup::default() };
        let registry = Registry::start(&scratch, "registry", setup);
        raw(&scratch.path("disk.raw"), DISK);
        // The token server has an origin of its own, which only a policy may let a registry name on this machine.
        let policy = scratch.text("policy.toml");
        let text = "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n\
                    [egress.registry]\naddresses = [\"127.0.0.0/8\"]\n";
        fs::write(&policy, text).unwrap();
        let config = scratch.text("config.json");
        fs::write(&config, format!(r#"{{"auths":{{"{}":{PORTER}}}}}"#, registry.host())).unwrap();
        let (disk, to) = (scratch.text("disk.raw"), registry.reference("vm:1"));
        let with = ["--policy", &*policy, "--auth-file", &*config];

        let without = import([&*disk, &*to, "--policy", &*policy]);
        without.failed(16, "registry-denied", &["the token server GET", "401", "docker login"]);
        let unasked = import([&*disk, &*to, "--ca", &authority.ca(), "--auth-file", &*config]);
        unasked.failed(13, "egress-denied", &["not public"]);
        registry.assert_empty();

        let digest = import([&[&*disk, &*to], &with[..]].concat()).done().digest();
        assert_eq!(*signer.scopes.lock().unwrap(), ["repository:vm:pull,push"], "{version:?}");
        // To give the second upload up takes one more right.
        assert_eq!(import([&[&*disk, &*to], &with[..]].concat()).done().digest(), digest);
        assert_eq!(signer.scopes.lock().unwrap().last().unwrap(), "repository:vm:pull,push,delete", "{version:?}");
        assert_eq!(uploads(&registry), 0, "{version:?}");
        let inspected = finish(longshore(["inspect", &to, "--json"]).args(with), b"").done().report();
        assert_eq!(inspected["digest"], digest.as_str());
        assert_eq!(signer.scopes.lock().unwrap().last().unwrap(), "repository:vm:pull", "no more than it needs");
    }
}

/// A disk and a plain registry of either version.
fn plain(scratch: &Scratch, version: Version) -> Registry {
    raw(&scratch.path("disk.raw"), DISK);
    Registry::start(scratch, &format!("{version:?}"), Setup { version, ..Setup::default() })
}

fn import_to(scratch: &Scratch, host: &str, more: &[&str]) -> Ran {
    import([&[&*scratch.text("disk.raw"), &format!("docker://{host}/vm:1"), "--plain-http", host], more].concat())
}

#[test]
fn a_second_import_into_a_real_registry_leaves_no_upload_behind() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = plain(&scratch, version);
        let first = import_to(&scratch, &registry.host(), &[]).done().digest();
        assert_eq!(import_to(&scratch, &registry.host(), &["--tag", "2"]).done().digest(), first);
        assert!(registry.has_tag("vm", "2"));
        assert_eq!(uploads(&registry), 0, "{version:?}");
    }
}

/// Uploads whose bytes the registry keeps. Of one that was given up distribution keeps an empty folder.
fn uploads(registry: &Registry) -> usize {
    let folder = registry.storage().join("docker/registry/v2/repositories/vm/_uploads");
    let all = fs::read_dir(folder).map_or_else(|_| Vec::new(), Iterator::collect);
    all.into_iter().filter(|upload| upload.as_ref().unwrap().path().join("data").exists()).count()
}

#[test]
fn a_real_registry_whose_answer_is_lost() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = plain(&scratch, version);
        let proxy = Proxy::start(registry.port(), Fault::Answer("PUT"));
        import_to(&scratch, &proxy.host(), &[]).done();
        assert!(proxy.failed() && registry.has_tag("vm", "1"), "{version:?}");
    }
}

#[test]
fn a_real_registry_that_is_gone_before_the_commit() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let mut registry = plain(&scratch, version);
        let proxy = Proxy::start(registry.port(), Fault::Before("PUT"));
        let ran = std::thread::scope(|scope| {
            let importing = scope.spawn(|| import_to(&scratch, &proxy.host(), &[]));
            while !proxy.failed() && !importing.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            registry.kill();
            importing.join().unwrap()
        });
        let says = ["left behind: an unfinished upload in", "it did not answer", "caused by: PUT http://"];
        ran.failed(12, "registry-unreachable", &says);
        registry.assert_empty();
    }
}

#[test]
fn an_upload_that_a_real_registry_sees_cut_off_goes_on() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = plain(&scratch, version);
        let undisturbed = import_to(&scratch, &registry.host(), &["--tag", "0"]).done().digest();
        let scratch = Scratch::new();
        let registry = plain(&scratch, version);
        let proxy = Proxy::start(registry.port(), Fault::After("PATCH", 1_500_000));
        let ran = import_to(&scratch, &proxy.host(), &["--report", "-"]).done();
        let report = ran.report();
        let (transfer, digest) = (&report["transfer"], &report["image"]["digest"]);
        assert_eq!(*digest, *undisturbed, "{version:?}");
        assert_eq!(transfer["attempts"], 2, "{version:?}");
        let twice = transfer["bytes_sent_twice"].as_u64().unwrap();
        // 3 keeps the MiB it has written; 2.8 forgets the session but keeps its bytes.
        match version {
            Version::V3 => assert!(transfer["resumes"] == 1 && twice > 0, "{transfer}"),
            Version::V2 => assert!(transfer["resumes"] == 0 && twice >= 1_400_000, "{transfer}"),
        }
        assert_eq!(uploads(&registry), usize::from(version == Version::V2), "{version:?}");
        assert!(registry.has_tag("vm", "1"));
    }
}

#[test]
fn a_layer_whose_answer_is_lost_is_sent_again_only_if_it_is_not_there() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = plain(&scratch, version);
        let proxy = Proxy::start(registry.port(), Fault::Answer("PATCH"));
        let report = import_to(&scratch, &proxy.host(), &["--report", "-"]).done().report();
        let twice = report["transfer"]["bytes_sent_twice"].as_u64().unwrap();
        match version {
            Version::V3 => assert_eq!(twice, 0),
            Version::V2 => assert!(twice >= DISK as u64),
        }
    }
}

#[test]
fn of_a_source_that_cannot_be_read_again_the_last_bytes_are_kept() {
    let size: usize = 20_000_000;
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let disk = raw(&scratch.path("disk.raw"), size);
        // So slowly that nothing queues up: what the registry lacks was sent last.
        let import = |after: usize, tag: &str| {
            let proxy = Proxy::start(registry.port(), Fault::After("PATCH", after));
            let (host, size) = (proxy.host(), size.to_string());
            let to = format!("docker://{host}/vm:{tag}");
            let flags = ["--plain-http", &host, "--size", &size, "--limit-rate", "8MiB", "--report", "-"];
            import_from([&["-", &*to][..], &flags].concat(), &disk)
        };
        let report = import(1_500_000, "early").done().report();
        assert_eq!(report["transfer"]["attempts"], 2, "all that was sent is in memory");
        let ran = import(15_000_000, "late");
        match version {
            // It forgets the session, and the first bytes are gone.
            Version::V2 => {
                let says = [
                    "PATCH http://",
                    "the registry needs the layer again from byte 0",
                    "8 MiB",
                    "an unfinished upload in",
                ];
                ran.failed(12, "registry-unreachable", &says);
                assert!(!registry.has_tag("vm", "late"));
                assert_eq!(uploads(&registry), 2);
            }
            Version::V3 => {
                let transfer = &ran.done().report()["transfer"];
                assert_eq!((&transfer["resumes"], &transfer["restarts"]), (&1.into(), &0.into()), "{transfer}");
            }
        }
    }
}

#[test]
fn a_source_without_ranges_is_read_once_more_from_its_start_if_the_upload_must() {
    let size: usize = 20_000_000;
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = Registry::start(&scratch, "registry", Setup { version, ..Setup::default() });
        let disk = raw(&scratch.path("disk.raw"), size);
        let (source, asked) = ranges::serve(Content::Bytes(disk.clone().into()), ranges::Manner::InOrder);
        let proxy = Proxy::start(registry.port(), Fault::After("PATCH", 15_000_000));
        let to = format!("docker://{}/vm:1", proxy.host());
        let flags = ["--plain-http", &*proxy.host(), "--plain-http", &*source.host(), "--limit-rate", "8MiB"];
        let url = source.url("disk.raw");
        let report = import([&[&*url, &*to, "--report", "-"][..], &flags].concat()).done().report();
        assert_eq!(report["source"]["access"], "restart");
        let transfer = &report["transfer"];
        // 2.8 forgets the session; of 3 what is missing is in memory.
        let (restarts, whole) = if version == Version::V2 { (1, 2) } else { (0, 1) };
        assert_eq!(transfer["restarts"], restarts, "{version:?}: {transfer}");
        assert_eq!(asked.requests.lock().unwrap().len(), whole, "{version:?}");
        let name = "disk/disk.raw";
        assert!(pull(&scratch, "pulled", &["--src-tls-verify=false"], &registry.reference("vm:1")).file(name) == disk);
    }
}

#[test]
fn a_proxy_that_takes_only_small_requests_gets_chunks() {
    let stage = Stage::new(Arc::new(|request, _| {
        let length = request.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        match request.method == "PATCH" && length.is_none_or(|length| length > 1 << 20) {
            true => Turn::Answer(empty(413)),
            false => Turn::Sink,
        }
    }));
    let report = stage.import(&["--policy", &hasty(&stage.scratch), "--report", "-"]).done().report();
    assert_eq!(stage.seen.received.load(SeqCst), report["image"]["layer_size"].as_u64().unwrap());
    // 16, 8, 4, 2 and 1 MiB behind the whole: the layer has not quite 3 MiB.
    assert_eq!(stage.seen.count("PATCH"), 1 + 4 + 3);
}

/// A file system of a few MiB, unmounted with the test.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, size: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path));
        Self(path)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_real_registry_whose_disk_is_full() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let storage = scratch.path(&format!("{version:?}/storage"));
        let _small = Small::mount(&storage, "2m");
        let registry = plain(&scratch, version);
        let ran = import_to(&scratch, &registry.host(), &[]);
        let ran = ran.failed(
            12,
            "registry-failed",
            &["PATCH http://", "answered 500", "hint: the registry's storage is full"],
        );
        match version {
            Version::V2 => ran.golden("registry-2-whose-disk-is-full"),
            Version::V3 => ran.golden("registry-3-whose-disk-is-full"),
        };
        registry.assert_empty();
    }
}

#[test]
fn the_image_is_as_the_flags_say() {
    for version in VERSIONS {
        let scratch = Scratch::new();
        let registry = plain(&scratch, version);
        let host = registry.host();
        let flags = ["--label", "a=b", "--owner", "0:1000", "--platform", "linux/arm64/v8", "--tag", "2", "--tag", "1"];
        let annotations = ["--annotation", "x=y", "--annotation", "org.opencontainers.image.created=now"];
        let oci = import_to(&scratch, &host, &[&flags[..], &annotations].concat()).done();
        let pulled = |name: &str| pull(&scratch, name, &["--src-tls-verify=false"], &registry.reference("vm:2"));
        let image = pulled("oci");
        assert_eq!(image.manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(image.config["config"]["Labels"]["a"], "b");
        assert_eq!(image.config["config"]["Labels"]["source-image-format"], "raw");
        assert_eq!((&image.config["architecture"], &image.config["variant"]), (&"arm64".into(), &"v8".into()));
        assert_eq!(image.manifest["annotations"]["x"], "y");
        assert_eq!(image.manifest["annotations"]["org.opencontainers.image.created"], "now", "the user wins");
        assert!(image.listing().iter().all(|line| line.contains(" 0/1000 ")), "{:?}", image.listing());

        let docker = import_to(&scratch, &host, &[&flags[..], &["--media-types", "docker"]].concat()).done();
        assert_ne!(oci.digest(), docker.digest());
        let image = pulled("docker");
        assert_eq!(image.manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
        assert_eq!(image.manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
        let layer = &image.manifest["layers"][0];
        assert_eq!(layer["mediaType"], "application/vnd.docker.image.rootfs.diff.tar");
        assert_eq!(image.config["rootfs"]["diff_ids"][0], layer["digest"]);
        assert_eq!(image.file("disk/disk.raw"), fs::read(scratch.path("disk.raw")).unwrap());
        for tag in ["1", "2"] {
            assert!(registry.has_tag("vm", tag));
        }
    }
}
