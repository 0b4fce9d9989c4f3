//! Progress as JSON lines, for programs: `docs/progress.md` is their documentation.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

use super::Ended;
use super::lines::Lines;
use crate::error::{Error, Result};
use crate::observe::{Bottleneck, Noted, Position, Progress, verdict};

/// The version of the lines.
const SCHEMA: &str = "longshore.progress/v1";
/// The least time between two `progress` events.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked for phases and warnings.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// JSON lines to somebody.
pub(in crate::cli) struct Json {
    lines: Lines,
    /// Notes that are written already.
    seen: AtomicUsize,
}

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    schema: &'static str,
    #[serde(flatten)]
    kind: Kind<'a>,
    elapsed_seconds: f64,
    phase: &'static str,
    attempt: u32,
    resumes: u32,
    bytes_sent_twice: u64,
    bytes_received: u64,
    bytes_sent: u64,
    bytes_total: Option<u64>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Kind<'a> {
    Start { version: &'static str, source: &'a str, destination: &'a str },
    Phase,
    Progress { bottleneck: Option<Limit> },
    Warning { code: &'a str, message: &'a str },
    Filter { component: &'a str },
    End { outcome: &'static str, reference: Option<String>, bottleneck: Option<Limit>, error: Option<Failure> },
}

/// What limits the transfer, as far as it has come.
#[derive(Serialize)]
struct Limit {
    #[serde(rename = "where")]
    culprit: &'static str,
    evidence: String,
    advice: String,
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
    exit: u8,
    stage: &'static str,
    message: String,
}

impl Json {
    /// Starts writing.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(to: Box<dyn Write + Send>) -> io::Result<Self> {
        Ok(Self { lines: Lines::start(to)?, seen: AtomicUsize::new(0) })
    }

    /// The first line: nothing that is told later is older than it.
    pub(super) fn begin(&self, source: &str, destination: &str, at: &Position) {
        let at = &Position { elapsed: Duration::ZERO, ..*at };
        let kind = Kind::Start { version: env!("CARGO_PKG_VERSION"), source, destination };
        self.lines.offer(line(kind, at));
    }

    /// Writes what happens, until it is dropped.
    pub(super) async fn follow(&self, progress: &Progress) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        let mut said = Duration::ZERO;
        loop {
            every.tick().await;
            self.notes(progress);
            let at = progress.position();
            if at.elapsed >= said + PROGRESS_EVERY {
                said = at.elapsed;
                self.lines.offer(line(Kind::Progress { bottleneck: limit(progress) }, &at));
            }
        }
    }

    /// The last line.
    pub(super) fn end(self, progress: &Progress, outcome: Result<Ended, &Error>) {
        self.notes(progress);
        let bottleneck = limit(progress);
        let kind = match outcome {
            Ok(Ended::Checked) => Kind::End { outcome: "checked", reference: None, bottleneck, error: None },
            Ok(Ended::Done(reference)) => Kind::End { outcome: "done", reference, bottleneck, error: None },
            Err(error) => Kind::End { outcome: "failed", reference: None, bottleneck, error: Some(failure(error)) },
        };
        let last = line(kind, &progress.position());
        self.lines.finish(last);
    }

    fn notes(&self, progress: &Progress) {
        for note in progress.notes(self.seen.load(Relaxed)) {
            self.seen.fetch_add(1, Relaxed);
            let kind = match &note.what {
                Noted::Phase => Kind::Phase,
                Noted::Warning { code, message } => Kind::Warning { code, message },
                Noted::Filter(component) => Kind::Filter { component },
            };
            self.lines.offer(line(kind, &note.at));
        }
    }
}

/// None before anything moves.
fn limit(progress: &Progress) -> Option<Limit> {
    let figures = progress.figures();
    if figures.transfer.is_zero() {
        return None;
    }
    let Bottleneck { culprit, evidence, advice } = verdict(&figures);
    Some(Limit { culprit: culprit.as_str(), evidence, advice })
}

fn failure(error: &Error) -> Failure {
    Failure {
        code: error.code().as_str(),
        exit: error.code().exit(),
        stage: error.stage().as_str(),
        message: error.to_string(),
    }
}

