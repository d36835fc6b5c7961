//! All tests, with what they need.

use crate::{
    Failure, postgres,
    process::{Steps, run_to_end},
    tools::{self, Tool},
    workspace::Workspace,
};

pub fn run(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let mut steps = Steps::default();
    run_tests(workspace, &mut steps, args)?;
    println!("\ntests passed\n{}", steps.summary());
    Ok(())
}

/// What tests with real programs need: the programs, ours included.
pub fn prepare(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failure> {
    steps.step("tools", || {
        tools::install_npm_tools(workspace)?;
        tools::install_cargo_tool(workspace, &Tool::NEXTEST)
    })?;
    steps.step("build", || {
        let args = ["build", "--workspace", "--bins", "--all-features", "--locked"];
        run_to_end(&mut workspace.cargo(&args), "mend what does not compile")
    })
}

pub fn run_tests(workspace: &Workspace, steps: &mut Steps, args: &[String]) -> Result<(), Failure> {
    prepare(workspace, steps)?;
    // Before the other tests, whose closing line is the one to be read last.
    steps.step("doctests", || {
        let args = ["test", "--workspace", "--doc", "--all-features", "--locked"];
        run_to_end(&mut workspace.cargo(&args), "mend the example named above")
    })?;
    let mut server = None;
    steps.step("postgres", || {
        server = Some(postgres::for_tests(workspace)?);
        Ok(())
    })?;
    steps.step("tests", || {
        let profile = if std::env::var_os("CI").is_some() { "ci" } else { "default" };
        let mut nextest = workspace.cargo(&["nextest", "run", "--workspace", "--all-features", "--locked"]);
        nextest.args(["--profile", profile]).args(args).env("INSTA_UPDATE", "no");
        nextest.envs(server.iter().map(|server| (test_postgres::URL_VARIABLE, server.url())));
        run_to_end(&mut nextest, "run one alone with `cargo xtask test NAME`")
    })
}
