//! The allowed edges between the host's modules (DESIGN §4). Works on tokens: `use` trees, inline paths, `super::`,
//! re-exports and paths inside macros all count.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Who may use whom. Everyone may use `oci`, `error` and `observe`, which use nobody.
const EDGES: [(&str, &[&str]); 17] = [
    ("main", &["cli"]),
    ("cli", &["serve", "doctor", "pipeline", "registry", "layout", "policy"]),
    ("serve", &["pipeline", "net", "policy"]),
    ("doctor", &["registry", "net", "tls", "policy"]),
    ("pipeline", &["stages", "registry", "layout", "engine", "stream", "net", "policy"]),
    // `net` only for a source's granted fetch: see PLACES.
    ("stages", &["engine", "bindings", "stream", "net"]),
    ("registry", &["net", "stream"]),
    ("layout", &["stream"]),
    ("engine", &["bindings", "stream", "policy"]),
    ("bindings", &[]),
    ("net", &["tls", "policy"]),
    ("tls", &["policy"]),
    ("stream", &[]),
    ("policy", &["oci"]),
    ("oci", &[]),
    ("observe", &[]),
    ("error", &[]),
];

const FOR_EVERYONE: [&str; 3] = ["oci", "error", "observe"];
const FOR_NOBODY: [&str; 3] = ["oci", "error", "observe"];

/// Names that may stand only in these files and folders.
const PLACES: [(&[&str], &[&str]); 9] = [
    (&["wasmtime", "wasmtime_wasi", "wasmtime_wasi_http"], &["engine/", "bindings.rs", "stages/"]),
    (&["rustls", "tokio_rustls", "rustls_pki_types", "rustls_native_certs", "webpki", "aws_lc_rs", "rcgen"], &["tls/"]),
    (
        &[
            "TcpStream",
            "TcpListener",
            "TcpSocket",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "lookup_host",
            "hyper",
            "hyper_util",
        ],
        &["net/"],
    ),
    (&["println", "eprintln", "print", "eprint", "dbg"], &["cli/", "main.rs"]),
    (&["std::env", "env::"], &["cli/", "main.rs"]),
    (&["process::exit", "process::abort"], &["cli/", "main.rs"]),
    (
        &["serde"],
        &[
            "policy/",
            "oci/",
            "cli/dropin/message.rs",
            "cli/progress/json.rs",
            "doctor/findings.rs",
            "pipeline/checkpoint/document.rs",
            "pipeline/export/report.rs",
            "pipeline/probed.rs",
            "pipeline/report.rs",
            "pipeline/inspection.rs",
            "pipeline/listing.rs",
            "pipeline/process.rs",
            "registry/wire.rs",
            "serve/document.rs",
            "registry/credentials.rs",
        ],
    ),
    (&["crate::net"], &["pipeline/", "registry/", "serve/", "doctor/", "net/", "stages/request.rs"]),
    // Everything but the pure modules.
    (
        &["tokio"],
        &[
            "cli/",
            "serve/",
            "doctor/",
            "pipeline/",
            "stages/",
            "registry/",
            "layout/",
            "engine/",
            "net/",
            "tls/",
            "stream/",
        ],
    ),
];

/// One path in the source: where it stands and what it names.
#[derive(Debug)]
struct Named {
    line: usize,
    /// From the crate's root; empty for the crate itself.
    path: Vec<String>,
}

/// What is wrong with a file, one line each. `file` is relative to `host/src`.
fn violations(file: &str, source: &str) -> Vec<String> {
    let tokens: TokenStream = source.parse().unwrap_or_else(|why| panic!("{file} is no Rust: {why}"));
    let module = module_of(file);
    let from = module.first().cloned().unwrap_or_else(|| "lib".to_owned());
    let mut named = Vec::new();
    let root_names: &[&str] = if file == "main.rs" { &["crate", "longshore"] } else { &["crate"] };
    collect(tokens.clone(), &module, root_names, &mut named);
    let mut wrong = Vec::new();
    for Named { line, path } in named {
        let shown = if path.is_empty() { "crate".to_owned() } else { format!("crate::{}", path.join("::")) };
        match path.first() {
            None => wrong.push(format!("{file}:{line}: `{shown}` names the whole crate")),
            Some(to) if from == "lib" || *to == from => {}
            Some(to) if !allowed(&from, to) => {
                wrong.push(format!("{file}:{line}: `{shown}`: {from} must not use {to}"));
            }
            Some(to) if to == "net" => wrong.extend(misplaced(file, line, "crate::net", &shown)),
            Some(_) => {}
        }
    }
    let mut words = Vec::new();
    flatten(tokens, &mut words);
    for (at, (line, word)) in words.iter().enumerate() {
        let next = words.get(at + 1).map(|(_, word)| word.as_str());
        let then = words.get(at + 2).map(|(_, word)| word.as_str());
        let path = match (next, then) {
            (Some("::"), Some(then)) => format!("{word}::{then}"),
            _ => String::new(),
        };
        wrong.extend(misplaced(file, *line, word, word));
        wrong.extend(misplaced(file, *line, &path, &path));
        let before = at.checked_sub(1).and_then(|at| words.get(at)).map(|(_, word)| word.as_str());
        if word == "env" && next == Some("::") && before != Some("::") {
            wrong.extend(misplaced(file, *line, "env::", "env::"));
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

fn misplaced(file: &str, line: usize, name: &str, shown: &str) -> Option<String> {
    let (_, places) = PLACES.iter().find(|(names, _)| names.contains(&name))?;
    let fits = places.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place)));
    (!fits).then(|| format!("{file}:{line}: `{shown}` must stand only in {}", places.join(", ")))
}

