//! Competitors by turns, so that a machine that gets slower gets slower for all of them.

use anyhow::{Context as _, Result};

use crate::competitors::{Competitor, Done, agreed};
use crate::statistics::Summary;

/// What one competitor did in all rounds.
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// The runs, in order.
    pub runs: Vec<Done>,
    /// The digest that all of them found.
    pub digest: String,
}

/// Runs every competitor once to warm up, unmeasured, then `rounds` times. Each round starts with another of them: who
/// comes after whom shall not decide.
///
/// # Errors
/// The first failure of any of them.
pub fn play(competitors: &[Competitor<'_>], rounds: usize) -> Result<Vec<Series>> {
    let mut runs: Vec<Vec<Done>> = competitors.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for turn in 0..competitors.len() {
            let index = (turn + round) % competitors.len();
            let competitor = &competitors[index];
            let done = (competitor.run)().with_context(|| format!("{}, round {round}", competitor.name))?;
            let seconds = done.cost.cpu().as_secs_f64();
            eprintln!("round {round} {:12} {seconds:.3} s CPU, {:.3} s", competitor.name, done.cost.wall.as_secs_f64());
            if round > 0 {
                runs[index].push(done);
            }
        }
    }
    let series = competitors.iter().zip(runs).map(|(competitor, runs)| {
        let digests: Vec<_> = runs.iter().map(|run| run.digest.clone()).collect();
        let digest = agreed(competitor.name, &digests)?;
        Ok(Series { name: competitor.name, does: competitor.does, runs, digest })
    });
    series.collect()
}

impl Series {
    /// A figure of every run, summed up.
    ///
    /// # Errors
    /// If there was no run.
    pub fn summary(&self, figure: impl Fn(&Done) -> f64) -> Result<Summary> {
        Summary::of(self.runs.iter().map(figure)).with_context(|| format!("{} never ran", self.name))
    }

    /// CPU seconds.
    ///
    /// # Errors
    /// If there was no run.
    pub fn cpu(&self) -> Result<Summary> {
        self.summary(|done| done.cost.cpu().as_secs_f64())
    }

    /// Seconds on the clock.
    ///
    /// # Errors
    /// If there was no run.
    pub fn wall(&self) -> Result<Summary> {
        self.summary(|done| done.cost.wall.as_secs_f64())
    }
}
