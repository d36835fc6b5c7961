//! Making, finding and removing worktrees.

use std::sync::atomic::AtomicBool;

use worktree::*;

use crate::support::*;

#[test]
fn a_worktree_starts_from_head_and_not_from_what_is_uncommitted() {
    let ground = Ground::new();
    put(&ground.repo, "a.txt", "dirty\n");
    put(&ground.repo, "staged.txt", "staged\n");
    ground.git(&["add", "staged.txt"]);
    let before = ground.fingerprint();

    let worktree = ground.task("t1");

    assert_eq!(std::fs::read_to_string(worktree.path().join("a.txt")).unwrap(), "one\ntwo\nthree\n");
    assert!(!worktree.path().join("staged.txt").exists());
    assert_eq!(worktree.base_commit().to_string(), ground.git(&["rev-parse", "HEAD"]).trim());
    assert_eq!(git(worktree.path(), &["status", "--porcelain"]), "");
    assert_eq!(git(worktree.path(), &["rev-parse", "HEAD"]).trim(), worktree.base_commit().to_string());
    assert_eq!(ground.fingerprint(), before);
    ground.git(&["fsck", "--strict"]);
}

#[test]
fn the_same_owner_gets_the_same_worktree_and_base() {
    let ground = Ground::new();
    let first = ground.task("t1");
    put(first.path(), "work.txt", "precious\n");
    ground.git(&["commit", "-qm", "moved on", "--allow-empty"]);

    let again = ground.task("t1");

    assert_eq!(
        (again.id(), again.path(), again.base_commit()),
        (first.id(), first.path(), first.base_commit())
    );
    assert_eq!(std::fs::read_to_string(again.path().join("work.txt")).unwrap(), "precious\n");
    assert_ne!(ground.task("t2").id(), first.id());
    assert_eq!(ground.project.find(&id("t1")).unwrap().unwrap().id(), first.id());
    assert!(ground.project.find(&id("t3")).unwrap().is_none());
}

#[test]
fn an_unborn_head_gives_an_empty_worktree() {
    let ground = Ground::with(|_| {});
    let worktree = ground.task("t1");
    assert_eq!(git(worktree.path(), &["status", "--porcelain"]), "");
    put(worktree.path(), "new.txt", "new\n");
    let change = change(&worktree);
    assert_eq!(change.files().len(), 1);
    assert_eq!(change.files()[0].kind, ChangeKind::Added);
}

#[test]
fn detached_bare_and_linked_projects_work() {
    let ground = Ground::new();
    ground.git(&["checkout", "-q", "--detach"]);
    ground.task("detached");

    let bare = ground.folder.path().join("bare.git");
    ground.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let project = ground.worktrees.project(&bare).unwrap();
    assert_eq!(project.root(), None);
    let worktree = project.create(&id("t"), Base::Head, Kind::Task, &GO).unwrap();
    assert_eq!(git(worktree.path(), &["status", "--porcelain"]), "");

    let linked = ground.folder.path().join("linked");
    ground.git(&["worktree", "add", "-q", "--detach", linked.to_str().unwrap()]);
    let project = ground.worktrees.project(&linked).unwrap();
    assert_eq!(project.root(), Some(&*linked.canonicalize().unwrap()));
    assert_eq!(project.find(&id("detached")).unwrap().unwrap().owner(), &id("detached"));
}

#[test]
fn a_commit_can_be_the_base() {
    let ground = Ground::new();
    let first: CommitId = ground.git(&["rev-parse", "HEAD"]).trim().parse().unwrap();
    put(&ground.repo, "later.txt", "later\n");
    ground.git(&["add", "-A"]);
    ground.git(&["commit", "-qm", "second"]);
    let worktree = ground.project.create(&id("t"), Base::Commit(first), Kind::Task, &GO).unwrap();
    assert_eq!(worktree.base_commit(), first);
    assert!(!worktree.path().join("later.txt").exists());

    let missing: CommitId = "1234567890123456789012345678901234567890".parse().unwrap();
    let error = ground.project.create(&id("u"), Base::Commit(missing), Kind::Task, &GO).unwrap_err();
    assert!(matches!(error, Error::NoCommit { commit, .. } if commit == missing), "{error}");
    assert_nothing_left(&ground, &id("u"));
}

