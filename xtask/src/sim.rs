//! Replays one seed of the simulation, with its trace; of a failing one, a schedule made small.

use crate::{Failure, process::run_to_end, workspace::Workspace};

pub fn run(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let [seed] = args else {
        return Err(Failure::new("one seed is wanted", "cargo xtask sim SEED"));
    };
    if seed.parse::<u64>().is_err() {
        return Err(Failure::new(format!("{seed:?} is no seed"), "give the number that the failure named"));
    }
    let test = ["test", "-p", "boocoder-tests", "--test", "sim", "every_promise", "--", "--nocapture"];
    run_to_end(
        workspace.cargo(&test).env("SIM_SEED", seed),
        "mend the machine, then add the seed to tests/tests/sim_regressions.txt",
    )
}
