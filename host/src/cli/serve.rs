//! `serve`: from the flags to a service, and what its operator sees of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::HumanBytes;

use super::args::Serve;
use super::color::Color;
use super::progress::{Verbosity, rate};
use super::signals::counted;
use super::{auth, certificates, messages, plan};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Progress;
use crate::pipeline::{Imported, Report, in_this_thread};
use crate::serve::{Manners, Meters, Service, Token, Told, serve};

/// The lengths that a token may have: fewer could be guessed, and more do not fit a request's head.
const TOKEN: (usize, usize) = (16, 4096);

/// Serves until a signal comes, or with `--once` until one upload has ended.
pub(super) fn run(args: &Serve, verbosity: Verbosity, color: Color) -> Result<()> {
    let service = service(args)?;
    let reports = args.reports.clone();
    if let Some(folder) = &reports {
        fs::create_dir_all(folder).map_err(|why| {
            let message = format!("the folder `{}` cannot be made: {why}", folder.display());
            Error::new(Code::LocalFile, Stage::Plan, message).caused_by(why)
        })?;
    }
    let voice = Voice { quiet: verbosity == Verbosity::Quiet, color, reports, once: args.once };
    // Only the imports have something to measure; this thread listens.
    let done = in_this_thread(&Progress::start(), async {
        let (signals, counting) = counted()?;
        tokio::select! {
            done = serve(service, signals, voice) => done,
            () = counting => Err(Error::internal(Stage::Plan, "a task that never ends has ended")),
        }
    })?;
    done.map(|_| ())
}

/// Resolves everything.
fn service(args: &Serve) -> Result<Service> {
    let usage = |message: &str| Error::new(Code::Usage, Stage::Plan, message);
    if args.token_file.is_none() && args.client_ca.is_empty() && !args.anonymous {
        return Err(usage("whoever connects could upload: nothing says who may")
            .hint("name --token-file FILE or --client-ca FILE; or say --anonymous"));
    }
    if args.uploads.get() > 1 && !args.client_tags {
        return Err(
            usage("uploads at the same time would all be for the same tag").hint("--client-tags lets clients choose")
        );
    }
    let plan = plan::serve_plan(args)?;
    if args.without_tls {
        plan.policy
            .may_listen_without_tls("--without-tls", "takes disks in")
            .map_err(|why| Error::new(Code::FlagDenied, Stage::Plan, why.to_string()).hint(why.advice()))?;
    }
    Ok(Service {
        at: args.listen,
        tls: certificates::listener(args)?,
        health_at: args.health_listen,
        plan,
        token: args.token_file.as_deref().map(token).transpose()?,
        uploads: args.uploads,
        max_bytes: args.max_size,
        clients_tag: args.client_tags,
        drain: args.drain,
        once: args.once,
        manners: Manners::Own,
        spools_unknown: false,
    })
}

/// The token in a file, as RFC 6750 §2.1 has it. No message quotes it.
fn token(path: &Path) -> Result<Token> {
    let unusable = |why: &str| {
        let message = format!("the token in `{}` cannot be used: {why}", path.display());
        Error::new(Code::CredentialsUnreadable, Stage::Plan, message)
    };
    let (least, most) = TOKEN;
    // A line's end may follow.
    let bytes = auth::read(path, most as u64 + 2).map_err(|why| unusable(&why.to_string()).caused_by(why))?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8"))?;
    let token = text.trim_end_matches(['\r', '\n']);
    if !(least..=most).contains(&token.len()) {
        return Err(unusable(&format!("it has {} characters, expected {least} to {most}", token.len())));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.bytes().all(allowed) {
        return Err(unusable("it has other characters than letters, digits and -._~+/="));
    }
    Ok(Token::new(token.to_owned()))
}

/// What the operator is told: references on standard output, everything else on standard error.
struct Voice {
    quiet: bool,
    color: Color,
    reports: Option<PathBuf>,
    /// The error of the one upload is the command's own.
    once: bool,
}

impl Voice {
    fn say(&self, line: &str) {
        if !self.quiet {
            messages::line(&messages::harmless(line));
        }
    }

    fn write(&self, id: &str, report: &Report) -> Result<()> {
        let Some(folder) = &self.reports else { return Ok(()) };
        let text = serde_json::to_string_pretty(report)
            .map_err(|why| Error::internal(Stage::Report, format!("the report cannot be written: {why}")))?;
        let path = folder.join(format!("{id}.json"));
        fs::write(&path, text + "\n").map_err(|why| {
            let message = format!("the report cannot be written to `{}`: {why}", path.display());
            Error::new(Code::LocalFile, Stage::Report, message).caused_by(why)
        })
    }
}

impl Told for Voice {
    fn listens(&self, at: SocketAddr, tls: bool, health_at: Option<SocketAddr>) {
        let scheme = if tls { "https" } else { "http" };
        if !tls {
            self.say("warning: without TLS, disks can be read and changed on the way (--without-tls)");
        }
        if let Some(at) = health_at {
            self.say(&format!("health and metrics at http://{at}"));
        }
        self.say(&format!("listening at {scheme}://{at}/upload"));
    }

    fn turned_away(&self, from: SocketAddr, why: &str) {
        tracing::info!("no TLS session with {from}: {}", messages::harmless(why));
    }

    fn began(&self, id: &str, from: SocketAddr, _: &Meters) {
        self.say(&format!("upload {id}: begun by {from}"));
    }

    fn ended(&self, id: &str, outcome: &Result<Imported>, report: Option<&Report>) {
        if let Some(Err(error)) = report.map(|report| self.write(id, report)) {
            messages::error(&error, self.color);
        }
        match outcome {
            Ok(imported) => {
                let (received, seconds) =
                    report.map_or((0, 0.0), |report| (report.transfer.bytes_received, report.transfer.seconds));
                let of = format!("{} in {seconds:.1} s, {}", HumanBytes(received), rate(received, seconds));
                self.say(&format!("upload {id}: imported {of}"));
                if let Err(error) = messages::data(&imported.reference()) {
                    messages::error(&error.left(format!("the image {}", imported.reference())), self.color);
                }
            }
            Err(error) => {
                self.say(&format!("upload {id}: failed"));
                if !self.once {
                    messages::error(error, self.color);
                }
            }
        }
    }

    fn drains(&self, running: usize, within: Duration) {
        let within = humantime::format_duration(within);
        self.say(&format!("no more uploads are taken in; {running} running ones may take {within}"));
    }
}
