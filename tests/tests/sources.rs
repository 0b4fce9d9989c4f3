//! Where a disk comes from: credentials and whom they reach, heads and bodies that are not what they should be, devices,
//! and every rule about lengths.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use longshore::engine::{Component, Engine, built_in};
use longshore::error::{Code, Result};
use longshore::net::{GrantedClient, Net};
use longshore::policy::{Origin, Policy, Side, Site, Sited};
use longshore::stages::{self, Disk, FetchGrant, SourceGrant};
use longshore_tests::fixtures::Fixture;
use longshore_tests::layers::{assert_layout_empty, pull};
use longshore_tests::loop_device::Loop;
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, finish, import, longshore, watched_within};
use longshore_tests::scratch::{Scratch, noise, raw, run};
use longshore_tests::wire::{Act, Wire};

const DISK: usize = 300_000;

/// Header fields.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// A head with this status line and fields. A wire answers once on a connection, and says so.
fn head(status: &str, fields: Fields) -> Vec<u8> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{fields}\r\n").into_bytes()
}

/// An answer whose Content-Length is that of its body.
fn answer(status: &str, fields: Fields, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    [&head(status, &[&[("Content-Length", &*length)], fields].concat()), body].concat()
}

/// What a peer got of one request, by field name in lower case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A folder with a layout that everything is imported to.
struct Stage(Scratch);

impl Stage {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn to(&self) -> String {
        format!("oci:{}:1", self.0.text("layout"))
    }

    /// A file for a flag.
    fn file(&self, name: &str, content: &str) -> String {
        fs::write(self.0.path(name), content).unwrap();
        self.0.text(name)
    }

    fn import(&self, source: &str, more: &[&str]) -> Ran {
        import([&[source, &*self.to()], more].concat())
    }

    fn from(&self, wire: &Wire, more: &[&str]) -> Ran {
        self.import(&wire.url("disk.raw"), &[&["--plain-http", &*wire.host()], more].concat())
    }

    /// The disk of that name as skopeo and GNU tar find it.
    fn disk(&self, name: &str) -> Vec<u8> {
        pull(&self.0, &format!("pulled-{name}"), &[], &self.to()).file(&format!("disk/{name}"))
    }

    /// Panics if anything was committed.
    fn assert_clean(&self) {
        assert_layout_empty(&self.0.path("layout"));
    }
}

/// A server that wants to know who asks: 401 unless the request carries one of these fields.
fn guarded(name: &'static str, value: &'static str) -> Wire {
    Wire::start(move |head| {
        let answer = if field(head, name) == Some(value) {
            answer("200 OK", &[], &noise(DISK))
        } else {
            answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"no")
        };
        vec![Act::Say(answer)]
    })
}

#[test]
fn heads_that_nobody_needs_are_not_kept() {
    let field = "X-Nothing: here\r\n";
    for (what, fields) in [
        ("a few", field.repeat(100)),
        ("many fields", field.repeat(200)),
        ("a long one", format!("X-Long: {}\r\n", "x".repeat(1 << 20))),
        ("one without end", format!("X-Long: {}", "x".repeat(8 << 20))),
    ] {
        let stage = Stage::new();
        let wire = Wire::start(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 512\r\n{fields}\r\n");
            vec![Act::Say([head.as_bytes(), &[7; 512]].concat())]
        });
        let url = format!("http://{}/disk.raw", wire.host());
        let mut command = longshore(["import", &*url, &*stage.to(), "--plain-http", &*wire.host()]);
        let (ran, seen) = watched_within(&mut command, Duration::from_secs(60));
        println!("{what}: {} MiB", seen.own_bytes >> 20);
        if what == "a few" {
            ran.done();
        } else {
            ran.failed(11, "source-invalid", &["message head is too large"]);
            stage.assert_clean();
        }
        assert!(seen.own_bytes <= MOST_OF_ITS_OWN, "{what}: {} MiB", seen.own_bytes >> 20);
    }
}

