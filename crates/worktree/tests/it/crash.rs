//! Killed at any moment, nothing is lost and the sweep puts everything in order.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use worktree::*;

use crate::support::*;

/// Starts an operation in a process of its own.
fn start(ground: &Ground, operation: &str) -> Child {
    Command::new(example())
        .args([ground.state(), ground.repo.clone()])
        .args([operation, "t"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A repository big enough that operations take a while.
fn ground() -> Ground {
    Ground::with(|repo| {
        for n in 0..120 {
            put(repo, format!("folder{}/file{n}", n % 7), format!("file {n}\n").repeat(20));
        }
        git(repo, &["add", "-A"]);
        git(repo, &["commit", "-qm", "first"]);
    })
}

fn edit(root: &Path) {
    for n in 0..120 {
        let path = format!("folder{}/file{n}", n % 7);
        match n % 3 {
            0 => put(root, path, format!("changed {n}\n")),
            1 => std::fs::remove_file(root.join(path)).unwrap(),
            _ => put(root, format!("new/{n}"), format!("new {n}\n")),
        }
    }
}

/// How long the operation takes when nobody kills it.
fn duration(operation: &str) -> Duration {
    let ground = ground();
    prepare(&ground, operation);
    let start_at = Instant::now();
    let output = start(&ground, operation).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    start_at.elapsed()
}

fn prepare(ground: &Ground, operation: &str) {
    if operation != "create" {
        let worktree = ground.task("t");
        snap(&worktree);
        edit(worktree.path());
    }
}

/// Kills `operation` at moments spread over its whole course and hands over to `check`.
fn kill_at_many_moments(operation: &str, check: impl Fn(&Ground)) {
    const MOMENTS: u32 = 8;
    let whole = duration(operation);
    for moment in 0..MOMENTS {
        let ground = ground();
        prepare(&ground, operation);
        let before = ground.fingerprint();
        let mut child = start(&ground, operation);
        // The one wait that is not for an event: it picks the moment at which to kill.
        std::thread::sleep(whole * moment / MOMENTS);
        child.kill().unwrap();
        child.wait().unwrap();
        check(&ground);
        assert_eq!(ground.fingerprint(), before, "{operation} at {moment}");
        ground.git(&["fsck", "--strict"]);
        assert_eq!(ground.worktrees.leftovers().unwrap(), [], "{operation} at {moment}");
    }
}

fn sweep(ground: &Ground, live: bool) -> SweepReport {
    let report = ground.worktrees.sweep(&|_| live, &GO).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    report
}

#[test]
fn while_creating() {
    kill_at_many_moments("create", |ground| {
        let worktree = ground.task("t");
        assert_eq!(git(worktree.path(), &["status", "--porcelain"]), "");
        assert_eq!(snap(&worktree).tree, worktree.base_tree());
    });
}

#[test]
fn while_creating_for_an_owner_that_died_with_it() {
    kill_at_many_moments("create", |ground| {
        sweep(ground, false);
        assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 1);
        assert_eq!(std::fs::read_dir(ground.state().join("trash")).unwrap().count(), 0);
    });
}

#[test]
fn while_taking_a_checkpoint() {
    kill_at_many_moments("checkpoint", |ground| {
        let worktree = ground.task("t");
        let expected = tree_by_git(worktree.path());
        let all = ground.project.checkpoints(&id("t")).unwrap();
        assert!(all[1..].iter().all(|c| c.tree.to_string() == expected));
        assert_eq!(snap(&worktree).tree.to_string(), expected);
    });
}

#[test]
fn while_restoring() {
    kill_at_many_moments("restore-first", |ground| {
        sweep(ground, true);
        let worktree = ground.task("t");
        let all = ground.project.checkpoints(&id("t")).unwrap();
        let now = tree_by_git(worktree.path());
        let saved = all.iter().any(|c| c.kind == CheckpointKind::PreRestore && c.sequence == 2);
        // Either it had not begun, or the edits are saved and it is complete.
        if now == all[0].tree.to_string() {
            assert!(saved);
        } else {
            assert_eq!(git(worktree.path(), &["status", "--porcelain"]).lines().count(), 81);
        }
    });
}

#[test]
fn while_applying() {
    kill_at_many_moments("apply", |ground| {
        sweep(ground, true);
        let worktree = ground.task("t");
        let now = tree_by_git(&ground.repo);
        let (from, to) = (worktree.base_tree().to_string(), tree_by_git(worktree.path()));
        assert!(now == from || now == to, "neither before nor after");
    });
}

#[test]
fn while_removing() {
    kill_at_many_moments("remove", |ground| {
        let before = ground.project.find(&id("t")).unwrap().map(|w| tree_by_git(w.path()));
        sweep(ground, false);
        assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 1);
        let last = ground.project.checkpoints(&id("t")).unwrap().pop().unwrap();
        assert_eq!(last.kind, CheckpointKind::Final);
        assert!(before.is_none_or(|tree| tree == last.tree.to_string()));
        let back = ground.task("t");
        assert_eq!(tree_by_git(back.path()), last.tree.to_string());
    });
}
