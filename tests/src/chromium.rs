//! Debian's chromium without a window, driven over its debugging protocol through a pipe: no port, no driver, no download. It
//! resolves no name but 127.0.0.1.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scratch::{Scratch, run};
use crate::serving::WITHIN;

/// A browser with one page.
pub struct Chromium {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: Option<String>,
    asked: u64,
    /// What the page complained of: errors, exceptions, violations of its policy.
    pub complaints: Vec<Value>,
}

impl Chromium {
    /// Starts it with a profile of its own.
    pub fn start(scratch: &Scratch) -> Self {
        let (input, output) = (scratch.path("to-chromium"), scratch.path("from-chromium"));
        run(Command::new("mkfifo").args([&input, &output]));
        let mut command = Command::new("sh");
        // The pipe is at descriptors 3 and 4.
        command.args(["-c", "in=$1 out=$2; shift 2; exec 3<\"$in\" 4>\"$out\"; exec chromium \"$@\"", "sh"]);
        command.args([&input, &output]).arg("--remote-debugging-pipe");
        command.arg(format!("--user-data-dir={}", scratch.folder("profile").display())).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ]);
        command.env("HOME", scratch.folder("home"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("sh");
        let to = OpenOptions::new().write(true).open(&input).expect("a pipe");
        let out = File::open(&output).expect("a pipe");
        let (sender, from) = channel();
        spawn(move || {
            for message in BufReader::new(out).split(0) {
                let Ok(message) = message else { return };
                if sender.send(serde_json::from_slice(&message).expect("JSON")).is_err() {
                    return;
                }
            }
        });
        let mut chromium = Self { child, to, from, session: None, asked: 0, complaints: Vec::new() };
        let target = chromium.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let session = chromium.call("Target.attachToTarget", attached);
        chromium.session = Some(session["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "DOM"] {
            chromium.call(&format!("{domain}.enable"), json!({}));
        }
        chromium
    }

    /// Opens a page and waits until it is there.
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        self.until("document.readyState === 'complete'");
    }

    /// What an expression is in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let arguments = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let got = self.call("Runtime.evaluate", arguments);
        assert!(got.get("exceptionDetails").is_none(), "{expression}: {got}");
        got["result"]["value"].clone()
    }

    /// Waits until an expression holds in the page.
    pub fn until(&mut self, expression: &str) {
        let began = Instant::now();
        while self.value(expression) != true {
            let shown = self.value("document.body.innerText");
            assert!(began.elapsed() < WITHIN, "waited for `{expression}`; the page says\n{shown}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Chooses a file in the field of that id, as a person would.
    pub fn choose(&mut self, id: &str, file: &Path) {
        let field = self.call("Runtime.evaluate", json!({ "expression": format!("document.getElementById('{id}')") }));
        let chosen = json!({ "files": [file], "objectId": field["result"]["objectId"] });
        self.call("DOM.setFileInputFiles", chosen);
    }

    /// Writes into the field of that id.
    pub fn write(&mut self, id: &str, text: &str) {
        let text = Value::from(text);
        self.value(&format!("document.getElementById('{id}').value = {text}"));
    }

    /// Presses the button of that id with the mouse.
    pub fn press(&mut self, id: &str) {
        let place = self.value(&format!(
            "(() => {{ const box = document.getElementById('{id}').getBoundingClientRect();
                return {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }}; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// One command, and what it gives.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("chromium; run `./setup test`");
        loop {
            let message = self.from.recv_timeout(WITHIN).expect("chromium answers; run `./setup test`");
            if message["id"] == self.asked {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            if matches!(message["method"].as_str(), Some("Log.entryAdded" | "Runtime.exceptionThrown")) {
                self.complaints.push(message["params"].clone());
            }
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its other processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
