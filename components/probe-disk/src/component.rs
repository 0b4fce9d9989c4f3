//! Glue to the `probe-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use crate::{Answer, FORMATS, MAX_HEAD, detect};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "probe-component", path: "../../wit" });
}

use bindings::exports::longshore::stage::describe::{Declaration, Description, Guest as Describe, ProbeDeclaration};
use bindings::exports::longshore::stage::probe::{Failure, Guest as Probe, Hazard, Severity, Verdict};
use bindings::longshore::stage::log;
use bindings::longshore::stage::window::Window;

/// The most one request to the window may ask for.
const MAX_READ: usize = 1024 * 1024;

struct Component;

impl Describe for Component {
    fn describe() -> Description {
        std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            declares: Declaration::Probe(ProbeDeclaration { formats: FORMATS.map(str::to_owned).to_vec() }),
        }
    }
}

impl Probe for Component {
    async fn detect(disk: &Window) -> Result<Verdict, Failure> {
        let mut head = Vec::new();
        let mut whole = false;
        loop {
            let need = match detect(&head, disk.size(), whole).map_err(|malformed| Failure::Invalid(malformed.0))? {
                Answer::Verdict(verdict) => return Ok(convert(verdict)),
                Answer::NeedHead(need) => need.min(MAX_HEAD),
            };
            while head.len() < need && !whole {
                let ask = (need - head.len()).min(MAX_READ);
                let bytes = disk.read_at(head.len() as u64, ask as u32).await?;
                whole = bytes.len() < ask;
                head.extend_from_slice(&bytes);
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
        hazards: verdict.hazards.into_iter().map(hazard).collect(),
        details: verdict.details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

bindings::export!(Component with_types_in bindings);
