//! What an agent, or the environment, could do to us.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use worktree::*;

use crate::support::*;

/// Makes every way that git has to run a program lead to a script that leaves a mark.
fn poison(repo: &Path, mark: &Path) {
    let script = repo.join(".git/canary.sh");
    std::fs::write(&script, format!("#!/bin/sh\necho \"$0 $@\" >> '{}'\ncat\n", mark.display())).unwrap();
    Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    let script = script.to_str().unwrap();
    let settings = [
        "core.fsmonitor",
        "core.sshCommand",
        "core.editor",
        "core.pager",
        "core.askPass",
        "gpg.program",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.textconv",
        "diff.evil.command",
        "diff.external",
        "merge.evil.driver",
        "alias.status",
        "credential.helper",
        "uploadpack.packObjectsHook",
    ];
    let quoted = format!("\"{}\"", script.replace('"', "\\\""));
    for key in settings {
        git(repo, &["config", key, &quoted]);
    }
    git(repo, &["config", "filter.evil.required", "true"]);
    git(repo, &["config", "core.worktree", "/etc"]);
    git(repo, &["config", "commit.gpgSign", "true"]);
    let hooks = repo.join(".git/evil-hooks");
    std::fs::create_dir(&hooks).unwrap();
    for hook in
        ["post-checkout", "pre-commit", "reference-transaction", "post-index-change", "fsmonitor-watchman"]
    {
        symlink(script, hooks.join(hook)).unwrap();
        let _ = std::fs::create_dir(repo.join(".git/hooks"));
        let _ = symlink(script, repo.join(".git/hooks").join(hook));
    }
    git(repo, &["config", "core.hooksPath", hooks.to_str().unwrap()]);
}

#[test]
fn nothing_that_the_repository_names_is_ever_run() {
    let ground = Ground::with(|repo| {
        put(repo, ".gitattributes", "* filter=evil diff=evil merge=evil\n");
        put(repo, "a.txt", "one\ntwo\nthree\n");
        put(repo, "b.txt", "bee\n");
        git(repo, &["add", "-A"]);
        git(repo, &["commit", "-qm", "first"]);
    });
    let mark = ground.folder.path().join("mark");
    poison(&ground.repo, &mark);
    // The poison works: git itself runs it.
    try_git(&ground.repo, &["--work-tree=.", "add", "a.txt"]);
    assert!(mark.exists());
    std::fs::remove_file(&mark).unwrap();

    let worktrees = Worktrees::open(&ground.state(), Policy::default()).unwrap();
    let project = worktrees.project(&ground.repo).unwrap();
    assert_eq!(project.root(), Some(&*ground.repo.canonicalize().unwrap()));
    let worktree = project.create(&id("t"), Base::Head, Kind::Task, &GO).unwrap();
    let first = snap(&worktree);
    put(worktree.path(), "a.txt", "one\ntwo\nthree\nfour\n");
    put(worktree.path(), "c.txt", "sea\n");
    let change = change(&worktree);
    patch(&change);
    put(&ground.repo, "a.txt", "zero\none\ntwo\nthree\n");
    let applied = project.apply(&change, &GO).unwrap();
    assert_eq!(std::fs::read_to_string(ground.repo.join("a.txt")).unwrap(), "zero\none\ntwo\nthree\nfour\n");
    project.undo(&applied.id, &GO).unwrap();
    put(&ground.repo, "a.txt", "one\ntwo\nthree\n4\n");
    project.apply(&change, &GO).unwrap_err();
    worktree.restore(&first.id, &GO).unwrap();
    worktree.remove(&GO).unwrap();
    worktrees.sweep(&|_| false, &GO).unwrap();
    project.create(&id("t"), Base::Head, Kind::Task, &GO).unwrap();

    assert!(!mark.exists(), "{}", std::fs::read_to_string(&mark).unwrap_or_default());
}