#[test]
fn credentials_from_a_file_the_environment_or_the_url() {
    let stage = Stage::new();
    // porter:hunter2
    let wire = guarded("authorization", "Basic cG9ydGVyOmh1bnRlcjI=");
    let file = stage.file("credentials", "porter:hunter2\n");
    let (url, plain) = (wire.url("a/my%20disk.raw?sig=signature"), wire.host());
    let with_user = url.replace("http://", "http://porter:hunter2@");

    stage.import(&url, &["--plain-http", &plain]).failed(16, "source-denied", &["401", "--source-credentials FILE"]);
    stage.assert_clean();
    let variables = |arguments: &[&str], user: &str, password: &str| {
        let mut command = longshore([&["import"], arguments, &[&*stage.to(), "--plain-http", &plain]].concat());
        command.env("LONGSHORE_SOURCE_USERNAME", user).env("LONGSHORE_SOURCE_PASSWORD", password);
        finish(&mut command, b"")
    };
    let mut digests = Vec::new();
    for ran in [
        stage.import(&url, &["--plain-http", &plain, "--source-credentials", &file, "--report", "-", "-vv"]),
        stage.import(&with_user, &["--plain-http", &plain, "--report", "-", "-vv"]),
        variables(&[&url, "--report", "-", "-vv"], "porter", "hunter2"),
        // What was typed goes before the environment.
        variables(&[&with_user, "--report", "-"], "somebody", "swordfish"),
        variables(&[&url, "--report", "-", "--source-credentials", &file], "somebody", "swordfish"),
    ] {
        let ran = ran.done();
        let shown = ran.report()["source"]["location"].to_string();
        assert!(shown.ends_with("/a/my%20disk.raw?<redacted>\""), "{shown}");
        for secret in ["hunter2", "cG9ydGVy", "porter", "swordfish", "signature"] {
            assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(secret), "{}{}", ran.stdout, ran.stderr);
        }
        digests.push(ran.report()["image"]["digest"].to_string());
    }
    assert!(stage.disk("my disk.raw") == noise(DISK), "the name is the URL's, decoded");
    digests.dedup();
    assert_eq!(digests.len(), 1, "whoever asks, the image is the same");
    let said = ["does not accept", "401"];
    let ran = variables(&[&url], "porter", "swordfish").failed(16, "source-denied", &said);
    assert!(!ran.stderr.contains("swordfish"));
    // A failure shows no more than a success does.
    let closed = with_user.replace(&format!(":{}/", plain.rsplit_once(':').unwrap().1), ":1/");
    let ran = stage.import(&closed, &["--plain-http", "127.0.0.1:1", "-vv", "--report", "-"]);
    let ran = ran.failed(10, "source-unreachable", &[]);
    for secret in ["hunter2", "porter", "signature"] {
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(secret), "{}{}", ran.stdout, ran.stderr);
    }
    for (user, password) in [("porter", ""), ("", "hunter2")] {
        variables(&[&url], user, password).failed(16, "credentials-unreadable", &["is set and LONGSHORE_SOURCE_"]);
    }
}

