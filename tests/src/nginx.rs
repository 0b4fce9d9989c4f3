//! nginx as a source, over TLS 1.2 and 1.3.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peer::{Peer, free_port};
use crate::scratch::Scratch;
use crate::tls::Authority;

/// Serves the scratch folder `www` over TLS. `/moved/` redirects to `/`.
pub struct Nginx {
    peer: Peer,
    work: PathBuf,
}

impl Nginx {
    pub fn start(scratch: &Scratch, authority: &Authority) -> Self {
        Self::with(scratch, authority, "")
    }

    /// The same with more in its `server` block.
    pub fn with(scratch: &Scratch, authority: &Authority, more: &str) -> Self {
        let port = free_port();
        let (root, work) = (scratch.folder("www"), scratch.folder(&format!("nginx-{port}")));
        let (work_text, root) = (work.display(), root.display());
        let (certificate, key) = (authority.certificate.display(), authority.key.display());
        let config = format!(
            "daemon off; master_process off; pid {work_text}/pid; error_log {work_text}/error.log;\n\
             events {{}}\n\
             http {{\n\
               access_log off; client_body_temp_path {work_text}/b; proxy_temp_path {work_text}/p;\n\
               fastcgi_temp_path {work_text}/f; uwsgi_temp_path {work_text}/u; scgi_temp_path {work_text}/s;\n\
               server {{\n\
                 listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};\n\
                 ssl_protocols TLSv1.2 TLSv1.3; root {root};\n\
                 location /moved/ {{ rewrite ^/moved/(.*)$ /$1 redirect; }}\n\
                 location /forbidden/ {{ return 403; }}\n\
                 {more}\n\
               }}\n\
             }}\n"
        );
        fs::write(work.join("nginx.conf"), config).expect("a configuration");
        Self { peer: started(&work, port), work }
    }

    /// Kills it: connections break where they are.
    pub fn kill(&mut self) {
        self.peer.kill();
    }

    /// Starts it again at the same address, without the configuration's line that contains these words, if there are any.
    pub fn restart(&mut self, without: &str) {
        let file = self.work.join("nginx.conf");
        let config = fs::read_to_string(&file).expect("a configuration");
        let kept = config.lines().filter(|line| without.is_empty() || !line.contains(without));
        fs::write(&file, kept.map(|line| format!("{line}\n")).collect::<String>()).expect("a configuration");
        self.peer = started(&self.work, self.peer.port);
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.peer.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.peer.port
    }

    /// Its process, which is a single one.
    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.peer.port)
    }
}

fn started(work: &Path, port: u16) -> Peer {
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(work).args(["-c", "nginx.conf", "-e", "error.log"]);
    nginx.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Peer::start(&mut nginx, port)
}
