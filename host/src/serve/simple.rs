//! A disk as the body of one PUT or POST. The answer is what became of it.

use std::rc::Rc;

use http::StatusCode;

use super::Manners;
use super::answer::{Refused, document, failure, status};
use super::document::{DiskReport, SCHEMA, UploadReport};
use super::upload::{Came, Ended, Upload};
use super::uploads::{Announced, NotBegun, Uploads};
use super::wishes::Wishes;
use crate::net::{Call, Reply};
use crate::pipeline::error_report;

/// Takes a disk in.
pub(super) async fn upload(uploads: &Rc<Uploads>, call: &mut Call) -> Result<Reply, Refused> {
    let service = uploads.service();
    // The query was nothing to the uploader that is replaced, whatever an ingress or a client put there.
    let query = call.head.uri.query().filter(|_| service.manners == Manners::Own);
    let wishes = Wishes::read(query, &call.head.headers, service.clients_tag, service.manners)?;
    let announced = Announced { wishes, length: call.body.length(), in_parts: false };
    let upload = match uploads.begin(announced, &call.peer) {
        Ok(upload) => upload,
        Err(NotBegun::Refused(refused)) => return Err(refused),
        Err(NotBegun::Failed(error)) => return Ok(failed(service.manners, failure(&error))),
    };
    let whole = |upload: &Upload, ended: &Ended| match (service.manners, &ended.outcome) {
        (Manners::Own, _) => reply(upload, ended, StatusCode::CREATED),
        (Manners::Dvcr, Ok(_)) => reply(upload, ended, StatusCode::OK),
        (Manners::Dvcr, Err(_)) => failed(service.manners, reply(upload, ended, StatusCode::OK)),
    };
    match upload.bring(&mut call.body, 0).await {
        Came::End(ended) => Ok(whole(&upload, &ended)),
        Came::Refused(refused) => Err(refused),
        // A whole body is no part.
        Came::Part => Ok(whole(&upload, &*upload.end_of_it().await)),
    }
}

/// An answer to a request of which nothing came: 500 whatever it was, for who knows nothing else.
fn failed(manners: Manners, mut reply: Reply) -> Reply {
    if manners == Manners::Dvcr {
        *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    reply
}

/// What became of an upload that has ended, under `done` if that is well.
pub(super) fn reply(upload: &Upload, ended: &Ended, done: StatusCode) -> Reply {
    let status = match &ended.outcome {
        Ok(_) => done,
        Err(error) => status(error.code()),
    };
    document(status, &report(upload))
}

/// An upload as it is now.
pub(super) fn report(upload: &Upload) -> UploadReport {
    let ended = upload.ended();
    let state = match ended.as_ref().map(|ended| &ended.outcome) {
        Some(Ok(_)) => "done",
        Some(Err(_)) => "failed",
        None if upload.is_whole() => "importing",
        None => "receiving",
    };
    let mut all = UploadReport {
        schema: SCHEMA,
        id: Some(upload.id.clone()),
        state: Some(state),
        offset: Some(upload.offset()),
        length: upload.length,
        phase: upload.meters.get().map(|progress| progress.phase().as_str()),
        ..UploadReport::default()
    };
    let Some(ended) = ended else { return all };
    match &ended.outcome {
        Ok(imported) => {
            all.reference = Some(imported.reference());
            all.digest = Some(imported.digest.to_string());
            all.tags = Some(upload.tags.iter().map(ToString::to_string).collect());
        }
        Err(error) => all.error = Some(error_report(error)),
    }
    all.disk = ended.report.as_ref().map(|report| DiskReport {
        name: report.disk.name.clone(),
        format: report.disk.format.clone(),
        virtual_size: report.disk.virtual_size,
        hazards: report.disk.hazards.iter().flatten().map(|hazard| hazard.code.clone()).collect(),
    });
    all
}