#[track_caller]
fn assert_nothing_left(ground: &Ground, owner: &OwnerId) {
    let worktree = ground.project.worktree_id(owner);
    let found = std::process::Command::new("find")
        .arg(ground.folder.path())
        .args(["-path", &format!("*{worktree}*")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert!(!ground.git(&["for-each-ref"]).contains(worktree.as_str()));
}

#[test]
fn a_cancelled_creation_leaves_nothing_behind() {
    let ground = Ground::new();
    let error = ground.project.create(&id("t"), Base::Head, Kind::Task, &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_nothing_left(&ground, &id("t"));
    ground.task("t");
}

#[test]
fn what_is_wrong_with_a_path_is_said() {
    let ground = Ground::new();
    let missing = ground.folder.path().join("nowhere");
    let error = ground.worktrees.project(&missing).unwrap_err();
    assert!(matches!(error, Error::PathMissing { .. }), "{error}");
    assert!(error.to_string().contains("nowhere does not exist") && error.advice().is_some());

    let plain = ground.folder.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let error = ground.worktrees.project(&plain).unwrap_err();
    assert!(matches!(error, Error::NotARepository { .. }), "{error}");

    let reftable = ground.folder.path().join("reftable");
    std::fs::create_dir(&reftable).unwrap();
    git(&reftable, &["init", "-q", "--ref-format=reftable"]);
    let error = ground.worktrees.project(&reftable).unwrap_err();
    assert!(matches!(error, Error::Reftable { .. }), "{error}");
}

#[test]
fn removal_saves_everything_and_can_be_repeated() {
    let ground = Ground::new();
    let before = ground.fingerprint();
    let worktree = ground.task("t");
    put(worktree.path(), "a.txt", "changed\n");
    let expected = tree_by_git(worktree.path());

    let receipt = worktree.remove(&GO).unwrap();

    let checkpoint = receipt.checkpoint.unwrap();
    assert_eq!(checkpoint.kind, CheckpointKind::Final);
    assert_eq!(checkpoint.tree.to_string(), expected);
    assert_eq!(receipt.kept, None);
    assert!(!worktree.path().exists());
    assert_eq!(std::fs::read_dir(ground.state().join("trash")).unwrap().count(), 0);
    assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(ground.fingerprint(), before);
    assert_eq!(worktree.remove(&GO).unwrap().checkpoint, None);
    assert!(matches!(worktree.checkpoint(CheckpointKind::After, "", &GO), Err(Error::NoWorktree { .. })));
    assert!(ground.project.find(&id("t")).unwrap().is_none());

    let back = ground.task("t");
    assert_eq!(std::fs::read_to_string(back.path().join("a.txt")).unwrap(), "changed\n");
    assert_eq!(back.base_commit(), worktree.base_commit());
    assert_eq!(git(back.path(), &["status", "--porcelain"]), " M a.txt\n");
}

#[test]
fn a_session_whose_folder_is_gone_comes_back_from_its_last_checkpoint() {
    let ground = Ground::new();
    let session = ground.project.ensure_session(&id("s"), Base::Head, &GO).unwrap();
    put(session.path(), "note.txt", "kept\n");
    git(session.path(), &["add", "-A"]);
    git(session.path(), &["commit", "-qm", "agent"]);
    let head = git(session.path(), &["rev-parse", "HEAD"]);
    put(session.path(), "more.txt", "more\n");
    snap(&session);
    std::fs::remove_dir_all(session.path()).unwrap();
    assert!(ground.project.find(&id("s")).unwrap().is_none());

    let back = ground.project.ensure_session(&id("s"), Base::Head, &GO).unwrap();

    assert_eq!((back.id(), back.base_commit()), (session.id(), session.base_commit()));
    assert_eq!(git(back.path(), &["rev-parse", "HEAD"]), head);
    assert_eq!(git(back.path(), &["status", "--porcelain"]), "?? more.txt\n");
}

#[test]
fn twenty_creations_at_once_all_succeed() {
    let ground = Ground::new();
    let before = ground.fingerprint();
    std::thread::scope(|scope| {
        for n in 0..20 {
            let ground = &ground;
            scope.spawn(move || ground.task(&format!("t{n}")));
        }
    });
    assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 21);
    assert_eq!(ground.fingerprint(), before);
}

#[test]
fn two_creations_for_one_owner_give_one_worktree() {
    let ground = Ground::new();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| ground.task("t").id().clone())).collect();
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 2);
}

#[test]
fn the_users_prune_and_gc_do_not_harm_a_worktree() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    put(worktree.path(), "x.txt", "x\n");
    let checkpoint = snap(&worktree);
    let away = ground.folder.path().join("away");
    std::fs::rename(worktree.path(), &away).unwrap();
    ground.git(&["worktree", "prune"]);
    std::fs::rename(&away, worktree.path()).unwrap();
    ground.git(&["reflog", "expire", "--expire=now", "--all"]);
    ground.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(git(worktree.path(), &["status", "--porcelain"]), "?? x.txt\n");
    assert_eq!(ground.project.checkpoints(&id("t")).unwrap(), std::slice::from_ref(&checkpoint));
    assert_eq!(snap(&worktree).tree, checkpoint.tree);
    ground.git(&["fsck", "--strict"]);
}
