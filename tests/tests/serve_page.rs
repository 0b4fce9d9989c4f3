//! The upload page of `longshore serve` in a browser: chosen, uploaded, paused, gone on with, and what a person reads of it.

use std::fs;

use longshore_tests::chromium::Chromium;
use longshore_tests::layers::assert_layout_empty;
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::serving::{Serving, head};
use longshore_tests::tls::Authority;

const TOKEN: &str = "a-token-of-more-than-16-letters";

/// A service over TLS with a token.
fn serving(scratch: &Scratch, more: &[&str]) -> Serving {
    let authority = Authority::new(scratch);
    fs::write(scratch.path("token"), TOKEN).unwrap();
    let (certificate, key) = (authority.certificate.display().to_string(), authority.key.display().to_string());
    let destination = format!("oci:{}:1", scratch.text("layout"));
    let all = [&destination, "--tls-cert", &certificate, "--tls-key", &key, "--token-file", &scratch.text("token")];
    Serving::start([&all[..], more].concat())
}

fn url(serving: &Serving) -> String {
    format!("https://{}/", serving.address)
}

const ENDED: &str = "/^(Done|Failed|Cancelled)/.test(document.getElementById('state').textContent)";
const RESULT: &str = "document.getElementById('result').textContent";

/// The disk in the layout, by the layer that the report of the only image names.
fn is_in_layout(scratch: &Scratch, disk: &[u8]) -> bool {
    let blobs = fs::read_dir(scratch.path("layout").join("blobs/sha256")).unwrap();
    let mut blobs = blobs.map(|blob| fs::read(blob.unwrap().path()).unwrap());
    blobs.any(|blob| {
        blob.windows(disk.len().min(4096)).any(|window| window == &disk[..window.len()]) && {
            let at = blob.windows(4096).position(|window| window == &disk[..4096]).unwrap();
            blob.get(at..at + disk.len()) == Some(disk)
        }
    })
}

#[test]
fn a_disk_is_uploaded_from_a_browser() {
    let scratch = Scratch::new();
    let serving = serving(&scratch, &["--client-tags"]);
    let disk = raw(&scratch.path("a disk.raw"), 5_000_001);
    let mut page = Chromium::start(&scratch);
    page.open(&url(&serving));

    // Without the right token it says so, in the server's words.
    page.choose("file", &scratch.path("a disk.raw"));
    page.write("token", "another-token-of-16-letters");
    page.press("start");
    page.until(ENDED);
    assert_eq!(page.value(RESULT), "the bearer token is another one (token-wrong)");

    page.write("token", TOKEN);
    page.write("tag", "from-a-browser");
    page.press("start");
    page.until(ENDED);
    let reference = serving.reference(0);
    assert_eq!(page.value(RESULT), reference.as_str());
    assert_eq!(page.value("document.getElementById('progress').value"), 1);
    assert!(is_in_layout(&scratch, &disk));
    let index = fs::read_to_string(scratch.path("layout").join("index.json")).unwrap();
    assert!(index.contains("from-a-browser"), "{index}");

    // What the disk is not: the import's own error, with its code.
    page.write("checksum", &format!("sha256:{}", "0".repeat(64)));
    page.press("start");
    page.until(ENDED);
    let result = page.value(RESULT);
    assert!(result.as_str().unwrap().contains("(checksum-mismatch)"), "{result}");

    // Nothing of it was against its own policy; only what the server refused is on record.
    let complaints: Vec<_> = page.complaints.iter().map(ToString::to_string).collect();
    assert!(complaints.iter().all(|one| one.contains("status of 4")), "{complaints:?}");
}

#[test]
fn an_upload_is_paused_and_gone_on_with() {
    let scratch = Scratch::new();
    // Slow enough to be paused while it runs.
    let serving = serving(&scratch, &["--limit-rate", "4MiB"]);
    let disk = raw(&scratch.path("disk.raw"), 12 << 20);
    let mut page = Chromium::start(&scratch);
    page.open(&url(&serving));
    page.choose("file", &scratch.path("disk.raw"));
    page.write("token", TOKEN);
    page.press("start");
    page.until("document.getElementById('progress').value > 0.1");
    page.press("pause");
    page.until("document.getElementById('state').textContent.startsWith('Paused at ')");
    assert_eq!(page.value("document.getElementById('pause').textContent"), "Continue");
    let paused = page.value("run.offset");
    assert!(paused.as_u64().unwrap() < disk.len() as u64, "{paused}");
    page.press("pause");
    page.until(ENDED);
    assert_eq!(page.value(RESULT), serving.reference(0).as_str());
    assert!(is_in_layout(&scratch, &disk));
}

#[test]
fn an_upload_is_cancelled() {
    let scratch = Scratch::new();
    let serving = serving(&scratch, &["--limit-rate", "1MiB"]);
    raw(&scratch.path("disk.raw"), 12 << 20);
    let mut page = Chromium::start(&scratch);
    page.open(&url(&serving));
    page.choose("file", &scratch.path("disk.raw"));
    page.write("token", TOKEN);
    page.press("start");
    page.until("run !== null && run.path !== null && document.getElementById('progress').value > 0");
    page.press("cancel");
    page.until(ENDED);
    assert_eq!(page.value("document.getElementById('state').textContent"), "Cancelled.");
    serving.wait_for("gave the upload up");
    assert_layout_empty(&scratch.path("layout"));
}

#[test]
fn the_page_is_kept_to_itself() {
    let scratch = Scratch::new();
    let destination = format!("oci:{}:1", scratch.text("layout"));
    let serving = Serving::start([&*destination, "--without-tls", "--anonymous"]);
    let answer = serving.ask(&head("GET", "/", &[]), b"").is(200);
    let policy = answer.field("content-security-policy").unwrap().to_owned();
    for part in ["default-src 'none'", "script-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let mut page = Chromium::start(&scratch);
    page.open(&format!("http://{}/", serving.address));
    // Its script ran, under that policy; another one does not, and nothing else is reached.
    assert_eq!(page.value("typeof Run"), "function");
    let other = page.value(
        "new Promise((told) => {
            addEventListener('securitypolicyviolation', (event) => told(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.injected = true';
            document.body.append(script);
        })",
    );
    assert_eq!((other, page.value("window.injected === undefined")), ("script-src-elem".into(), true.into()));
    let reached = page.value("fetch('http://127.0.0.1:9/').then(() => 'reached', (why) => String(why))");
    assert!(reached.as_str().unwrap().contains("Failed to fetch"), "{reached}");
    // A page of another origin reaches nothing here.
    let elsewhere = Serving::start([&*format!("oci:{}:1", scratch.text("other")), "--without-tls", "--anonymous"]);
    let asked = serving.ask(&head("PUT", "/upload", &[("Origin", &format!("http://{}", elsewhere.address))]), b"");
    asked.refused(403, "origin-denied");
}
