//! `dvcr-uploader`: one upload, as flags and environment say, and what became of it where the pod's runtime looks.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::args::DvcrUploader;
use super::super::messages;
use super::super::progress::Verbosity;
use super::super::signals::counted;
use super::destination::{Named, Variable, destination};
use super::environment::Environment;
use super::importer::OWNER;
use super::message::Message;
use super::{EVERYWHERE, image, listener, monitor, policy, usage};
use crate::error::{Code, Error, Result, Stage};
use crate::observe::Progress;
use crate::pipeline::{ImageWishes, Imported, Input, Report, Source, SourceFields, in_this_thread};
use crate::serve::{Manners, Meters, Service, Told, Watched, serve};

const LISTEN_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const LISTEN_PORT: u16 = 8444;
const HEALTH_PORT: u16 = 8080;
/// How long an upload may go on once the pod is to end: less than a pod is given.
const DRAIN: Duration = Duration::from_secs(20);
/// The exit code of a verdict about the disk, which no other attempt at the same disk changes.
const VERDICT: u8 = 11;

/// Takes one upload in, and leaves its message.
///
/// A verdict about the disk is in the message, and no error: who restarts what fails would wait for the same disk again.
pub(in crate::cli) fn run(typed: &DvcrUploader, verbosity: Verbosity) -> Result<()> {
    let heard = Rc::<Heard>::default();
    let served = served(typed, &Environment::own(), verbosity, Rc::clone(&heard));
    let unsaid = heard.unsaid.take();
    match served {
        Ok(()) => unsaid.map_or(Ok(()), Err),
        Err(error) if heard.ended.get() => match unsaid {
            None if error.code().exit() == VERDICT => {
                messages::line(&messages::harmless(&format!("error[{}]: {error}", error.code().as_str())));
                Ok(())
            }
            None => Err(error),
            Some(unsaid) => Err(error.context(unsaid.to_string())),
        },
        Err(error) => Err(match Message::failed(&error).leave() {
            Ok(()) => error,
            Err(unsaid) => error.context(unsaid.to_string()),
        }),
    }
}

fn served(typed: &DvcrUploader, environment: &Environment, verbosity: Verbosity, heard: Rc<Heard>) -> Result<()> {
    let policy = policy::in_force()?;
    let (watched, owner) = (Watched::default(), environment.text(OWNER)?);
    let _monitor = monitor(owner.clone(), &watched, &policy);
    let service = service(typed, environment, owner.as_deref(), policy)?;
    let wishes = service.plan.image.clone();
    let voice = Voice { quiet: verbosity == Verbosity::Quiet, watched, wishes, began: RefCell::default(), heard };
    in_this_thread(&Progress::start(), async {
        let (signals, counting) = counted()?;
        tokio::select! {
            done = serve(service, signals, voice) => done.map(|_| ()),
            () = counting => Err(Error::internal(Stage::Plan, "a task that never ends has ended")),
        }
    })?
}