#[test]
fn a_checksum_file_beside_the_disk_is_behind_the_same_door() {
    let stage = Stage::new();
    raw(&stage.0.path("disk.raw"), DISK);
    let sums = run(Command::new("sha256sum").arg("disk.raw").current_dir(stage.0.path("")));
    let wire = Wire::start(move |head| {
        vec![Act::Say(match (field(head, "authorization"), head.starts_with("GET /SHA256SUMS ")) {
            (Some("Basic cG9ydGVyOmh1bnRlcjI="), true) => answer("200 OK", &[], sums.as_bytes()),
            (Some("Basic cG9ydGVyOmh1bnRlcjI="), false) => answer("200 OK", &[], &noise(DISK)),
            _ => answer("401 Unauthorized", &[], b""),
        })]
    });
    let file = stage.file("credentials", "porter:hunter2");
    let sums = wire.url("SHA256SUMS");
    stage.from(&wire, &["--checksum-file", &sums]).failed(16, "source-denied", &["--source-credentials FILE"]);
    stage.assert_clean();
    stage.from(&wire, &["--checksum-file", &sums, "--source-credentials", &file]).done();

    // Elsewhere it is somebody else's.
    let other = Wire::saying(answer("403 Forbidden", &[], b""));
    let more = ["--checksum-file", &other.url("SHA256SUMS"), "--plain-http", &other.host()];
    let ran = stage.from(&wire, &[&more[..], &["--source-credentials", &file]].concat());
    ran.failed(16, "source-denied", &["goes to", &wire.host(), "only"]);
    assert!(other.heads().iter().all(|head| field(head, "authorization").is_none()));
}

#[test]
fn header_fields_from_a_file() {
    let stage = Stage::new();
    let wire = guarded("x-token", "hunter2");
    let file = stage.file("fields", "# a token\nX-Token: hunter2\nCookie: a=b\nUser-Agent: porter/1\n");
    let ran = stage.from(&wire, &["--source-header-file", &file, "--report", "-", "-vv"]).done();
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"));
    assert!(stage.disk("disk.raw") == noise(DISK));
    let heads = wire.heads();
    assert_eq!((field(&heads[0], "cookie"), field(&heads[0], "user-agent")), (Some("a=b"), Some("porter/1")));
    assert_eq!(field(&heads[0], "accept-encoding"), Some("identity"));
    let ran = stage.from(&wire, &["--source-header-file", &stage.file("wrong", "X-Token: swordfish")]);
    assert!(!ran.failed(16, "source-denied", &["does not accept"]).stderr.contains("swordfish"));
}

#[test]
fn what_cannot_be_used_as_credentials_is_refused_before_anything_is_asked() {
    let stage = Stage::new();
    let wire = Wire::saying(answer("200 OK", &[], b"disk"));
    let good = stage.file("good", "u:hunter2");
    let authorization = stage.file("authorization", "Authorization: Bearer hunter2");
    let refused = |source: &str, more: &[&str], exit: i32, code: &str, says: &[&str]| {
        let ran = stage.import(source, &[&["--plain-http", &*wire.host()], more].concat()).failed(exit, code, says);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    };
    let url = wire.url("disk.raw");
    let with_user = url.replace("http://", "http://u:hunter2@");
    for (flag, name, content, says) in [
        ("--source-credentials", "a", "hunter2", "no colon"),
        ("--source-credentials", "b", "u:hunter2\nu:hunter2\n", "more than one line"),
        ("--source-credentials", "c", "u:hunter2\x07", "control characters"),
        ("--source-header-file", "d", "X: y\n\nhunter2", "line 3: no colon"),
        ("--source-header-file", "e", "Host: hunter2", "line 1: the field `host` is longshore's own"),
        ("--source-header-file", "f", "#\nIf-Range: hunter2", "line 2: the field `if-range`"),
        ("--source-header-file", "g", "Authorization: hunter2\nAuthorization: hunter2", "line 2: the field"),
    ] {
        refused(&url, &[flag, &stage.file(name, content)], 16, "credentials-unreadable", &[says]);
    }
    for flag in ["--source-credentials", "--source-header-file"] {
        refused(&url, &[flag, "/nonexistent"], 16, "credentials-unreadable", &["/nonexistent"]);
        refused(&url, &[flag, "/dev/zero"], 16, "credentials-unreadable", &["more than 65536 bytes"]);
        refused("/etc/passwd", &[flag, &good], 2, "usage", &[flag, "http or https"]);
    }
    let twice = |source: &str, more: &[&str]| refused(source, more, 2, "usage", &["expected them once"]);
    twice(&with_user, &["--source-credentials", &good]);
    twice(&with_user, &["--source-header-file", &authorization]);
    twice(&url, &["--source-credentials", &good, "--source-header-file", &authorization]);
    refused(&url, &["--source-option", "x"], 2, "usage", &["KEY=VALUE"]);
    assert_eq!(wire.heads(), Vec::<String>::new());
    stage.assert_clean();
}

