//! Glue to the `source-component` world.

#![allow(unsafe_code, reason = "the generated export glue of a component")]

use crate::{STANDARD_INPUT, name};

mod bindings {
    #![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({ world: "source-component", path: "../../wit" });
}

use bindings::exports::longshore::stage::describe::{Declaration, Description, Guest as Describe, SourceDeclaration};
use bindings::exports::longshore::stage::source::{Access, Disk, Facts, Failure, Guest as Source, GuestDisk};
use bindings::longshore::stage::{local, log};
use wit_bindgen::rt::async_support::{FutureReader, StreamReader};

struct Component;

impl Describe for Component {
    fn describe() -> Description {
        std::panic::set_hook(Box::new(|panic| log::log(log::Level::Error, &panic.to_string())));
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            declares: Declaration::Source(SourceDeclaration { schemes: vec!["file".to_owned()] }),
        }
    }
}

struct LocalDisk {
    facts: Facts,
}

impl Source for Component {
    type Disk = LocalDisk;

    async fn open(location: String, options: Vec<(String, String)>) -> Result<Disk, Failure> {
        if let Some((option, _)) = options.first() {
            return Err(Failure::Unsupported(format!("this source has no option `{option}`")));
        }
        let access = if location == STANDARD_INPUT { Access::Once } else { Access::Ranged };
        let facts = Facts {
            name: name(&location).map(str::to_owned),
            size: local::size(),
            revision: local::revision(),
            modified: None,
            access,
            enclosure: None,
        };
        Ok(Disk::new(LocalDisk { facts }))
    }
}

impl GuestDisk for LocalDisk {
    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    async fn read(
        &self,
        offset: u64,
        length: Option<u64>,
    ) -> Result<(StreamReader<u8>, FutureReader<Result<(), Failure>>), Failure> {
        Ok(local::open(offset, length))
    }
}

bindings::export!(Component with_types_in bindings);
