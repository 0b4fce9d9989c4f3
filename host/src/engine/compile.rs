//! Compiling strangers' components. Compiling is part of the attack surface: a component of 700 bytes can cost seconds and
//! gigabytes. So it happens in a child process that limits itself before it reads a byte, and hands back the artifact.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::config::config;
use crate::error::{Code, Error, Result, Stage};

/// The most bytes of a component.
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;
/// The most bytes of its artifact.
const MAX_ARTIFACT_BYTES: u64 = 512 << 20;
/// The most bytes of what the child has to say.
const MAX_WORDS_BYTES: u64 = 16 << 10;
/// Address space of the child: a component of 21 MB compiles in three quarters of it.
const CHILD_MEMORY_BYTES: u64 = 4 << 30;
/// CPU seconds of the child.
const CHILD_CPU_SECONDS: u64 = 60;
/// Wall time of the child.
const CHILD_WITHIN: Duration = Duration::from_secs(180);

/// The argument that makes this program a compile child.
const CHILD_ARGUMENT: &str = "compile-component-from-standard-input";

/// Compiles in a child: `program` is this program.
pub(super) async fn compile(program: &Path, name: &str, wasm: &[u8]) -> Result<Vec<u8>> {
    let invalid = |words: String| Error::new(Code::ComponentInvalid, Stage::Plan, format!("`{name}` {words}"));
    if wasm.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(invalid(format!("has {} bytes, expected at most {MAX_COMPONENT_BYTES}", wasm.len())));
    }
    let broken = |why: io::Error| Error::internal(Stage::Plan, format!("the compile child does not run: {why}"));
    let mut child = Command::new(program)
        .arg(CHILD_ARGUMENT)
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
        Ok((child.wait().await?, artifact, words))
    };
    match tokio::time::timeout(CHILD_WITHIN, work).await {
        Ok(Ok((status, artifact, _))) if status.success() && (artifact.len() as u64) < MAX_ARTIFACT_BYTES => {
            Ok(artifact)
        }
        Ok(Ok((status, _, words))) => Err(invalid(explain(status, &words))),
        Ok(Err(why)) => Err(broken(why)),
        Err(_) => Err(invalid(format!("did not compile within {} s", CHILD_WITHIN.as_secs()))),
    }
}

fn explain(status: ExitStatus, words: &[u8]) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let words = String::from_utf8_lossy(words).trim().to_owned();
    match status.signal() {
        Some(_) => format!(
            "cannot be compiled within {} CPU seconds and {} GiB of memory",
            CHILD_CPU_SECONDS,
            CHILD_MEMORY_BYTES >> 30
        ),
        None if status.success() => format!("compiles to more than {MAX_ARTIFACT_BYTES} bytes"),
        None => format!("is not a component that can be compiled: {words}"),
    }
}

/// What the child does, if the program's arguments make it one: limits itself, reads a component from standard input,
/// writes its artifact to standard output. None if this is not a child.
///
/// # Errors
/// Words for the parent.
pub fn compile_child(arguments: &[String]) -> Option<std::result::Result<(), String>> {
    match arguments {
        [argument] if argument == CHILD_ARGUMENT => Some(run_child()),
        _ => None,
    }
}

fn run_child() -> std::result::Result<(), String> {
    for (resource, limit) in [
        (Resource::As, CHILD_MEMORY_BYTES),
        (Resource::Cpu, CHILD_CPU_SECONDS),
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