#[test]
fn credentials_stay_with_the_source_across_redirects() {
    let stage = Stage::new();
    let file = stage.file("credentials", "porter:hunter2");
    // Within one origin they go along, and the name stays the one that was typed.
    let own = Wire::start(|head| {
        vec![Act::Say(if head.starts_with("GET /disk.raw ") {
            answer("307 Temporary Redirect", &[("Location", "/store/7f3a?x=y")], b"")
        } else {
            answer("200 OK", &[], &noise(DISK))
        })]
    });
    stage.from(&own, &["--source-credentials", &file]).done();
    assert!(stage.disk("disk.raw") == noise(DISK));
    let heads = own.heads();
    assert_eq!(heads.len(), 2);
    assert!(heads.iter().all(|head| field(head, "authorization") == Some("Basic cG9ydGVyOmh1bnRlcjI=")));
    assert!(heads[1].starts_with("GET /store/7f3a?x=y "));

    // The built-in policy does not even connect to another port of a private address that a server names.
    let elsewhere = Stage::new();
    let other = Wire::saying(answer("200 OK", &[], b"disk"));
    let location = other.url("disk.raw");
    let redirecting = Wire::start(move |_| vec![Act::Say(answer("302 Found", &[("Location", &location)], b""))]);
    let ran = elsewhere.from(&redirecting, &["--source-credentials", &file, "--plain-http", &other.host()]);
    ran.failed(13, "egress-denied", &[&other.host(), "not public"]);
    assert_eq!((redirecting.heads().len(), other.heads().len()), (1, 0));
    elsewhere.assert_clean();
}

#[test]
fn options_reach_the_component_which_refuses_what_it_does_not_know() {
    let stage = Stage::new();
    let wire = Wire::saying(answer("200 OK", &[], b"disk"));
    let says = ["source-http", "no option `part`"];
    stage.from(&wire, &["--source-option", "part=2"]).failed(10, "source-failed", &says);
    let path = stage.file("disk.raw", "disk");
    let says = ["source-file", "no option `part`"];
    stage.import(&path, &["--source-option", "part=2"]).failed(10, "source-failed", &says);
    assert_eq!(wire.heads(), Vec::<String>::new());
    stage.assert_clean();
}

#[test]
fn only_get_is_asked_and_nothing_else_is_needed() {
    let stage = Stage::new();
    let wire = Wire::start(|head| {
        vec![Act::Say(if head.starts_with("GET ") {
            answer("200 OK", &[], &noise(DISK))
        } else {
            answer("405 Method Not Allowed", &[], b"")
        })]
    });
    stage.from(&wire, &[]).done();
    assert!(stage.disk("disk.raw") == noise(DISK));
    let heads = wire.heads();
    assert!(heads.iter().all(|head| head.starts_with("GET /disk.raw HTTP/1.1\r\n")), "{heads:?}");
    assert_eq!(heads.len(), 1);
}

