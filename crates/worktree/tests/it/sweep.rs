//! Sweeping, and saying what is left.

use worktree::*;

use crate::support::*;

#[test]
fn tasks_without_an_owner_are_saved_and_removed_sessions_stay() {
    let ground = Ground::new();
    let dead = ground.task("dead");
    let live = ground.task("live");
    let session = ground.project.ensure_session(&id("session"), Base::Head, &GO).unwrap();
    put(dead.path(), "work.txt", "work\n");
    let expected = tree_by_git(dead.path());

    let report = ground.worktrees.sweep(&|owner| owner.as_str() == "live", &GO).unwrap();

    assert_eq!(report.worktrees.len(), 1);
    let Swept { owner, what: SweptHow::Removed { checkpoint: Some(checkpoint), kept: None }, .. } =
        &report.worktrees[0]
    else {
        panic!("{report:?}")
    };
    assert_eq!((owner, checkpoint.tree.to_string()), (&id("dead"), expected));
    assert!(!dead.path().exists() && live.path().exists() && session.path().exists());
    assert_eq!(ground.worktrees.leftovers().unwrap(), []);
    assert_eq!(ground.worktrees.sweep(&|owner| owner.as_str() == "live", &GO).unwrap().worktrees, []);
}

#[test]
fn the_checkpoints_of_a_lost_state_directory_are_found_again() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    put(worktree.path(), "work.txt", "work\n");
    let checkpoint = snap(&worktree);
    std::fs::remove_dir_all(ground.state()).unwrap();

    let worktrees = Worktrees::open(&ground.state(), Policy::default()).unwrap();
    let project = worktrees.project(&ground.repo).unwrap();

    let leftovers = worktrees.leftovers().unwrap();
    let [Leftover::Orphan { id: found, owner, .. }] = &leftovers[..] else { panic!("{leftovers:?}") };
    assert_eq!((found, owner.as_ref()), (worktree.id(), Some(&id("t"))));
    assert_eq!(project.checkpoints_of(found).unwrap(), std::slice::from_ref(&checkpoint));
    worktrees.sweep(&|_| false, &GO).unwrap();
    assert_eq!(worktrees.leftovers().unwrap().len(), 1);

    // A new owner of the same name is another one, and does not get the lost one's work.
    let fresh = project.create(&id("t"), Base::Head, Kind::Task, &GO).unwrap();
    assert!(!fresh.path().join("work.txt").exists());
    let change = project.change_set(checkpoint.base_tree, checkpoint.tree, Some(checkpoint.id), &GO).unwrap();
    assert_eq!(change.files().len(), 1);
}

#[test]
fn a_worktree_in_use_is_left_alone() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let project = worktree.path().parent().unwrap().file_name().unwrap();
    let lock = ground.state().join("m").join(project).join(worktree.id().as_str()).join("lock");
    let held = std::fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let report = ground.worktrees.sweep(&|_| false, &GO).unwrap();
    assert_eq!((report.in_use, report.worktrees.len()), (1, 0));
    drop(held);
    assert_eq!(ground.worktrees.sweep(&|_| false, &GO).unwrap().worktrees.len(), 1);
}

#[test]
fn a_project_that_is_gone_does_not_stop_the_sweep() {
    let ground = Ground::new();
    let gone = ground.folder.path().join("gone");
    ground.git(&["clone", "-q", ".", gone.to_str().unwrap()]);
    ground.worktrees.project(&gone).unwrap().create(&id("t"), Base::Head, Kind::Task, &GO).unwrap();
    ground.task("t");
    std::fs::remove_dir_all(&gone).unwrap();
    let report = ground.worktrees.sweep(&|_| false, &GO).unwrap();
    assert_eq!((report.worktrees.len(), report.failed.len()), (1, 1));
}

#[test]
fn a_lock_that_a_killed_process_left_on_a_ref_blocks_nothing() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let refs = ground.repo.join(".git/refs/boocoder").join(worktree.id().as_str());
    std::fs::create_dir_all(refs.join("cp")).unwrap();
    std::fs::write(refs.join("cp/00000001.lock"), "").unwrap();
    assert_eq!(snap(&worktree).sequence, 1);
    assert!(!refs.join("cp/00000001.lock").exists());
}

/// Killed while it made the ref of a worktree's base.
#[test]
fn a_lock_on_the_ref_of_a_worktree_that_was_never_made_goes_with_it() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let name = format!("refs/boocoder/{}/base", worktree.id());
    ground.git(&["update-ref", "-d", &name]);
    let lock = ground.repo.join(".git").join(&name).with_extension("lock");
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    std::fs::write(&lock, "").unwrap();
    let project = worktree.path().parent().unwrap().file_name().unwrap();
    let record = ground.state().join("m").join(project).join(worktree.id().as_str()).join("record.json");
    let ready = std::fs::read_to_string(&record).unwrap();
    assert!(ready.contains("\"ready\""), "{ready}");
    std::fs::write(&record, ready.replace("\"ready\"", "\"creating\"")).unwrap();

    let report = ground.worktrees.sweep(&|_| false, &GO).unwrap();
    assert!(matches!(report.worktrees[..], [Swept { what: SweptHow::Discarded, .. }]), "{report:?}");
    assert!(!lock.exists());
}
