//! An import up to where the first byte of the disk would move: what could keep it from succeeding is found out for the
//! price of a few requests. An import does the same steps first.

use super::destination::Destination;
use super::disk::{announced, open_source};
use super::import::Run;
use super::layer::media_type;
use super::run::{checksums, compressor};
use crate::error::Result;
use crate::stages::{self, Access};

/// checksum files → source → its length → framing → upload session, which is given up again.
pub(super) async fn preflight(run: &Run<'_>) -> Result<()> {
    run.interrupted.or(run.wanted().known_to(run.engine, &run.components.probe)).await?;
    run.interrupted.or(checksums(run)).await?;
    let told = (&run.interrupted, &run.progress.repeats);
    let source = open_source(&run.plan.input, run.engine, &run.components.source, run.net, told).await?;
    run.ledger.source(source.facts(), source.described());
    // How long a disk is behind a filter, or without a length, only its bytes tell.
    let filtered = !run.plan.chosen.filters.are_none();
    let ranged = source.facts().access == Access::Ranged && !filtered;
    let brought_again = (ranged || run.plan.spool.is_some()) && run.components.compressor.is_none();
    let entry = if filtered { None } else { announced(run.plan, source.facts())? };
    if let Some(entry) = entry {
        run.ledger.disk(&entry);
        let frame = run.interrupted.or(stages::frame(run.engine, &run.components.framing, &entry)).await?;
        run.ledger.framed(&frame);
        let compressor = run.interrupted.or(compressor(run)).await?;
        media_type(run.plan.image.media_types, &frame, compressor.as_ref())?;
    }
    let mut destination = Destination::new(&run.plan.target, &run.plan.policy, run.net)?;
    match run.interrupted.or(destination.open(&run.plan.tags)).await {
        Ok(()) => run.ledger.opened(destination.terms(brought_again)),
        Err(error) => return Err(destination.abandon(error).await),
    }
    if let Some(left) = destination.give_up().await {
        run.progress.warn("upload-left", &format!("the check leaves behind {left}"));
    }
    Ok(())
}