#[test]
fn git_variables_in_the_environment_do_not_count() {
    let ground = Ground::new();
    let other = Ground::new();
    let worktree = ground.task("t");
    put(worktree.path(), "x.txt", "x\n");
    let output = Command::new(example())
        .args([ground.state(), ground.repo.clone()])
        .args(["checkpoint", "t"])
        .env("GIT_DIR", other.repo.join(".git"))
        .env("GIT_WORK_TREE", &other.repo)
        .env("GIT_INDEX_FILE", other.repo.join("index"))
        .env("GIT_OBJECT_DIRECTORY", other.repo.join("objects"))
        .env("GIT_COMMON_DIR", other.repo.join(".git"))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.bare")
        .env("GIT_CONFIG_VALUE_0", "true")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all = ground.project.checkpoints(&id("t")).unwrap();
    assert_eq!(all[0].tree.to_string(), tree_by_git(worktree.path()));
    assert!(!other.repo.join("objects").exists());
    assert_eq!(other.git(&["for-each-ref", "refs/boocoder"]), "");
}

#[test]
fn pipes_and_sockets_are_reported_and_never_opened() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let w = worktree.path();
    assert!(Command::new("mkfifo").arg(w.join("pipe")).status().unwrap().success());
    assert!(Command::new("mkfifo").arg(w.join("pipe.log")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(w.join("socket")).unwrap();
    std::fs::remove_file(w.join("a.txt")).unwrap();
    assert!(Command::new("mkfifo").arg(w.join("a.txt")).status().unwrap().success());

    let checkpoint = snap(&worktree);

    let paths: Vec<_> = checkpoint.skipped.iter().map(|s| (s.path.to_string(), s.reason.clone())).collect();
    assert_eq!(paths, ["a.txt", "pipe", "socket"].map(|p| (p.to_owned(), SkipReason::Special)));
    assert!(!checkpoint.is_incomplete());

    assert!(Command::new("mkfifo").arg(w.join("dir/.gitignore")).status().unwrap().success());
    let error = worktree.checkpoint(CheckpointKind::After, "", &GO).unwrap_err();
    assert!(
        matches!(&error, Error::UnsafeRules { path, .. } if path.as_bytes() == b"dir/.gitignore"),
        "{error}"
    );
}

#[test]
fn big_files_are_reported_unread_and_kept_at_removal() {
    let ground = Ground::new();
    let policy = Policy { max_file_bytes: 1000, ..Policy::default() };
    let project = Worktrees::open(&ground.state(), policy).unwrap().project(&ground.repo).unwrap();
    let worktree = project.create(&id("t"), Base::Head, Kind::Task, &GO).unwrap();
    let start = snap(&worktree);
    let sparse = std::fs::File::create(worktree.path().join("huge")).unwrap();
    sparse.set_len(3 << 30).unwrap();
    put(worktree.path(), "a.txt", vec![b'x'; 1001]);

    let checkpoint = snap(&worktree);
    assert_eq!(checkpoint.skipped.len(), 2);
    assert_eq!(checkpoint.skipped[1].reason, SkipReason::TooBig { bytes: 3 << 30 });
    assert_eq!(checkpoint.tree, start.tree);
    worktree.restore(&start.id, &GO).unwrap();
    assert!(worktree.path().join("huge").exists());

    let receipt = worktree.remove(&GO).unwrap();
    let kept = receipt.kept.unwrap();
    assert!(kept.join("huge").exists() && !worktree.path().exists());
    assert_eq!(ground.worktrees.leftovers().unwrap(), [Leftover::Kept { path: kept }]);
}

#[test]
fn repositories_inside_the_worktree_are_not_swallowed_and_not_deleted() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let start = snap(&worktree);
    let w = worktree.path();
    for nested in ["unborn", "born"] {
        std::fs::create_dir(w.join(nested)).unwrap();
        git(&w.join(nested), &["init", "-q", "-b", "inner"]);
        put(w, format!("{nested}/work.txt"), "inner work\n");
    }
    git(&w.join("born"), &["add", "-A"]);
    git(&w.join("born"), &["commit", "-qm", "inner"]);
    git(w, &["worktree", "add", "-q", "--detach", "linked"]);
    put(w, "outer.txt", "outer\n");

    let checkpoint = snap(&worktree);

    let nested: Vec<_> = checkpoint.skipped.iter().map(|s| s.path.to_string()).collect();
    assert_eq!(nested, ["born", "linked", "unborn"]);
    assert!(checkpoint.skipped.iter().all(|s| matches!(s.reason, SkipReason::NestedRepo { .. })));
    let files = ground.git(&["ls-tree", "-r", "--name-only", &checkpoint.tree.to_string()]);
    assert!(files.contains("outer.txt") && !files.contains("born"), "{files}");

    worktree.restore(&start.id, &GO).unwrap();
    assert!(!w.join("outer.txt").exists());
    for nested in ["unborn/work.txt", "born/work.txt", "linked/a.txt"] {
        assert!(w.join(nested).exists(), "{nested}");
    }
    let kept = worktree.remove(&GO).unwrap().kept.unwrap();
    assert!(kept.join("born/work.txt").exists());
}

