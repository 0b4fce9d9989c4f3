//! It really streams: no byte waits for the last one, no file takes the disk, memory stays flat.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::fixtures::Fixture;
use longshore_tests::program::{MOST_OF_ITS_OWN, finish, import, longshore, path, watched};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Handler, Script, streamed, zeros};
use longshore_tests::sink;
use longshore_tests::tls::Authority;

/// How long a peer waits for what must come.
const COMES_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn the_last_byte_may_wait_until_the_sink_has_all_but_a_mebibyte() {
    const DISK: u64 = 64 << 20;
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let (registry, seen) = sink::start(Some(authority.server_config()), None);
    let received = Arc::clone(&seen);
    let handler: Handler = Arc::new(move |_| {
        let received = Arc::clone(&received);
        Box::pin(async move {
            let body = stream::unfold(0, move |sent| {
                let received = Arc::clone(&received);
                async move {
                    let left = DISK - sent;
                    if left == 0 {
                        return None;
                    }
                    if left == 1 {
                        let began = Instant::now();
                        while received.received.load(SeqCst) < DISK - (1 << 20) {
                            if began.elapsed() > COMES_WITHIN {
                                return Some((Err(std::io::Error::other("the sink did not get its bytes")), DISK));
                            }
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                    let now = left.saturating_sub(1).clamp(1, 64 * 1024);
                    Some((Ok(Bytes::from(vec![7; now as usize])), sent + now))
                }
            });
            streamed(Some(DISK), body)
        })
    });
    let source = Script::start(Some(authority.server_config()), handler);
    let to = format!("docker://{}/vm:1", registry.host());
    import([&*source.url("disk.raw"), &to, "--ca", &authority.ca()]).done();
    assert!(seen.received.load(SeqCst) > DISK);
}

#[test]
fn no_file_is_written_on_the_way_to_a_registry() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup::default());
    raw(&scratch.path("disk.raw"), 8 << 20);
    let host = registry.host();
    // A component that is compiled and copies every byte itself, and the built-in ones.
    for (tag, more) in [("1", vec![]), ("2", vec!["--source".to_owned(), Fixture::SourceFlip.path()])] {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 0; exec \"$@\"", "sh"]).arg(path());
        limited.args(["import", &scratch.text("disk.raw"), &registry.reference(&format!("vm:{tag}"))]);
        limited.args(["--plain-http", &host]).args(more).env_clear().env("PATH", "/usr/bin:/bin");
        finish(&mut limited, b"").done();
        assert!(registry.has_tag("vm", tag));
    }
    // The limit is real: a layout cannot be written under it.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]).arg(path());
    limited.args(["import", &scratch.text("disk.raw"), &format!("oci:{}", scratch.text("layout"))]);
    finish(limited.env_clear(), b"").failed(20, "local-file", &["File too large"]);
}

#[test]
fn memory_stays_flat_for_8_gib_over_tls() {
    const DISK: u64 = 8 << 30;
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch);
    let (registry, seen) = sink::start(Some(authority.server_config()), None);
    let handler: Handler = Arc::new(|_| Box::pin(async { zeros(DISK) }));
    let source = Script::start(Some(authority.server_config()), handler);
    let to = format!("docker://{}/vm:1", registry.host());
    let mut command = longshore(["import", &source.url("disk.raw"), &to, "--ca", &authority.ca(), "--report", "-"]);
    let (ran, peak) = watched(&mut command);
    let ran = ran.done();
    let reported = ran.report()["process"]["peak_rss_bytes"].as_u64().unwrap();
    println!("peak of its own {} MiB, reported {} MiB", peak >> 20, reported >> 20);
    assert!(peak > 0 && peak <= MOST_OF_ITS_OWN, "{} MiB", peak >> 20);
    assert!(reported >= peak, "the report tells all of {} MiB, not {}", peak >> 20, reported >> 20);
    assert!(seen.received.load(SeqCst) > DISK);
}
