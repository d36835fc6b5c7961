//! What an agent could leave in the folder that all worktrees of a repository share.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use worktree::*;

use crate::support::*;

/// Fails if `work` does not come to an end.
#[track_caller]
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(Duration::from_secs(20)).expect("it hangs")
}

#[test]
fn unsafe_rules_of_the_whole_repository_are_refused_unread() {
    let lay: [fn(&Path); 3] = [
        |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        |path| symlink("/dev/zero", path).unwrap(),
        |path| std::fs::File::create(path).unwrap().set_len((1 << 20) + 1).unwrap(),
    ];
    let ground = Ground::new();
    let worktree = ground.task("t");
    let start = snap(&worktree);
    put(worktree.path(), "a.txt", "changed\n");
    let change = change(&worktree);
    for name in ["exclude", "attributes"] {
        for lay in lay {
            let path = ground.repo.join(".git/info").join(name);
            let _ = std::fs::remove_file(&path);
            lay(&path);

            let (project, worktree) = (ground.project.clone(), worktree.clone());
            let (start, change) = (start.id.clone(), change.clone());
            let refused = in_time(move || {
                [
                    worktree.checkpoint(CheckpointKind::After, "", &GO).map(drop),
                    worktree.diff(&BaseRef::Captured, CheckpointKind::After, "", &GO).map(drop),
                    worktree.restore(&start, &GO).map(drop),
                    project.create(&id("new"), Base::Head, Kind::Task, &GO).map(drop),
                    match project.apply(&change, &GO) {
                        Err(ApplyError::Failed(error)) => Err(error),
                        other => panic!("applied: {other:?}"),
                    },
                ]
            });

            for error in refused.map(Result::unwrap_err) {
                assert!(matches!(&error, Error::UnsafeInfo { path, .. } if path.ends_with(name)), "{error}");
            }
            let worktrees = Worktrees::open(&ground.state(), Policy::default()).unwrap();
            in_time(move || worktrees.sweep(&|_| false, &GO).map(drop)).unwrap();
            assert!(ground.project.find(&id("t")).unwrap().is_some());
            std::fs::remove_file(&path).unwrap();
        }
    }
    assert_eq!(std::fs::read_to_string(ground.repo.join("a.txt")).unwrap(), "one\ntwo\nthree\n");
    snap(&worktree);
}

#[test]
fn foreign_refs_among_the_checkpoints_are_passed_over() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let first = snap(&worktree);
    for number in ["18446744073709551615", "1000000000", "999999999", "00000002", "3", "x"] {
        ground.git(&["update-ref", &format!("refs/boocoder/{}/cp/{number}", worktree.id()), "main"]);
    }
    let copy = format!("refs/boocoder/{}/cp/00000900", worktree.id());
    ground.git(&["update-ref", &copy, &first.id.commit.to_string()]);
    let blob = ground.git(&["rev-parse", "main:a.txt"]);
    ground.git(&["update-ref", &format!("refs/boocoder/{}/cp/00000004", worktree.id()), blob.trim()]);

    put(worktree.path(), "a.txt", "changed\n");
    let second = snap(&worktree);

    assert_eq!(second.sequence, 3);
    assert_eq!(ground.project.checkpoints(&id("t")).unwrap(), [first, second]);
    let third = snap(&worktree);
    assert_eq!(third.sequence, 5);
    worktree.remove(&GO).unwrap();
    let back = ground.task("t");
    assert_eq!(tree_by_git(back.path()), third.tree.to_string());
}

#[test]
fn a_forged_checkpoint_with_the_last_number_leaves_none_to_take() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let first = snap(&worktree);
    let first = first.id.commit.to_string();
    let message = ground.git(&["log", "-1", "--format=%B", &first]);
    let forged = message.replace("\"sequence\":1,", "\"sequence\":999999999,");
    assert_ne!(forged, message);
    let forged = ground.git(&["commit-tree", "-m", &forged, &format!("{first}^{{tree}}")]);
    let last = format!("refs/boocoder/{}/cp/999999999", worktree.id());
    ground.git(&["update-ref", &last, forged.trim()]);

    let error = worktree.checkpoint(CheckpointKind::After, "", &GO).unwrap_err();

    assert!(matches!(error, Error::Git { .. }), "{error}");
    assert_eq!(ground.git(&["for-each-ref", "refs/boocoder"]).matches("/cp/").count(), 2);
}
