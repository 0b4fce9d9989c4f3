//! Glue to the `probe-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use crate::{Answer, FORMATS, Request, View, detect};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "probe-component", path: "../../wit" });
}

use bindings::exports::longshore::stage::describe::{Declaration, Description, Guest as Describe, ProbeDeclaration};
use bindings::exports::longshore::stage::probe::{ContentSize, Failure, Guest as Probe, Hazard, Severity, Verdict};
use bindings::longshore::stage::log;
use bindings::longshore::stage::window::Window;

struct Component;

impl Describe for Component {
    fn describe() -> Description {
        std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            declares: Declaration::Probe(ProbeDeclaration {
                formats: FORMATS.map(|format| format.name.to_owned()).to_vec(),
            }),
        }
    }
}

impl Probe for Component {
    async fn detect(disk: &Window) -> Result<Verdict, Failure> {
        let mut view = View::new(disk.size());
        view.expect(disk.expected_format());
        view.partial(disk.partial());
        // The view bounds the requests, and with them the turns.
        loop {
            let request = match detect(&view).map_err(|malformed| Failure::Invalid(malformed.0))? {
                Answer::Verdict(verdict) => return Ok(convert(verdict)),
                Answer::Need(request) => request,
            };
            let answer = match request {
                Request::At { offset, len } => disk.read_at(offset, len).await,
                Request::Tail { len } => disk.read_tail(len).await,
            };
            match answer {
                Ok(bytes) => view.answer(request, bytes),
                Err(Failure::Gone(_) | Failure::Unsupported(_)) => view.refuse(request),
                Err(why) => return Err(why),
            }
            // What was read once can be read again, at no cost, unless the disk is read in order.
            if matches!(request, Request::At { offset: 0, .. })
                && matches!(disk.read_at(0, 1).await, Err(Failure::Gone(_)))
            {
                view.in_order();
            }
        }
    }
}

fn convert(verdict: crate::Verdict) -> Verdict {
    let severity = |severity| match severity {
        crate::Severity::Note => Severity::Note,
        crate::Severity::Warning => Severity::Warning,
        crate::Severity::Refuse => Severity::Refuse,
    };
    let hazard = |hazard: crate::Hazard| Hazard {
        code: hazard.code.to_owned(),
        severity: severity(hazard.severity),
        message: hazard.message,
    };
    Verdict {
        format: verdict.format.to_owned(),
        virtual_size: verdict.virtual_size,
        content_size: match verdict.content_size {
            crate::ContentSize::Unknown => ContentSize::Unknown,
            crate::ContentSize::Claimed(bytes) => ContentSize::Claimed(bytes),
            crate::ContentSize::Exact(bytes) => ContentSize::Exact(bytes),
        },
        hazards: verdict.hazards.into_iter().map(hazard).collect(),
        details: verdict.details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

bindings::export!(Component with_types_in bindings);
