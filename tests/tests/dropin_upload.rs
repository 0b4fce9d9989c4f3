//! `dvcr-uploader`: the program under that name, in a pod as it was: ports, answers, message, image and exit code are what they
//! were, field by field.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use longshore_tests::layers::{Pulled, pull};
use longshore_tests::namespace::{Files, inside};
use longshore_tests::pod::Pod;
use longshore_tests::registry::{Registry, Setup, VERSIONS};
use longshore_tests::scratch::{Scratch, noise, qcow2, run};
use longshore_tests::serving::{Answer, Serving, Speaking, WITHIN, chunked, head};
use longshore_tests::tls::Authority;
use serde_json::json;

const OWNER: &str = "b856691e-1038-11e9-a5ab-525500d15501";
const UPLOAD: &str = "127.0.0.1:8444";
const HEALTH: &str = "127.0.0.1:8080";

fn alone(test: &str, scratch: &Scratch) -> bool {
    inside(test, scratch, &[], Files { hosts: "127.0.0.1 localhost\n", resolver: "" })
}

/// A pod whose destination is a plain registry.
fn pod(scratch: &Scratch, registry: &Registry) -> Pod {
    Pod::new(scratch, "pod", "dvcr-uploader").with(&[
        ("OWNER_UID", OWNER),
        ("UPLOADER_DESTINATION_ENDPOINT", &format!("{}/vm:1", registry.host())),
        ("DESTINATION_INSECURE_TLS", "true"),
    ])
}

fn plain(scratch: &Scratch) -> Registry {
    Registry::start(scratch, "registry", Setup::default())
}

/// Starts it, and waits until it listens.
fn start(pod: &Pod, arguments: &[&str]) -> Serving {
    pod.forget();
    let serving = Serving::spawn(pod.command(arguments));
    serving.wait_for("listening at ");
    serving
}

fn connect(at: &str) -> Speaking<TcpStream> {
    let stream = TcpStream::connect(at.parse::<SocketAddr>().unwrap()).unwrap_or_else(|why| panic!("{at}: {why}"));
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    stream.set_write_timeout(Some(WITHIN)).unwrap();
    Speaking::over(stream)
}

fn ask(at: &str, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let chunks = fields.iter().any(|(name, _)| *name == "Transfer-Encoding");
    let own: &[(&str, &str)] = if chunks { &[] } else { &[("Content-Length", &*length)] };
    connect(at).ask(&head(method, path, &[fields, own].concat()), body)
}

fn pulled(scratch: &Scratch, registry: &Registry) -> Pulled {
    let _ = fs::remove_dir_all(scratch.path("pulled"));
    pull(scratch, "pulled", &["--src-tls-verify=false"], &registry.reference("vm:1"))
}

fn file() -> String {
    format!("disk/source-stream-{OWNER}")
}