#[test]
fn heads_that_contradict_themselves() {
    let stage = Stage::new();
    let long = "y".repeat(1 << 20);
    let many = vec![("X", "y"); 200];
    let rows: &[(&str, Fields, &str)] = &[
        ("200 OK", &[("Content-Length", "4"), ("Content-Length", "5")], "no proper HTTP/1.1"),
        ("200 OK", &[("Content-Length", "4, 5")], "no proper HTTP/1.1"),
        ("200 OK", &[("Content-Length", "-4")], "no proper HTTP/1.1"),
        ("200 OK", &[("Content-Length", "0x4")], "no proper HTTP/1.1"),
        ("200 OK", &[("Content-Length", "18446744073709551616")], "no proper HTTP/1.1"),
        ("200 OK", &[("Content-Length", "18446744073709551615")], "no proper HTTP/1.1"),
        ("200 OK", &[("Content-Length", "9223372036854775807")], "announces 9223372036854775807 bytes"),
        ("200 OK", &[("Content-Length", "4"), ("Transfer-Encoding", "chunked")], "both Transfer-Encoding and"),
        ("200 OK", &[("Transfer-Encoding", "gzip, chunked")], "a transfer coding besides `chunked`"),
        ("200 OK", &[("Transfer-Encoding", "gzip")], "a transfer coding besides `chunked`"),
        (
            "200 OK",
            &[("Content-Length", "4"), ("Content-Range", "bytes 4-7/8")],
            "`bytes 4-7/8`, which is not the whole",
        ),
        ("206 Partial Content", &[("Content-Length", "4"), ("Content-Range", "bytes 0-3/8")], "with a part (206)"),
        ("302 Found", &[("Content-Length", "0")], "302 without a Location"),
        ("302 Found", &[("Content-Length", "0"), ("Location", "ftp://a.example/x")], "the scheme `ftp`"),
        ("302 Found", &[("Content-Length", "0"), ("Location", "http://u:p@a.example/")], "with user information"),
        ("200 OK", &many, "no proper HTTP/1.1"),
        ("200 OK", &[("X", &long)], "no proper HTTP/1.1"),
        ("2x0 OK", &[], "no proper HTTP/1.1"),
    ];
    for (status, fields, says) in rows {
        let wire = Wire::saying([&head(status, fields)[..], b"disk"].concat());
        stage.from(&wire, &[]).failed(11, "source-invalid", &[says]);
    }
    let garbage = Wire::saying("SSH-2.0-OpenSSH_9.2\r\n");
    stage.from(&garbage, &[]).failed(11, "source-invalid", &["no proper HTTP/1.1"]);
    stage.assert_clean();
}

