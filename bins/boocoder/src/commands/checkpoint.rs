//! `boocoder checkpoint`.

use std::sync::atomic::AtomicBool;

use dispatch_core::{
    change::{Checkpoint, CheckpointKind},
    ids::ChangeId,
    ports::{NewChange, NewCheckpoint, SettledChange, WorkspaceOwner},
    routing::ChangeUse,
};
use dispatch_driver::random_bytes;
use worktree::{CheckpointId, dispatch};

use crate::{
    cli::{CheckpointCommand, Globals},
    exit::{Code, Error},
    show::{
        json_lines,
        table::{short, table},
    },
    wire::App,
};

/// Looks at checkpoints and goes back to one.
pub async fn run(globals: &Globals, command: CheckpointCommand) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    match command {
        CheckpointCommand::List { task, json } => list(&app, &task, json).await?,
        CheckpointCommand::Restore { checkpoint } => restore(&app, &checkpoint).await?,
    }
    Ok(Code::Completed)
}

async fn list(app: &App, task: &str, json: bool) -> Result<(), Error> {
    let task = app.records.find_task(task).await?;
    let checkpoints = app.records.checkpoints(task.id).await?;
    if json {
        return json_lines::print(&checkpoints);
    }
    let row = |checkpoint: &Checkpoint| {
        let snapshot = &checkpoint.snapshot;
        vec![
            short(checkpoint.id),
            checkpoint.kind.to_string(),
            short(&snapshot.commit),
            snapshot.reference.clone(),
        ]
    };
    let rows: Vec<_> = checkpoints.iter().map(row).collect();
    put!("{}", table(&["CHECKPOINT", "KIND", "COMMIT", "REF"], &rows));
    Ok(())
}

/// Puts the worktree back; where it is gone, which it is once a one-shot turn has ended, what the checkpoint
/// holds becomes a pending change (SPEC S3).
async fn restore(app: &App, prefix: &str) -> Result<(), Error> {
    let checkpoint = app.records.find_checkpoint(prefix).await?;
    let task = app.records.task(checkpoint.task).await?;
    let project = app.git_project_of(task.project).await?;
    let id = CheckpointId {
        commit: checkpoint.snapshot.commit.parse().map_err(|error| Error::failed(format!("{error}")))?,
        reference: checkpoint.snapshot.reference.clone(),
    };
    let failed = |error: worktree::Error| Error::failed(dispatch::with_advice(&error));
    let never = AtomicBool::new(false);
    let taken = project.checkpoint(&id).map_err(failed)?;
    if let Some(worktree) = project.find(&taken.owner).map_err(failed)? {
        if task_runs_in(&taken.owner, &task) {
            return Err(Error::usage(format!(
                "task {} is working in that worktree; stop it first",
                short(task.id)
            )));
        }
        let restored = worktree.restore(&id, &never).map_err(failed)?;
        let before = NewCheckpoint {
            kind: CheckpointKind::PreRestore,
            message: None,
            worktree: worktree.id().to_string(),
            snapshot: dispatch::snapshot(&restored.before),
        };
        let before = app.records.add_checkpoint(task.id, before).await?;
        say!("restored {}; checkpoint {} undoes it", worktree.path().display(), short(before.id));
        return Ok(());
    }
    let set = project.change_set(taken.base_tree, taken.tree, Some(id), &never).map_err(failed)?;
    if set.is_empty() {
        say!("the worktree is gone, and this checkpoint holds nothing but its base: nothing to do");
        return Ok(());
    }
    let agent = task.options.agent.as_ref().map_or("native", |agent| agent.as_str()).to_owned();
    let change = SettledChange {
        id: ChangeId::from_random(random_bytes()),
        agent,
        mode: ChangeUse::Append,
        from_failed_turn: false,
        draft: dispatch::draft(&set, dispatch::snapshot(&taken)),
    };
    let change = app.records.add_change(NewChange { task: task.id, change }).await?;
    let short = short(change.id);
    say!("the worktree is gone; what this checkpoint holds waits as change {short}");
    say!("look at it with `boocoder change show {short}`, then apply or reject it");
    Ok(())
}

fn task_runs_in(owner: &worktree::OwnerId, task: &dispatch_core::task::Task) -> bool {
    !task.state.is_terminal() && owner.as_str() == WorkspaceOwner::Task(task.id).to_string()
}
