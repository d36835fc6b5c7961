//! Seeded simulation of the dispatch core: the real turn machine, settlement, routing, frames and
//! transcript, with a model of everything around them.
//!
//! One seed is one schedule of two nodes that share a store: which answer comes next, what agents do,
//! which timer runs out, who stops what, which node dies. After every step the predicates of [`Violation`]
//! must hold; then the faults stop, and everything must settle. A schedule is the list of numbers that were
//! picked, so a failure is made small by leaving numbers out, and is replayed from them.

mod agent;
mod choices;
mod machine;
mod promises;
mod run;
mod shrink;
mod store;
mod turns;
mod workspace;
mod world;

pub use machine::Mutation;
pub use shrink::{Failure, shrink};
pub use store::StoreBug;
pub use world::{Report, simulate};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The predicate's name.
    pub predicate: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    fn new(predicate: &'static str, detail: impl Into<String>) -> Self {
        Self { predicate, detail: detail.into() }
    }
}

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted {
    /// In the turn machine.
    pub machine: Option<Mutation>,
    /// In the store.
    pub store: Option<StoreBug>,
}

/// Where a schedule comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Picked by a generator with this seed.
    Seed(u64),
    /// These picks, and the mildest ones when they are used up.
    Script(Vec<u32>),
}

/// Fails with `predicate` unless `holds`.
fn check(predicate: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(predicate, detail())) }
}
