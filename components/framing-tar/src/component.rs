//! Glue to the `framing-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use crate::{MEDIA_TYPE, frame};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "framing-component", path: "../../wit" });
}

use bindings::exports::longshore::stage::describe::{Declaration, Description, FramingDeclaration, Guest as Describe};
use bindings::exports::longshore::stage::framing::{Entry, Failure, Guest as Framing, Layer, Segment};
use bindings::longshore::stage::log;

struct Component;

impl Describe for Component {
    fn describe() -> Description {
        std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            declares: Declaration::Framing(FramingDeclaration { media_type: MEDIA_TYPE.to_owned() }),
        }
    }
}

impl Framing for Component {
    fn frame(entry: Entry) -> Result<Layer, Failure> {
        let entry = crate::Entry { name: entry.name, size: entry.size, uid: entry.owner.uid, gid: entry.owner.gid };
        let frame =
            frame(&entry).map_err(|why| Failure::Invalid(format!("`{}` cannot be framed: {why}", entry.name)))?;
        Ok(Layer {
            media_type: MEDIA_TYPE.to_owned(),
            segments: vec![Segment::Literal(frame.before), Segment::Payload, Segment::Zeros(frame.zeros_after)],
        })
    }
}

bindings::export!(Component with_types_in bindings);
