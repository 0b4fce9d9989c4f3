//! Glue to the `filter-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

pub use wit_bindgen;
pub use wit_bindgen::rt::async_support::{FutureReader, StreamReader};

pub use bindings::exports::longshore::stage::filter::{Failure, Output};

use bindings::exports::longshore::stage::filter::OutputSize;
use bindings::longshore::stage::log;
use bindings::{wit_future, wit_stream};
use wit_bindgen::rt::async_support::StreamWriter;
use wit_bindgen::{StreamResult, spawn_local};

use filter_core::{Announced, Bounded, Refusal, Step, Unwrapper};

/// The generated bindings, for [`filter_component`](crate::filter_component).
pub mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({
        world: "filter-component",
        path: "../../wit",
        pub_export_macro: true,
        default_bindings_module: "filter_glue::component::bindings",
    });
}

/// How much is read at a time.
const READ_BYTES: usize = 64 << 10;
/// How much is written at a time.
const WRITE_BYTES: usize = 128 << 10;

/// The outcome of a stream.
pub type Outcome = Result<(), Failure>;

/// Sends panics to the log: there is no standard error.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
}

/// Lets `bytes`, which have `size` bytes if that is known, flow through `unwrapper`.
///
/// # Errors
/// What is wrong before anything comes out.
pub async fn run<U: Unwrapper + 'static>(
    unwrapper: U,
    bytes: StreamReader<u8>,
    outcome: FutureReader<Outcome>,
    size: Option<u64>,
) -> Result<Output, Failure> {
    let unwrapper = Bounded::new(unwrapper, size);
    let input = Input { source: Some((bytes, outcome)), chunk: Vec::new(), at: 0 };
    let mut work = Work { unwrapper, input, output: Vec::new() };
    let step = loop {
        let step = work.step().await?;
        if step.ended || work.unwrapper.inner().announced().is_some() {
            break step;
        }
    };
    let Announced { size, exact, name } = work.unwrapper.inner().announced().cloned().unwrap_or_default();
    let (mut writer, stream) = wit_stream::new();
    let (told, ended) = wit_future::new(|| Err(Failure::Other("the filter was given up".to_owned())));
    spawn_local(async move {
        let written = work.all(step, &mut writer).await;
        drop(writer);
        // A host that does not want to know is gone.
        let _ = told.write(written).await;
    });
    let size = match size {
        Some(size) if exact => OutputSize::Exact(size),
        Some(size) => OutputSize::Claimed(size),
        None => OutputSize::Unknown,
    };
    Ok(Output { bytes: stream, outcome: ended, name, size })
}

struct Work<U> {
    unwrapper: Bounded<U>,
    input: Input,
    output: Vec<u8>,
}

impl<U: Unwrapper> Work<U> {
    async fn step(&mut self) -> Result<Step, Failure> {
        let last = self.input.fill().await?;
        self.output.resize(WRITE_BYTES, 0);
        let step = self.unwrapper.step(self.input.unread(), last, &mut self.output).map_err(failure)?;
        self.input.at = self.input.at.saturating_add(step.taken);
        self.output.truncate(step.given);
        Ok(step)
    }

    /// Writes what the step gave and what all further ones do.
    async fn all(mut self, mut step: Step, writer: &mut StreamWriter<u8>) -> Outcome {
        loop {
            if !self.output.is_empty() {
                self.output = writer.write_all(std::mem::take(&mut self.output)).await;
                if !self.output.is_empty() {
                    return Err(Failure::Other("nobody reads the disk".to_owned()));
                }
            }
            if step.ended {
                return self.input.rest().await;
            }
            step = self.step().await?;
        }
    }
}

/// What comes in.
struct Input {
    /// Nothing once it has ended well.
    source: Option<(StreamReader<u8>, FutureReader<Outcome>)>,
    chunk: Vec<u8>,
    /// Up to where the chunk was taken.
    at: usize,
}

impl Input {
    /// Reads on if all was taken. Says whether that is the end, which it only is if it is a good one.
    async fn fill(&mut self) -> Result<bool, Failure> {
        while self.unread().is_empty() {
            let Some((mut bytes, outcome)) = self.source.take() else { return Ok(true) };
            let mut chunk = std::mem::take(&mut self.chunk);
            chunk.clear();
            chunk.reserve(READ_BYTES);
            let (result, chunk) = bytes.read(chunk).await;
            (self.chunk, self.at) = (chunk, 0);
            // A stream must not be read on behind its end.
            if matches!(result, StreamResult::Dropped) {
                drop(bytes);
                outcome.await?;
            } else {
                self.source = Some((bytes, outcome));
            }
        }
        Ok(false)
    }

    fn unread(&self) -> &[u8] {
        self.chunk.get(self.at..).unwrap_or_default()
    }

    /// What is left is the host's to read; how it ends counts.
    async fn rest(self) -> Outcome {
        match self.source {
            Some((bytes, outcome)) => {
                drop(bytes);
                outcome.await
            }
            None => Ok(()),
        }
    }
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Invalid(why) => Failure::Invalid(why),
        Refusal::Limit(why) => Failure::Limit(why),
    }
}

/// A component that declares these wrappers and unwraps with `$new(Option<u64>, Option<String>)`, the size and the name of its
/// input. Its package's name is the component's.
#[macro_export]
macro_rules! filter_component {
    ($wrappers:expr, $new:path) => {
        struct Component;

        impl $crate::component::bindings::exports::longshore::stage::describe::Guest for Component {
            fn describe() -> $crate::component::bindings::exports::longshore::stage::describe::Description {
                use $crate::component::bindings::exports::longshore::stage::describe::*;
                $crate::component::log_panics();
                Description {
                    name: env!("CARGO_PKG_NAME").to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    declares: Declaration::Filter(FilterDeclaration {
                        wrappers: $wrappers.iter().map(|wrapper| (*wrapper).to_owned()).collect(),
                    }),
                }
            }
        }

        impl $crate::component::bindings::exports::longshore::stage::filter::Guest for Component {
            async fn run(
                bytes: $crate::component::StreamReader<u8>,
                outcome: $crate::component::FutureReader<$crate::component::Outcome>,
                size: Option<u64>,
                name: Option<String>,
            ) -> Result<$crate::component::Output, $crate::component::Failure> {
                $crate::component::run($new(size, name), bytes, outcome, size).await
            }
        }

        $crate::component::bindings::export!(Component);
    };
}
