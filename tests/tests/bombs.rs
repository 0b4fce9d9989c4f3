//! Components that are made to be compiled for ever, or into everything there is: the child that compiles them ends by limits that
//! it set itself, the run ends with the error that says so, and nothing of them is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_tests::fixtures::Fixture;
use longshore_tests::program::{MOST_OF_ITS_OWN, Ran, Seen, longshore, watched_within};
use longshore_tests::scratch::{Scratch, raw};
use wasm_encoder::{
    BlockType, CodeSection, Component, ComponentSectionId, ConstExpr, DataSection, DataSegment, DataSegmentMode,
    Function, FunctionSection, Instruction, MemorySection, MemoryType, Module, ModuleSection, RefType, TableSection,
    TableType, TypeSection, ValType,
};

/// What compiling may take here: a fraction of what is built in, which the machine that runs these tests would feel.
const CPU: Duration = Duration::from_secs(3);
const MEMORY: u64 = 1 << 30;
/// How much longer by the clock (`engine/compile.rs`).
const WALL_PER_CPU: u32 = 10;
/// The most bytes of a component (`engine/compile.rs`).
const MOST: usize = 64 << 20;
/// What a run takes beside the compiling, on a machine that does other things too.
const AROUND: Duration = Duration::from_secs(60);

struct Place {
    scratch: Scratch,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        raw(&scratch.path("disk.raw"), 10_000);
        let limits = format!("compile-cpu = \"{}s\"\ncompile-memory = \"{}MiB\"", CPU.as_secs(), MEMORY >> 20);
        fs::write(scratch.path("policy.toml"), format!("schema = \"longshore.policy/v1\"\n[limits]\n{limits}\n"))
            .unwrap();
        Self { scratch }
    }

    fn cache(&self) -> PathBuf {
        self.scratch.path("cache")
    }

    fn import(&self, filter: &str) -> (Ran, Seen) {
        let (disk, to, policy) = (
            self.scratch.text("disk.raw"),
            format!("oci:{}", self.scratch.text("layout")),
            self.scratch.text("policy.toml"),
        );
        let mut command = longshore(["import", &*disk, &*to, "--filter", filter, "--policy", &*policy]);
        command.env("LONGSHORE_CACHE", self.cache());
        watched_within(&mut command, CPU * WALL_PER_CPU + AROUND)
    }

    /// The run ends with those words, its memory is the component's and its own, and neither cache nor layout has anything.
    fn refused(name: &str, bomb: &[u8], says: &[&str]) {
        let place = Self::new();
        let path = place.scratch.path(name).with_extension("wasm");
        fs::write(&path, bomb).unwrap();
        let (ran, seen) = place.import(&path.display().to_string());
        println!("{name}: {} bytes, {:.1} s, {} MiB", bomb.len(), seen.took.as_secs_f64(), seen.own_bytes >> 20);
        ran.failed(14, "component-invalid", &[&[&*format!("`{name}` ")], says].concat());
        let most = MOST_OF_ITS_OWN + bomb.len().min(MOST) as u64;
        assert!(seen.own_bytes <= most, "{name}: {} MiB, expected at most {}", seen.own_bytes >> 20, most >> 20);
        assert_eq!(names(&place.cache()), Vec::<String>::new(), "{name}");
        assert!(!place.scratch.path("layout/index.json").exists(), "{name}");
    }

    /// It compiles or does not; either way it ends as what cannot be loaded, and nothing is pushed.
    fn refused_or_no_stage(name: &str, bomb: &[u8]) {
        let place = Self::new();
        let path = place.scratch.path(name).with_extension("wasm");
        fs::write(&path, bomb).unwrap();
        let (ran, seen) = place.import(&path.display().to_string());
        println!("{name}: {} bytes, {:.1} s, {} MiB", bomb.len(), seen.took.as_secs_f64(), seen.own_bytes >> 20);
        ran.failed(14, "component-invalid", &[&format!("`{name}` ")]);
        let most = MOST_OF_ITS_OWN + MOST as u64;
        assert!(seen.own_bytes <= most, "{name}: {} MiB, expected at most {}", seen.own_bytes >> 20, most >> 20);
        assert!(!place.scratch.path("layout/index.json").exists(), "{name}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// How a child is ended by its own limits.
fn by_its_limits() -> String {
    format!("cannot be compiled within {} CPU seconds and {} MiB of memory", CPU.as_secs(), MEMORY >> 20)
}

/// A component with that one core module in it.
fn component(module: &Module) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&ModuleSection(module));
    component.finish()
}

