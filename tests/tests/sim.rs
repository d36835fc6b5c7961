//! The simulation: every promise on many schedules, and proof that it notices when one is broken.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use boocoder_tests::sim::{Mutation, Planted, Schedule, StoreBug, shrink, simulate};

/// How many schedules are tried; `SIM_SEEDS` asks for another number.
const SEEDS: u64 = 200_000;

/// How many schedules a planted bug may survive.
const PLANTED_SEEDS: u64 = 3_000;

/// Schedules that once broke a promise, one seed a line with what it found.
const REGRESSIONS: &str = include_str!("sim_regressions.txt");

/// Fails with the seed and the shrunk schedule when a promise is broken on it.
fn must_hold(seed: u64, with_trace: bool) {
    let report = simulate(Schedule::Seed(seed), Planted::default(), false);
    if report.broken.is_none() && !with_trace {
        return;
    }
    if let Some(failure) = shrink(report.picks, Planted::default()) {
        panic!("seed {seed} breaks a promise (cargo xtask sim {seed}): {failure}");
    }
    let report = simulate(Schedule::Seed(seed), Planted::default(), true);
    println!("{}\n{:?} after {} steps", report.trace.join("\n"), report.ends, report.steps);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_promise_holds_on_every_schedule() {
    if let Some(seed) = number("SIM_SEED") {
        return must_hold(seed, true);
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let work = || {
        let mut ends = BTreeMap::<_, u64>::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return ends;
            }
            let report = simulate(Schedule::Seed(seed), Planted::default(), false);
            if report.broken.is_some() {
                must_hold(seed, false);
            }
            for (state, reason) in report.ends {
                *ends.entry(format!("{state} ({reason})")).or_default() += 1;
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ends = BTreeMap::<String, u64>::new();
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in started {
            match worker.join() {
                Ok(some) => some.into_iter().for_each(|(end, n)| *ends.entry(end).or_default() += n),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    println!("{ends:#?}");
    if seeds >= 1000 {
        // Schedules that never reach an end prove nothing of it.
        for end in [
            "completed (completed)",
            "failed (agent_failed)",
            "failed (agent_crashed)",
            "failed (could_not_start)",
            "failed (no_worktree)",
            "failed (stalled)",
            "failed (output_limit)",
            "failed (diff_failed)",
            "cancelled (stopped)",
            "cancelled (shutdown)",
            "interrupted (node_lost)",
        ] {
            assert!(ends.get(end).copied().unwrap_or_default() >= seeds / 1000, "{end}: {ends:#?}");
        }
    }
}

#[test]
fn what_was_found_once_stays_fixed() {
    for line in REGRESSIONS.lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a seed");
        must_hold(seed, false);
    }
}

#[test]
fn a_seed_is_the_same_schedule_every_time() {
    for seed in 0..200 {
        let once = simulate(Schedule::Seed(seed), Planted::default(), true);
        let again = simulate(Schedule::Seed(seed), Planted::default(), true);
        assert_eq!(once.trace, again.trace, "seed {seed}");
        let replayed = simulate(Schedule::Script(once.picks), Planted::default(), true);
        assert_eq!(once.trace, replayed.trace, "seed {seed}, replayed");
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let machine = Mutation::ALL.map(|bug| (format!("{bug:?}"), Planted { machine: Some(bug), store: None }));
    let store = StoreBug::ALL.map(|bug| (format!("{bug:?}"), Planted { machine: None, store: Some(bug) }));
    let mut table = String::new();
    let mut missed = vec![];
    for (name, planted) in machine.into_iter().chain(store) {
        let caught = (0..PLANTED_SEEDS)
            .find_map(|seed| Some((seed, simulate(Schedule::Seed(seed), planted, false).broken?)));
        match caught {
            Some((seed, violation)) => {
                let _ = writeln!(table, "{name:24} {:24} seed {seed}", violation.predicate);
            }
            None => missed.push(name),
        }
    }
    println!("{table}");
    assert!(missed.is_empty(), "not caught in {PLANTED_SEEDS} schedules: {missed:?}\n{table}");
}

#[test]
fn a_failure_is_made_small() {
    let planted = Planted { machine: Some(Mutation::ForgetSettle), store: None };
    let report = simulate(Schedule::Seed(0), planted, false);
    let broken = report.broken.expect("a planted bug").predicate;
    let (before, failure) = (report.picks.len(), shrink(report.picks, planted).expect("it fails"));
    assert_eq!(failure.violation.predicate, broken);
    assert!(failure.script.len() * 4 < before, "{} of {before} picks are left", failure.script.len());
}