#[test]
fn bits_and_entries_of_the_agents_index_do_not_hide_anything() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let w = worktree.path();
    git(w, &["update-index", "--assume-unchanged", "a.txt"]);
    git(w, &["update-index", "--skip-worktree", "b.txt"]);
    put(w, "a.txt", "hidden\n");
    put(w, "b.txt", "hidden too\n");
    git(w, &["rm", "-q", "dir/c.txt"]);
    git(w, &["mv", "dir/deep/d.txt", "d.txt"]);
    put(w, "intent.txt", "later\n");
    git(w, &["add", "-N", "intent.txt"]);
    put(w, "forced.log", "forced\n");
    git(w, &["add", "-f", "forced.log"]);

    let change = change(&worktree);

    let paths: Vec<_> = change.files().iter().map(|f| f.path.to_string()).collect();
    assert_eq!(paths, ["a.txt", "b.txt", "d.txt", "dir/c.txt", "forced.log", "intent.txt"]);
}

#[test]
fn what_is_only_staged_is_kept_alive() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let w = worktree.path();
    put(w, "a.txt", "staged version\n");
    git(w, &["add", "a.txt"]);
    put(w, "a.txt", "newer version\n");
    let checkpoint = snap(&worktree);
    let staged = format!("{}^2:a.txt", checkpoint.id.commit);
    assert_eq!(ground.git(&["show", &staged]), "staged version\n");
    assert_eq!(ground.git(&["show", &format!("{}:a.txt", checkpoint.id.commit)]), "newer version\n");

    // An unchanged index is looked at no second time, and held by the first checkpoint.
    let again = snap(&worktree);
    assert_eq!(again.tree, checkpoint.tree);
    ground.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(ground.git(&["show", &staged]), "staged version\n");
}

#[test]
fn an_operation_under_way_is_recorded() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let w = worktree.path();
    git(w, &["checkout", "-q", "-b", "side"]);
    put(w, "a.txt", "side\n");
    git(w, &["commit", "-qam", "side"]);
    git(w, &["checkout", "-q", "--detach", "main"]);
    put(w, "a.txt", "main\n");
    git(w, &["commit", "-qam", "main"]);
    assert!(!try_git(w, &["merge", "side"]).status.success());
    let checkpoint = snap(&worktree);
    assert_eq!(checkpoint.operation, Some(Operation::Merge));
    assert_eq!(ground.project.checkpoint(&checkpoint.id).unwrap(), checkpoint);
    let content = ground.git(&["show", &format!("{}:a.txt", checkpoint.id.commit)]);
    assert!(content.contains("<<<<<<<"), "{content}");
}

#[test]
fn a_repointed_worktree_is_refused_and_nothing_is_deleted() {
    let ground = Ground::new();
    let other = Ground::new();
    let worktree = ground.task("t");
    put(worktree.path(), "work.txt", "work\n");
    let link = worktree.path().join(".git");
    let original = std::fs::read(&link).unwrap();
    std::fs::write(&link, format!("gitdir: {}\n", other.repo.join(".git").display())).unwrap();

    let error = worktree.checkpoint(CheckpointKind::After, "", &GO).unwrap_err();
    assert!(matches!(error, Error::Tampered { .. }), "{error}");
    let error = worktree.remove(&GO).unwrap_err();
    assert!(
        matches!(&error, Error::FinalCheckpoint { source, .. } if matches!(**source, Error::Tampered { .. }))
    );
    let report = ground.worktrees.sweep(&|_| false, &GO).unwrap();
    assert_eq!((report.worktrees.len(), report.failed.len()), (0, 1));
    assert!(worktree.path().join("work.txt").exists());
    assert_eq!(other.git(&["for-each-ref", "refs/boocoder"]), "");

    std::fs::write(&link, original).unwrap();
    worktree.remove(&GO).unwrap();
}

