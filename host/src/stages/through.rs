//! A component that a flow passes through: what goes in, what comes out, and whose failure it is.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::pin;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use wasmtime::component::{Accessor, FutureReader, StreamReader};

use super::failure;
use crate::bindings::Failure;
use crate::engine::{Guest, HostStream, Kind, LINGER, StoreState, bytes_into, host_future, outcome_into};
use crate::error::{Code, Error, Result};
use crate::stream::{Chunks, Failing, Flow, Helping, PipeReader, Pulse, outcome, pipe};

/// How often a component whose stream has ended is reminded that it still owes the outcome.
const REMIND_EVERY: Duration = Duration::from_millis(250);

/// Bytes and their outcome, as guests hand them over.
pub(super) type Body = (StreamReader<u8>, FutureReader<Result<(), Failure>>);

/// Whoever waits for an output, until there is one.
type Reply<T> = RefCell<Option<oneshot::Sender<Result<(Output, T)>>>>;

type GuestsOutcome = oneshot::Receiver<Result<(), Failure>>;

/// A component that a flow is to pass through.
pub(super) struct Through {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) pulse: Pulse,
    /// When it counts that the component fails.
    pub(super) failing: Failing,
}

impl Through {
    /// Lets `input` flow into `guest` by way of `call`, which gives what comes out and what the guest says of it. The flow
    /// that comes out ends well only once the guest said ok, its bytes have ended, and the input ended well too. The guest
    /// lives in the current `LocalSet` until that flow is dropped.
    ///
    /// # Errors
    /// The guest's, before it had an output; the input's own, which is the cause of all that follows from it.
    pub(super) async fn carry<T: 'static>(
        self,
        guest: Guest<()>,
        input: Flow,
        call: impl AsyncFnOnce(&Accessor<StoreState<()>>, Body) -> wasmtime::Result<Result<(Body, T), Failure>> + 'static,
    ) -> Result<(Flow, T)> {
        let who = self.who();
        let ended = Error::internal(self.kind.stage(), format!("the task of {who} ended before it had an output"));
        let (setter, settled) = outcome(self.kind.stage(), &who);
        let failing = self.failing;
        let (reply, started) = oneshot::channel();
        let task = async move {
            let reply = RefCell::new(Some(reply));
            let ended = self.live(guest, input, call, &reply).await;
            match (reply.take(), ended) {
                // Whoever waited may have given up; then nobody needs to know.
                (Some(reply), Err(error)) => drop(reply.send(Err(error))),
                (_, ended) => setter.set(ended),
            }
        };
        let live = Live(tokio::task::spawn_local(task).abort_handle());
        let (output, said) = started.await.map_err(|_| ended)??;
        // What the host takes back has ended when the guest may not have noticed yet.
        let grace = matches!(output, Output::Input(_)).then_some(LINGER);
        Ok((Flow::failing(Kept { output, _live: live }, settled, grace, failing), said))
    }

    async fn live<T>(
        &self,
        guest: Guest<()>,
        input: Flow,
        call: impl AsyncFnOnce(&Accessor<StoreState<()>>, Body) -> wasmtime::Result<Result<(Body, T), Failure>>,
        reply: &Reply<T>,
    ) -> Result<()> {
        let (told, outcome) = oneshot::channel();
        let (left, rest) = oneshot::channel();
        let (input, pulse) = (Some((input, told)), self.pulse.clone());
        let input = Input { flow: input, cut: false, left: Some(left), pulse, helping: None };
        let work = guest.run(async |accessor| {
            self.pulse.owes();
            let bytes = accessor.with(|access| StreamReader::new(access, HostStream::new(input)))?;
            let gone = || Failure::Other("the input was given up".to_owned());
            let outcome = async move { outcome.await.unwrap_or_else(|_| Err(gone())) };
            let outcome = accessor.with(|access| host_future(access, outcome))?;
            let called = call(accessor, (bytes, outcome)).await?;
            self.pulse.settled();
            let (body, said) = match called {
                Ok(called) => called,
                Err(failure) => return Ok(Err(self.error(&failure))),
            };
            let started = |output| drop(reply.take().map(|reply| reply.send(Ok((output, said)))));
            self.output(accessor, body, started).await
        });
        let (input, work) = (self.input(rest), async { work.await.flatten() });
        pin!(input, work);
        let unread = tokio::select! {
            biased;
            unread = &mut input => {
                let unread = unread?;
                work.await?;
                unread
            }
            worked = &mut work => match worked {
                Ok(()) => input.await?,
                // If the input broke off, that is why, whatever the guest makes of it, and even if the guest noticed first.
                Err(error) => return Err(input.now_or_never().and_then(Result::err).unwrap_or(error)),
            },
        };
        if unread && !self.may_leave_input() {
            return Err(self.broke("did not read its input to the end"));
        }
        Ok(())
    }

    /// Waits for the end of the input, and reads what the guest leaves of it. Says whether that was anything.
    async fn input(&self, rest: oneshot::Receiver<Result<Option<Left>>>) -> Result<bool> {
        // Without a word the guest is gone, and says itself why.
        let Some(((mut flow, told), cut)) = rest.await.unwrap_or(Ok(None))? else { return Ok(false) };
        if cut && !self.may_leave_input() {
            return Ok(true);
        }
        // Whoever waits for its end waits for the host.
        let _helping = self.pulse.helping();
        let mut unread = cut;
        loop {
            match flow.next().await {
                Ok(Some(_)) if self.may_leave_input() => unread = true,
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {
                    let _ = told.send(Ok(()));
                    return Ok(unread);
                }
                Err(error) => {
                    let _ = told.send(Err(failure::failure(&error)));
                    return Err(error);
                }
            }
        }
    }

    /// Hands the guest's output to `started`, and stays until its outcome is known.
    async fn output(
        &self,
        accessor: &Accessor<StoreState<()>>,
        (bytes, outcome): Body,
        started: impl FnOnce(Output),
    ) -> wasmtime::Result<Result<()>> {
        let outcome = outcome_into(accessor, outcome)?;
        let bytes = match accessor.with(|access| bytes.try_into::<HostStream>(access)) {
            Ok(_) if !self.may_leave_input() => return Ok(Err(self.broke("handed its input back"))),
            Ok(input) => {
                started(Output::Input(input));
                return Ok(self.judge(outcome.await));
            }
            Err(bytes) => bytes,
        };
        let (writer, reader) = pipe(self.pulse.clone());
        let end = bytes_into(accessor, bytes, writer)?;
        started(Output::Guest(reader));
        let lingered = async {
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            tokio::time::sleep(LINGER).await;
        };
        Ok(tokio::select! {
            biased;
            ended = self.ended(end, outcome) => ended,
            () = lingered => Err(self.broke("ended but left its output open")),
        })
    }

    /// Waits for stream and outcome of the guest, whichever comes first. A failure ends the wait.
    async fn ended(&self, mut end: oneshot::Receiver<()>, mut outcome: GuestsOutcome) -> Result<()> {
        tokio::select! {
            biased;
            outcome = &mut outcome => {
                self.judge(outcome)?;
                let _ = end.await;
                return Ok(());
            }
            _ = &mut end => {}
        }
        loop {
            self.pulse.owes();
            if let Ok(outcome) = tokio::time::timeout(REMIND_EVERY, &mut outcome).await {
                return self.judge(outcome);
            }
        }
    }

    fn judge(&self, outcome: Result<Result<(), Failure>, oneshot::error::RecvError>) -> Result<()> {
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(self.error(&failure)),
            Err(_) => Err(self.broke("dropped the outcome of its stream")),
        }
    }

    /// Whether the host reads on where the guest stops: a filter may have all it needs, a compressor may not lose a byte.
    fn may_leave_input(&self) -> bool {
        self.kind == Kind::Filter
    }

    fn who(&self) -> String {
        format!("the {} `{}`", self.kind.as_str(), self.name)
    }

    fn error(&self, failure: &Failure) -> Error {
        failure::error(failure, self.kind, &self.name)
    }

    fn broke(&self, how: &str) -> Error {
        Error::new(Code::ComponentContract, self.kind.stage(), format!("{} {how}", self.who()))
    }
}

