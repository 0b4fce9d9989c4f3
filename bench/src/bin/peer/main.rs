//! The peers that are not programs of somebody else, each a process of its own so that its CPU time can be told apart.
//!
//!     bench-peer sink [CERTIFICATE KEY]             a registry that forgets the layer
//!     bench-peer source BYTES [CERTIFICATE KEY]     a disk of that size that nobody stores
//!     bench-peer delay PORT MILLISECONDS WINDOW     a long way to 127.0.0.1:PORT
//!
//! Prints its port and serves until it is killed.

mod delay;
mod sink;
mod source;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use longshore_bench::tls;
use longshore_tests::script::{Handler, Script};
use rustls::ServerConfig;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["sink", rest @ ..] => serve(config(rest)?, sink::handler()),
        ["source", bytes, rest @ ..] => serve(config(rest)?, source::handler(bytes.parse()?)),
        ["delay", port, milliseconds, window] => delay::serve(port.parse()?, milliseconds.parse()?, window.parse()?),
        _ => bail!("sink [CERTIFICATE KEY] | source BYTES [CERTIFICATE KEY] | delay PORT MILLISECONDS WINDOW"),
    }
}

fn config(rest: &[&str]) -> Result<Option<Arc<ServerConfig>>> {
    match rest {
        [] => Ok(None),
        [certificate, key] => Ok(Some(tls::server(Path::new(certificate), Path::new(key))?)),
        _ => bail!("a certificate and its key"),
    }
}

fn serve(tls: Option<Arc<ServerConfig>>, handler: Handler) -> Result<()> {
    let script = Script::start(tls, handler);
    println!("{}", script.port);
    loop {
        std::thread::park();
    }
}
