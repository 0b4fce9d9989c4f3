//! Pushing into an OCI registry (distribution-spec 1.1). Knows no wasm.
//!
//! In the phases of the specification: open an upload session, stream the layer in one PATCH, commit it by its digest; the
//! config as one blob; the manifest by digest, read back, then under each tag. Only what can be replayed is repeated: a
//! request whose body is a stream never is.

mod answer;
mod credentials;
mod flow_body;
mod push;
mod session;
mod wire;

pub use credentials::credentials_from_docker_config;
pub use push::Push;
pub use session::{Refused, UploadSession};