fn allowed(from: &str, to: &str) -> bool {
    let known = |name: &str| EDGES.iter().any(|(module, _)| *module == name);
    let edges = EDGES.iter().find(|(module, _)| *module == from).map_or(&[] as &[&str], |(_, edges)| edges);
    known(to) && (edges.contains(&to) || (FOR_EVERYONE.contains(&to) && !FOR_NOBODY.contains(&from)))
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_suffix(".rs").expect("a Rust file");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// Finds every path that begins at the crate's root, here, or above.
fn collect(tokens: TokenStream, module: &[String], roots: &[&str], named: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => {
                // The content of `mod name { … }` is one module deeper.
                let inline = match (
                    at.checked_sub(2).and_then(|at| tokens.get(at)),
                    at.checked_sub(1).and_then(|at| tokens.get(at)),
                ) {
                    (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(name))) if word == "mod" => {
                        Some(name.to_string())
                    }
                    _ => None,
                };
                let deeper: Vec<String> = module.iter().cloned().chain(inline).collect();
                // `pub(crate)` names nothing.
                if !is_visibility(group) {
                    collect(group.stream(), &deeper, roots, named);
                }
                at += 1;
            }
            TokenTree::Ident(word) => {
                let word_text = word.to_string();
                let behind_path = at >= 2 && is_colons(&tokens, at - 2);
                let line = word.span().start().line;
                let root = match word_text.as_str() {
                    text if roots.contains(&text) => Some(Vec::new()),
                    "self" => Some(module.to_vec()),
                    "super" => Some(parent(module)),
                    _ => None,
                };
                match root {
                    Some(root) if !behind_path => {
                        let bare_crate = word == "crate";
                        at = follow(&tokens, at + 1, root, bare_crate || word == "super", line, named);
                    }
                    _ => at += 1,
                }
            }
            _ => at += 1,
        }
    }
}

/// Follows a path from behind its root; gives the place behind it.
fn follow(
    tokens: &[TokenTree],
    mut at: usize,
    mut path: Vec<String>,
    bare: bool,
    line: usize,
    named: &mut Vec<Named>,
) -> usize {
    let mut steps = 0;
    while is_colons(tokens, at) {
        steps += 1;
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(word)) if word == "super" => path = parent(&path),
            Some(TokenTree::Ident(word)) if word == "self" => {}
            Some(TokenTree::Ident(word)) => path.push(word.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                for item in split(group.stream()) {
                    tree(&item, &path, line, named);
                }
                return at + 3;
            }
            // `*` takes everything there is at this place.
            _ => {
                named.push(Named { line, path });
                return at + 2;
            }
        }
        at += 3;
    }
    // A `self` by itself is a receiver.
    if steps > 0 || bare {
        named.push(Named { line, path });
    }
    at
}

/// One branch of a `use` tree below `base`.
fn tree(item: &[TokenTree], base: &[String], line: usize, named: &mut Vec<Named>) {
    match item.first() {
        Some(TokenTree::Ident(word)) => {
            let line = word.span().start().line;
            let path = match word.to_string().as_str() {
                "self" => base.to_vec(),
                "super" => parent(base),
                name => base.iter().cloned().chain([name.to_owned()]).collect(),
            };
            follow(item, 1, path, true, line, named);
        }
        _ => named.push(Named { line, path: base.to_vec() }),
    }
}

fn split(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut items = vec![Vec::new()];
    for token in tokens {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => items.push(Vec::new()),
            _ => items.last_mut().expect("an item").push(token),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

fn is_visibility(group: &proc_macro2::Group) -> bool {
    let mut inner = group.stream().into_iter();
    let first = inner.next().map(|token| token.to_string());
    group.delimiter() == Delimiter::Parenthesis
        && matches!(first.as_deref(), Some("crate" | "super" | "self" | "in"))
        && (inner.next().is_none() || first.as_deref() == Some("in"))
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// All words and `::`, depth first.
fn flatten(tokens: TokenStream, words: &mut Vec<(usize, String)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => {
                words.push((line, "(".to_owned()));
                flatten(group.stream(), words);
                words.push((line, ")".to_owned()));
            }
            TokenTree::Ident(word) => words.push((line, word.to_string())),
            TokenTree::Punct(_) if is_colons(&tokens, at) => {
                words.push((line, "::".to_owned()));
                at += 1;
            }
            other => words.push((line, other.to_string())),
        }
        at += 1;
    }
}

#[test]
fn every_edge_is_allowed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 50, "the sources were found");
    let mut wrong = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        wrong.extend(violations(&file, &fs::read_to_string(&path).unwrap()));
    }
    assert!(wrong.is_empty(), "forbidden edges:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_is_in_the_table() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src/lib.rs")).unwrap();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(EDGES.iter().any(|(module, _)| *module == line), "{line} is in no row");
    }
}

