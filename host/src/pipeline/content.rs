//! What is in a wrapper that is carried on as it is: the beginning of what a filter makes of the bytes that flow, shown to
//! another instance of the probe, and so on as long as that is a wrapper too.

mod shown;

use std::cell::Cell;

use tokio::pin;

use shown::{Kept, MAX_KEPT, is_cut, rest, shown};

use super::Choice;
use super::ledger::{component, ran};
use super::loader::Loader;
use super::report::ComponentReport;
use super::wrapper::{BEGINNING_BYTES, MAX_NESTED, filter_for, is_wrapper, wrapper};
use crate::engine::{Component, Kind};
use crate::error::{Code, Error, Result};
use crate::stages::{self, ContentSize, Hazard, Severity, Verdict};
use crate::stream::{Cut, Failing, Flow, beginning, beginning_windowed, even, preceded, upto};

/// The most bytes of a wrapper that are unwrapped, and the most that are shown of what comes out.
pub(super) const MAX_SHOWN: u64 = 64 << 20;

/// What a filter is given at a time. Always as much: what it puts out in front of a failure must not depend on how bytes came.
const CHUNK_BYTES: usize = 64 << 10;

/// What is within a wrapper.
#[derive(Debug)]
pub(super) struct Content {
    /// The formats of the wrappers, outermost first.
    pub(super) wrappers: Vec<String>,
    /// What is in the innermost one; or why nobody knows.
    pub(super) verdict: Result<Verdict, String>,
    /// Whether the wrappers were unwrapped to their end, so that nothing else is in them or behind them.
    pub(super) whole: bool,
    /// What is dangerous about all that is within the outermost one.
    pub(super) hazards: Vec<Hazard>,
    /// The filters that looked into them, outermost first.
    pub(super) filters: Vec<ComponentReport>,
}

/// Who looks.
pub(super) struct Looking<'a> {
    pub(super) loader: Loader<'a>,
    pub(super) probe: &'a Component,
    /// The format that the user expects.
    pub(super) expected: Option<&'a str>,
    /// Is told of each filter that works.
    pub(super) watch: &'a dyn Fn(&Component),
}

/// The beginning of a disk that may be a wrapper.
pub(super) struct Beginning {
    pub(super) flow: Flow,
    /// Whether more of it than that is there.
    pub(super) cut: Cut,
    /// How long all of it is, if known, and whether the flow may come to that.
    pub(super) size: Option<u64>,
    pub(super) may_end: bool,
    /// Whether its probe has its verdict before a byte of it flows. Only then it may say how long the content is: else it would
    /// depend on which of both is faster.
    pub(super) held: bool,
}

/// A wrapper that is to be looked into.
struct Outside {
    format: String,
    filter: Option<&'static str>,
    flow: Flow,
    cuts: Vec<Cut>,
    size: Option<u64>,
    may_end: bool,
    said: ContentSize,
}

/// What a look into a wrapper gave.
enum Inside {
    /// With a verdict; and whether the end of it was seen.
    Disk(Box<Verdict>, bool),
    Wrapper(Box<Outside>),
    Unknown(Hazard),
}

