//! One seed, carried out and judged.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

use super::expect;
use super::leg::Traffic;
use super::run::{Finished, run};
use super::schedule::{SIDES, Schedule, Setting, Side, setting};
use super::stage::{Stage, digest};

/// Carries out seeds, over peers that they share.
#[derive(Default)]
pub struct Trials {
    stage: Stage,
    undisturbed: Mutex<HashMap<Setting, Arc<OnceLock<[Traffic; 2]>>>>,
}

/// What a trial showed.
pub struct Trial {
    pub schedule: Schedule,
    pub finished: Finished,
    /// What must not be.
    pub wrong: Vec<Wrong>,
}

/// Something that must not be.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The program did not end.
    Hang,
    /// A tag names an image that is not the disk, or success was claimed and there is none.
    Image(String),
    /// The error names nobody, or the wrong side.
    Blame(String),
    /// Something is left that the error does not name.
    Left(String),
    /// It should have survived that.
    Gone(String),
    /// It began again at its first byte although the registry had some, and the source has ranges.
    Vain(u64),
    /// No fault struck.
    Missed,
}

/// The exit code and the error's code of a run.
struct Ended<'a> {
    exit: i32,
    code: &'a str,
    words: &'a str,
}

impl Trials {
    /// Carries out the schedule of `seed`.
    pub fn carry_out(&self, seed: u64) -> Trial {
        let undisturbed = self.undisturbed(setting(seed));
        let schedule = Schedule::of(seed, [&undisturbed[0], &undisturbed[1]]);
        let faults = SIDES.map(|side| schedule.on(side));
        let finished = run(&self.stage, schedule.setting, [&faults[0], &faults[1]]);
        let wrong = judge(&schedule, &self.stage.layer, &finished);
        Trial { schedule, finished, wrong }
    }

    /// What flows in a setting without a fault.
    fn undisturbed(&self, setting: Setting) -> [Traffic; 2] {
        let cell = Arc::clone(self.undisturbed.lock().unwrap().entry(setting).or_default());
        let measured = cell.get_or_init(|| {
            let finished = run(&self.stage, setting, [&[], &[]]);
            let ran = finished.ran.as_ref().unwrap_or_else(|| panic!("{setting:?} hangs without a fault"));
            assert_eq!(ran.code, Some(0), "{setting:?} fails without a fault\n{}", ran.stderr);
            let mut wrong = Vec::new();
            images(&finished, &self.stage.layer, true, &mut wrong);
            assert_eq!(wrong, [], "{setting:?} goes wrong without a fault");
            finished.traffic
        });
        measured.clone()
    }
}

fn judge(schedule: &Schedule, layer: &str, finished: &Finished) -> Vec<Wrong> {
    let (setting, hits) = (schedule.setting, &finished.hits);
    let mut wrong = Vec::new();
    if hits.iter().all(Vec::is_empty) {
        wrong.push(Wrong::Missed);
    }
    let Some(ran) = &finished.ran else {
        images(finished, layer, false, &mut wrong);
        wrong.push(Wrong::Hang);
        return wrong;
    };
    let done = ran.code == Some(0);
    images(finished, layer, done, &mut wrong);
    let in_vain = expect::restarts_in_vain(&finished.report["transfer"]["upload"]);
    if in_vain > 0 && expect::never_begins_again(setting, hits) {
        wrong.push(Wrong::Vain(in_vain));
    }
    if done {
        return wrong;
    }
    let code =
        ran.stderr.split_once("error[").and_then(|(_, rest)| rest.split_once("]: ")).map_or("", |(code, _)| code);
    let ended = Ended { exit: ran.code.unwrap_or(-1), code, words: &ran.stderr };
    let blamed = blamed(&ended, finished);
    let allowed = expect::at_fault(setting, hits);
    if blamed.is_none_or(|side| !allowed.contains(&side)) && !hits.iter().all(Vec::is_empty) {
        wrong.push(Wrong::Blame(format!("exit {} {code} blames {blamed:?}, hurt was {allowed:?}", ended.exit)));
    }
    // Before the destination is open nothing is lost: whoever cannot be reached at all is told at once.
    let began = finished.report["preflight"]["destination_opened"] == true;
    // Whoever spoils a handshake with the source cannot be told from one with whom there is no agreement.
    let no_session = code == "tls-handshake" && blamed == Some(Side::Source);
    if began && !no_session && !expect::answered_halfway(hits, &ran.stderr) && expect::must_succeed(setting, hits) {
        wrong.push(Wrong::Gone(format!("exit {} {code}", ended.exit)));
    }
    if expect::registry_understood(setting, hits) {
        left(finished, ended.words, &mut wrong);
    }
    wrong
}

