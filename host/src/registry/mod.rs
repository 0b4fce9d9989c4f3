//! Pushing into an OCI registry and reading from one (distribution-spec 1.1). Knows no wasm.
//!
//! In the phases of the specification: open an upload session, stream the layer in one PATCH, commit it by its digest; the
//! config as one blob, read back; the manifest by digest, read back, then under each tag. What the registry has already is
//! not sent again. A layer whose upload breaks goes on with what the registry says it has, never with what it may have.
//!
//! Credentials go to the registry's own origin and to the token server that it names, tokens to the registry alone.

mod abilities;
mod answer;
mod authorizer;
mod challenge;
mod commit;
mod continued;
mod conversation;
mod credentials;
mod delete;
mod flow_body;
mod mount;
mod names;
mod publish;
mod pull;
mod push;
mod retry;
mod session;
mod source;
mod stored_blob;
mod supply;
mod token;
mod upload;
mod wire;

pub use abilities::{Abilities, PushSession, abilities};
pub use challenge::{Challenge, challenges};
pub use continued::Standing;
pub use credentials::{Credentials, HelperAnswer, Kept, credentials_from_docker_config, credentials_from_helper};
pub use names::repositories;
pub use pull::{Found, Pull};
pub use push::{Push, Terms};
pub use retry::BackOff;
pub use session::{
    Failed, Hopeless, How, Manner, Next, Piece, Refused, Step, Stored, Told, Transfer, Transition, UploadSession,
    stored,
};
pub use source::{Reader, of_the_source};
pub use stored_blob::StoredBlob;
pub use upload::Travelling;
