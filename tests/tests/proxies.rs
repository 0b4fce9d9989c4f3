//! Proxies: what goes over them, what is told to whom, and what becomes of those that refuse, break or babble.

use std::fs;
use std::sync::{Arc, Mutex};

use longshore_tests::http_proxy::{HttpProxy, Manner};
use longshore_tests::program::{Ran, finish, longshore};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Handler, Script, full, with};
use longshore_tests::tls::Authority;
use longshore_tests::wire::Act;
use serde_json::Value;

const DISK: usize = 100_000;
/// `proxy-user:proxy-pass`, as it stands in a variable and in a field.
const USER: &str = "proxy-user:proxy%2Dpass@";
const BASIC: &str = "Basic cHJveHktdXNlcjpwcm94eS1wYXNz";

/// A disk at images.example, over TLS and plain, whose requests are kept.
struct Images {
    scratch: Scratch,
    authority: Authority,
    tls: Script,
    plain: Script,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Images {
    fn new() -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch);
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        let handler: Handler = Arc::new(move |request| {
            let fields = request.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
            kept.lock().unwrap().push(format!("{}\n{}", request.uri(), fields.collect::<String>()));
            let answer = match request.uri().path() {
                "/disk.raw" => full(200, vec![7; DISK]),
                "/407" => with(407, "proxy-authenticate", "Basic realm=\"give me\""),
                path => with(302, "location", path.strip_prefix("/to/").unwrap()),
            };
            Box::pin(async { answer })
        });
        let tls = Script::start(Some(authority.server_config()), Arc::clone(&handler));
        let plain = Script::start(None, handler);
        Self { scratch, authority, tls, plain, heads }
    }

    fn routes(&self) -> Vec<(&'static str, u16)> {
        vec![("images.example:443", self.tls.port), ("images.example:80", self.plain.port)]
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// A policy that trusts the CA and lets plain HTTP to the two names; with more in `[egress]` and behind it.
    fn policy(&self, more: &str) -> String {
        let path = self.scratch.path("policy.toml");
        let text = format!(
            "schema = \"longshore.policy/v1\"\n[tls]\nca = [\"tls/ca.crt\"]\n[limits]\nconnect = \"1s\"\nback-off = \"1ms\"\n\
             source-back-off = \"1ms\"\nattempts = 3\nsource-attempts = 3\n[egress]\n\
             plain-http = [\"images.example:80\", \"registry.example:80\", \"metadata.google.internal\"]\n{more}\n"
        );
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Imports under that policy with these variables, into a layout unless a destination is named.
    fn import(&self, policy: &str, variables: &[(&str, &str)], source: &str, more: &[&str]) -> Ran {
        let (policy, layout) = (self.policy(policy), format!("oci:{}", self.scratch.text("layout")));
        let to = if more.first().is_some_and(|first| first.starts_with("docker://")) { &[][..] } else { &[&*layout] };
        let arguments = [&["import", source], to, more, &["--policy", &*policy]].concat();
        finish(longshore(arguments).envs(variables.iter().copied()), b"")
    }
}

const ENVIRONMENT: &str = "proxy = \"environment\"";

/// Side, origin, proxy, and whether there is TLS with the proxy itself.
fn connections(report: &Value) -> Vec<(&str, &str, Option<&str>, bool)> {
    let all = report["connections"].as_array().unwrap().iter();
    all.map(|connection| {
        let (proxy, text) = (&connection["proxy"], |name: &str| connection[name].as_str().unwrap());
        (text("side"), text("origin"), proxy["origin"].as_str(), proxy["tls"].is_object())
    })
    .collect()
}

#[test]
fn every_kind_of_target_over_every_kind_of_proxy() {
    let images = Images::new();
    let tls = Registry::start(
        &images.scratch,
        "tls-registry",
        Setup { tls: Some(&images.authority), basic: Some(("reg-user", "reg-pass")), ..Setup::default() },
    );
    let plain = Registry::start(&images.scratch, "plain-registry", Setup::default());
    let auth = images.scratch.path("auth.json");
    // reg-user:reg-pass
    fs::write(&auth, r#"{"auths":{"registry.example:5443":{"auth":"cmVnLXVzZXI6cmVnLXBhc3M="}}}"#).unwrap();
    let auth = auth.display().to_string();
    for over_tls in [false, true] {
        for wants in [None, Some(BASIC)] {
            for scheme in ["https", "http"] {
                let case = format!("{over_tls} {wants:?} {scheme}");
                images.heads.lock().unwrap().clear();
                let mut routes = images.routes();
                routes.extend([("registry.example:5443", tls.port()), ("registry.example:80", plain.port())]);
                let manner = Manner { wants, routes, ..Manner::default() };
                let proxy = HttpProxy::start(over_tls.then(|| images.authority.server_config()), manner);
                let variable = proxy.variable(if wants.is_some() { USER } else { "" });
                let source = format!("{scheme}://src-user:src-pass@images.example/disk.raw");
                // The port decides: only at 80 the registry is listed for plain HTTP.
                let (to, policy) = match scheme {
                    "http" => ("docker://registry.example:80/vm:1", ENVIRONMENT.to_owned()),
                    _ => (
                        "docker://registry.example:5443/vm:1",
                        format!("{ENVIRONMENT}\n[require]\nencrypted-uploads = true"),
                    ),
                };
                let more = [to, "--auth-file", &*auth, "--report", "-"];
                let variables = [("ALL_PROXY", &*variable), ("NO_PROXY", "other.example")];
                let ran = images.import(&policy, &variables, &source, &more).done();

                let report = ran.report();
                let all = connections(&report);
                assert!(all.iter().any(|(side, ..)| *side == "source"), "{case}: {all:?}");
                assert!(all.iter().any(|(side, ..)| *side == "registry"), "{case}: {all:?}");
                let own = proxy.variable("");
                for (_, origin, via, tls_to_proxy) in all {
                    assert!(origin.starts_with(&format!("{scheme}://")), "{case}: {origin}");
                    assert_eq!((via, tls_to_proxy), (Some(&*own), over_tls), "{case}");
                }
                let proxied = proxy.heads();
                for head in &proxied {
                    let (line, lower) = (head.lines().next().unwrap(), head.to_ascii_lowercase());
                    let whole = if scheme == "https" { "CONNECT " } else { " http://" };
                    assert!(line.contains(whole), "{case}: {line}");
                    assert_eq!(
                        head.to_ascii_lowercase().contains("proxy-authorization:"),
                        wants.is_some(),
                        "{case}: {lower}"
                    );
                    // Through a tunnel the proxy sees nothing of what is for others.
                    assert!(scheme == "http" || !lower.contains("\r\nauthorization:"), "{case}: {head}");
                }
                for head in images.heads() {
                    assert!(head.contains("authorization: Basic c3JjLXVzZXI6c3JjLXBhc3M="), "{case}: {head}");
                    assert!(!head.contains("proxy-") && !head.contains("cHJveHk"), "{case}: {head}");
                }
                let shown = format!("{}{}", ran.stdout, ran.stderr);
                for secret in ["proxy-user", "proxy-pass", "proxy%2Dpass", "cHJveHk", "src-pass", "reg-pass"] {
                    assert!(!shown.contains(secret), "{case}: {secret} in {shown}");
                }
            }
        }
    }
}

#[test]
fn the_environment_says_nothing_unless_the_policy_lets_it() {
    let images = Images::new();
    let proxy = HttpProxy::start(None, Manner { routes: images.routes(), ..Manner::default() });
    let variable = proxy.variable("");
    let url = "https://images.example/disk.raw";
    let all = [("HTTPS_PROXY", &*variable)];
    let direct = "images.example cannot be resolved";
    for (policy, variables) in [
        ("", &all[..]),
        ("proxy = \"none\"", &all),
        ("[egress.registry]\nproxy = \"environment\"", &all),
        ("proxy = \"environment\"\n[egress.source]\nproxy = \"none\"", &all),
        (ENVIRONMENT, &[("HTTP_PROXY", &*variable)]),
        (ENVIRONMENT, &[("HTTPS_PROXY", &*variable), ("NO_PROXY", ".com,images.example:443")]),
        (ENVIRONMENT, &[("https_proxy", &*variable), ("no_proxy", "*")]),
        (ENVIRONMENT, &[("HTTPS_PROXY", "")]),
    ] {
        images.import(policy, variables, url, &[]).failed(10, "source-unreachable", &[direct]);
    }
    // A value that is no proxy is not even looked at.
    images.import("", &[("ALL_PROXY", "socks5://a")], url, &[]).failed(10, "source-unreachable", &[direct]);
    assert_eq!(proxy.heads(), Vec::<String>::new());
    for policy in [ENVIRONMENT, "[egress.source]\nproxy = \"environment\""] {
        images.import(policy, &all, url, &[]).done();
    }
    let loopback = images.tls.url("disk.raw");
    let before = proxy.heads().len();
    let report = images.import(ENVIRONMENT, &all, &loopback, &["--report", "-"]).done().report();
    assert_eq!((&report["connections"][0]["proxy"], proxy.heads().len()), (&Value::Null, before), "loopback is direct");
}

#[test]
fn proxies_that_lead_nowhere() {
    let images = Images::new();
    let say = |text: &str| Manner { instead: Some(vec![Act::Say(text.as_bytes().to_vec())]), ..Manner::default() };
    let flood = |text: &str| {
        let acts = vec![Act::Say(text.as_bytes().to_vec()), Act::Flood(1 << 20)];
        Manner { instead: Some(acts), ..Manner::default() }
    };
    let hang = Manner { instead: Some(vec![Act::Hang]), ..Manner::default() };
    let wants = Manner { wants: Some(BASIC), ..Manner::default() };
    let denied = (16, "proxy-denied");
    let nowhere = (10, "source-unreachable");
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n";
    let interim = "HTTP/1.1 100 Go on\r\n\r\n".repeat(9);
    // Words, how often it is asked, and the golden file.
    type Told = (&'static str, Manner, (i32, &'static str), &'static str, usize, &'static str);
    let rows: [Told; 11] = [
        ("", wants.clone(), denied, "wants credentials, and has got none", 1, "golden:proxy-wants-credentials"),
        ("u:s3cret@", wants, denied, "does not accept the credentials", 1, "golden:proxy-wants-other-credentials"),
        (
            "",
            say("HTTP/1.1 403 Not there\r\n\r\n"),
            nowhere,
            "images.example:443: 403 Not there",
            1,
            "golden:proxy-says-no",
        ),
        ("", say(elsewhere), nowhere, "302 Found", 1, ""),
        ("", say("HTTP/1.1 503 Later\r\n\r\n"), nowhere, "503 Later", 3, "golden:proxy-says-later"),
        ("", say(""), nowhere, "it closed the connection without an answer", 3, ""),
        ("", say("220 smtp.example ESMTP\r\n"), nowhere, "its answer is no HTTP/1.1", 1, "golden:proxy-is-none"),
        ("", say("HTTP/1.1 200 OK\r\n\r\n\u{16}\u{3}\u{3}"), nowhere, "more to say than its answer", 1, ""),
        ("", flood("HTTP/1.1 200 OK\r\nX: "), nowhere, "its answer has no end", 1, ""),
        ("", say(&interim), nowhere, "one interim answer after another", 1, ""),
        ("", hang, nowhere, "no answer within 1 s", 3, ""),
    ];
    for (user, manner, (exit, code), says, asked, golden) in rows {
        let proxy = HttpProxy::start(None, manner);
        let variable = proxy.variable(user);
        let ran = images.import(ENVIRONMENT, &[("HTTPS_PROXY", &*variable)], "https://images.example/disk.raw", &[]);
        let named = format!("the proxy {} (HTTPS_PROXY)", proxy.variable(""));
        let ran = ran.failed(exit, code, &[says, &named]);
        let ran = if golden.is_empty() { ran } else { ran.golden(golden) };
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
        assert_eq!(proxy.heads().len(), asked, "{says}: {:?}", proxy.heads());
        assert!(images.heads().is_empty());
    }
    // The other side, where it is an upload that does not begin.
    let proxy = HttpProxy::start(None, say("HTTP/1.1 403 Not there\r\n\r\n"));
    let variable = proxy.variable("");
    let disk = images.scratch.path("disk.raw");
    raw(&disk, DISK);
    let disk = disk.display().to_string();
    let to = ["docker://10.255.0.1:5443/vm:1"];
    let ran = images.import(ENVIRONMENT, &[("HTTPS_PROXY", &*variable)], &disk, &to);
    ran.failed(12, "registry-unreachable", &["opens no tunnel to 10.255.0.1:5443: 403 Not there"]);
    assert_eq!(proxy.heads().len(), 1, "a no is a no");
    // Nobody there at all.
    drop(proxy);
    let ran = images.import(ENVIRONMENT, &[("HTTPS_PROXY", &*variable)], "https://images.example/disk.raw", &[]);
    ran.failed(10, "source-unreachable", &["the proxy http://127.0.0.1:", "cannot be connected to at 127.0.0.1:"]);
}

#[test]
fn a_407_of_a_target_is_the_targets_own() {
    let images = Images::new();
    let proxy = HttpProxy::start(None, Manner { wants: Some(BASIC), routes: images.routes(), ..Manner::default() });
    let variable = proxy.variable(USER);
    let variables = [("HTTPS_PROXY", &*variable)];
    images.import(ENVIRONMENT, &variables, "https://images.example/407", &[]).failed(16, "source-denied", &["407"]);
    // And without a proxy nobody gets credentials for one.
    let direct = images.tls.url("407");
    images.import(ENVIRONMENT, &variables, &direct, &[]).failed(16, "source-denied", &["407"]);
    assert!(images.heads().len() >= 2);
    for head in images.heads() {
        assert!(!head.contains("authorization"), "{head}");
    }
    // Of plain HTTP what comes back may be the proxy's.
    let strict = HttpProxy::start(None, Manner { wants: Some("Basic other"), ..Manner::default() });
    let variable = strict.variable(USER);
    let ran = images.import(ENVIRONMENT, &[("HTTP_PROXY", &*variable)], "http://images.example/disk.raw", &[]);
    ran.failed(16, "proxy-denied", &["does not accept the credentials that it got (407)"]);
}

#[test]
fn tls_through_a_tunnel_is_under_the_same_policy() {
    let images = Images::new();
    let proxy = HttpProxy::start(None, Manner { routes: images.routes(), ..Manner::default() });
    let variable = proxy.variable("");
    let variables = [("HTTPS_PROXY", &*variable)];
    let url = "https://images.example/disk.raw";
    let pins =
        format!("{ENVIRONMENT}\n[[tls.host]]\nmatch = \"images.example\"\npins = [\"sha256:{}\"]", "0".repeat(64));
    images.import(&pins, &variables, url, &[]).failed(15, "tls-certificate", &["images.example"]);
    // A proxy that leads to somebody else gets no further than the certificate.
    let other = Authority::named(&images.scratch, "other");
    let stranger = Script::start(Some(other.server_config()), Arc::new(|_| Box::pin(async { full(200, "") })));
    let routes = vec![("images.example:443", stranger.port)];
    let wrong = HttpProxy::start(None, Manner { routes, ..Manner::default() });
    let variable = wrong.variable("");
    let ran = images.import(ENVIRONMENT, &[("HTTPS_PROXY", &*variable)], url, &[]);
    ran.failed(15, "tls-certificate", &["the certificate of https://images.example is not trusted"]);
    // A proxy over TLS is a peer like every other.
    let hidden = HttpProxy::start(Some(other.server_config()), Manner { routes: images.routes(), ..Manner::default() });
    let variable = hidden.variable("");
    let ran = images.import(ENVIRONMENT, &[("HTTPS_PROXY", &*variable)], url, &[]);
    ran.failed(15, "tls-certificate", &["the certificate of https://127.0.0.1:", "the proxy https://127.0.0.1:"]);
    let anchored =
        format!("{ENVIRONMENT}\n[[tls.host]]\nmatch = \"127.0.0.1:{}\"\nca = [\"other/ca.crt\"]", hidden.port());
    images.import(&anchored, &[("HTTPS_PROXY", &*variable)], url, &[]).done();
}

#[test]
fn nobody_talks_to_the_proxy_itself() {
    let images = Images::new();
    let proxy = HttpProxy::start(None, Manner { wants: Some(BASIC), routes: images.routes(), ..Manner::default() });
    let variable = proxy.variable(USER);
    let port = proxy.port();
    let own = format!("http://127.0.0.1:{port}/disk.raw");
    let says = "it is the proxy that HTTPS_PROXY names, which is for longshore alone";
    let by_name = format!("http://{USER}localhost:{port}");
    for (variable, url) in [
        (&variable, own.clone()),
        (&variable, own.replace("http:", "https:")),
        (&variable, format!("http://localhost:{port}/disk.raw")),
        (&variable, format!("http://[::ffff:127.0.0.1]:{port}/disk.raw")),
        (&variable, format!("http://2130706433:{port}/disk.raw")),
        (&by_name, own.clone()),
        (&by_name, format!("http://localhost.:{port}/disk.raw")),
    ] {
        let hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "localhost."];
        let plain = hosts.map(|host| format!("\"{host}:{port}\"")).join(", ");
        let path = images.policy(ENVIRONMENT);
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("\"images.example:80\"", &format!("\"images.example:80\", {plain}"));
        fs::write(&path, text).unwrap();
        let to = format!("oci:{}", images.scratch.text("layout"));
        let mut command = longshore(["import", &*url, &*to, "--policy", &*path]);
        finish(command.env("HTTPS_PROXY", variable), b"").failed(13, "egress-denied", &[says]);
    }
    assert_eq!(proxy.heads(), Vec::<String>::new());
    // A redirect to it, which the source component would follow.
    let hop = format!("https://images.example/to/https://127.0.0.1:{port}/secret");
    let variables = [("HTTPS_PROXY", &*variable)];
    let ran = images.import(ENVIRONMENT, &variables, &hop, &[]).failed(13, "egress-denied", &[says]);
    ran.golden("redirect-to-the-proxy");
    assert!(proxy.heads().iter().all(|head| head.starts_with("CONNECT images.example:443 ")), "{:?}", proxy.heads());
}