#[test]
fn an_upload_is_the_image_that_it_was() {
    let scratch = Scratch::new();
    if !alone("an_upload_is_the_image_that_it_was", &scratch) {
        return;
    }
    let authority = Authority::new(&scratch);
    for version in VERSIONS {
        let name = format!("{version:?}");
        let setup = Setup { version, tls: Some(&authority), basic: Some(("user", "hunter2")), ..Setup::default() };
        let registry = Registry::start(&scratch, &name, setup);
        let disk = qcow2(&scratch.path("disk.qcow2"));
        let sums = run(Command::new("sha256sum").arg(scratch.path("disk.qcow2")));
        let pod = Pod::new(&scratch, &format!("{name}-pod"), "dvcr-uploader");
        fs::copy(&authority.ca, pod.file("certs/ca")).unwrap();
        let pod = pod.with(&[
            ("OWNER_UID", OWNER),
            ("UPLOADER_DESTINATION_ENDPOINT", &*format!("{}/vm:1", registry.host())),
            ("UPLOADER_DESTINATION_ACCESS_KEY_ID", "user"),
            ("UPLOADER_DESTINATION_SECRET_KEY", "hunter2"),
            ("UPLOADER_DESTINATION_CA_BUNDLE", "/certs"),
            ("UPLOADER_CHECKSUMS", &*format!("sha256:{}", sums.split(' ').next().unwrap())),
        ]);
        let serving = start(&pod, &["-v=1"]);
        let healthy = ask(HEALTH, "GET", "/healthz", &[], b"").is(200);
        assert_eq!(healthy.text(), "OK");
        assert!(ask(UPLOAD, "GET", "/upload", &[], b"").is(200).body.is_empty(), "it is ready");
        for (method, path) in [
            ("DELETE", "/upload"),
            ("HEAD", "/upload"),
            ("OPTIONS", "/upload"),
            ("PATCH", "/upload"),
            ("GET", "/"),
            ("GET", "/healthz"),
            ("GET", "/metrics"),
            ("PUT", "/uploads"),
            ("GET", "/upload/x"),
        ] {
            ask(UPLOAD, method, path, &[], b"").is(404);
        }
        // What an ingress puts in, and the page of whatever console it is, says nothing.
        let fields = [("Origin", "https://console.example"), ("Content-Type", "application/octet-stream")];
        ask(UPLOAD, "PUT", "/upload?token=x", &fields, &disk).is(200);
        let ran = serving.ended().done();
        assert!(ran.stdout.contains("@sha256:"), "{}", ran.stdout);
        let message = pod.message();
        let fields: Vec<&String> = message.as_object().unwrap().keys().collect();
        let expected =
            ["average-speed", "duration", "source-image-format", "source-image-size", "source-image-virtual-size"];
        assert_eq!(fields, expected, "{message}");
        assert_eq!(
            (&message["source-image-size"], &message["source-image-format"]),
            (&json!(disk.len()), &json!("qcow2"))
        );
        assert_eq!(message["source-image-virtual-size"], 64 << 20);

        let _ = fs::remove_dir_all(scratch.path("pulled"));
        let arguments = ["--src-tls-verify=false", "--src-creds", "user:hunter2"];
        let image = pull(&scratch, "pulled", &arguments, &registry.reference("vm:1"));
        assert!(image.file(&file()) == disk);
        assert_eq!(image.manifest["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar");
        assert_eq!(image.config["config"]["Labels"]["source-image-format"], "qcow2");
        assert!(image.listing()[1].starts_with("-rw-r--r-- 64535/64535 "), "{:?}", image.listing());
    }
}

#[test]
fn lengths_that_nobody_says_and_clones_of_devices_are_taken() {
    let scratch = Scratch::new();
    if !alone("lengths_that_nobody_says_and_clones_of_devices_are_taken", &scratch) {
        return;
    }
    let registry = plain(&scratch);
    let pod = pod(&scratch, &registry);
    let disk = noise(3_000_001);
    let serving = start(&pod, &[]);
    ask(UPLOAD, "POST", "/upload", &[("Transfer-Encoding", "chunked")], &chunked(&disk, 100_000)).is(200);
    serving.ended().done();
    assert_eq!(pod.message()["source-image-size"], disk.len());
    assert!(pulled(&scratch, &registry).file(&file()) == disk);

    // What `curl --data-binary @disk` sends.
    let serving = start(&pod, &[]);
    ask(UPLOAD, "POST", "/upload", &[("Content-Type", "application/x-www-form-urlencoded")], &disk).is(200);
    serving.ended().done();
    assert!(pulled(&scratch, &registry).file(&file()) == disk);

    let serving = start(&pod, &[]);
    let mut cloned = snap::write::FrameEncoder::new(Vec::new());
    cloned.write_all(&disk).unwrap();
    let cloned = cloned.into_inner().unwrap();
    ask(UPLOAD, "PUT", "/upload", &[("x-cdi-content-type", "blockdevice-clone")], &cloned).is(200);
    serving.ended().done();
    assert_eq!(pod.message()["source-image-size"], disk.len());
    assert!(pulled(&scratch, &registry).file(&file()) == disk);

    // In parts, by who asks for that.
    let serving = start(&pod, &[]);
    let (tus, length) = (("Tus-Resumable", "1.0.0"), disk.len().to_string());
    let made = ask(UPLOAD, "POST", "/upload", &[tus, ("Upload-Length", &length)], b"").is(201);
    let path = made.field("location").unwrap().to_owned();
    let part = |from: usize, to: usize| {
        let offset = from.to_string();
        let fields = [tus, ("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", &*offset)];
        ask(UPLOAD, "PATCH", &path, &fields, &disk[from..to]).is(204)
    };
    part(0, 1_000_000);
    part(1_000_000, disk.len());
    serving.ended().done();
    assert_eq!(pod.message()["source-image-size"], disk.len());
}

#[test]
fn a_verdict_is_in_the_message_and_what_may_go_better_is_an_error() {
    let scratch = Scratch::new();
    if !alone("a_verdict_is_in_the_message_and_what_may_go_better_is_an_error", &scratch) {
        return;
    }
    let registry = plain(&scratch);
    let disk = noise(1_000_000);
    let pod = pod(&scratch, &registry).with(&[("UPLOADER_CHECKSUMS", &format!("md5:{}", "0".repeat(32)))]);
    let serving = start(&pod, &[]);
    // What is no upload leaves it as it is.
    ask(UPLOAD, "PUT", "/upload", &[("Content-Type", "multipart/form-data; boundary=x")], b"x").is(400);
    let answer = ask(UPLOAD, "PUT", "/upload", &[], &disk).is(500);
    assert_eq!(answer.json()["error"]["code"], "checksum-mismatch");
    let ran = serving.ended();
    assert_eq!(ran.code, Some(0), "the verdict is in the message: {}", ran.stderr);
    assert!(pod.error().contains("md5"), "{}", pod.error());
    registry.assert_empty();
    // Nothing at all is a verdict, too.
    let pod = pod.with(&[("UPLOADER_CHECKSUMS", "")]);
    let serving = start(&pod, &[]);
    ask(UPLOAD, "PUT", "/upload", &[], b"").is(500);
    assert_eq!(serving.ended().code, Some(0));
    assert!(pod.error().contains("no byte"), "{}", pod.error());

    // A client that goes away may come back; meanwhile nobody else has a place.
    let serving = start(&pod, &[]);
    let mut first = connect(UPLOAD);
    first.say(head("PUT", "/upload", &[("Content-Length", "1000000")]).as_bytes());
    first.say(&disk[..500_000]);
    serving.wait_for("an upload has begun");
    ask(UPLOAD, "PUT", "/upload", &[], b"x").is(503);
    ask(UPLOAD, "GET", "/upload", &[], b"").is(200);
    drop(first);
    let ran = serving.ended();
    assert_eq!(ran.code, Some(10), "{}", ran.stderr);
    assert!(pod.error().contains("500000 of 1000000 bytes"), "{}", pod.error());
    registry.assert_empty();

    // Told to end before anything came, it ends well and says nothing.
    let serving = start(&pod, &[]);
    assert_eq!(serving.stop().code, Some(0));
    assert_eq!(pod.said(), "");
    // What cannot begin is told: a document that does not let disks come unprotected, and a variable that is not there.
    let policy = "schema = \"longshore.policy/v1\"\n[[tls.host]]\nmatch = \"127.0.0.1\"\ninsecure-skip-verification = true\n\
                  [egress]\nplain-http = [\"127.0.0.1\"]\n";
    fs::write(pod.file("policy.toml"), policy).unwrap();
    let pod = pod.with(&[("LONGSHORE_POLICY", "/policy.toml")]);
    pod.run().failed(13, "flag-denied", &["TLS_CERT_FILE", "/policy.toml"]);
    assert!(pod.error().contains("unprotected"), "{}", pod.error());
    fs::write(pod.file("policy.toml"), format!("{policy}[flags]\nallow = [\"--without-tls\"]\n")).unwrap();
    assert_eq!(start(&pod, &[]).stop().code, Some(0));
    let pod = pod.with(&[("LONGSHORE_POLICY", "/policy.toml")]);
    let pod = pod.with(&[("UPLOADER_DESTINATION_ENDPOINT", "")]);
    pod.run().failed(2, "usage", &["UPLOADER_DESTINATION_ENDPOINT is not set"]);
    assert!(pod.error().contains("UPLOADER_DESTINATION_ENDPOINT"));
}

#[test]
fn its_listener_speaks_tls_with_whom_it_is_to() {
    let scratch = Scratch::new();
    if !alone("its_listener_speaks_tls_with_whom_it_is_to", &scratch) {
        return;
    }
    let registry = plain(&scratch);
    let authority = Authority::new(&scratch);
    let pod = pod(&scratch, &registry);
    let (good, proxy, other) = (authority.good(), authority.client("proxy"), authority.client("other"));
    for (file, from) in [("server.pem", &good.certificate), ("server.key", &good.key), ("ca.pem", &authority.ca)] {
        fs::copy(from, pod.file("certs").join(file)).unwrap();
    }
    run(Command::new("chmod").arg("a+r").arg(pod.file("certs/server.key")));
    let pod = pod.with(&[
        ("LISTEN_PORT", "9444"),
        ("TLS_CERT_FILE", "/certs/server.pem"),
        ("TLS_KEY_FILE", "/certs/server.key"),
        ("CLIENT_CA_FILE", "/certs/ca.pem"),
        ("CLIENT_NAME", "somebody else"),
        ("TLS_MIN_VERSION", "VersionTLS12"),
        ("TLS_CIPHERS", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_RSA_WITH_AES_128_CBC_SHA"),
    ]);
    // A flag goes before its variable.
    let serving = start(&pod, &["--client-name", "proxy", "--healthz-port=9080"]);
    ask("127.0.0.1:9080", "GET", "/healthz", &[], b"").is(200);
    let curl = |own: Option<(&Path, &Path)>, more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert", &authority.ca()]).args(more);
        if let Some((certificate, key)) = own {
            curl.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        curl.arg("https://127.0.0.1:9444/upload");
        curl
    };
    let proxied = Some((&*proxy.certificate, &*proxy.key));
    for (own, more) in [
        (None, &[][..]),
        (Some((&*other.certificate, &*other.key)), &[]),
        // curl's own OpenSSL offers what is old only at its lowest level.
        (proxied, &["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]),
        (proxied, &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
    ] {
        assert!(!curl(own, more).output().unwrap().status.success(), "{more:?}");
    }
    for more in [&[][..], &["--tls-max", "1.2"], &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"]] {
        run(&mut curl(proxied, more));
    }
    let disk = scratch.path("disk.raw");
    fs::write(&disk, noise(100_000)).unwrap();
    run(&mut curl(proxied, &["--upload-file", &disk.display().to_string()]));
    serving.ended().done();
    assert!(pulled(&scratch, &registry).file(&file()) == noise(100_000));
    for (name, value, told) in [
        ("TLS_KEY_FILE", "", "TLS_CERT_FILE is set alone"),
        ("TLS_MIN_VERSION", "1.2", "TLS_MIN_VERSION is none of"),
        ("TLS_CIPHERS", "x", "TLS_CIPHERS"),
        ("LISTEN_PORT", "x", "LISTEN_PORT is not a port"),
    ] {
        let pod = Pod::new(&scratch, &format!("{name}-pod"), "dvcr-uploader").with(&[
            ("UPLOADER_DESTINATION_ENDPOINT", "127.0.0.1:1/vm:1"),
            ("TLS_CERT_FILE", "/certs/server.pem"),
            ("TLS_KEY_FILE", "/certs/server.key"),
            (name, value),
        ]);
        for file in ["server.pem", "server.key"] {
            fs::copy(scratch.path("pod").join("certs").join(file), pod.file("certs").join(file)).unwrap();
        }
        pod.run().failed(2, "usage", &[]);
        assert!(pod.error().contains(told), "{}", pod.error());
    }
}

#[test]
fn the_gauges_are_there_while_a_disk_comes() {
    let scratch = Scratch::new();
    if !alone("the_gauges_are_there_while_a_disk_comes", &scratch) {
        return;
    }
    let registry = plain(&scratch);
    let pod = pod(&scratch, &registry);
    let serving = start(&pod, &[]);
    let disk = noise(4 << 20);
    let mut client = connect(UPLOAD);
    client.say(head("PUT", "/upload", &[("Content-Length", &disk.len().to_string())]).as_bytes());
    client.say(&disk[..3 << 20]);
    let metrics =
        || run(Command::new("curl").args(["--silent", "--insecure", "--fail", "https://127.0.0.1:8443/metrics"]));
    let line = format!("registry_progress{{ownerUID=\"{OWNER}\"}} ");
    let began = std::time::Instant::now();
    loop {
        let text = metrics();
        let part = text.lines().find_map(|found| found.strip_prefix(&*line)?.parse::<f64>().ok());
        if part.is_some_and(|part| (70.0..80.0).contains(&part)) {
            break;
        }
        assert!(began.elapsed() < WITHIN, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let service = ask(HEALTH, "GET", "/metrics", &[], b"").is(200).text();
    assert!(service.contains("longshore_uploads_running 1\n"), "{service}");
    client.say(&disk[3 << 20..]);
    client.answer().is(200);
    serving.ended().done();
}
