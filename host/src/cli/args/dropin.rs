//! The arguments of the programs that are replaced, as they have them. Each has a variable of its own in the environment,
//! which `cli/dropin` reads.

use std::fmt;

use clap::Args as ClapArgs;

/// Everything is in the environment.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct DvcrImporter {}

/// Something typed that must not be shown.
#[derive(Clone)]
pub(in crate::cli) struct Hidden(pub(in crate::cli) String);

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct DvcrUploader {
    /// Where clients connect [default: LISTEN_ADDRESS, else 0.0.0.0].
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(in crate::cli) listen_address: Option<String>,
    /// The port [default: LISTEN_PORT, else 8444].
    #[arg(long, value_name = "PORT", allow_hyphen_values = true)]
    pub(in crate::cli) listen_port: Option<String>,
    /// The port of /healthz [default: HEALTHZ_PORT, else 8080].
    #[arg(long, value_name = "PORT", allow_hyphen_values = true)]
    pub(in crate::cli) healthz_port: Option<String>,
    /// The listener's certificate [default: TLS_CERT_FILE]; without one, plain HTTP.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(in crate::cli) server_cert: Option<String>,
    /// Its key [default: TLS_KEY_FILE].
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(in crate::cli) server_key: Option<String>,
    /// Clients must present a certificate that this has issued [default: CLIENT_CA_FILE].
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(in crate::cli) client_ca: Option<String>,
    /// Name that it must have [default: CLIENT_NAME].
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(in crate::cli) client_name: Option<String>,
    /// Cipher suites of TLS 1.2 that the listener speaks, of those that the policy offers [default: TLS_CIPHERS].
    #[arg(long, value_name = "SUITE,…", allow_hyphen_values = true)]
    pub(in crate::cli) tls_ciphers: Option<String>,
    /// The oldest version that it speaks, as VersionTLS12 [default: TLS_MIN_VERSION].
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true)]
    pub(in crate::cli) tls_min_version: Option<String>,
    /// Where the image goes [default: UPLOADER_DESTINATION_ENDPOINT].
    #[arg(long, value_name = "REFERENCE", allow_hyphen_values = true)]
    pub(in crate::cli) destination_endpoint: Option<String>,
    /// The user there [default: UPLOADER_DESTINATION_ACCESS_KEY_ID].
    #[arg(long, value_name = "USER", allow_hyphen_values = true)]
    pub(in crate::cli) destination_access_key_id: Option<String>,
    /// The password [default: UPLOADER_DESTINATION_SECRET_KEY]. Everybody on this machine can read it here: use the variable.
    #[arg(long, value_name = "PASSWORD", allow_hyphen_values = true)]
    pub(in crate::cli) destination_secret_key: Option<Hidden>,
    /// Credentials in docker's config.json format [default: UPLOADER_DESTINATION_AUTH_CONFIG].
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(in crate::cli) destination_auth_config: Option<String>,
    /// Whether the registry's certificate is not verified [default: DESTINATION_INSECURE_TLS].
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(in crate::cli) destination_insecure_tls: Option<String>,
    /// Certificates to trust besides the system's: a PEM file or a folder [default: UPLOADER_DESTINATION_CA_BUNDLE].
    #[arg(long, value_name = "FILE|DIR", allow_hyphen_values = true)]
    pub(in crate::cli) destination_ca_bundle: Option<String>,
    /// Checksums of the upload, all of which must match [default: UPLOADER_CHECKSUMS].
    #[arg(long, value_name = "ALGO:HEX,…", allow_hyphen_values = true)]
    pub(in crate::cli) checksums: Option<String>,
}

impl From<String> for Hidden {
    fn from(typed: String) -> Self {
        Self(typed)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        uploader: DvcrUploader,
    }

    #[test]
    fn a_value_may_begin_with_a_dash_and_no_error_quotes_a_password() {
        let typed = |more: &[&str]| Alone::try_parse_from([&["dvcr-uploader"], more].concat());
        for password in ["--hunter2", "-hunter2", "-", "--checksums"] {
            for flags in
                [&["--destination-secret-key", password][..], &[&format!("--destination-secret-key={password}")]]
            {
                let read = typed(flags).unwrap().uploader.destination_secret_key;
                assert_eq!(read.map(|read| read.0).as_deref(), Some(password));
            }
        }
        for wrong in [
            &["--destination-secret-key", "-hunter2", "--destination-secret-key", "-hunter2"][..],
            &["--destination-secret-keys=-hunter2"],
            &["--destination-secret-key", "-hunter2", "--bogus"],
        ] {
            let why = typed(wrong).unwrap_err().to_string();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