#[test]
fn addresses_are_the_proxys_and_names_the_targets() {
    let images = Images::new();
    let routes = [images.routes(), vec![("metadata.google.internal:80", images.plain.port)]].concat();
    let proxy = HttpProxy::start(None, Manner { routes, ..Manner::default() });
    let variable = proxy.variable("");
    let variables = [("ALL_PROXY", &*variable)];
    let url = "https://images.example/disk.raw";
    let more = |more: &str| format!("{ENVIRONMENT}\n[egress.source]\n{more}");
    for (policy, url, says) in [
        (more("denied-addresses = [\"127.0.0.0/8\"]"), url, "(ALL_PROXY) must not be connected to at 127.0.0.1"),
        (more("addresses = [\"10.0.0.0/8\"]"), url, "egress.source.addresses"),
        (more("denied-hosts = [\"*.example\"]"), url, "denies `*.example`"),
        (more("hosts = [\"127.0.0.1\"]"), url, "egress.source.hosts"),
        (more(""), "https://169.254.169.254/disk.raw", "link-local"),
        (more(""), "https://[fd00:ec2::254]/disk.raw", "metadata service"),
        (
            more(""),
            "http://metadata.google.internal/disk.raw",
            "a proxy, which would resolve it: it is a metadata service",
        ),
    ] {
        let ran = images.import(&policy, &variables, url, &[]).failed(13, "egress-denied", &[says]);
        if says.starts_with("a proxy, which") {
            ran.golden("metadata-by-name-over-a-proxy");
        }
    }
    assert_eq!(proxy.heads(), Vec::<String>::new());
    for target in ["https://intranet/x", "https://r.ns.svc.cluster.local/x", "https://10.0.0.1/x", "https://metadata/x"]
    {
        let hop = format!("https://images.example/to/{target}");
        images.import(ENVIRONMENT, &variables, &hop, &[]).failed(13, "egress-denied", &["must not be"]);
    }
    assert!(proxy.heads().iter().all(|head| head.starts_with("CONNECT images.example:443 ")), "{:?}", proxy.heads());
    // The controls: what names it opens it.
    let named = more("hosts = [\"metadata.google.internal\"]");
    images.import(&named, &variables, "http://metadata.google.internal/disk.raw", &[]).done();
    images.import(&more("addresses = [\"127.0.0.1\"]"), &variables, url, &[]).done();
}