/// A module of functions without parameters or results.
fn functions(bodies: impl Iterator<Item = Function>) -> Module {
    let (mut types, mut declared, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    for body in bodies {
        declared.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&code);
    module
}

/// One function, each of whose blocks may set each of its locals: what a register allocator dreads.
#[test]
fn one_function_of_many_locals_and_branches() {
    const LOCALS: u32 = 2000;
    let mut body = Function::new([(LOCALS, ValType::I64)]);
    for branch in 0..60_000_u32 {
        let (from, to) = (branch.wrapping_mul(7919) % LOCALS, branch.wrapping_mul(104_729) % LOCALS);
        body.instruction(&Instruction::LocalGet(from)).instruction(&Instruction::I64Eqz);
        body.instruction(&Instruction::If(BlockType::Empty)).instruction(&Instruction::LocalGet(to));
        body.instruction(&Instruction::LocalSet(from)).instruction(&Instruction::End);
    }
    body.instruction(&Instruction::End);
    Place::refused("locals", &component(&functions([body].into_iter())), &[&by_its_limits()]);
}

/// Nearly as many functions as a module may have, each of them nothing.
#[test]
fn very_many_functions() {
    let empty = || {
        let mut body = Function::new([]);
        body.instruction(&Instruction::End);
        body
    };
    Place::refused("functions", &component(&functions((0..900_000).map(|_| empty()))), &[&by_its_limits()]);
}

/// Blocks within blocks, as deep as a function of a megabyte goes.
#[test]
fn very_deep_blocks() {
    const DEPTH: usize = 2_000_000;
    let mut body = Function::new([]);
    for _ in 0..DEPTH {
        body.instruction(&Instruction::Block(BlockType::Empty));
    }
    for _ in 0..=DEPTH {
        body.instruction(&Instruction::End);
    }
    Place::refused("blocks", &component(&functions([body].into_iter())), &[&by_its_limits()]);
}

/// Some hundred bytes that stand for a hundred million instances: each level instantiates ten times the one within it.
#[test]
fn instances_within_instances() {
    const LEVELS: usize = 8;
    let mut inner = Component::new();
    inner.section(&ModuleSection(&Module::new()));
    let mut instances = wasm_encoder::InstanceSection::new();
    instances.instantiate(0, Vec::<(&str, wasm_encoder::ModuleArg)>::new());
    inner.section(&instances);
    for _ in 0..LEVELS {
        let mut outer = Component::new();
        outer.section(&wasm_encoder::NestedComponentSection(&inner));
        let mut instances = wasm_encoder::ComponentInstanceSection::new();
        for _ in 0..10 {
            instances.instantiate(0, Vec::<(&str, wasm_encoder::ComponentExportKind, u32)>::new());
        }
        outer.section(&instances);
        inner = outer;
    }
    let bomb = inner.finish();
    assert!(bomb.len() < 1000, "{} bytes", bomb.len());
    Place::refused("instances", &bomb, &[&by_its_limits()]);
}

/// Components within components: not deep enough for any stack of whoever reads them.
#[test]
fn very_deep_components() {
    let mut bomb = Component::new().finish();
    for _ in 0..2000 {
        let mut outer = Component::new();
        outer.section(&wasm_encoder::RawSection { id: ComponentSectionId::Component.into(), data: &bomb });
        bomb = outer.finish();
    }
    Place::refused_or_no_stage("nested", &bomb);
}

/// Memories and tables that are declared larger than there is: the limits of whoever instantiates them are for that. This
/// component is none of a stage in any case.
#[test]
fn giant_memories_tables_and_data() {
    let (mut memories, mut tables, mut data) = (MemorySection::new(), TableSection::new(), DataSection::new());
    for _ in 0..20 {
        let memory =
            MemoryType { minimum: 65_536, maximum: None, memory64: false, shared: false, page_size_log2: None };
        memories.memory(memory);
        let table = TableType {
            element_type: RefType::FUNCREF,
            minimum: u64::from(u32::MAX),
            maximum: None,
            table64: false,
            shared: false,
        };
        tables.table(table);
    }
    // A few bytes at either end of four gigabytes.
    for offset in [0, -8] {
        let mode = DataSegmentMode::Active { memory_index: 0, offset: &ConstExpr::i32_const(offset) };
        data.segment(DataSegment { mode, data: [7_u8; 8] });
    }
    let mut module = Module::new();
    module.section(&tables).section(&memories).section(&data);
    Place::refused_or_no_stage("declared", &component(&module));
}

/// A hundred megabytes of sections in which nothing is.
#[test]
fn a_hundred_megabytes_of_empty_sections() {
    let mut bomb = Component::new().finish();
    // A custom section of one byte, which is the length of its name.
    bomb.extend([0, 1, 0].repeat((100 << 20) / 3));
    Place::refused("empty", &bomb, &[&format!("expected at most {MOST}")]);
    // As many as there may be.
    let mut bomb = Component::new().finish();
    bomb.extend([0, 1, 0].repeat((MOST - bomb.len()) / 3));
    Place::refused_or_no_stage("full", &bomb);
}

#[test]
fn what_is_no_component_at_all() {
    let mut module = Module::new();
    module.section(&TypeSection::new());
    for (name, bytes) in [
        ("module", module.finish()),
        ("nothing", Vec::new()),
        ("half", Component::new().finish()[..6].to_vec()),
        ("zeros", vec![0; 1 << 20]),
        ("text", b"(component)".repeat(1000)),
    ] {
        Place::refused(name, &bytes, &["is not a component that can be compiled: "]);
    }
}

#[test]
fn what_compiles_is_kept_once_and_what_does_not_is_not() {
    let place = Place::new();
    let pass = Fixture::FilterPass.path();
    let (ran, _) = place.import(&pass);
    ran.done();
    let kept = names(&place.cache());
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].starts_with("artifact-"), "{kept:?}");
    let (ran, _) = place.import(&pass);
    ran.done();
    assert_eq!(names(&place.cache()), kept);
    fs::write(place.scratch.path("text.wasm"), "text").unwrap();
    let (ran, _) = place.import(&place.scratch.text("text.wasm"));
    ran.failed(14, "component-invalid", &["is not a component that can be compiled: "]);
    assert_eq!(names(&place.cache()), kept);
}