#[test]
fn a_content_coding_is_never_mistaken_for_the_disk() {
    let stage = Stage::new();
    for codings in [&["gzip"][..], &["identity", "br"], &["identity, zstd"]] {
        let fields: Vec<(&str, &str)> = codings.iter().map(|coding| ("Content-Encoding", *coding)).collect();
        let wire = Wire::saying(answer("200 OK", &fields, b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0"));
        stage.from(&wire, &[]).failed(10, "source-failed", &["content coding", "not asked for"]);
        assert_eq!(field(&wire.heads()[0], "accept-encoding"), Some("identity"));
    }
    stage.assert_clean();
}

#[test]
fn the_body_of_an_error_is_not_read() {
    const HUGE: u64 = 10 << 30;
    // What the buffers of both ends of a connection take.
    const BUFFERED: u64 = 64 << 20;
    let stage = Stage::new();
    let length = HUGE.to_string();
    for (status, exit, code) in [
        ("404 Not Found", 10, "source-not-found"),
        ("403 Forbidden", 16, "source-denied"),
        ("500 Oops", 10, "source-failed"),
        ("206 Partial Content", 11, "source-invalid"),
    ] {
        let head = head(status, &[("Content-Length", &length)]);
        let wire = Wire::start(move |_| vec![Act::Say(head.clone()), Act::Flood(HUGE)]);
        stage.from(&wire, &[]).failed(exit, code, &[]);
        assert!(wire.flooded() < BUFFERED, "{status}: {} bytes", wire.flooded());
    }
    stage.assert_clean();
}

#[test]
fn bytes_behind_the_announced_length_never_enter() {
    let stage = Stage::new();
    let wire = Wire::saying([answer("200 OK", &[], &noise(DISK)), vec![0xff; 100_000]].concat());
    stage.from(&wire, &[]).done();
    assert!(stage.disk("disk.raw") == noise(DISK));
}

#[test]
fn bodies_that_break_off() {
    let stage = Stage::new();
    let half = |fields: Fields| Act::Say([head("200 OK", fields), noise(DISK / 2)].concat());
    let length = DISK.to_string();
    let announced = [("Content-Length", &*length)];

    let acts = [half(&announced)];
    let says = ["150000 bytes", "expected 300000"];
    stage.from(&Wire::start(move |_| acts.to_vec()), &[]).failed(10, "source-truncated", &says);
    let acts = [half(&announced), Act::Reset];
    let ran = stage.from(&Wire::start(move |_| acts.to_vec()), &[]);
    ran.failed(10, "source-failed", &["broke the body off after"]).golden("source-resets-its-body");
    let acts = [Act::Reset];
    let ran = stage.from(&Wire::start(move |_| acts.to_vec()), &[]);
    ran.failed(10, "source-unreachable", &["before there was an answer"]);
    // A chunk that never ends.
    let acts = [Act::Say([head("200 OK", &[("Transfer-Encoding", "chunked")]), b"1000000\r\nabc".to_vec()].concat())];
    let ran = stage.from(&Wire::start(move |_| acts.to_vec()), &["--size", &length]);
    ran.failed(10, "source-truncated", &["after 3 bytes"]);
    // Without a length the end of the connection is the end of the body: only --size tells whether it is all.
    let acts = [half(&[])];
    let wire = Wire::start(move |_| acts.to_vec());
    stage.from(&wire, &[]).failed(11, "source-length-unknown", &["--size"]);
    let says = ["150000 bytes", "expected 300000"];
    stage.from(&wire, &["--size", &length]).failed(11, "source-length-mismatch", &says);
    stage.assert_clean();
    stage.from(&wire, &["--size", "150000"]).done();
    assert!(stage.disk("disk.raw") == noise(DISK / 2));
}

#[test]
fn guests_that_do_not_keep_to_the_length_they_announced() {
    let stage = Stage::new();
    raw(&stage.0.path("disk.raw"), DISK);
    let disk = stage.0.text("disk.raw");
    let rows = [
        (Fixture::SourceShort, ["`source-short` sent 150000 bytes, expected 300000"]),
        (Fixture::SourceLong, ["`source-long` sent at least 3"]),
    ];
    for (fixture, says) in rows {
        stage.import(&disk, &["--source", &fixture.path()]).failed(11, "source-length-mismatch", &says);
        let ran = stage.import(&disk, &["--source", &fixture.path(), "--report", "-"]);
        assert!(
            ran.report()["transfer"]["bytes_received"].as_u64().unwrap() <= DISK as u64,
            "nothing behind it enters"
        );
    }
    stage.assert_clean();
}

#[test]
fn a_file_that_shrinks_while_it_is_read() {
    let stage = Stage::new();
    let disk = stage.0.path("disk.raw");
    raw(&disk, 64 << 20);
    // The import reads as fast as somebody takes it, and that somebody cuts the file first.
    let path = disk.clone();
    let wire = Wire::start(move |head| {
        if head.starts_with("POST ") {
            fs::File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        }
        match head.split(' ').next() {
            Some("GET") => vec![Act::Say(answer("200 OK", &[], b""))],
            Some("POST") => vec![Act::Say(answer("202 Accepted", &[("Location", "/v2/vm/blobs/uploads/1")], b""))],
            Some("DELETE") => vec![Act::Say(self::head("204 No Content", &[]))],
            _ => vec![Act::Hang],
        }
    });
    let to = format!("docker://{}/vm:1", wire.host());
    let ran = import([&*disk.display().to_string(), &to, "--plain-http", &wire.host()]);
    ran.failed(11, "source-changed", &["was written to while it was read"]);
}

/// Opens a URL with the built-in source, as `import` does, and does something with the disk.
fn with_disk<T>(wire: &Wire, policy: Policy, use_it: impl AsyncFnOnce(Disk) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let engine = Engine::new(&policy.limits).unwrap();
        let _ticker = engine.ticker().unwrap();
        let embedded = built_in().iter().find(|embedded| embedded.name == "source-http").unwrap();
        let component = Component::built_in(&engine, embedded).unwrap();
        let origin = Origin::of(&wire.url("").parse().unwrap()).unwrap();
        let client = Net::new(Arc::new(policy)).client(Side::Source, vec![origin.clone()]);
        let fetch = Some(FetchGrant::new(GrantedClient::new(client, Some(origin))));
        let grant = SourceGrant { fetch, local: None };
        let disk = stages::open(&engine, &component, grant, (wire.url("disk.raw"), Vec::new()), "http").await.unwrap();
        use_it(disk).await
    })
}

