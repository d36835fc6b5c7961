//! What CI runs. It changes no file of the checkout, and says so if a test did.

use crate::{
    Failure,
    process::{Steps, output, run_to_end},
    test,
    tools::{self, Tool},
    workspace::Workspace,
};
use std::{fs, io, path::Path};

const FIX: &str = "cargo xtask fix, then look at what it changed";

pub fn run_lints(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failure> {
    steps.step("format", || run_to_end(&mut workspace.cargo(&["fmt", "--all", "--check"]), FIX))?;
    steps.step("snapshots", || no_pending_snapshots(&workspace.root))?;
    steps.step("clippy", || {
        let args =
            ["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-Dwarnings"];
        run_to_end(&mut workspace.cargo(&args), FIX)
    })?;
    steps.step("features", || {
        let packages = ["--package", "worktree", "--package", "store"];
        let mut clippy = workspace.cargo(&["clippy", "--no-default-features", "--locked"]);
        run_to_end(clippy.args(packages).args(["--", "-Dwarnings"]), "these must build without features, too")
    })?;
    steps.step("deny", || {
        tools::install_cargo_tool(workspace, &Tool::DENY)?;
        let args = ["deny", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
        run_to_end(&mut workspace.cargo(&args), "drop the dependency, or give its reason in deny.toml")
    })?;
    steps.step("docs", || {
        let args = ["doc", "--workspace", "--no-deps", "--all-features", "--locked"];
        run_to_end(
            workspace.cargo(&args).env("RUSTDOCFLAGS", "-Dwarnings"),
            "mend the documentation named above",
        )
    })
}

pub fn run(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    if !args.is_empty() {
        return Err(Failure::new("verify takes no arguments", "cargo xtask test takes nextest's"));
    }
    let before = tree_state(workspace)?;
    let mut steps = Steps::default();
    run_lints(workspace, &mut steps)?;
    test::run_tests(workspace, &mut steps, &[])?;
    let after = tree_state(workspace)?;
    if before != after {
        let what = format!("the checkout changed meanwhile:\n{before}\nwas before, and now it is\n{after}");
        return Err(Failure::new(what, "find the test that writes outside its own folder"));
    }
    println!("\nverify passed\n{}", steps.summary());
    Ok(())
}

fn tree_state(workspace: &Workspace) -> Result<String, Failure> {
    let mut git = workspace.command("git");
    output(git.args(["status", "--porcelain"]), "run this in a git checkout, with git installed")
}

/// A snapshot that nobody has looked at is no test.
fn no_pending_snapshots(root: &Path) -> Result<(), Failure> {
    let mut found = Vec::new();
    find_pending(root, &mut found)
        .map_err(|err| Failure::new(err.to_string(), "make the checkout readable"))?;
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        format!("pending snapshots:\n{}", found.join("\n")),
        "look at them, then accept or delete them",
    ))
}

fn find_pending(dir: &Path, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let name = entry.to_string_lossy();
        if path.is_symlink() || matches!(&*name, "target" | ".git") {
            continue;
        }
        if path.is_dir() {
            find_pending(&path, found)?;
        } else if name.ends_with(".snap.new") || name.ends_with(".pending-snap") {
            found.push(path.display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_snapshot_is_found_but_not_in_the_target_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["crate/tests/snapshots/a.snap", "target/b.snap.new", "c.rs"] {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        assert!(no_pending_snapshots(dir.path()).is_ok());
        let pending = dir.path().join("crate/tests/snapshots/a.snap.new");
        fs::write(&pending, "").unwrap();
        let failure = no_pending_snapshots(dir.path()).unwrap_err();
        assert!(failure.what.contains(pending.to_str().unwrap()), "{}", failure.what);
    }
}
