//! `dvcr-importer`: one import, as the environment says, and what became of it where the pod's runtime looks.

use std::sync::Arc;
use std::time::Instant;

use super::super::args::ProgressKind;
use super::super::color::Color;
use super::super::import::carried_out;
use super::super::messages;
use super::super::progress::{Shown, Verbosity, shown, warnings};
use super::again::Again;
use super::destination::{Named, Variable, destination};
use super::environment::Environment;
use super::message::Message;
use super::source::{Wanted, wanted};
use super::{image, monitor, policy, usage};
use crate::error::{Code, Result};
use crate::observe::Progress;
use crate::pipeline::{Checksum, Finished, Imported, Plan, Report, import};
use crate::serve::Watched;

const DESTINATION: Named<'static> = Named {
    endpoint: Variable::alone("IMPORTER_DESTINATION_ENDPOINT"),
    user: Variable::alone("IMPORTER_DESTINATION_ACCESS_KEY_ID"),
    password: Variable::alone("IMPORTER_DESTINATION_SECRET_KEY"),
    auth_config: Variable::alone("IMPORTER_DESTINATION_AUTH_CONFIG"),
    insecure: Variable::alone("DESTINATION_INSECURE_TLS"),
    ca: Variable::alone("IMPORTER_DESTINATION_CA_BUNDLE"),
};
/// Whose import it is.
pub(super) const OWNER: &str = "OWNER_UID";

/// Runs the import, and leaves its message.
pub(in crate::cli) fn run(verbosity: Verbosity, color: Color) -> Result<()> {
    let imported = imported(&Environment::own(), verbosity, color);
    match imported {
        Ok((image, message)) => {
            let left = message.leave();
            messages::data(&image.reference())?;
            left.map_err(|error| error.left(format!("the image {}", image.reference())))
        }
        Err(error) => Err(match Message::failed(&error).leave() {
            Ok(()) => error,
            Err(unsaid) => error.context(unsaid.to_string()),
        }),
    }
}

fn imported(environment: &Environment, verbosity: Verbosity, color: Color) -> Result<(Imported, Message)> {
    let began = Instant::now();
    let shown = shown(ProgressKind::Plain, None, verbosity, color)?;
    let policy = policy::in_force()?;
    let (watched, owner) = (Watched::default(), environment.text(OWNER)?);
    let _monitor = monitor(owner.clone(), &watched, &policy);
    let (destination, policy) = destination(environment, &DESTINATION, policy)?;
    let plan = match wanted(environment, (&DESTINATION, &destination), owner.as_deref(), policy)? {
        Wanted::Disk(disk) => {
            let (input, name, policy) = *disk;
            image::plan(input, name, destination, checksums(environment)?, policy)?
        }
        Wanted::Image(image) => {
            let (input, image, policy) = *image;
            image::plan(input, None, destination, checksums(environment)?, policy)?.copying(image)
        }
    };
    let wishes = plan.image.clone();
    let (imported, report) = tried(plan, &watched, &shown)?;
    let message = Message::done(&imported, &report, &wishes, began.elapsed());
    Ok((imported, message))
}

/// `IMPORTER_CHECKSUMS`, and the variables that older controllers set in its place.
fn checksums(environment: &Environment) -> Result<Vec<Checksum>> {
    let mut all = Vec::new();
    if let Some(text) = environment.text("IMPORTER_CHECKSUMS")? {
        all.extend(image::checksums("IMPORTER_CHECKSUMS", &text)?);
    }
    for (name, algorithm) in [("IMPORTER_SHA256SUM", "sha256"), ("IMPORTER_MD5SUM", "md5")] {
        if let Some(text) = environment.text(name)? {
            let [checksum] = &image::checksums(name, &format!("{algorithm}:{text}"))?[..] else {
                return Err(usage(format!("{name} is more than one checksum")));
            };
            all.push(checksum.clone());
        }
    }
    Ok(all)
}

/// Imports, until it is done or must not be begun again. A disk whose length nobody says is kept on its way.
fn tried(mut plan: Plan, watched: &Watched, shown: &Shown) -> Result<(Imported, Report)> {
    let mut again = Again::new();
    let left = format!("perhaps an unfinished upload in {}", plan.target.shown());
    loop {
        let progress = Arc::new(Progress::start());
        watched.watch_this(&progress);
        let (planned, trying) = (&plan, &mut again);
        let tried = carried_out(&progress, shown, &left, async |interrupted| {
            let Finished { outcome, report } = import(planned, &progress, interrupted.clone()).await;
            let error = match outcome {
                Ok(imported) => return Ok(Some((imported, report))),
                Err(error) if error.code() == Code::SourceLengthUnknown && planned.spool.is_none() => {
                    return Err(error);
                }
                Err(error) => error,
            };
            let stood = (progress.phase(), progress.position().received > 0);
            let Some(pause) = trying.after(&error, stood, progress.started.elapsed()) else {
                return Err(error);
            };
            let seconds = pause.as_secs();
            messages::line(&messages::harmless(&format!("warning: {error}: beginning again in {seconds} s")));
            interrupted.pause(pause).await.map(|()| None)
        })?;
        warnings(&progress);
        match tried {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(error) if error.code() == Code::SourceLengthUnknown && plan.spool.is_none() => {
                plan.spool = Some(image::spool()?);
            }
            Err(error) => return Err(error),
        }
    }
}