/// What `detect` finds of a disk, and if that is a wrapper, what is in it. `flow` is the disk's own beginning; it is dropped as
/// soon as nothing more is to be seen there. `accept` may refuse the disk for the first verdict.
///
/// # Errors
/// Those of `detect`, of `accept`, of the flow, and of components that fail; what is wrong with the content is a hazard of it.
pub(super) async fn probed(
    looking: &Looking<'_>,
    disk: Beginning,
    detect: impl Future<Output = Result<Verdict>>,
    accept: impl FnOnce(&Verdict) -> Result<()>,
) -> Result<(Verdict, Option<Content>)> {
    let said = Cell::new(ContentSize::Unknown);
    let held = disk.held;
    // Large, and hardly ever run: on the heap they cost no other import its stack.
    let look = Box::pin(async {
        let Beginning { flow, cut, size, may_end, .. } = disk;
        let (begins, flow) = beginning(flow, BEGINNING_BYTES).await?;
        let Some(filter) = wrapper(&begins) else { return Ok(None) };
        let format = filter.trim_start_matches("filter-").to_owned();
        let (cuts, filter) = (vec![cut], Some(filter));
        let outside = Outside { format, filter, flow, cuts, size, may_end, said: said.get() };
        looking.look(outside).await.map(|content| Some((content, filter)))
    });
    pin!(detect);
    let mut look = look;
    let mut looked = None;
    let verdict = loop {
        tokio::select! {
            biased;
            verdict = &mut detect => break verdict?,
            early = &mut look, if looked.is_none() => looked = Some(early),
        }
    };
    accept(&verdict)?;
    if !is_wrapper(&verdict.format) {
        return Ok((verdict, None));
    }
    if held {
        said.set(verdict.content_size);
    }
    let looked = match looked {
        Some(looked) => looked,
        None => look.await,
    };
    let format = verdict.format.clone();
    let content = match (looked?, filter_for(&format)) {
        (_, None) => Content::unknown(&format, &format!("no built-in filter takes {format} off")),
        (Some((mut content, filter)), expected) if filter == expected => {
            if let Some(first) = content.wrappers.first_mut() {
                *first = format;
            }
            content
        }
        _ => Content::unknown(&format, &format!("its first bytes are not those of {format}")),
    };
    Ok((verdict, Some(content)))
}

impl Content {
    /// The wrappers around it, as people say it: innermost first.
    pub(super) fn within(&self) -> String {
        self.wrappers.iter().rev().map(String::as_str).collect::<Vec<_>>().join(" in ")
    }

    fn unknown(format: &str, why: &str) -> Self {
        let hazard = not_inspected(format, why);
        let wrappers = vec![format.to_owned()];
        let verdict = Err(hazard.message.clone());
        Self { wrappers, verdict, whole: false, hazards: vec![hazard], filters: Vec::new() }
    }
}

impl Looking<'_> {
    async fn look(&self, mut outside: Outside) -> Result<Content> {
        let (wrappers, hazards, filters) = (Vec::new(), Vec::new(), Vec::new());
        let mut content = Content { wrappers, verdict: Err(String::new()), whole: false, hazards, filters };
        // Each turn takes one wrapper off, and there are no more than the most.
        loop {
            content.wrappers.push(outside.format.clone());
            match Box::pin(self.inside(outside, &mut content)).await? {
                Inside::Wrapper(next) => outside = *next,
                Inside::Disk(verdict, whole) => {
                    (content.verdict, content.whole) = (Ok(*verdict), whole);
                    if !whole {
                        content.hazards.push(rest_not_inspected(&content.within()));
                    }
                    return Ok(content);
                }
                Inside::Unknown(hazard) => {
                    content.verdict = Err(hazard.message.clone());
                    content.hazards.push(hazard);
                    return Ok(content);
                }
            }
        }
    }

    async fn inside(&self, outside: Outside, content: &mut Content) -> Result<Inside> {
        let Outside { format, filter, flow, mut cuts, size, may_end, said } = outside;
        let unknown = |why: &str| Ok(Inside::Unknown(not_inspected(&format, why)));
        if content.wrappers.len() > MAX_NESTED {
            return unknown(&format!("it is wrapped more than {MAX_NESTED} times"));
        }
        let Some(filter) = filter else { return unknown(&format!("no built-in filter takes {format} off")) };
        let engine = self.loader.engine;
        let filter = match self.loader.load(&Choice::BuiltIn(filter.to_owned()), Kind::Filter).await {
            Ok(filter) => filter,
            Err(error) if error.code() == Code::ComponentDenied => return unknown(&error.to_string()),
            Err(error) => return Err(error),
        };
        (self.watch)(&filter);
        let mut report = Some(component(&filter));
        let input = even(flow, CHUNK_BYTES);
        let filtered = Box::pin(stages::filter(engine, &filter, input, size, None, Failing::InPlace)).await;
        if let Ok(filtered) = &filtered {
            ran(&mut report, &filtered.described);
        }
        content.filters.extend(report);
        let filtered = match filtered {
            Ok(filtered) => filtered,
            Err(error) => return Ok(Inside::Unknown(judged(error, &format, &cuts, false)?)),
        };
        // A mere claim is worth nothing: who lies about where the end is, is not to be believed that it is far.
        let said = if let ContentSize::Exact(bytes) = said { Some(bytes) } else { None };
        let exact = filtered.size.filter(|_| filtered.exact).or(said);
        let may_end = may_end && exact.is_none_or(|bytes| bytes <= MAX_SHOWN);
        let granted = filter.grant().output().map_or(MAX_SHOWN, |(most, _)| most.min(MAX_SHOWN));
        let (flow, cut) = upto(filtered.flow, granted);
        cuts.push(cut);
        let (flow, window) = beginning_windowed(flow, exact, may_end);
        let detect = Box::pin(stages::detect(engine, self.probe, &window, self.expected));
        let (verdict, kept, flow) = shown(flow, detect, &window, &cuts).await;
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => return Ok(Inside::Unknown(judged(error, &format, &cuts, window.was_too_short())?)),
        };
        content.hazards.extend(verdict.hazards.iter().cloned());
        if !is_wrapper(&verdict.format) {
            let whole = if may_end { rest(flow, &cuts).await } else { Ok(false) };
            return Ok(match whole {
                Ok(whole) => Inside::Disk(Box::new(verdict), whole),
                Err(error) => Inside::Unknown(judged(error, &format, &cuts, false)?),
            });
        }
        let Kept { chunks, overflowed: false, .. } = kept else {
            let within = format!("more than {MAX_KEPT} bytes were read of what is in it");
            return Ok(Inside::Unknown(not_inspected(&verdict.format, &within)));
        };
        Ok(Inside::Wrapper(Box::new(Outside {
            filter: filter_for(&verdict.format),
            format: verdict.format,
            flow: preceded(flow, chunks),
            cuts,
            size: exact,
            may_end,
            said: verdict.content_size,
        })))
    }
}

