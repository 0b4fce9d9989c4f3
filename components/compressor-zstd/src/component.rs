//! Glue to the `compressor-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use crate::{FRAME_BYTES, frame};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "compressor-component", path: "../../wit" });
}

use bindings::exports::longshore::stage::compressor::{Failure, Guest as Compressor};
use bindings::exports::longshore::stage::describe::{
    CompressorDeclaration, Declaration, Description, Guest as Describe,
};
use bindings::longshore::stage::log;
use bindings::{wit_future, wit_stream};
use wit_bindgen::rt::async_support::{FutureReader, StreamReader, StreamWriter};
use wit_bindgen::{StreamResult, spawn_local};

type Outcome = Result<(), Failure>;

struct Component;

impl Describe for Component {
    fn describe() -> Description {
        std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            declares: Declaration::Compressor(CompressorDeclaration { suffix: "zstd".to_owned(), concatenable: true }),
        }
    }
}

impl Compressor for Component {
    async fn compress(
        mut bytes: StreamReader<u8>,
        outcome: FutureReader<Outcome>,
    ) -> Result<(StreamReader<u8>, FutureReader<Outcome>), Failure> {
        let (mut writer, stream) = wit_stream::new();
        let (told, ended) = wit_future::new(|| Err(Failure::Other("the layer was given up".to_owned())));
        spawn_local(async move {
            let written = frames(&mut bytes, &mut writer).await;
            drop(writer);
            let ended = match written {
                Ok(()) => outcome.await,
                Err(failure) => Err(failure),
            };
            // A host that does not want to know is gone.
            let _ = told.write(ended).await;
        });
        Ok((stream, ended))
    }
}

/// Compresses all of `bytes`: at least one frame, none of no bytes unless there are none at all.
async fn frames(bytes: &mut StreamReader<u8>, writer: &mut StreamWriter<u8>) -> Outcome {
    let mut begun = false;
    loop {
        let (piece, ended) = piece(bytes).await;
        if piece.is_empty() && begun {
            return Ok(());
        }
        let frame = frame(&piece).map_err(|why| Failure::Other(why.to_string()))?;
        if !writer.write_all(frame).await.is_empty() {
            return Err(Failure::Other("nobody reads the frames".to_owned()));
        }
        if ended {
            return Ok(());
        }
        begun = true;
    }
}

/// The next [`FRAME_BYTES`], fewer only at the end; and whether that was it: a stream must not be read on behind its end.
async fn piece(bytes: &mut StreamReader<u8>) -> (Vec<u8>, bool) {
    let mut piece = Vec::with_capacity(FRAME_BYTES);
    while piece.len() < FRAME_BYTES {
        let result;
        (result, piece) = bytes.read(piece).await;
        if matches!(result, StreamResult::Dropped) {
            return (piece, true);
        }
    }
    (piece, false)
}

bindings::export!(Component with_types_in bindings);