#[test]
fn an_edit_of_the_same_size_in_the_same_moment_is_seen() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    for n in 0..50 {
        put(worktree.path(), "a.txt", format!("{n:03}\n"));
        let tree = snap(&worktree).tree;
        assert_eq!(ground.git(&["show", &format!("{tree}:a.txt")]), format!("{n:03}\n"));
    }
}

#[test]
fn times_set_back_do_not_hide_an_edit() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let path = worktree.path().join("a.txt");
    let times = std::fs::metadata(&path).unwrap().modified().unwrap();
    snap(&worktree);
    std::fs::write(&path, "ONE\ntwo\nthree\n").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    assert_eq!(change(&worktree).files().len(), 1);
}

#[test]
fn a_link_in_place_of_a_folder_is_not_followed() {
    let ground = Ground::new();
    let outside = ground.folder.path().join("outside");
    put(&outside, "c.txt", "not yours\n");
    put(&outside, "deep/d.txt", "not yours\n");
    let worktree = ground.task("t");
    let start = snap(&worktree);
    std::fs::remove_dir_all(worktree.path().join("dir")).unwrap();
    symlink(&outside, worktree.path().join("dir")).unwrap();
    let linked = snap(&worktree);
    assert_eq!(linked.tree.to_string(), tree_by_git(worktree.path()));

    worktree.restore(&start.id, &GO).unwrap();
    assert_eq!(std::fs::read_to_string(outside.join("c.txt")).unwrap(), "not yours\n");
    assert_eq!(std::fs::read_to_string(worktree.path().join("dir/c.txt")).unwrap(), "sea\n");
}

#[test]
fn ignored_files_survive_a_restore_that_changes_the_rules() {
    let ground = Ground::new();
    put(&ground.repo, ".gitignore", ".env\n");
    ground.git(&["commit", "-qam", "rules"]);
    let worktree = ground.task("t");
    let w = worktree.path();
    put(w, ".env", "SECRET=1\n");
    let start = snap(&worktree);
    put(w, ".gitignore", "a.txt\n");
    put(w, "a.txt", "still tracked\n");
    let exposed = snap(&worktree);
    assert_eq!(exposed.tree.to_string(), tree_by_git(w));
    assert_eq!(ground.git(&["show", &format!("{}:a.txt", exposed.tree)]), "still tracked\n");

    let report = worktree.restore(&start.id, &GO).unwrap();

    assert_eq!(report.kept, [RelPath::from(".env")]);
    assert_eq!(std::fs::read_to_string(w.join(".env")).unwrap(), "SECRET=1\n");
    assert_eq!(snap(&worktree).tree, start.tree);
}

#[test]
fn restoring_over_an_ignored_file_saves_it_first() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let w = worktree.path();
    put(w, "notes.txt", "from the checkpoint\n");
    let with_notes = snap(&worktree);
    std::fs::remove_file(w.join("notes.txt")).unwrap();
    put(w, ".gitignore", "notes.txt\n");
    snap(&worktree);
    put(w, "notes.txt", "precious and ignored\n");

    let report = worktree.restore(&with_notes.id, &GO).unwrap();

    assert_eq!(std::fs::read_to_string(w.join("notes.txt")).unwrap(), "from the checkpoint\n");
    let saved = ground.git(&["show", &format!("{}:notes.txt", report.before.tree)]);
    assert_eq!(saved, "precious and ignored\n");
}

#[test]
fn names_that_git_refuses_do_not_spoil_a_checkpoint() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    put(worktree.path(), "dir/.GIT/config", "x\n");
    put(worktree.path(), "git~1", "x\n");
    put(worktree.path(), "dir/.git", "bogus\n");
    put(worktree.path(), "fine.txt", "fine\n");
    let checkpoint = snap(&worktree);
    let skipped: Vec<_> = checkpoint.skipped.iter().map(|s| s.path.to_string()).collect();
    assert_eq!(skipped, ["dir/.GIT", "git~1"]);
    assert_eq!(ground.git(&["diff", "--name-only", "HEAD", &checkpoint.tree.to_string()]), "fine.txt\n");
}
