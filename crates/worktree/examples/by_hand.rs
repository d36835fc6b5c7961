//! The crate from the command line: one operation on one worktree.
//!
//! ```text
//! by_hand STATE_DIR REPOSITORY create|checkpoint|restore-first|apply|remove OWNER
//! by_hand STATE_DIR REPOSITORY sweep [LIVE_OWNER...]
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use worktree::{Base, BaseRef, CheckpointKind, Kind, OwnerId, Policy, Worktrees};

/// Nobody can cancel an operation here but by killing the process.
static GO: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [state, repository, operation, owners @ ..] = &arguments[..] else {
        return Err("usage: by_hand STATE_DIR REPOSITORY OPERATION [OWNER...]".into());
    };
    let worktrees = Worktrees::open(Path::new(state), Policy::default())?;
    if operation == "sweep" {
        let report = worktrees.sweep(&|owner| owners.iter().any(|o| o == owner.as_str()), &GO)?;
        println!("{report:#?}");
        return Ok(());
    }
    let owner: OwnerId = owners.first().ok_or("an owner is missing")?.parse()?;
    let worktree = worktrees.project(Path::new(repository))?.create(&owner, Base::Head, Kind::Task, &GO)?;
    match operation.as_str() {
        "create" => println!("{}", worktree.path().display()),
        "checkpoint" => println!("{}", worktree.checkpoint(CheckpointKind::Periodic, "by hand", &GO)?.id),
        "restore-first" => {
            let checkpoints = worktree.project().checkpoints(&owner)?;
            let first = checkpoints.first().ok_or("there is no checkpoint")?;
            let report = worktree.restore(&first.id, &GO)?;
            println!("{} files written, {} deleted", report.written, report.deleted);
        }
        "apply" => {
            let change = worktree.diff(&BaseRef::Captured, CheckpointKind::After, "by hand", &GO)?;
            let applied = worktree.project().apply(&change, &GO)?;
            println!("{} files changed, undo with {}", applied.files.len(), applied.id);
        }
        "remove" => println!("{:?}", worktree.remove(&GO)?.checkpoint.map(|c| c.id.to_string())),
        other => return Err(format!("unknown operation: {other}").into()),
    }
    Ok(())
}
