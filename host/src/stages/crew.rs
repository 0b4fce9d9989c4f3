//! Threads on which instances of a compressor work on the pieces of a layer.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::compressor::Instance;
use crate::engine::{Component, Engine};
use crate::error::{Error, Result, Stage};
use crate::observe::{Meter, thread_cpu};
use crate::stream::{Flow, GivenUp, Piece, PieceOutput, Work};

/// What every thread of a crew needs.
#[derive(Clone)]
pub(super) struct Task {
    engine: Engine,
    component: Component,
    /// CPU time and waiting, of all threads together.
    meter: Arc<Meter>,
}

/// Starts so many threads that work on `pieces` until there are no more. When nobody wants the outputs any more, each ends
/// by itself: at once, or when its guest is next interrupted.
///
/// # Errors
/// `internal` if there are no threads to be had.
pub(super) fn start(threads: NonZeroUsize, pieces: &Work, task: &Task) -> Result<()> {
    for number in 1..=threads.get() {
        let failed = |why| Error::internal(Stage::Compressor, format!("no thread for the compressor: {why}"));
        // Guests are bound to their thread, and so is what drives them.
        let runtime = Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let (pieces, task) = (pieces.clone(), task.clone());
        let name = format!("compressor-{number}");
        thread::Builder::new().name(name).spawn(move || work(&runtime, &pieces, &task)).map_err(failed)?;
    }
    Ok(())
}

fn work(runtime: &Runtime, pieces: &Work, task: &Task) {
    loop {
        let waited = Instant::now();
        let Some(Piece { input, output }) = pieces.next() else { return };
        task.meter.waited_for_input(waited.elapsed());
        let cpu = thread_cpu();
        // With its set of tasks everything goes that a piece may have left behind.
        LocalSet::new().block_on(runtime, task.piece(input, output));
        task.meter.was_on_cpu(thread_cpu().saturating_sub(cpu));
    }
}

impl Task {
    /// To compress with fresh instances of `component`, whose meter gets what they spend.
    pub(super) fn new(engine: Engine, component: &Component) -> Self {
        // What they do is no time of the flow's thread.
        Self { engine, component: component.counted_apart(), meter: Arc::clone(component.work()) }
    }

    async fn piece(&self, input: Flow, output: PieceOutput) {
        let compressed = tokio::select! {
            biased;
            () = output.given_up() => Ok(()),
            compressed = self.compress(input, &output) => compressed,
        };
        match compressed {
            Ok(()) => output.end(),
            Err(error) => output.fail(error),
        }
    }

    async fn compress(&self, input: Flow, output: &PieceOutput) -> Result<()> {
        let instance = Instance::new(&self.engine, &self.component).await?;
        let mut compressed = instance.compress(input).await?;
        while let Some(chunk) = compressed.next().await? {
            let waited = Instant::now();
            let ready = output.ready().await;
            self.meter.waited_for_output(waited.elapsed());
            if ready == Err(GivenUp) {
                return Ok(());
            }
            output.push(&chunk);
        }
        Ok(())
    }
}