/// Resolves everything.
fn service(
    typed: &DvcrUploader,
    environment: &Environment,
    owner: Option<&str>,
    policy: crate::policy::Policy,
) -> Result<Service> {
    let value = |flag, typed: &Option<String>, name| environment.or((flag, typed.as_ref()), name);
    let port = |found: Option<(&str, String)>, otherwise: u16| match found {
        None => Ok(otherwise),
        Some((name, text)) => text.parse().map_err(|_| usage(format!("{name} is not a port"))),
    };
    let address = match value("--listen-address", &typed.listen_address, "LISTEN_ADDRESS")? {
        None => LISTEN_ADDRESS,
        Some((name, text)) => text.parse().map_err(|_| usage(format!("{name} is not an address")))?,
    };
    let listen = port(value("--listen-port", &typed.listen_port, "LISTEN_PORT")?, LISTEN_PORT)?;
    let health = port(value("--healthz-port", &typed.healthz_port, "HEALTHZ_PORT")?, HEALTH_PORT)?;
    let variable = |name, flag, typed| Variable { name, flag: Some((flag, typed)) };
    let named = Named {
        endpoint: variable(
            "UPLOADER_DESTINATION_ENDPOINT",
            "--destination-endpoint",
            typed.destination_endpoint.as_ref(),
        ),
        user: variable(
            "UPLOADER_DESTINATION_ACCESS_KEY_ID",
            "--destination-access-key-id",
            typed.destination_access_key_id.as_ref(),
        ),
        password: variable(
            "UPLOADER_DESTINATION_SECRET_KEY",
            "--destination-secret-key",
            typed.destination_secret_key.as_ref().map(|typed| &typed.0),
        ),
        auth_config: variable(
            "UPLOADER_DESTINATION_AUTH_CONFIG",
            "--destination-auth-config",
            typed.destination_auth_config.as_ref(),
        ),
        insecure: variable(
            "DESTINATION_INSECURE_TLS",
            "--destination-insecure-tls",
            typed.destination_insecure_tls.as_ref(),
        ),
        ca: variable("UPLOADER_DESTINATION_CA_BUNDLE", "--destination-ca-bundle", typed.destination_ca_bundle.as_ref()),
    };
    let (destination, policy) = destination(environment, &named, policy)?;
    let checksums = match value("--checksums", &typed.checksums, "UPLOADER_CHECKSUMS")? {
        Some((name, text)) => image::checksums(name, &text)?,
        None => Vec::new(),
    };
    // Each upload is put in the place of standard input.
    let input = Input {
        source: Source::StandardInput,
        size: None,
        fields: SourceFields::default(),
        options: Vec::new(),
        registry: None,
        layout: None,
    };
    let tls = listener::tls(typed, environment)?;
    if tls.is_none() {
        policy
            .may_listen_without_tls("TLS_CERT_FILE", "is not set, so disks come")
            .map_err(|why| Error::new(Code::FlagDenied, Stage::Plan, why.to_string()).hint(why.advice()))?;
    }
    let name = format!("source-stream-{}", image::uuid(owner)?);
    let mut plan = image::plan(input, Some(name), destination, checksums, policy)?;
    plan.spool = Some(image::spool()?);
    Ok(Service {
        at: SocketAddr::new(address, listen),
        tls,
        health_at: Some(SocketAddr::new(EVERYWHERE, health)),
        plan,
        token: None,
        uploads: NonZeroUsize::MIN,
        max_bytes: None,
        clients_tag: false,
        drain: DRAIN,
        once: true,
        manners: Manners::Dvcr,
        spools_unknown: true,
    })
}

/// What came of the upload, for whoever started it.
#[derive(Default)]
struct Heard {
    /// Whether it ended, and its message was tried to be left.
    ended: std::cell::Cell<bool>,
    /// Why there is no message.
    unsaid: RefCell<Option<Error>>,
}

/// What is told on the way.
struct Voice {
    quiet: bool,
    watched: Watched,
    wishes: ImageWishes,
    began: RefCell<Option<Instant>>,
    heard: Rc<Heard>,
}

impl Voice {
    fn say(&self, line: &str) {
        if !self.quiet {
            messages::line(&messages::harmless(line));
        }
    }
}

impl Told for Voice {
    fn listens(&self, at: SocketAddr, tls: bool, _: Option<SocketAddr>) {
        self.say(&format!("listening at {}://{at}/upload", if tls { "https" } else { "http" }));
    }

    fn turned_away(&self, from: SocketAddr, why: &str) {
        tracing::info!("no TLS session with {from}: {}", messages::harmless(why));
    }

    fn began(&self, _: &str, from: SocketAddr, meters: &Meters) {
        self.watched.watch(meters);
        self.began.replace(Some(Instant::now()));
        self.say(&format!("an upload has begun by {from}"));
    }

    fn ended(&self, _: &str, outcome: &Result<Imported>, report: Option<&Report>) {
        let took = self.began.borrow().map_or(Duration::ZERO, |began| began.elapsed());
        let message = match (outcome, report) {
            (Ok(imported), Some(report)) => Message::done(imported, report, &self.wishes, took),
            (Ok(_), None) => Message::default(),
            (Err(error), _) => Message::failed(error),
        };
        self.heard.ended.set(true);
        let left = message.leave();
        if let Ok(imported) = outcome {
            let said = messages::data(&imported.reference());
            let stands = |error: Error| error.left(format!("the image {}", imported.reference()));
            *self.heard.unsaid.borrow_mut() = left.and(said).map_err(stands).err();
        } else {
            *self.heard.unsaid.borrow_mut() = left.err();
        }
    }

    fn drains(&self, running: usize, within: Duration) {
        self.say(&format!("no upload is taken in any more; {running} may take {} s", within.as_secs()));
    }
}
