//! A token server for real registries: it signs what it is asked for, with openssl.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::scratch::{Scratch, run};
use crate::script::{Handler, Script, empty, full};
use crate::tls::Authority;

/// Seconds that tokens live for.
const LIFE: u64 = 300;
/// distribution takes tokens for so many seconds after they have run out.
const LEEWAY: u64 = 60;

/// A running token server over TLS. Whoever comes with `porter:hunter2` gets what is asked for, others get 401.
pub struct Signer {
    server: Script,
    certificate: PathBuf,
    /// The scopes it was asked for, in order.
    pub scopes: Arc<Mutex<Vec<String>>>,
}

impl Signer {
    pub fn start(scratch: &Scratch, authority: &Authority) -> Self {
        Self::living(scratch, authority, LIFE)
    }

    /// Of tokens that live for so many seconds, a part of one less, although it says more.
    pub fn living(scratch: &Scratch, authority: &Authority, seconds: u64) -> Self {
        let folder = scratch.folder("signer");
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=signer"]);
        openssl.stderr(Stdio::null());
        run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
        let pem = fs::read_to_string(&certificate).expect("the certificate");
        let chain: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let scopes = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&scopes);
        let handler: Handler = Arc::new(move |request| {
            let basic = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            if basic != Some(&format!("Basic {}", STANDARD.encode("porter:hunter2"))) {
                return Box::pin(async { empty(401) });
            }
            let query = request.uri().query().unwrap_or_default().to_owned();
            let scopes: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("scope=")).collect();
            let scope = scopes.join(" ").replace("%3A", ":").replace("%2C", ",").replace("%2F", "/");
            asked.lock().unwrap().push(scope.clone());
            let token = sign(&folder, &chain, &scope, seconds);
            Box::pin(async move { full(200, json!({"token": token, "expires_in": LIFE}).to_string()) })
        });
        Self { server: Script::start(Some(authority.server_config()), handler), certificate, scopes }
    }

    /// What makes a registry want these tokens.
    pub fn configuration(&self) -> String {
        format!(
            "auth:\n  token:\n    realm: {}\n    service: registry\n    issuer: signer\n    rootcertbundle: {}\n",
            self.server.url("token"),
            self.certificate.display()
        )
    }
}

/// A JSON web token for the scopes, as distribution's specification of them has it.
fn sign(folder: &std::path::Path, chain: &str, scope: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let access = scope.split(' ').map(|scope| {
        let named = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':'));
        let (name, actions) = named.unwrap_or_default();
        json!({"type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
    });
    let access: Vec<_> = access.collect();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [chain]});
    let claims = json!({
        "iss": "signer", "sub": "porter", "aud": "registry", "jti": "1",
        "iat": now - LEEWAY, "nbf": now - LEEWAY, "exp": now + seconds - LEEWAY,
        "access": access,
    });
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let input = folder.join("input");
    fs::write(&input, &signed).expect("a file");
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-sign"]).arg(folder.join("key.pem")).arg(&input);
    let output = openssl.output().expect("openssl");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(output.stdout))
}