#[test]
fn variables_that_name_no_proxy() {
    let images = Images::new();
    let url = "https://images.example/disk.raw";
    for (name, value, says) in [
        ("HTTPS_PROXY", "socks5h://u:hunter2@a:1080", "HTTPS_PROXY names no proxy: longshore speaks no SOCKS"),
        ("ALL_PROXY", "http://u:hunter2@a:x", "ALL_PROXY names no proxy"),
        ("https_proxy", "http://u:hunter2@a:1/path", "https_proxy names no proxy: there is something behind its port"),
        ("NO_PROXY", "a,hunter2*", "NO_PROXY: entry 2 is not HOST"),
    ] {
        let ran = images.import(ENVIRONMENT, &[(name, value)], url, &[]).failed(2, "usage", &[says]);
        let ran = if value.starts_with("socks") { ran.golden("proxy-speaks-socks") } else { ran };
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    let cgi = [("HTTP_PROXY", "http://u:hunter2@a:1"), ("REQUEST_METHOD", "GET")];
    images.import(ENVIRONMENT, &cgi, url, &[]).failed(2, "usage", &["since REQUEST_METHOD is set"]);
}

#[test]
fn what_the_policy_says_about_proxies() {
    let images = Images::new();
    let path = images.policy("[egress.source]\nproxy = \"environment\"");
    let variables = [("HTTPS_PROXY", "http://u:hunter2@proxy.example:3128"), ("NO_PROXY", "direct.example")];
    let run = |arguments: &[&str]| {
        let ran = finish(longshore(arguments.iter().copied()).envs(variables), b"").done();
        assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
        ran.stdout
    };
    let shown = run(&["policy", "show", "--policy", &path]);
    for line in ["proxy = \"none\"  # built-in", "# https over the proxy http://proxy.example:3128 (HTTPS_PROXY)"] {
        assert!(shown.lines().any(|shown| shown == line), "expected `{line}` in\n{shown}");
    }
    let explain = |source: &str| run(&["policy", "explain", source, "docker://registry.example/vm", "--policy", &path]);
    let over = explain("https://images.example/disk.raw");
    let line = "allowed  connect to it over the proxy http://proxy.example:3128 (HTTPS_PROXY): `egress.source.proxy` (";
    assert!(over.contains(line) && over.contains("connect to the addresses of proxy.example: "), "{over}");
    assert!(!over.contains("addresses of images.example"), "the proxy resolves it: {over}");
    let direct = explain("https://direct.example/disk.raw");
    assert!(!direct.contains("proxy.example") && direct.contains("addresses of direct.example"), "{direct}");
}