/// What a guest has not read of its input yet, and who waits for its end.
type Unread = (Flow, oneshot::Sender<Result<(), Failure>>);

/// What a guest left of its input, and whether it left a part of a chunk besides.
type Left = (Unread, bool);

/// The input as the guest reads it. Its end and its failure go to the host too, and what the guest drops unread.
struct Input {
    flow: Option<Unread>,
    /// Whether the last chunk was not read to its end.
    cut: bool,
    left: Option<oneshot::Sender<Result<Option<Left>>>>,
    pulse: Pulse,
    helping: Option<Helping>,
}

impl Input {
    fn end(&mut self, end: Result<Option<Left>>) {
        self.helping = None;
        if let Some(left) = self.left.take() {
            // Nobody listens any more: the run is over.
            let _ = left.send(end);
        }
    }
}

impl Chunks for Input {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Some((flow, _)) = &mut self.flow else { return Poll::Ready(None) };
        let ended = match flow.poll_next(cx) {
            Poll::Pending => {
                // The guest waits for what is upstream of it.
                let pulse = &self.pulse;
                self.helping.get_or_insert_with(|| pulse.helping());
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(chunk))) => {
                self.helping = None;
                self.pulse.took(chunk.len());
                return Poll::Ready(Some(Ok(chunk)));
            }
            Poll::Ready(None) => Ok(()),
            Poll::Ready(Some(Err(error))) => Err(error),
        };
        if let Some((_, told)) = self.flow.take() {
            // A guest that dropped the outcome does not want to know.
            let _ = told.send(ended.as_ref().copied().map_err(failure::failure));
        }
        self.end(ended.map(|()| None));
        Poll::Ready(None)
    }

    fn left_over(&mut self, _: Bytes) {
        self.cut = true;
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(unread) = self.flow.take() {
            self.end(Ok(Some((unread, self.cut))));
        }
    }
}

/// What comes out: the input itself, untouched, or what the guest wrote.
enum Output {
    Input(HostStream),
    Guest(PipeReader),
}

/// Keeps the guest alive as long as its output is read.
struct Kept {
    output: Output,
    _live: Live,
}

impl Chunks for Kept {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match &mut self.output {
            Output::Input(input) => input.poll_chunk(cx),
            Output::Guest(output) => output.poll_chunk(cx),
        }
    }
}

/// Ends the guest's task.
struct Live(AbortHandle);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.abort();
    }
}
