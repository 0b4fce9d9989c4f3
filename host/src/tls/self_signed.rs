//! A certificate that nobody has issued, for listeners whose clients ask for TLS and verify nothing.

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::error::{Error, Result, Stage};
use crate::policy::{ClientIdentity, Site};

/// What stands in messages in the place of a file.
const MADE: &str = "a certificate of its own making";

/// A new key, and a certificate for it with that common name.
///
/// # Errors
/// `internal` if there is no randomness to make a key of.
pub fn self_signed(name: &'static str) -> Result<ClientIdentity> {
    let failed = |why: rcgen::Error| Error::internal(Stage::Plan, format!("{MADE} cannot be made: {why}"));
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(ClientIdentity {
        certificate_file: MADE.to_owned(),
        certificate: certificate.pem().into_bytes(),
        key_file: MADE.to_owned(),
        key: key.serialize_pem().into_bytes(),
        site: Site::BuiltIn,
    })
}