/// The side that an error names, by its code; where that is about neither, by the host.
fn blamed(ended: &Ended<'_>, finished: &Finished) -> Option<Side> {
    match (ended.exit, ended.code) {
        (10 | 11 | 16, code) if code.starts_with("source-") => Some(Side::Source),
        (11, "checksum-mismatch") => Some(Side::Source),
        (12 | 16, code) if code.starts_with("registry-") => Some(Side::Registry),
        (13, "egress-denied" | "plain-http-denied") | (15, "tls-handshake" | "tls-certificate") => {
            let said = ended.words.lines().find(|line| line.starts_with("error["))?;
            SIDES.into_iter().find(|side| said.contains(&finished.hosts[*side as usize]))
        }
        _ => None,
    }
}

/// Whether every tag names the disk, and `done` is true.
fn images(finished: &Finished, layer: &str, done: bool, wrong: &mut Vec<Wrong>) {
    let holds = &finished.holds;
    let mut say = |what: String| wrong.push(Wrong::Image(what));
    for (tag, name) in &holds.tags {
        let Some(bytes) = holds.manifests.get(name) else {
            say(format!("the tag {tag} names {name}, which is not there"));
            continue;
        };
        let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let blobs = [&manifest["config"]["digest"], &manifest["layers"][0]["digest"]];
        let stands =
            |blob: &&Value| blob.as_str().is_some_and(|name| holds.blobs.get(name).is_some_and(|own| own == name));
        if digest(bytes) != *name || !blobs.iter().all(stands) {
            say(format!("the tag {tag} names {name}, which has not all it needs: {manifest}"));
        }
        if *blobs[1] != *layer || manifest["layers"].as_array().is_none_or(|layers| layers.len() != 1) {
            say(format!("the tag {tag} has the layer {}, expected {layer}", blobs[1]));
        }
    }
    if done && !holds.tags.contains_key("1") {
        say("success without the tag 1".to_owned());
    }
}

