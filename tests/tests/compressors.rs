//! The built-in compressors, and several instances on one layer: the same bytes whatever their number, read by everybody, and
//! an instance that misbehaves late is found like one that misbehaves at once.

use std::collections::VecDeque;
use std::fs;
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use longshore::engine::{CachePlace, Compiler, Component, Engine, Kind, Origin, Unchecked, built_in};
use longshore::error::{Result, Stage};
use longshore::policy::Limits;
use longshore::stages::{Compressor, MAX_INSTANCES};
use longshore::stream::{Chunks, Flow, PIECE_BYTES, outcome};
use longshore_tests::fixtures::Fixture;
use longshore_tests::layers::{assert_layout_empty, crane, pull, umoci};
use longshore_tests::program::{MOST_OF_ITS_OWN, import, longshore, path, watched};
use longshore_tests::registry::{Registry, Setup};
use longshore_tests::scratch::{Scratch, noise, raw, run};
use longshore_tests::script::{Handler, Script, streamed};
use longshore_tests::sink;
use longshore_tests::wrapped::{disk, piped};
use serde_json::{Value, json};

/// What a framing puts before the disk: two headers.
const HEADERS: usize = 1024;

struct Listed(VecDeque<Bytes>);

impl Chunks for Listed {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// A layer in chunks of that size.
fn layer(bytes: &[u8], chunk: usize) -> Flow {
    let (setter, outcome) = outcome(Stage::Source, "test");
    setter.set(Ok(()));
    Flow::new(Listed(bytes.chunks(chunk).map(Bytes::copy_from_slice).collect()), outcome, None)
}

async fn compressed(engine: &Engine, component: &Component, layer: Flow, instances: usize) -> Flow {
    let compressor = Compressor::new(engine, component).await.unwrap();
    compressor.compress(layer, NonZeroUsize::new(instances).unwrap()).await.unwrap()
}

/// What gzip or zstd makes of a compressed layer.
fn decompressed(tool: &str, bytes: &[u8]) -> Vec<u8> {
    piped(&format!("{tool} -dc"), bytes)
}

/// Waits until no thread has the component any more.
async fn gone(component: &Component) {
    for _ in 0..3000 {
        if Arc::strong_count(component.work()) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("threads go on");
}

#[tokio::test]
async fn the_output_is_the_same_whatever_the_number_of_instances_and_chunks() {
    let engine = Engine::new(&Limits::default()).unwrap();
    let _ticker = engine.ticker().unwrap();
    for (name, tool) in [("compressor-gzip", "gzip"), ("compressor-zstd", "zstd")] {
        let embedded = built_in().iter().find(|embedded| embedded.name == name).unwrap();
        let component = Component::built_in(&engine, embedded).unwrap();
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 4 * PIECE_BYTES + 12_345] {
            let bytes = disk(length);
            let mut outputs = Vec::new();
            for (instances, chunk) in [(1, 100_003), (2, 4096), (3, 3 * PIECE_BYTES), (5, 70_001)] {
                let before = component.work().cpu();
                let mut flow = compressed(&engine, &component, layer(&bytes, chunk), instances).await;
                let mut output = Vec::new();
                while let Some(chunk) = flow.next().await.unwrap() {
                    output.extend_from_slice(&chunk);
                }
                drop(flow);
                gone(&component).await;
                assert!(component.work().cpu() > before);
                outputs.push(output);
            }
            assert!(outputs.iter().all(|output| *output == outputs[0]), "{name}, {length} bytes");
            assert!(decompressed(tool, &outputs[0]) == bytes, "{name}, {length} bytes");
            assert!(length < 1000 || outputs[0].len() < length * 2 / 5, "{name} compresses");
        }
    }
}

#[tokio::test]
async fn a_layer_that_is_given_up_lets_every_instance_go_even_one_that_spins() {
    let engine = Engine::new(&Limits::default()).unwrap();
    let _ticker = engine.ticker().unwrap();
    let file = Fixture::CompressorScript.path();
    let wasm = fs::read(&file).unwrap();
    let compiler = Compiler { program: path(), cache: CachePlace::Nowhere };
    let named = ("compressor-script", Origin::File(file.into()));
    let component = Unchecked::compiled(&engine, &compiler, named, &wasm).await.unwrap();
    let component = component.fit(&engine, Kind::Compressor).unwrap();
    let mut bytes = vec![b's'; 3 * PIECE_BYTES];
    bytes[..5].copy_from_slice(b"disk/");
    let mut flow = compressed(&engine, &component, layer(&bytes, 100_000), 3).await;
    assert!(flow.next().await.unwrap().is_some());
    assert!(Arc::strong_count(component.work()) > 1);
    drop(flow);
    gone(&component).await;
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn a_compressed_layer_is_what_its_media_type_says_and_everybody_reads_it() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, "registry", Setup::default());
    let (source, host) = (scratch.text("disk.raw"), registry.host());
    let disk = disk(3 * PIECE_BYTES + 5);
    fs::write(&source, &disk).unwrap();
    let send = |to: &str, more: &[&str]| -> Value {
        import([&[&*source, to, "--plain-http", &*host, "--report", "-"], more].concat()).done().report()
    };
    let plain = send(&format!("oci:{}", scratch.text("plain")), &[]);
    let diff_id = &plain["image"]["layer_digest"];
    for (compressor, types, media_type) in [
        ("gzip", "oci", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd", "oci", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("gzip", "docker", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ] {
        let work = format!("{compressor}-{types}");
        let to = format!("{host}/vm:{work}");
        let report = send(&format!("docker://{to}"), &["--compressor", compressor, "--media-types", types]);
        let full = format!("compressor-{compressor}");
        let again = send(&format!("docker://{to}-2"), &["--compressor", &full, "--media-types", types]);
        assert_eq!(again["image"]["digest"], report["image"]["digest"], "{work}: the same import, the same image");
        let stage = report["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "compressor").unwrap();
        assert_eq!(stage["component"]["name"], full);
        assert_eq!(stage["bytes_in"], plain["image"]["layer_size"]);
        assert_eq!(stage["bytes_out"], report["image"]["layer_size"]);
        assert!(stage["cpu_seconds"].as_f64().unwrap() > 0.0);

        let skopeo = ["--src-tls-verify=false"];
        let image = pull(&scratch, &work, &skopeo, &format!("docker://{to}"));
        let layer = fs::read(image.layer()).unwrap();
        let blob = &image.manifest["layers"][0];
        assert_eq!(blob["mediaType"], media_type);
        assert_eq!((&blob["digest"], &blob["size"]), (&json!(sha256(&layer)), &json!(layer.len())));
        assert!(layer.len() < disk.len() / 2);
        // What containerd and everybody else checks of an unpacked layer.
        assert_eq!(image.config["rootfs"]["diff_ids"], json!([diff_id]));
        assert_eq!(json!(sha256(&decompressed(compressor, &layer))), *diff_id);
        assert!(image.file("disk/disk.raw") == disk);
        assert!(crane(None, &to, "disk/disk.raw") == disk, "{work}: crane reads another disk");
        if compressor == "gzip" {
            // Debian's umoci knows no zstd. It compares the diffID.
            assert!(umoci(&scratch, &work, &skopeo, &format!("docker://{to}"), "disk/disk.raw") == disk);
        }
    }
    let says = ["docker has no media type for a layer that is `application/vnd.oci.image.layer.v1.tar+zstd`"];
    let layout = format!("oci:{}", scratch.text("layout"));
    for to in [&*layout, &*format!("docker://{host}/other:1")] {
        let arguments = [&source, to, "--plain-http", &host, "--compressor", "zstd", "--media-types", "docker"];
        import(arguments).failed(2, "usage", &says);
    }
    assert_layout_empty(&scratch.path("layout"));
    assert!(!registry.has_tag("other", "1"));
}

#[test]
fn an_instance_that_misbehaves_in_a_later_piece_ends_the_import() {
    let scratch = Scratch::new();
    let script = Fixture::CompressorScript.path();
    let policy = scratch.text("policy.toml");
    fs::write(&policy, "schema = \"longshore.policy/v1\"\n[limits]\ncomponent-cpu = \"1s\"\n").unwrap();
    let layout = format!("oci:{}", scratch.text("layout"));
    let import_piece = |begins: u8| {
        let mut disk = vec![0; 6 * PIECE_BYTES];
        disk[3 * PIECE_BYTES - HEADERS] = begins;
        fs::write(scratch.path("disk.raw"), &disk).unwrap();
        let source = scratch.text("disk.raw");
        import([&*source, &*layout, "--compressor", &*script, "--policy", &*policy, "--report", "-"])
    };
    for (begins, code, says) in [
        (b'b', "component-contract", "the compressor `compressor-script` handed its input back"),
        (b'd', "component-contract", "the compressor `compressor-script` did not read its input to the end"),
        (b'e', "component-failed", "compressor-script: it turned out badly"),
        (b'f', "component-failed", "compressor-script: this piece is too much"),
        (b'h', "component-budget", "the compressor `compressor-script` was stopped: it asked for"),
        (b'l', "component-contract", "the compressor `compressor-script` wrote more than "),
        (b'm', "component-contract", "the compressor `compressor-script` wrote something that does not begin as gzip"),
        (b'n', "component-contract", "the compressor `compressor-script` ended but left its output open"),
        (b's', "component-budget", "the compressor `compressor-script` was stopped: the CPU budget was spent"),
        (b't', "component-trapped", "the compressor `compressor-script` trapped"),
    ] {
        let ran = import_piece(begins).failed(14, code, &[says]);
        let error = &ran.report()["error"];
        assert_eq!((&error["stage"], &error["blame"]), (&json!("compressor"), &json!("component")), "{says}");
        assert_layout_empty(&scratch.path("layout"));
    }
    import_piece(b'.').done();
}

#[test]
fn memory_is_bounded_by_the_instances_and_not_by_the_layer() {
    const DISK: u64 = 512 << 20;
    /// Two pieces of the layer, and what the component holds besides.
    const INSTANCE: u64 = 10 << 20;
    let instances = std::thread::available_parallelism().unwrap().min(MAX_INSTANCES).get() as u64;
    let handler: Handler = Arc::new(|_| {
        Box::pin(async {
            let chunk = Bytes::from(noise(PIECE_BYTES));
            let chunks = (0..DISK / chunk.len() as u64).map(move |_| Ok(chunk.clone()));
            streamed(Some(DISK), stream::iter(chunks))
        })
    });
    let source = Script::start(None, handler);
    let (url, host) = (source.url("disk.raw"), source.host());
    for compressor in ["gzip", "zstd"] {
        let (registry, seen) = sink::start(None, None);
        let to = format!("docker://{}/vm:1", registry.host());
        let mut command = longshore(["import", &url, &to, "--compressor", compressor, "--report", "-"]);
        command.args(["--plain-http", &host, "--plain-http", &registry.host()]);
        let (ran, peak) = watched(&mut command);
        let ran = ran.done();
        println!("{compressor}: peak of its own {} MiB with {instances} instances", peak >> 20);
        assert!(peak > 0 && peak <= MOST_OF_ITS_OWN + (instances + 1) * INSTANCE, "{compressor}: {} MiB", peak >> 20);
        assert_eq!(ran.report()["image"]["layer_size"], seen.received.load(SeqCst));
    }
}

#[test]
fn one_instance_compresses_the_whole_layer_where_outputs_cannot_be_concatenated() {
    let scratch = Scratch::new();
    let disk = raw(&scratch.path("disk.raw"), 2 * PIECE_BYTES);
    let layout = format!("oci:{}:1", scratch.text("layout"));
    let store = Fixture::CompressorStore.path();
    let report =
        import([&*scratch.text("disk.raw"), &*layout, "--compressor", &*store, "--report", "-"]).done().report();
    let image = pull(&scratch, "pulled", &[], &layout);
    assert!(image.file("disk/disk.raw") == disk);
    let layer = fs::read(image.layer()).unwrap();
    let members = layer.windows(10).filter(|bytes| *bytes == [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]).count();
    assert_eq!(members, 1);
    let stage = report["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "compressor").unwrap();
    assert!(stage["cpu_seconds"].as_f64().unwrap() > 0.0);
    run(Command::new("gzip").arg("-t").stdin(fs::File::open(image.layer()).unwrap()));
}
