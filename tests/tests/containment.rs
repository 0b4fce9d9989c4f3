//! What a hostile component tries, and what stops it. docs/containment.md is the whole table: each of its rows has a test here
//! or elsewhere.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use longshore_tests::fixtures::Fixture;
use longshore_tests::program::{Ran, import};
use longshore_tests::scratch::{Scratch, raw};
use longshore_tests::script::{Handler, Script, streamed};
use serde_json::json;
use wasm_encoder::{
    ComponentSection as _, ComponentSectionId, InstanceSection, MemorySection, MemoryType, Module, ModuleArg,
    ModuleSection, RefType, TableSection, TableType,
};

const DISK: usize = 300_000;
/// The most messages of one instance that are shown, and the most bytes of each (`engine/log.rs`).
const MESSAGES: (usize, usize) = (256, 4096);
/// What stands around a message in the log: time, level, the component's name.
const AROUND: usize = 256;

struct Place {
    scratch: Scratch,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        raw(&scratch.path("disk.raw"), DISK);
        Self { scratch }
    }

    fn through(&self, filter: Fixture) -> Ran {
        self.under(filter, "component-cpu = \"2s\"\ncomponent-memory = \"16MiB\"")
    }

    fn under(&self, filter: Fixture, limits: &str) -> Ran {
        let limits = format!("[limits]\n{limits}");
        fs::write(self.scratch.path("policy.toml"), format!("schema = \"longshore.policy/v1\"\n{limits}\n")).unwrap();
        let (disk, policy) = (self.scratch.text("disk.raw"), self.scratch.text("policy.toml"));
        let (to, size) = (format!("oci:{}", self.scratch.text("layout")), DISK.to_string());
        let filter = filter.path();
        import([&*disk, &*to, "--filter", &*filter, "--size", &*size, "--policy", &*policy, "--report", "-"])
    }

    /// Stopped with that code and those words, to blame, and nothing is left.
    fn stopped(filter: Fixture, code: &str, says: &str) -> Ran {
        let place = Self::new();
        let ran = place.through(filter);
        place.nothing_is_left(filter, ran, code, says)
    }

    fn nothing_is_left(&self, filter: Fixture, ran: Ran, code: &str, says: &str) -> Ran {
        let ran = ran.failed(14, code, &[says]);
        let error = &ran.report()["error"];
        assert_eq!((&error["stage"], &error["blame"]), (&json!("filter"), &json!("component")), "{filter:?}");
        assert!(!self.scratch.path("layout/index.json").exists(), "{filter:?}: nothing is tagged");
        ran
    }
}

#[test]
fn handles_without_end() {
    Place::stopped(Fixture::FilterHandles, "component-trapped", "handle").golden("filter-opens-handles-without-end");
}

#[test]
fn a_call_of_itself_without_end() {
    Place::stopped(Fixture::FilterDeep, "component-trapped", "`filter-deep` trapped")
        .golden("filter-calls-itself-without-end");
}

#[test]
fn more_words_than_fit_into_a_call() {
    Place::stopped(Fixture::FilterWords, "component-trapped", "too much data").golden("filter-says-too-much");
}

#[test]
fn an_output_that_is_dropped() {
    Place::stopped(Fixture::FilterDrops, "component-failed", "dropped").golden("filter-drops-its-output");
}

#[test]
fn tasks_without_end() {
    Place::stopped(Fixture::FilterTasks, "component-budget", "`filter-tasks` was stopped")
        .golden("filter-begins-tasks-without-end");
}

#[test]
fn a_filter_that_waits_for_ever() {
    for (filter, says) in [
        (Fixture::FilterMute, "the filter `filter-mute` did nothing for 1 s while it was waited for"),
        (Fixture::FilterWaits, "the filter `filter-waits` did nothing for 1 s while it was waited for"),
    ] {
        let place = Place::new();
        let ran = place.under(filter, "component-idle = \"1s\"");
        let ran = place.nothing_is_left(filter, ran, "component-stalled", says);
        if filter == Fixture::FilterWaits {
            ran.golden("filter-waits-for-ever");
        }
    }
}

#[test]
fn a_byte_now_and_then() {
    let place = Place::new();
    let ran = place.under(Fixture::FilterTrickles, "component-wait = \"1s\"");
    let says =
        "kept others waiting for longer than it may: 1 s, and 60 s for each MiB that it moved, of which there are 0";
    place.nothing_is_left(Fixture::FilterTrickles, ran, "component-stalled", says).golden("filter-trickles");
    // Its entry may allow it more, and less.
    let component = Fixture::FilterTrickles.path();
    let digest = longshore_tests::scratch::run(std::process::Command::new("sha256sum").arg(&component));
    let digest = digest.split_whitespace().next().unwrap();
    let entry = format!("component-wait = \"1h\"\n[[components.allow]]\ndigest = \"sha256:{digest}\"\nwait = \"2s\"");
    place.under(Fixture::FilterTrickles, &entry).failed(14, "component-stalled", &["longer than it may: 2 s"]);
}

