//! What became of a stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{Code, Error, Result, Stage};

/// Makes an outcome and its setter. `who` names whoever owes it, for messages.
#[must_use]
pub fn outcome(stage: Stage, who: &str) -> (OutcomeSetter, Outcome) {
    let slot = Slot { value: Value::Open, waker: None, setters: 1 };
    let shared = Arc::new(Shared { slot: Mutex::new(slot), stage, who: who.to_owned() });
    (OutcomeSetter(Arc::clone(&shared)), Outcome(shared))
}

/// The reading end: resolves once.
pub struct Outcome(Arc<Shared>);

/// The setting end. The first value counts; if every setter is dropped without one, the outcome is a failure.
pub struct OutcomeSetter(Arc<Shared>);

struct Shared {
    slot: Mutex<Slot>,
    stage: Stage,
    who: String,
}

struct Slot {
    value: Value,
    waker: Option<Waker>,
    setters: usize,
}

enum Value {
    Open,
    Set(Result<()>),
    Taken,
}

impl Outcome {
    /// The value, once.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut slot = self.0.lock();
        match std::mem::replace(&mut slot.value, Value::Taken) {
            Value::Set(value) => Poll::Ready(value),
            Value::Taken => Poll::Ready(Err(Error::internal(self.0.stage, "an outcome was asked for twice"))),
            Value::Open => {
                slot.value = Value::Open;
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The error for an outcome that was not given in time.
    #[must_use]
    pub fn overdue(&self, grace: Duration) -> Error {
        Error::new(
            Code::ComponentContract,
            self.0.stage,
            format!("{} ended its stream but not its outcome: expected it within {} ms", self.0.who, grace.as_millis()),
        )
    }
}

impl OutcomeSetter {
    /// Sets the value if there is none yet.
    pub fn set(&self, value: Result<()>) {
        self.0.set(value);
    }

    /// Whether there is a value.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !matches!(self.0.lock().value, Value::Open)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, value: Result<()>) {
        let mut slot = self.lock();
        if matches!(slot.value, Value::Open) {
            slot.value = Value::Set(value);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Clone for OutcomeSetter {
    fn clone(&self) -> Self {
        self.0.lock().setters += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for OutcomeSetter {
    fn drop(&mut self) {
        let last = {
            let mut slot = self.0.lock();
            slot.setters -= 1;
            slot.setters == 0
        };
        if last {
            let message = format!("{} gave no outcome for its stream", self.0.who);
            self.0.set(Err(Error::new(Code::ComponentContract, self.0.stage, message)));
        }
    }
}
