//! The same job without any component: what the sandbox, the probe and the flow are measured against.
//!
//! One GET, one SHA-256 over each chunk as it passes, the same chunk on to the registry: POST, PATCH with the exact length,
//! PUT with the digest. The set-up is the one of the measured notes: reqwest over rustls and aws-lc-rs, HTTP/1.1, one thread.
//!
//!     bench-native SOURCE REGISTRY/v2/NAME CA

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Client, Response, Url};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, repository, ca] = arguments.as_slice() else { anyhow::bail!("SOURCE REGISTRY/v2/NAME CA") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("sha256:{}", runtime.block_on(carry(source, repository, ca))?);
    Ok(())
}

async fn carry(source: &str, repository: &str, ca: &str) -> Result<String> {
    let client = client(ca)?;
    let download = client.get(source).send().await?.error_for_status()?;
    let length = download.content_length().context("the source does not say its length")?;
    let uploads: Url = format!("{repository}/blobs/uploads/").parse()?;
    let session = location(&uploads, &client.post(uploads.clone()).send().await?.error_for_status()?)?;

    let hash = Arc::new(Mutex::new(Sha256::new()));
    let passing = Arc::clone(&hash);
    let body = download.bytes_stream().inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            passing.lock().unwrap_or_else(PoisonError::into_inner).update(chunk);
        }
    });
    let patch = client
        .patch(session.clone())
        .header(CONTENT_LENGTH, length)
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(Body::wrap_stream(body));
    let mut commit = location(&session, &patch.send().await?.error_for_status()?)?;
    let digest = hash.lock().unwrap_or_else(PoisonError::into_inner).finalize_reset();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    commit.query_pairs_mut().append_pair("digest", &format!("sha256:{digest}"));
    let answer = client.put(commit).header(CONTENT_LENGTH, 0).send().await?;
    ensure!(answer.status().is_success(), "the registry says {}", answer.status());
    Ok(digest)
}

fn client(ca: &str) -> Result<Client> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder().tls_backend_preconfigured(config).http1_only().build()?)
}

fn location(asked: &Url, answer: &Response) -> Result<Url> {
    let location = answer.headers().get(LOCATION).context("no location")?;
    Ok(asked.join(location.to_str()?)?)
}