/// The disk comes slower than any limit of the component's allows, and the component waits for it.
#[test]
fn an_input_that_trickles_is_not_its_fault() {
    const PIECES: usize = 12;
    const PAUSE: Duration = Duration::from_millis(250);
    let handler: Handler = Arc::new(|_| {
        let pieces = stream::unfold(0, |sent| async move {
            if sent == PIECES {
                return None;
            }
            // The pause is the point: longer in all than the component may be idle or keep anybody waiting.
            tokio::time::sleep(PAUSE).await;
            Some((Ok(Bytes::from_static(&[7; 100])), sent + 1))
        });
        let answer = streamed(Some(PIECES as u64 * 100), pieces);
        Box::pin(async move { answer })
    });
    let server = Script::start(None, handler);
    for filter in [Fixture::FilterRot, Fixture::FilterPass] {
        let place = Place::new();
        let rules = format!(
            "schema = \"longshore.policy/v1\"\n[egress]\nplain-http = [\"{}\"]\n[limits]\ncomponent-idle = \"1s\"\n\
             component-wait = \"2s\"\n",
            server.host()
        );
        fs::write(place.scratch.path("policy.toml"), rules).unwrap();
        let (to, policy) = (format!("oci:{}", place.scratch.text("layout")), place.scratch.text("policy.toml"));
        let size = (PIECES * 100).to_string();
        let began = Instant::now();
        import([&*server.url("disk.raw"), &to, "--filter", &filter.path(), "--policy", &policy, "--size", &size])
            .done();
        assert!(began.elapsed() > Duration::from_secs(2), "{filter:?}: it took longer than either limit");
    }
}

#[test]
fn a_description_that_never_ends() {
    Place::stopped(Fixture::FilterDescribes, "component-budget", "`filter-describes` was stopped: the CPU budget")
        .golden("filter-describes-itself-without-end");
}

/// It is no fault to say much. What is shown of it is bounded, and moves no cursor.
#[test]
fn a_log_without_end() {
    let place = Place::new();
    let ran = place.through(Fixture::FilterChatter).done();
    let lines = ran.stderr.lines().filter(|line| line.contains("chatter")).count();
    assert!((1..=MESSAGES.0).contains(&lines), "{lines} lines");
    assert!(ran.stderr.lines().all(|line| line.len() <= MESSAGES.1 + AROUND), "a message is cut");
    assert!(!ran.stderr.contains('\x1b') && !ran.stderr.contains('\r'), "no control characters");
}

/// The page's rows: the attempt, the layer, how it ends, and the test that proves it.
#[test]
fn every_row_of_the_table_has_its_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(tests.join("../docs/containment.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| a component"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 30, "{} rows", rows.len());
    let read = |file: &str| {
        let path =
            if file.contains('/') { tests.join("../host/src").join(file) } else { tests.join("tests").join(file) };
        fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    };
    let errors = fs::read_to_string(tests.join("../docs/errors.md")).unwrap();
    for row in rows {
        // The bombs' table has no layer: it is the child's.
        let ([_, _, ends, proof] | [_, ends, proof]) = row[..] else { panic!("{row:?} has not its columns") };
        let (file, test) = proof.trim_matches('`').split_once("::").unwrap_or_else(|| panic!("{proof}"));
        assert!(read(file).contains(&format!("fn {test}(")), "{proof} is not there");
        if let Some(code) = ends.strip_prefix('`').and_then(|rest| rest.split('`').next()) {
            assert!(errors.contains(&format!("`{code}`")), "{code} is no code");
        }
    }
}

/// The component, and behind what it has so many instances of a core module. Sections of a component may stand in any order
/// (Component Model, Binary.md), and an instance nobody uses is made all the same.
fn with_instances(component: &[u8], module: &Module, instances: usize) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let (mut at, mut modules) = (8, 0);
    while at < bytes.len() {
        let (id, mut size, mut shift) = (bytes[at], 0_usize, 0);
        loop {
            at += 1;
            size |= usize::from(bytes[at] & 0x7f) << shift;
            shift += 7;
            if bytes[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + size;
        modules += u32::from(id == u8::from(ComponentSectionId::CoreModule));
    }
    ModuleSection(module).append_to_component(&mut bytes);
    let mut section = InstanceSection::new();
    for _ in 0..instances {
        section.instantiate(modules, Vec::<(&str, ModuleArg)>::new());
    }
    section.append_to_component(&mut bytes);
    bytes
}

#[test]
fn more_instances_tables_and_memories_than_a_component_may_have() {
    let place = Place::new();
    let pass = fs::read(Fixture::FilterPass.path()).unwrap();
    let (mut with_tables, mut with_memory) = (Module::new(), Module::new());
    let mut tables = TableSection::new();
    for _ in 0..20 {
        let table =
            TableType { element_type: RefType::FUNCREF, table64: false, minimum: 1, maximum: None, shared: false };
        tables.table(table);
    }
    with_tables.section(&tables);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    with_memory.section(&memories);
    let filter = place.scratch.text("filter-many.wasm");
    let run = |module: &Module, instances| {
        fs::write(&filter, with_instances(&pass, module, instances)).unwrap();
        let (disk, to, size) =
            (place.scratch.text("disk.raw"), format!("oci:{}", place.scratch.text("layout")), DISK.to_string());
        import([&*disk, &*to, "--filter", &*filter, "--size", &*size, "--report", "-"])
    };
    for (what, module, few, many) in [
        ("instance count", &Module::new(), 50, 101),
        ("table count", &with_tables, 3, 6),
        ("memory count", &with_memory, 10, 21),
    ] {
        let ran = place.nothing_is_left(Fixture::FilterPass, run(module, many), "component-trapped", what);
        assert!(ran.stderr.contains("resource limit exceeded"), "{}", ran.stderr);
        // Fewer are no fault.
        run(module, few).done();
        fs::remove_dir_all(place.scratch.path("layout")).unwrap();
    }
}