/// Whether all that is left is named.
fn left(finished: &Finished, words: &str, wrong: &mut Vec<Wrong>) {
    let holds = &finished.holds;
    let mut say = |what: String| wrong.push(Wrong::Left(what));
    for name in holds.blobs.keys().chain(holds.manifests.keys()).filter(|name| !words.contains(*name)) {
        say(format!("{name} is there"));
    }
    for tag in holds.tags.keys() {
        let named = |line: &str| line.contains("the tag ") && line.ends_with(&format!(":{tag}"));
        if !words.lines().any(named) {
            say(format!("the tag {tag} is there"));
        }
    }
    if !holds.uploads.is_empty() && !words.contains("upload in") {
        say(format!("uploads are there: {:?}", holds.uploads));
    }
    if words.contains("left behind: nothing") && !holds.is_empty() {
        say("not nothing is there".to_owned());
    }
    if !words.contains("left behind: ") {
        say("nothing is said about what is left".to_owned());
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (took {:.1} s)", self.schedule, self.finished.took.as_secs_f64())?;
        writeln!(f, "  hits: {:?}", self.finished.hits)?;
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "  WRONG: {wrong:?}"))?;
        match &self.finished.ran {
            None => writeln!(f, "  it did not end"),
            Some(ran) => ran.stderr.lines().try_for_each(|line| writeln!(f, "  | {line}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::stage::Holds;
    use super::*;
    use crate::program::Ran;

    /// A run that failed and left this.
    fn finished(holds: Holds, stderr: &str) -> Finished {
        let ran = Ran { code: Some(12), stdout: String::new(), stderr: stderr.to_owned() };
        Finished {
            ran: Some(ran),
            report: Value::Null,
            hosts: ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()],
            hits: Default::default(),
            traffic: Default::default(),
            holds,
            took: Duration::ZERO,
        }
    }

    /// A repository with one image whose config and layer are these.
    fn tagged(config: &[u8], layer: &[u8]) -> Holds {
        let (config, layer) = (digest(config), digest(layer));
        let manifest = serde_json::json!({"config": {"digest": config}, "layers": [{"digest": layer}]}).to_string();
        let name = digest(manifest.as_bytes());
        Holds {
            tags: [("1".to_owned(), name.clone())].into(),
            manifests: [(name, manifest.into_bytes())].into(),
            blobs: [(config.clone(), config), (layer.clone(), layer)].into(),
            uploads: Vec::new(),
        }
    }

    fn wrong_images(holds: Holds) -> usize {
        let mut wrong = Vec::new();
        images(&finished(holds, ""), &digest(b"layer"), true, &mut wrong);
        wrong.len()
    }

    #[test]
    fn an_image_that_is_not_the_disk_is_found_out() {
        assert_eq!(wrong_images(tagged(b"config", b"layer")), 0);
        assert_eq!(wrong_images(tagged(b"config", b"other")), 1);
        assert_eq!(wrong_images(Holds::default()), 1, "success without a tag");
        let mut holds = tagged(b"config", b"layer");
        holds.blobs.insert(digest(b"layer"), digest(b"rot"));
        assert_eq!(wrong_images(holds), 1);
        let mut holds = tagged(b"config", b"layer");
        holds.blobs.remove(&digest(b"config"));
        assert_eq!(wrong_images(holds), 1);
        let mut holds = tagged(b"config", b"layer");
        holds.manifests.clear();
        assert_eq!(wrong_images(holds), 1);
    }

    #[test]
    fn what_is_left_and_not_named_is_found_out() {
        let left_of = |holds: Holds, words: &str| {
            let mut wrong = Vec::new();
            left(&finished(holds, words), words, &mut wrong);
            wrong.len()
        };
        let nothing = "error[x]: y\n  left behind: nothing in r/vm";
        assert_eq!(left_of(Holds::default(), nothing), 0);
        assert_eq!(left_of(Holds::default(), "error[x]: y"), 1, "it has to say so");
        // Two blobs, a manifest, a tag, and that it is nothing.
        assert_eq!(left_of(tagged(b"c", b"l"), nothing), 5);
        let uploads = || Holds { uploads: vec!["u".to_owned()], ..Holds::default() };
        assert_eq!(left_of(uploads(), nothing), 2);
        assert_eq!(left_of(uploads(), "left behind: an unfinished upload in r/vm"), 0);
    }

    #[test]
    fn an_error_names_a_side() {
        let side = |exit, code, words| blamed(&Ended { exit, code, words }, &finished(Holds::default(), ""));
        assert_eq!(side(10, "source-stalled", ""), Some(Side::Source));
        assert_eq!(side(16, "registry-denied", ""), Some(Side::Registry));
        assert_eq!(
            side(15, "tls-handshake", "error[tls-handshake]: no session with 127.0.0.1:2"),
            Some(Side::Registry)
        );
        assert_eq!(side(15, "tls-handshake", "error[tls-handshake]: no session"), None);
        assert_eq!(side(70, "internal", "127.0.0.1:1"), None);
        assert_eq!(side(12, "source-stalled", ""), None, "another exit code than its own");
    }
}
