//! `longshore serve` as an operator runs it, and clients that say whatever a test wants them to.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::program::{Ran, longshore, of_its_own};
use crate::scratch::run;

/// How long anything may take that is waited for.
pub const WITHIN: Duration = Duration::from_secs(60);

/// A running service.
pub struct Serving {
    child: Option<Child>,
    said: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
    pub address: SocketAddr,
    pub health: Option<SocketAddr>,
}

/// What it said so far, by line: of standard error and of standard output.
#[derive(Default)]
struct Said {
    lines: Mutex<(Vec<String>, Vec<String>)>,
    more: Condvar,
}

impl Serving {
    /// Starts it on a free port with these arguments, and waits until it listens.
    pub fn start<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = longshore(["serve"]);
        command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        command.args(["--listen", "127.0.0.1:0"]);
        let mut serving = Self::spawn(command);
        serving.address = serving.listens("listening at ");
        let all = serving.said.lines.lock().unwrap().0.clone();
        serving.health = all.iter().find(|line| line.contains("health and metrics at")).map(|line| address(line));
        serving
    }

    /// Starts the program with a command of its own; where it listens is not known yet.
    pub fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let said = Arc::<Said>::default();
        let stderr = follow(child.stderr.take().expect("standard error"), &said, |lines, line| lines.0.push(line));
        let stdout = follow(child.stdout.take().expect("standard output"), &said, |lines, line| lines.1.push(line));
        Self {
            child: Some(child),
            said,
            readers: vec![stderr, stdout],
            address: ([127, 0, 0, 1], 0).into(),
            health: None,
        }
    }

    /// The address in the line that has these words; waits for it.
    pub fn listens(&self, words: &str) -> SocketAddr {
        address(&self.wait_for(words))
    }

    /// The first line on standard error that has these words; waits for it.
    pub fn wait_for(&self, words: &str) -> String {
        self.wait(words, |lines| lines.0.iter().find(|line| line.contains(words)).cloned())
    }

    /// The reference on standard output number `at`; waits for it.
    pub fn reference(&self, at: usize) -> String {
        self.wait("a reference", |lines| lines.1.get(at).cloned())
    }

    fn wait(&self, what: &str, there: impl Fn(&(Vec<String>, Vec<String>)) -> Option<String>) -> String {
        let (began, mut lines) = (Instant::now(), self.said.lines.lock().unwrap());
        loop {
            if let Some(line) = there(&lines) {
                return line;
            }
            assert!(began.elapsed() < WITHIN, "waited for `{what}`; it said\n{}", lines.0.join("\n"));
            lines = self.said.more.wait_timeout(lines, Duration::from_millis(100)).unwrap().0;
        }
    }

    /// The memory of its own that it has now.
    pub fn memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.as_ref().expect("running").id());
        of_its_own(&std::fs::read_to_string(status).expect("a process")).expect("its memory")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("running").id().to_string();
        run(Command::new("kill").args([&format!("-{signal}"), &pid]));
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ran {
        let began = Instant::now();
        let mut child = self.child.take().expect("running");
        let status = loop {
            if let Some(status) = child.try_wait().expect("a status") {
                break status;
            }
            if began.elapsed() > WITHIN {
                let _ = child.kill();
                panic!("it does not end; it said\n{}", self.said.lines.lock().unwrap().0.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        let (stderr, stdout) = std::mem::take(&mut *self.said.lines.lock().unwrap());
        Ran { code: status.code(), stdout: stdout.join("\n"), stderr: stderr.join("\n") }
    }

    /// Ends it with SIGTERM.
    pub fn stop(self) -> Ran {
        self.signal("TERM");
        self.ended()
    }

    /// A connection to it without TLS.
    pub fn connect(&self) -> Speaking<TcpStream> {
        Speaking::over(tcp(self.address))
    }

    /// A connection to it over TLS, as `config` has it.
    ///
    /// # Errors
    /// Where there is no session: in TLS 1.3 a client may only learn so from the first answer.
    pub fn connect_tls(&self, config: &Arc<ClientConfig>) -> std::io::Result<Speaking<impl Read + Write>> {
        let name = "127.0.0.1".try_into().expect("a name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        let mut stream = StreamOwned::new(connection, tcp(self.address));
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Speaking::over(stream))
    }

    /// One request without TLS, and its answer.
    pub fn ask(&self, head: &str, body: &[u8]) -> Answer {
        self.connect().ask(head, body)
    }

    /// `GET path` at the health listener.
    pub fn health(&self, path: &str) -> Answer {
        let health = self.health.expect("a health listener");
        Speaking::over(tcp(health)).ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"), b"")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The address in a line with a URL.
fn address(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("://").expect("a URL");
    rest.split('/').next().expect("an authority").parse().expect("an address")
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    stream.set_write_timeout(Some(WITHIN)).expect("a timeout");
    stream
}

type Lines = (Vec<String>, Vec<String>);

fn follow(pipe: impl Read + Send + 'static, said: &Arc<Said>, add: fn(&mut Lines, String)) -> JoinHandle<()> {
    let said = Arc::clone(said);
    spawn(move || {
        for line in BufReader::new(pipe).lines() {
            add(&mut said.lines.lock().unwrap(), line.expect("a line"));
            said.more.notify_all();
        }
    })
}

/// A connection on which requests are written as they are, right or wrong.
pub struct Speaking<S> {
    pub stream: S,
    left: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl<S: Read + Write> Speaking<S> {
    pub const fn over(stream: S) -> Self {
        Self { stream, left: Vec::new() }
    }

    /// Writes a request and reads its answer. A server that has answered already need not take the whole body.
    pub fn ask(&mut self, head: &str, body: &[u8]) -> Answer {
        self.say(head.as_bytes());
        let _ = self.stream.write_all(body).and_then(|()| self.stream.flush());
        self.answer()
    }

    /// Writes something.
    pub fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("the server takes it");
    }

    /// The next answer but 1xx.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// The same; none if the connection ends before there is one.
    pub fn try_answer(&mut self) -> Option<Answer> {
        loop {
            let end = loop {
                if let Some(at) = self.left.windows(4).position(|window| window == b"\r\n\r\n") {
                    break at + 4;
                }
                if !self.more() {
                    return None;
                }
            };
            let head = String::from_utf8(self.left.drain(..end).collect()).expect("a head");
            let mut lines = head.lines();
            let status: u16 = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").parse().unwrap();
            if status < 200 {
                continue;
            }
            let fields: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = fields.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.map_or(0, |(_, length)| length.parse().expect("a length"));
            while self.left.len() < length {
                assert!(self.more(), "the answer is cut");
            }
            let body = self.left.drain(..length).collect();
            return Some(Answer { status, fields, body });
        }
    }

    /// Whether the server ends the connection without a word more.
    pub fn is_closed(&mut self) -> bool {
        self.left.is_empty() && !self.more()
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.left.extend_from_slice(&buffer[..read]);
                read > 0
            }
            Err(why) => {
                let waits = matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!waits, "the server neither answers nor ends the connection");
                false
            }
        }
    }
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("no JSON: {why}: {self:?}"))
    }

    /// Panics unless it has this status and this error.
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.json()["error"]["code"], code, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Panics unless it has this status.
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}: {}", self.fields, String::from_utf8_lossy(&self.body));
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `METHOD path` with these fields, as a request's head.
pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> String {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: uploads.example\r\n{fields}\r\n")
}

/// A body in chunks of that many bytes, with its end.
pub fn chunked(body: &[u8], bytes: usize) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    for chunk in body.chunks(bytes) {
        all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}
