//! Credential helpers: programs that keep credentials for docker and podman, and give them out when asked
//! (docker/docker-credential-helpers).

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::Credentials;
use crate::registry::{HelperAnswer, credentials_from_helper};

/// What every helper's name begins with.
const PREFIX: &str = "docker-credential-";
/// How long a helper may take: it may ask the user, or a cloud.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end once its answer is there.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The most bytes of an answer.
const MAX_ANSWER: u64 = 64 * 1024;

/// What the helper of that name has for `server`; none if it has nothing. It gets this program's environment: that is where
/// helpers find out who they are.
///
/// # Errors
/// `credentials-unreadable` if it cannot be run, fails, or answers something else. Its words are not told: they may have the
/// secret in them.
pub(super) fn ask(helper: &str, server: &str) -> Result<Option<Credentials>> {
    let program = format!("{PREFIX}{helper}");
    let unusable = |why: String| {
        let message = format!("the credentials for {server} cannot be had from `{program}`: {why}");
        Error::new(Code::CredentialsUnreadable, Stage::Plan, message)
    };
    if helper.is_empty() || !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(unusable("that is no name of a program".to_owned()));
    }
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|why| {
        unusable(format!("it cannot be run: {why}")).hint("install it where PATH leads, or log in without a helper")
    })?;
    let answered = answer(&mut child, server).and_then(|answer| Ok((answer, ended(&mut child)?)));
    if answered.is_err() {
        // It has ended, or is not waited for any longer.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (answer, well) = answered.map_err(unusable)?;
    match credentials_from_helper(&answer, well) {
        HelperAnswer::Found(credentials) => Ok(Some(credentials)),
        HelperAnswer::Nothing => Ok(None),
        HelperAnswer::Failed if well => {
            Err(unusable("its answer is not a document with Username and Secret".to_owned()))
        }
        HelperAnswer::Failed => Err(unusable(format!("it failed; try `echo {server} | {program} get`"))),
    }
}

/// Tells it the server, and reads its answer.
fn answer(child: &mut Child, server: &str) -> Result<Vec<u8>, String> {
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no standard input and output".to_owned());
    };
    // One that does not care which server it is has nothing to say about it either.
    let _ = to.write_all(server.as_bytes());
    drop(to);
    let (sender, receiver) = mpsc::channel();
    let reading = thread::Builder::new().name("credentials".to_owned()).spawn(move || {
        let mut answer = Vec::new();
        let read = from.take(MAX_ANSWER.saturating_add(1)).read_to_end(&mut answer);
        // Nobody waits any longer.
        let _ = sender.send(read.map(|_| answer));
    });
    reading.map_err(|why| format!("there is no thread to read its answer: {why}"))?;
    match receiver.recv_timeout(ANSWERS_WITHIN) {
        Ok(Ok(answer)) if answer.len() as u64 <= MAX_ANSWER => Ok(answer),
        Ok(Ok(_)) => Err(format!("its answer has more than {MAX_ANSWER} bytes")),
        Ok(Err(why)) => Err(format!("its answer cannot be read: {why}")),
        Err(_) => Err(format!("it did not answer within {} s", ANSWERS_WITHIN.as_secs())),
    }
}

/// Whether it ended well.
fn ended(child: &mut Child) -> Result<bool, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if began.elapsed() < ENDS_WITHIN => thread::sleep(LOOK_EVERY),
            Ok(None) => return Err("it does not end".to_owned()),
            Err(why) => return Err(format!("it cannot be waited for: {why}")),
        }
    }
}