/// What it means that filter or probe failed. A component that is at fault, and a source, end the run.
fn judged(error: Error, format: &str, cuts: &[Cut], too_short: bool) -> Result<Hazard> {
    let refused = matches!(error.code(), Code::DiskInvalid | Code::DiskLengthMismatch);
    match refused {
        _ if is_cut(&error, cuts) => Ok(not_inspected(format, "too little comes out of what is looked at of it")),
        true if too_short => Ok(not_inspected(format, &error.to_string())),
        true => {
            let message = format!("what is in the {format} file is not what it must be: {error}");
            Ok(Hazard { code: "content-invalid".to_owned(), severity: Severity::Refuse, message })
        }
        false => Err(error),
    }
}

fn not_inspected(format: &str, why: &str) -> Hazard {
    let message = format!("what is in the {format} file was not inspected: {why}");
    Hazard { code: "content-not-inspected".to_owned(), severity: Severity::Refuse, message }
}

fn rest_not_inspected(format: &str) -> Hazard {
    let message = format!("only the beginning of what is in the {format} file was inspected: more may be in it");
    Hazard { code: "content-rest-not-inspected".to_owned(), severity: Severity::Note, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;

    #[test]
    fn a_component_that_fails_ends_the_run_and_a_damaged_wrapper_is_a_hazard() {
        let error = |code| Error::new(code, Stage::Filter, "no");
        let judge = |code, too_short| judged(error(code), "gzip", &[Cut::default()], too_short).map(|it| it.code);
        assert_eq!(judge(Code::DiskInvalid, false).unwrap(), "content-invalid");
        assert_eq!(judge(Code::DiskLengthMismatch, false).unwrap(), "content-invalid");
        assert_eq!(judge(Code::DiskInvalid, true).unwrap(), "content-not-inspected");
        for code in [Code::ComponentTrapped, Code::ComponentBudget, Code::SourceFailed, Code::Internal] {
            assert_eq!(judge(code, true).unwrap_err().code(), code);
        }
    }
}
