//! Compiling strangers' components. Compiling is part of the attack surface: a component of 700 bytes can cost seconds and
//! gigabytes. So it happens in a child process that limits itself before it reads a byte, and hands back the artifact, which is
//! kept in a folder that nobody else writes.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::cache::{CachePlace, Kept};
use super::config::config;
use super::log::cleaned;
use super::runtime::Engine;
use crate::error::{Code, Error, Result, Stage};
use crate::oci::Digest;
use crate::policy::Limits;

/// The most bytes of a component.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;
/// The most bytes of its artifact.
const MAX_ARTIFACT_BYTES: u64 = 256 << 20;
/// The most bytes of what the child has to say, and how much of it is shown.
const MAX_WORDS_BYTES: u64 = 16 << 10;
const MAX_WORDS_SHOWN: usize = 1024;
/// How much longer than its CPU time the child may take: it waits for nobody, but others may want the machine too.
const WALL_PER_CPU: u32 = 10;

/// The argument that makes this program a compile child.
const CHILD_ARGUMENT: &str = "compile-component-from-standard-input";

/// Who compiles strangers' components.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// This program, for the child.
    pub program: PathBuf,
    /// Where artifacts are kept.
    pub cache: CachePlace,
}

impl Compiler {
    /// The artifact of a component: that of an earlier run, else what a child makes of it.
    ///
    /// # Errors
    /// `component-invalid` if it is not a component or cannot be compiled within the engine's limits, `local-file` for a cache
    /// that others can write.
    pub(super) async fn artifact(&self, engine: &Engine, name: &str, wasm: &[u8]) -> Result<Vec<u8>> {
        if wasm.len() as u64 > MAX_COMPONENT_BYTES {
            let message = format!("`{name}` has {} bytes, expected at most {MAX_COMPONENT_BYTES}", wasm.len());
            return Err(Error::new(Code::ComponentInvalid, Stage::Plan, message));
        }
        let Some(cache) = self.cache.open()? else { return compile(&self.program, name, wasm, engine.limits()).await };
        let (digest, mark) = (Digest::of(wasm), engine.mark());
        let kept = Kept::Artifact(&digest, &mark);
        if let Some(artifact) = cache.read(kept, MAX_ARTIFACT_BYTES) {
            return Ok(artifact);
        }
        let artifact = compile(&self.program, name, wasm, engine.limits()).await?;
        cache.keep(kept, &artifact);
        Ok(artifact)
    }
}

async fn compile(program: &Path, name: &str, wasm: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let invalid = |words: String| Error::new(Code::ComponentInvalid, Stage::Plan, format!("`{name}` {words}"));
    let (cpu, memory) = (limits.compile_cpu.as_secs(), limits.compile_memory);
    let within = limits.compile_cpu.saturating_mul(WALL_PER_CPU);
    let broken = |why: io::Error| Error::internal(Stage::Plan, format!("the compile child does not run: {why}"));
    let mut child = Command::new(program)
        .args([CHILD_ARGUMENT, &cpu.to_string(), &memory.to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut input), Some(output), Some(errors)) = pipes else {
        return Err(Error::internal(Stage::Plan, "the compile child has no pipes"));
    };
    let work = async {
        let (mut artifact, mut words) = (Vec::new(), Vec::new());
        let feed = async move {
            // A child that gives up early closes its end; its status says why.
            let _ = input.write_all(wasm).await;
        };
        let mut output = output.take(MAX_ARTIFACT_BYTES);
        let mut errors = errors.take(MAX_WORDS_BYTES);
        let ((), read, said) = tokio::join!(feed, output.read_to_end(&mut artifact), errors.read_to_end(&mut words));
        read.and(said)?;
        // A child that has more to say than is read must not wait for somebody to read it.
        drop((output, errors));
        Ok((child.wait().await?, artifact, words))
    };
    match tokio::time::timeout(within, work).await {
        Ok(Ok((status, artifact, _))) if status.success() && (artifact.len() as u64) < MAX_ARTIFACT_BYTES => {
            Ok(artifact)
        }
        Ok(Ok((status, artifact, words))) => Err(invalid(explain(status, &artifact, &words, limits))),
        Ok(Err(why)) => Err(broken(why)),
        Err(_) => Err(invalid(format!("did not compile within {} s", within.as_secs()))),
    }
}

fn explain(status: ExitStatus, artifact: &[u8], words: &[u8], limits: &Limits) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    if artifact.len() as u64 >= MAX_ARTIFACT_BYTES {
        return format!("compiles to more than {MAX_ARTIFACT_BYTES} bytes");
    }
    if status.signal().is_some() {
        let (cpu, memory) = (limits.compile_cpu.as_secs(), limits.compile_memory >> 20);
        return format!("cannot be compiled within {cpu} CPU seconds and {memory} MiB of memory");
    }
    let words = cleaned(String::from_utf8_lossy(words).trim(), MAX_WORDS_SHOWN);
    format!("is not a component that can be compiled: {words}")
}

/// What the child does, if the program's arguments make it one: limits itself, reads a component from standard input,
/// writes its artifact to standard output. None if this is not a child.
///
/// # Errors
/// Words for the parent.
pub fn compile_child(arguments: &[String]) -> Option<std::result::Result<(), String>> {
    match arguments {
        [argument, cpu, memory] if argument == CHILD_ARGUMENT => Some(match (cpu.parse(), memory.parse()) {
            (Ok(cpu), Ok(memory)) => run_child(cpu, memory),
            _ => Err("the limits are no numbers".to_owned()),
        }),
        _ => None,
    }
}

fn run_child(cpu_seconds: u64, memory_bytes: u64) -> std::result::Result<(), String> {
    // Nobody would read what it makes.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|why| format!("it cannot end with its parent: {why}"))?;
    for (resource, limit) in [
        (Resource::As, memory_bytes),
        (Resource::Cpu, cpu_seconds),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nofile, 16),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
            .map_err(|why| format!("a limit cannot be set: {why}"))?;
    }
    let mut wasm = Vec::new();
    let mut input = io::stdin().take(MAX_COMPONENT_BYTES.saturating_add(1));
    input.read_to_end(&mut wasm).map_err(|why| why.to_string())?;
    let artifact = config(env!("LONGSHORE_TARGET"))
        .and_then(|config| wasmtime::Engine::new(&config))
        .and_then(|engine| engine.precompile_component(&wasm))
        .map_err(|why| format!("{why:#}"))?;
    let mut output = io::stdout().lock();
    output.write_all(&artifact).and_then(|()| output.flush()).map_err(|why| why.to_string())
}
