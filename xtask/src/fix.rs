//! Formats, and applies what clippy can fix.

use crate::{Failure, process::run_to_end, workspace::Workspace};

pub fn run(workspace: &Workspace, _: &[String]) -> Result<(), Failure> {
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ];
    run_to_end(&mut workspace.cargo(&clippy), "mend by hand what clippy names")?;
    run_to_end(&mut workspace.cargo(&["fmt", "--all"]), "mend what rustfmt cannot read")
}