fn plain_http() -> Policy {
    let mut policy = Policy::default();
    policy.egress.plain_http = vec![Sited::new("127.0.0.1".parse().unwrap(), Site::BuiltIn)];
    policy
}

async fn read(disk: &Disk, offset: u64, length: Option<u64>) -> Result<Vec<u8>> {
    let mut flow = disk.read(offset, length).await?;
    let mut all = Vec::new();
    while let Some(chunk) = flow.next().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// A server with ranges that answers what `part` says to those, and the whole to the rest.
fn ranged(part: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Wire {
    Wire::start(move |head| {
        vec![Act::Say(match field(head, "range") {
            Some(range) => part(range),
            None => answer("200 OK", &[("Accept-Ranges", "bytes"), ("ETag", "\"1\"")], &noise(DISK)),
        })]
    })
}

#[test]
fn parts_that_are_not_what_was_asked_for() {
    let part = |range: &'static str, body: &'static [u8]| {
        ranged(move |asked| {
            assert_eq!(asked, "bytes=10-14");
            answer("206 Partial Content", &[("Content-Range", range)], body)
        })
    };
    let read = |wire: &Wire| with_disk(wire, plain_http(), async |disk| read(&disk, 10, Some(5)).await);
    assert_eq!(read(&part("bytes 10-14/300000", b"12345")).unwrap(), b"12345");
    for (range, body, code, says) in [
        ("bytes 10-14/300001", &b"12345"[..], Code::SourceChanged, "300001 bytes now, expected 300000"),
        ("bytes 10-14/2", b"12345", Code::SourceChanged, "2 bytes now"),
        ("bytes 11-15/300000", b"12345", Code::SourceInvalid, "`bytes 11-15/300000`"),
        ("bytes 10-13/300000", b"1234", Code::SourceInvalid, "`bytes 10-13/300000`"),
        ("bytes 10-14/300000", b"1234", Code::SourceInvalid, "4 bytes as the range"),
        ("bytes 10-14/*", b"12345", Code::SourceInvalid, "`bytes 10-14/*`"),
    ] {
        let wire = part(range, body);
        let error = read(&wire).unwrap_err();
        assert_eq!(error.code(), code, "{range}: {error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.code().exit(), 11);
        assert_eq!(field(&wire.heads()[1], "if-range"), Some("\"1\""));
    }
    let whole = ranged(|_| answer("200 OK", &[("ETag", "\"2\"")], &noise(DISK)));
    assert_eq!(read(&whole).unwrap_err().code(), Code::SourceChanged);
    let gone = ranged(|_| answer("416 Range Not Satisfiable", &[("Content-Range", "bytes */7")], b""));
    assert_eq!(read(&gone).unwrap_err().code(), Code::SourceChanged);
    let open_ended = ranged(|_| {
        let fields = [("Content-Range", "bytes 10-14/300000"), ("Transfer-Encoding", "chunked")];
        [head("206 Partial Content", &fields), b"3\r\n123\r\n0\r\n\r\n".to_vec()].concat()
    });
    let error = read(&open_ended).unwrap_err();
    assert_eq!(error.code(), Code::SourceLengthMismatch, "{error}");
    assert!(error.to_string().contains("sent 3 bytes, expected 5"), "{error}");
}

#[test]
fn a_source_that_stops_sending_is_given_up_after_the_policys_time() {
    let length = DISK.to_string();
    let half = [head("200 OK", &[("Content-Length", &length)]), noise(DISK / 2)].concat();
    let wire = Wire::start(move |_| vec![Act::Say(half.clone()), Act::Hang]);
    let mut policy = plain_http();
    policy.limits.source_stall = Duration::from_secs(2);
    let error = with_disk(&wire, policy, async |disk| read(&disk, 0, None).await).unwrap_err();
    assert_eq!(error.code(), Code::SourceStalled, "{error}");
    assert!(error.to_string().contains("sent nothing for 2 s after 150000 bytes"), "{error}");
}

#[test]
fn a_block_device_is_a_disk_and_is_only_read() {
    const SECTORS: usize = 700;
    let stage = Stage::new();
    let backing = stage.0.path("backing");
    let disk = raw(&backing, SECTORS * 512);
    let device = Loop::attach(&backing, "r");
    let ran = stage.import(device.path(), &["--report", "-"]).done();
    let report = ran.report();
    assert_eq!(report["source"]["size"], disk.len());
    assert_eq!(report["source"]["access"], "ranged");
    assert_eq!(report["source"]["revision"], serde_json::Value::Null, "nothing of a device changes with its content");
    assert!(stage.disk("disk.img") == disk, "a device's path is no name for a disk");
    assert!(fs::read(&backing).unwrap() == disk);

    let other = Stage::new();
    other.import(device.path(), &["--size", "1"]).failed(11, "source-length-mismatch", &["announces 358400"]);
    other.import(device.path(), &["--name", "vm.raw"]).done();
    assert!(other.disk("vm.raw") == disk);
}

#[test]
fn a_disk_with_holes_is_the_same_from_a_file_and_from_a_device() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    const SIZE: u64 = 48 << 20;
    let stage = Stage::new();
    let sparse = stage.0.path("vm.raw");
    let file = fs::File::create(&sparse).unwrap();
    file.set_len(SIZE).unwrap();
    for at in [5, 20 << 20, (20 << 20) + 300_000, SIZE - 70_000] {
        file.write_all_at(&noise(60_000), at).unwrap();
    }
    assert!(file.metadata().unwrap().blocks() * 512 < 2 << 20, "a file system with holes");
    let disk = fs::read(&sparse).unwrap();
    let sum = run(Command::new("sha256sum").arg(&sparse));
    let sum = format!("sha256:{}", sum.split(' ').next().unwrap());
    let device = Loop::attach(&sparse, "r");
    for (source, name) in [(&*stage.0.text("vm.raw"), "vm.raw"), (device.path(), "disk.img")] {
        let other = Stage::new();
        let report = other.import(source, &["--checksum", &sum, "--report", "-"]).done().report();
        assert_eq!(report["transfer"]["bytes_received"], SIZE, "what is not read is received all the same");
        assert!(other.disk(name) == disk, "{source}");
        // Over several connections parts begin anywhere.
        other.import(source, &["--checksum", &sum, "--source-connections", "3"]).done();
    }
}

#[test]
fn what_is_neither_a_file_nor_a_block_device_is_refused() {
    let stage = Stage::new();
    let pipe = stage.0.text("pipe");
    run(Command::new("mkfifo").arg(&pipe));
    let socket = stage.0.text("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let folder = stage.0.folder("folder").display().to_string();
    for (path, says) in [
        (&*pipe, ["is a named pipe", "import - DESTINATION --size BYTES < PIPE"]),
        (&socket, ["is a socket", "expected a regular file or a block device"]),
        (&folder, ["is a directory", "expected a regular file or a block device"]),
        ("/dev/zero", ["is a character device", "standard input"]),
    ] {
        stage.import(path, &[]).failed(2, "usage", &says);
    }
    stage.assert_clean();
}
