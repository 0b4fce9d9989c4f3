//! Uploads in parts: tus 1.0.0 (tus.io/protocols/resumable-upload), the core protocol with the extensions creation,
//! creation-with-upload and termination. GET tells what became of one; tus leaves that method to us.

use std::rc::Rc;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::Manners;
use super::answer::{Refused, bare, document, failure};
use super::refusal::Refusal;
use super::simple;
use super::upload::{Came, Upload};
use super::uploads::{Announced, NotBegun, Uploads};
use super::wishes::{Wishes, malformed, number, single};
use crate::error::{Code, Error, Stage};
use crate::net::{Call, Reply};

/// The field in every request of tus.
pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,termination";
const PART: &str = "application/offset+octet-stream";
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// The image, in answers that have no body.
const IMAGE: HeaderName = HeaderName::from_static("longshore-image");
/// For clients that can send no other method than POST (tus 1.0.0, X-HTTP-Method-Override).
const OVERRIDE: &str = "x-http-method-override";

/// OPTIONS of `/upload`.
pub(super) fn options(uploads: &Uploads) -> Reply {
    let mut reply = resumable(bare(StatusCode::NO_CONTENT));
    let fields = reply.headers_mut();
    fields.insert("tus-version", HeaderValue::from_static(VERSION));
    fields.insert("tus-extension", HeaderValue::from_static(EXTENSIONS));
    if let Some(most) = uploads.service().max_bytes {
        fields.insert("tus-max-size", HeaderValue::from(most));
    }
    reply
}

/// POST of `/upload`: makes an upload, and takes its first part if it comes along.
pub(super) async fn create(uploads: &Rc<Uploads>, call: &mut Call) -> Result<Reply, Refused> {
    speaks(call)?;
    let fields = &call.head.headers;
    if fields.contains_key("upload-defer-length") {
        let message = "the length of an upload in parts must be known from its beginning";
        return Err(Refused::new(Refusal::LengthRequired, message).hint("send Upload-Length"));
    }
    let length = single(fields, "upload-length")?
        .ok_or_else(|| Refused::new(Refusal::LengthRequired, "there is no Upload-Length").hint("send Upload-Length"))?;
    let length = number("Upload-Length", length)?;
    // Who speaks tus says what each body is.
    let wishes = Wishes::read(call.head.uri.query(), fields, uploads.service().clients_tag, Manners::Own)?;
    let with_part = if single(fields, CONTENT_TYPE.as_str())?.is_some() { Some(is_part(call)?) } else { None };
    let upload = match uploads.begin(Announced { wishes, length: Some(length), in_parts: true }, &call.peer) {
        Ok(upload) => upload,
        Err(NotBegun::Refused(refused)) => return Err(refused),
        Err(NotBegun::Failed(error)) => return Ok(resumable(failure(&error))),
    };
    // Of nothing, the end is here.
    let reply = if with_part.is_some() || length == 0 {
        match upload.bring(&mut call.body, 0).await {
            Came::End(ended) => simple::reply(&upload, &ended, StatusCode::CREATED),
            Came::Part => document(StatusCode::CREATED, &simple::report(&upload)),
            // What came of it stays, and the client learns where.
            Came::Refused(refused) => refused.reply(),
        }
    } else {
        bare(StatusCode::CREATED)
    };
    let mut reply = resumable(at(reply, &upload));
    if let Ok(location) = HeaderValue::try_from(format!("/upload/{}", upload.id)) {
        reply.headers_mut().insert(LOCATION, location);
    }
    Ok(reply)
}

/// A request for `/upload/ID`.
pub(super) async fn resource(uploads: &Rc<Uploads>, id: &str, call: &mut Call) -> Result<Reply, Refused> {
    const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH";
    let method = method(call)?;
    if method == Method::OPTIONS {
        return Ok(options(uploads));
    }
    if method != Method::GET {
        speaks(call)?;
    }
    // Of a disk that comes as one body there is only to ask what became of it.
    let found = uploads.find(id).filter(|upload| upload.in_parts || method == Method::GET);
    let upload = found.ok_or_else(|| {
        Refused::new(Refusal::NotFound, "there is no such upload: it ended long ago, or with the process")
            .hint("begin a new one")
    })?;
    match method {
        Method::GET => Ok(document(StatusCode::OK, &simple::report(&upload))),
        Method::HEAD => {
            let mut reply = resumable(at(bare(StatusCode::OK), &upload));
            if let Some(length) = upload.length {
                reply.headers_mut().insert(LENGTH, HeaderValue::from(length));
            }
            Ok(reply)
        }
        Method::PATCH => patch(&upload, call).await,
        Method::DELETE => {
            let message = format!("the client gave the upload up after {} bytes", upload.offset());
            upload.fail(Error::new(Code::SourceTruncated, Stage::Source, message));
            upload.end_of_it().await;
            Ok(resumable(bare(StatusCode::NO_CONTENT)))
        }
        _ => Err(Refused::new(Refusal::MethodNotAllowed, "an upload has other methods").allow(METHODS)),
    }
}

async fn patch(upload: &Upload, call: &mut Call) -> Result<Reply, Refused> {
    is_part(call)?;
    let from = single(&call.head.headers, OFFSET.as_str())?
        .ok_or_else(|| malformed("there is no Upload-Offset".to_owned()))?;
    let from = number("Upload-Offset", from)?;
    Ok(match upload.bring(&mut call.body, from).await {
        Came::Part => resumable(at(bare(StatusCode::NO_CONTENT), upload)),
        Came::Refused(refused) => resumable(at(refused.reply(), upload)),
        Came::End(ended) => match &ended.outcome {
            Ok(imported) => {
                let mut reply = resumable(at(bare(StatusCode::NO_CONTENT), upload));
                if let Ok(image) = HeaderValue::try_from(imported.reference()) {
                    reply.headers_mut().insert(IMAGE, image);
                }
                reply
            }
            Err(_) => resumable(at(simple::reply(upload, &ended, StatusCode::OK), upload)),
        },
    })
}

/// The method that is meant.
fn method(call: &Call) -> Result<Method, Refused> {
    match single(&call.head.headers, OVERRIDE)? {
        Some(name) if call.head.method == Method::POST => {
            name.parse().map_err(|_| malformed(format!("`{OVERRIDE}` is no method")))
        }
        _ => Ok(call.head.method.clone()),
    }
}

/// Whether the client speaks our version.
fn speaks(call: &Call) -> Result<(), Refused> {
    match single(&call.head.headers, RESUMABLE.as_str())? {
        Some(VERSION) => Ok(()),
        Some(_) => Err(Refused::new(Refusal::TusVersion, format!("another version of tus, expected {VERSION}"))),
        None => Err(Refused::new(Refusal::TusVersion, format!("there is no Tus-Resumable, expected {VERSION}"))),
    }
}

fn is_part(call: &Call) -> Result<(), Refused> {
    match single(&call.head.headers, CONTENT_TYPE.as_str())? {
        Some(kind) if kind.eq_ignore_ascii_case(PART) => Ok(()),
        _ => Err(Refused::new(Refusal::PartType, format!("the body has another type, expected {PART}"))),
    }
}

/// The same with where the upload stands.
fn at(mut reply: Reply, upload: &Upload) -> Reply {
    reply.headers_mut().insert(OFFSET, HeaderValue::from(upload.offset()));
    reply
}

fn resumable(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(RESUMABLE, HeaderValue::from_static(VERSION));
    reply
}