#[test]
fn what_is_forbidden_is_flagged() {
    for (file, snippet) in [
        ("stages/x.rs", "use crate::registry::Push;"),
        ("registry/x.rs", "use crate::stages;"),
        ("registry/x.rs", "use crate::{net::Client, stages::open};"),
        ("registry/x.rs", "use crate::{error::{Code, Error}, net, engine::{self, Engine}};"),
        ("registry/mod.rs", "use super::engine;"),
        ("registry/x.rs", "use super::super::engine::Engine;"),
        ("registry/x.rs", "fn f() { crate::engine::Engine::new(); }"),
        ("registry/x.rs", "fn f() { super::super::stages::open(); }"),
        ("registry/x.rs", "fn f() { vec![format!(\"{}\", crate::stages::open())]; }"),
        ("registry/x.rs", "pub use crate::engine::Engine;"),
        ("registry/x.rs", "pub(crate) use crate::{engine as other};"),
        ("registry/x.rs", "mod inner { use super::super::super::engine; }"),
        ("registry/x.rs", "#[cfg(test)] mod tests { use crate::engine::Engine; }"),
        ("registry/x.rs", "use crate as root;"),
        ("registry/x.rs", "use crate::*;"),
        ("registry/x.rs", "use crate::{self as root};"),
        ("registry/mod.rs", "use super::*;"),
        ("registry/x.rs", "extern crate self as root; "),
        ("registry/x.rs", "impl crate::engine::Trait for X {}"),
        ("registry/x.rs", "type T = <X as crate::engine::Trait>::Item;"),
        ("policy/x.rs", "use crate::net::Client;"),
        ("policy/x.rs", "use crate::error::Error; use tokio::time;"),
        ("oci/x.rs", "use crate::error::Error;"),
        ("error.rs", "use crate::oci::Digest;"),
        ("net/x.rs", "use crate::stream::Flow;"),
        ("layout/x.rs", "use crate::net::Net;"),
        ("engine/x.rs", "use crate::net::Net;"),
        ("stages/probe.rs", "use crate::net::Client;"),
        ("cli/x.rs", "use crate::engine::Engine;"),
        ("cli/x.rs", "use crate::unheard_of::Thing;"),
        ("main.rs", "fn main() { longshore::pipeline::import(); }"),
        ("pipeline/x.rs", "use wasmtime::Engine;"),
        ("net/x.rs", "use rustls::ClientConfig;"),
        ("net/x.rs", "use tokio_rustls::TlsConnector;"),
        ("registry/x.rs", "use tokio::net::TcpStream;"),
        ("stages/x.rs", "fn f() { std::net::TcpListener::bind(1); }"),
        ("pipeline/x.rs", "fn f() { println!(\"x\"); }"),
        ("pipeline/x.rs", "fn f() { std::env::var(\"X\"); }"),
        ("pipeline/x.rs", "use std::{env, fs}; fn f() { env::var(\"X\"); }"),
        ("engine/x.rs", "fn f() { std::process::exit(1); }"),
        ("stream/x.rs", "#[derive(serde::Serialize)] struct S;"),
        ("oci/x.rs", "async fn f() { tokio::fs::read(\"x\").await; }"),
    ] {
        assert!(!violations(file, snippet).is_empty(), "{file}: {snippet}");
    }
}

#[test]
fn what_is_allowed_is_not() {
    for (file, snippet) in [
        ("registry/x.rs", "use super::session::UploadSession; use crate::net::Client; use crate::oci::Digest;"),
        ("registry/x.rs", "pub(crate) fn f(&self) { self::g(); self.h(); super::wire::words(); }"),
        ("registry/x.rs", "pub(in crate::registry) struct S; pub(super) struct T;"),
        ("registry/x.rs", "//! [`crate::engine`] is only mentioned\n/// so is `super::super::stages`\nfn f() {}"),
        ("registry/x.rs", "fn f() { let text = \"crate::engine println! std::env\"; }"),
        ("registry/mod.rs", "mod tests { use super::*; }"),
        ("engine/x.rs", "const T: &str = env!(\"LONGSHORE_TARGET\"); use wasmtime::Engine;"),
        ("stages/request.rs", "use crate::net::{self, Client};"),
        ("lib.rs", "pub mod net; pub mod cli;"),
        ("main.rs", "fn main() { longshore::cli::main(std::env::args_os()) }"),
        ("cli/x.rs", "fn f() { println!(\"x\"); }"),
    ] {
        assert_eq!(violations(file, snippet), Vec::<String>::new(), "{file}: {snippet}");
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}
