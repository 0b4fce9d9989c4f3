//! Transfers that are hurt: seeded schedules of faults on either side of longshore, over every kind of registry, and what
//! must hold whatever happens.
//!
//! A seed decides everything: the [`schedule::Setting`] (source, registry, how each is reached) and the faults. Where a
//! fault may strike is measured first, on an undisturbed run of the same setting, so that every schedule hits. Most schedules are
//! drawn by chance alone; one in a few is made for something that chance would hardly bring about ([`aim`]).

pub mod aim;
pub mod dice;
pub mod expect;
pub mod leg;
pub mod odd;
pub mod recorded;
pub mod run;
pub mod schedule;
pub mod stage;
mod strike;
pub mod sum;
pub mod trial;
