//! What a component has to say, bounded: its `log` interface, and standard output and error for guests that have them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

use crate::bindings::log::Level;

/// The most bytes of one message that are shown.
const MAX_MESSAGE: usize = 4096;
/// The most messages of one instance that are shown.
const MAX_MESSAGES: u32 = 256;

/// The log of one instance. Its clones count together.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Messages>>);

struct Messages {
    component: String,
    shown: u32,
}

/// Standard output or error of one instance: each line is a message, and so is what stands in a line longer than one. Its
/// clones write to the same line.
#[derive(Clone)]
pub(super) struct LogStream(Arc<Mutex<Lines>>);

struct Lines {
    log: Log,
    level: Level,
    line: Vec<u8>,
}

/// A guest's text, cut to `most` bytes, control characters replaced.
#[must_use]
pub fn cleaned(text: &str, most: usize) -> String {
    let text = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Log {
    pub(super) fn new(component: &str) -> Self {
        Self(Arc::new(Mutex::new(Messages { component: component.to_owned(), shown: 0 })))
    }

    /// Shows a message, cut and without control characters, unless there have been too many.
    pub(super) fn write(&self, level: Level, message: &str) {
        let mut messages = lock(&self.0);
        if messages.shown >= MAX_MESSAGES {
            return;
        }
        messages.shown += 1;
        let shown = cleaned(message, MAX_MESSAGE);
        let component = messages.component.as_str();
        match level {
            Level::Debug => tracing::debug!(component, "{shown}"),
            Level::Info => tracing::info!(component, "{shown}"),
            Level::Warn => tracing::warn!(component, "{shown}"),
            Level::Error => tracing::error!(component, "{shown}"),
        }
    }

    /// A stream whose lines are messages of that level.
    pub(super) fn stream(&self, level: Level) -> LogStream {
        LogStream(Arc::new(Mutex::new(Lines { log: self.clone(), level, line: Vec::new() })))
    }
}

impl Lines {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut rest = text;
            while self.line.len().saturating_add(rest.len()) > MAX_MESSAGE {
                let (fits, more) = rest.split_at(MAX_MESSAGE.saturating_sub(self.line.len()).min(rest.len()));
                self.line.extend_from_slice(fits);
                self.show();
                rest = more;
            }
            self.line.extend_from_slice(rest);
            if ended {
                self.show();
            }
        }
    }

    fn show(&mut self) {
        if !self.line.is_empty() {
            self.log.write(self.level, &String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // A guest that traps seldom ends its line.
        self.show();
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// WASI 0.3. What is written is shown at once, so nothing is ever waited for.
impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        lock(&self.0).write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// WASI 0.2.
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        lock(&self.0).write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(MAX_MESSAGE)
    }
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(log: &Log) -> u32 {
        lock(&log.0).shown
    }

    #[test]
    fn a_line_is_a_message_however_it_is_written() {
        let log = Log::new("x");
        let stream = log.stream(Level::Warn);
        for piece in [&b"fir"[..], b"st\nsec", b"ond", b"\n\n\nthi"] {
            lock(&stream.0).write(piece);
        }
        assert_eq!(shown(&log), 2, "empty lines say nothing, an unended one is not over");
        drop(stream);
        assert_eq!(shown(&log), 3, "what was left of the last line");
    }

    #[test]
    fn long_lines_and_many_lines_are_bounded() {
        let log = Log::new("x");
        let stream = log.stream(Level::Info);
        lock(&stream.0).write(&[b'x'; 3 * MAX_MESSAGE + 1]);
        assert_eq!((shown(&log), lock(&stream.0).line.len()), (3, 1));
        lock(&stream.0).write(&b"y\n".repeat(1000));
        log.write(Level::Error, "z");
        assert_eq!(shown(&log), MAX_MESSAGES, "output and log count together");
    }
}
