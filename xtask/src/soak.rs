//! What takes too long for every change: all scenarios with every real agent over every route.

use crate::{
    Failure,
    process::{Steps, run_to_end},
    test,
    workspace::Workspace,
};

pub fn run(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let mut steps = Steps::default();
    test::prepare(workspace, &mut steps)?;
    steps.step("matrix", || {
        let fixed = ["nextest", "run", "--package", "boocoder-tests", "--test", "matrix", "--locked"];
        let mut nextest = workspace.cargo(&fixed);
        nextest.args(["--all-features", "--profile", "soak"]).args(args).env("BOOCODER_MATRIX", "whole");
        run_to_end(
            &mut nextest,
            "mend what is ours; what is the agent's own goes into tests/src/matrix/differences.rs",
        )
    })?;
    if args.is_empty() && std::env::var_os("BOOCODER_SCENARIO").is_none() {
        // Each cell came to what was expected of it, and the page is held to say just that: it is the result.
        let page = workspace.root.join("docs/matrix.md");
        let page = std::fs::read_to_string(&page)
            .map_err(|error| Failure::new(format!("{}: {error}", page.display()), "restore it from git"))?;
        println!("\n{page}");
    }
    println!("\nall scenarios passed\n{}", steps.summary());
    Ok(())
}