fn line(kind: Kind<'_>, at: &Position) -> String {
    let event = Event {
        schema: SCHEMA,
        kind,
        elapsed_seconds: at.elapsed.as_millis() as f64 / 1000.0,
        phase: at.phase.as_str(),
        attempt: at.attempt,
        resumes: at.resumes,
        bytes_sent_twice: at.sent_twice,
        bytes_received: at.received,
        bytes_sent: at.sent,
        bytes_total: at.total,
    };
    // Names are text and numbers finite: this does not fail.
    serde_json::to_string(&event).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::error::{Code, Stage};
    use crate::observe::Phase;

    fn kinds() -> Vec<Value> {
        let progress = Progress::start();
        progress.expect(10);
        let error = Error::new(Code::SourceFailed, Stage::Source, "no");
        let kinds = [
            Kind::Start { version: "0", source: "a", destination: "b" },
            Kind::Phase,
            Kind::Progress { bottleneck: moving() },
            Kind::Warning { code: "c", message: "m" },
            Kind::Filter { component: "filter-gzip" },
            Kind::End { outcome: "failed", reference: None, bottleneck: moving(), error: Some(failure(&error)) },
        ];
        kinds.map(|kind| serde_json::from_str(&line(kind, &progress.position())).unwrap()).to_vec()
    }

    /// What limits a transfer that has begun.
    fn moving() -> Option<Limit> {
        let progress = Progress::start();
        assert!(limit(&progress).is_none(), "nothing moves yet");
        progress.enter(Phase::Transferring);
        std::thread::sleep(Duration::from_millis(1));
        limit(&progress)
    }

    /// Rows of the page's tables: under which heading, the field, its description.
    fn documented() -> BTreeMap<String, Vec<String>> {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut heading = String::new();
        for line in include_str!("../../../../docs/progress.md").lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title.trim_matches('`').to_owned();
                fields.entry(heading.clone()).or_default();
            } else if let Some((field, _)) = line.strip_prefix("| `").and_then(|row| row.split_once("` |")) {
                fields.entry(heading.clone()).or_default().push(field.to_owned());
            }
        }
        fields
    }

    #[test]
    fn the_page_has_every_event_and_field_and_no_others() {
        let documented = documented();
        let common = &documented["Every event"];
        let mut types = Vec::new();
        for event in kinds() {
            assert_eq!(event["schema"], SCHEMA);
            let kind = event["type"].as_str().unwrap().to_owned();
            let own = documented.get(&kind).unwrap_or_else(|| panic!("docs/progress.md has no `{kind}`"));
            let mut expected: Vec<&String> =
                common.iter().chain(own.iter().filter(|field| !field.contains('.'))).collect();
            expected.sort();
            let found: Vec<&String> =
                event.as_object().unwrap().keys().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            assert_eq!(found, expected, "{kind}");
            let objects: Vec<&String> = event
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, value)| value.is_object())
                .map(|(name, _)| name)
                .collect();
            if !objects.is_empty() {
                let keys = |object: &&String| -> Vec<String> {
                    event[*object].as_object().unwrap().keys().map(|key| format!("{object}.{key}")).collect()
                };
                let mut inner: Vec<String> = objects.iter().flat_map(keys).collect();
                let mut expected: Vec<String> = own.iter().filter(|field| field.contains('.')).cloned().collect();
                inner.sort();
                expected.sort();
                assert_eq!(inner, expected);
            }
            types.push(kind);
        }
        types.push("Every event".to_owned());
        types.sort();
        let headings: Vec<String> = documented.keys().cloned().collect();
        assert_eq!(headings, types, "docs/progress.md has events that do not exist");
        let page = include_str!("../../../../docs/progress.md");
        for phase in Phase::ALL {
            assert!(page.contains(&format!("`{}`", phase.as_str())), "docs/progress.md lacks {}", phase.as_str());
        }
        assert!(page.contains(SCHEMA));
    }

    #[test]
    fn a_line_is_one_line() {
        let text = line(Kind::Warning { code: "c", message: "a\nb" }, &Progress::start().position());
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.starts_with(r#"{"schema":"longshore.progress/v1","type":"warning","#), "{text}");
    }
}
