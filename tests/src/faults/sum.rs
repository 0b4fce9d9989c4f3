//! Many trials, and what came of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use longshore::registry::Transition;

use super::trial::{Trial, Trials, Wrong};

/// Trials at once: most of them wait.
const AT_ONCE: usize = 8;
/// So many trials take every transition of the upload's state machine, whatever their seeds are.
pub const EXHAUSTIVE: u64 = 200;

/// The counts.
#[derive(Debug, Default)]
pub struct Sum {
    pub trials: usize,
    /// Faults that struck.
    pub faults: usize,
    /// Transfers that succeeded all the same.
    pub survived: usize,
    pub resumes: u64,
    pub restarts: u64,
    /// Restarts at the first byte where the source has ranges and the registry resumes.
    pub restarts_in_vain: u64,
    pub bytes_sent_twice: u64,
    pub wrong_images: usize,
    pub hangs: usize,
    /// Everything else that must not be.
    pub other: usize,
    /// How often uploads went which way.
    pub ways: BTreeMap<String, u64>,
}

/// Carries out these seeds; `told` sees each trial as it ends.
pub fn carry_out(seeds: &[u64], told: impl Fn(&Trial) + Sync) -> Sum {
    let (trials, sum, next) = (Trials::default(), Mutex::new(Sum::default()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, SeqCst)) {
                    let trial = trials.carry_out(*seed);
                    sum.lock().unwrap().add(&trial);
                    told(&trial);
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

impl Sum {
    fn add(&mut self, trial: &Trial) {
        let transfer = &trial.finished.report["transfer"];
        let count = |name: &str| transfer[name].as_u64().unwrap_or(0);
        self.trials += 1;
        self.faults += trial.finished.hits.iter().map(Vec::len).sum::<usize>();
        self.survived += usize::from(trial.finished.ran.as_ref().is_some_and(|ran| ran.code == Some(0)));
        self.resumes += count("resumes");
        self.restarts += count("restarts");
        for (way, count) in transfer["upload"].as_object().into_iter().flatten() {
            *self.ways.entry(way.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        self.bytes_sent_twice += count("bytes_sent_twice");
        for wrong in &trial.wrong {
            match wrong {
                Wrong::Image(_) => self.wrong_images += 1,
                Wrong::Hang => self.hangs += 1,
                Wrong::Vain(count) => self.restarts_in_vain += count,
                _ => self.other += 1,
            }
        }
    }

    /// Whether nothing was that must not be.
    pub fn is_clean(&self) -> bool {
        (self.wrong_images, self.hangs, self.other, self.restarts_in_vain) == (0, 0, 0, 0)
    }

    /// Transitions of the upload's state machine that no trial took.
    pub fn not_taken(&self) -> Vec<&'static str> {
        let all = Transition::ALL.iter().map(|transition| transition.as_str());
        all.filter(|way| !self.ways.contains_key(*way)).collect()
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} schedules, {} faults injected, {} transfers survived, {} resumes, {} restarts, {} in vain, {} bytes sent \
             twice, {} wrong images, {} hangs, {} other violations",
            self.trials,
            self.faults,
            self.survived,
            self.resumes,
            self.restarts,
            self.restarts_in_vain,
            self.bytes_sent_twice,
            self.wrong_images,
            self.hangs,
            self.other
        )?;
        let missing = self.not_taken();
        let taken = Transition::ALL.len() - missing.len();
        write!(f, "\ntransitions of the upload: {taken} of {}", Transition::ALL.len())?;
        self.ways.iter().try_for_each(|(way, count)| write!(f, ", {way} {count}"))?;
        if missing.is_empty() { Ok(()) } else { write!(f, "; not taken: {}", missing.join(", ")) }
    }
}
