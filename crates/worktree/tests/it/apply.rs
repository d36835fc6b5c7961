//! Applying changes to the user's checkout.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use worktree::*;

use crate::support::*;

/// A change made by `edit` in a fresh worktree.
fn change_by(ground: &Ground, owner: &str, edit: impl FnOnce(&Path)) -> ChangeSet {
    let worktree = ground.task(owner);
    edit(worktree.path());
    change(&worktree)
}

fn read(root: &Path, path: &str) -> String {
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// Every file outside `.git` with type, permissions, target and content.
fn contents(root: &Path) -> String {
    let output = std::process::Command::new("sh")
        .current_dir(root)
        .args([
            "-c",
            "find . -path ./.git -prune -o -printf '%p %y %m %l\\n' -type f -exec cksum {} \\; | sort",
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn conflicts(ground: &Ground, change: &ChangeSet) -> Vec<(String, ConflictKind)> {
    let (before, files) = (ground.fingerprint(), contents(&ground.repo));
    let preview = ground.project.preview(change, &GO).unwrap();
    let Err(ApplyError::Conflicts(found)) = ground.project.apply(change, &GO) else { panic!("no conflict") };
    assert_eq!(preview.conflicts, found);
    assert_eq!(contents(&ground.repo), files);
    assert_eq!(ground.fingerprint(), before);
    found.into_iter().map(|c| (c.path.to_string(), c.kind)).collect()
}

#[test]
fn a_change_appears_unstaged_and_is_undone() {
    let ground = Ground::new();
    let change = change_by(&ground, "t", |w| {
        put(w, "a.txt", "one\n2\nthree\n");
        std::fs::remove_file(w.join("b.txt")).unwrap();
        put(w, "new/deep/n.txt", "new\n");
        std::fs::rename(w.join("dir/c.txt"), w.join("moved.txt")).unwrap();
        symlink("a.txt", w.join("link")).unwrap();
        std::fs::remove_dir_all(w.join("dir/deep")).unwrap();
        put(w, "dir/deep", "a file now\n");
    });
    let (before, files) = (ground.fingerprint(), contents(&ground.repo));
    let preview = ground.project.preview(&change, &GO).unwrap();
    assert_eq!(contents(&ground.repo), files);

    let applied = ground.project.apply(&change, &GO).unwrap();

    assert_eq!(preview.files, applied.files);
    assert_eq!(tree_by_git(&ground.repo), change.result().to_string());
    assert_eq!(ground.fingerprint(), before);
    assert!(ground.git(&["diff", "--cached"]).is_empty());

    // Applying what is already there is a success that does nothing.
    let again = ground.project.apply(&change, &GO).unwrap();
    assert_eq!((again.before, again.files.len()), (again.after, 0));

    put(&ground.repo, "mine.txt", "mine\n");
    ground.project.undo(&applied.id, &GO).unwrap();
    std::fs::remove_file(ground.repo.join("mine.txt")).unwrap();
    assert_eq!(contents(&ground.repo), files);
    assert_eq!(ground.fingerprint(), before);
}

#[test]
fn the_users_own_edits_are_merged_with() {
    let ground = Ground::new();
    let change = change_by(&ground, "t", |w| put(w, "a.txt", "one\ntwo\nthree\nfour\n"));
    put(&ground.repo, "a.txt", "zero\none\ntwo\nthree\n");
    put(&ground.repo, "b.txt", "my bee\n");
    put(&ground.repo, "untracked.txt", "mine\n");
    put(&ground.repo, "staged.txt", "staged\n");
    ground.git(&["add", "staged.txt"]);
    let before = ground.fingerprint();

    ground.project.apply(&change, &GO).unwrap();

    assert_eq!(read(&ground.repo, "a.txt"), "zero\none\ntwo\nthree\nfour\n");
    assert_eq!(read(&ground.repo, "b.txt"), "my bee\n");
    assert_eq!(ground.fingerprint(), before);
    assert_eq!(
        ground.git(&["status", "--porcelain"]),
        " M a.txt\n M b.txt\nA  staged.txt\n?? untracked.txt\n"
    );
}

#[test]
fn conflicts_are_named_and_nothing_is_touched() {
    let ground = Ground::with(|repo| {
        for name in ["lines", "mine", "yours", "moved"] {
            put(repo, name, "one\ntwo\nthree\n");
        }
        put(repo, "binary", [0, 1, 2]);
        put(repo, ".gitignore", "*.log\n");
        git(repo, &["add", "-A"]);
        git(repo, &["commit", "-qm", "first"]);
    });
    let change = change_by(&ground, "t", |w| {
        put(w, "lines", "one\nTWO\nthree\n");
        std::fs::remove_file(w.join("mine")).unwrap();
        put(w, "yours", "one\n2\nthree\n");
        put(w, "binary", [0, 1, 3]);
        put(w, "added", "by the change\n");
        put(w, "fine", "fine\n");
    });
    put(&ground.repo, "lines", "one\nzwei\nthree\n");
    put(&ground.repo, "mine", "one\ntwo\nthree\nfour\n");
    std::fs::remove_file(ground.repo.join("yours")).unwrap();
    put(&ground.repo, "binary", [0, 1, 4]);
    put(&ground.repo, "added", "by me\n");

    let found = conflicts(&ground, &change);

    let expected = [
        ("added", ConflictKind::BothAdded),
        ("binary", ConflictKind::Binary),
        ("lines", ConflictKind::Content),
        ("mine", ConflictKind::DeletedByChange),
        ("yours", ConflictKind::DeletedByUser),
    ];
    assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert!(!ground.repo.join("fine").exists());
}

#[test]
fn untracked_and_ignored_files_are_never_overwritten() {
    let ground = Ground::new();
    let change = change_by(&ground, "t", |w| {
        put(w, ".gitignore", "");
        put(w, "precious.log", "from the change\n");
    });
    put(&ground.repo, "precious.log", "mine\n");
    assert_eq!(conflicts(&ground, &change), [("precious.log".to_owned(), ConflictKind::BothAdded)]);

    let change = change_by(&ground, "folder", |w| put(w, "place/inside", "x\n"));
    put(&ground.repo, "place", "a file of mine\n");
    assert_eq!(
        conflicts(&ground, &change),
        [("place".to_owned(), ConflictKind::Untracked)].map(|mut c| {
            c.0 = "place/inside".to_owned();
            c
        })
    );

    let change = change_by(&ground, "file", |w| put(w, "spot", "x\n"));
    put(&ground.repo, "spot/mine", "mine\n");
    assert_eq!(conflicts(&ground, &change), [("spot".to_owned(), ConflictKind::Untracked)]);

    let outside = ground.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let change = change_by(&ground, "link", |w| put(w, "way/out", "x\n"));
    symlink(&outside, ground.repo.join("way")).unwrap();
    assert_eq!(conflicts(&ground, &change), [("way/out".to_owned(), ConflictKind::Untracked)]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_busy_index_is_waited_for_and_then_refused() {
    let ground = Ground::new();
    let change = change_by(&ground, "t", |w| put(w, "b.txt", "x\n"));
    let policy = Policy { lock_wait: std::time::Duration::from_millis(30), ..Policy::default() };
    let impatient = Worktrees::open(&ground.state(), policy).unwrap().project(&ground.repo).unwrap();
    let lock = ground.repo.join(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    let error = impatient.apply(&change, &GO).unwrap_err();
    assert!(matches!(error, ApplyError::Failed(Error::Busy { .. })), "{error}");
    assert_eq!(read(&ground.repo, "b.txt"), "bee\n");
    std::fs::remove_file(&lock).unwrap();
    impatient.apply(&change, &GO).unwrap();
    assert_eq!(read(&ground.repo, "b.txt"), "x\n");
}

#[test]
fn a_change_of_a_first_commit_applies_to_an_unborn_repository() {
    let ground = Ground::with(|_| {});
    let change = change_by(&ground, "t", |w| put(w, "first.txt", "first\n"));
    ground.project.apply(&change, &GO).unwrap();
    assert_eq!(ground.git(&["status", "--porcelain"]), "?? first.txt\n");
}

#[test]
fn a_bare_repository_has_nothing_to_apply_to() {
    let ground = Ground::new();
    let bare = ground.folder.path().join("bare.git");
    ground.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let project = ground.worktrees.project(&bare).unwrap();
    let worktree = project.create(&id("t"), Base::Head, Kind::Task, &GO).unwrap();
    put(worktree.path(), "x", "x\n");
    let error = project.apply(&change(&worktree), &GO).unwrap_err();
    assert!(matches!(error, ApplyError::Failed(Error::Bare { .. })), "{error}");
}

#[test]
fn line_ends_of_the_checkout_are_kept() {
    let ground = Ground::with(|repo| {
        git(repo, &["config", "core.autocrlf", "true"]);
        put(repo, "text", "one\r\ntwo\r\nthree\r\n");
        git(repo, &["add", "-A"]);
        git(repo, &["commit", "-qm", "first"]);
    });
    let worktree = ground.task("t");
    assert_eq!(std::fs::read(worktree.path().join("text")).unwrap(), b"one\r\ntwo\r\nthree\r\n");
    assert_eq!(snap(&worktree).tree, worktree.base_tree());
    put(worktree.path(), "text", "one\r\n2\r\nthree\r\n");
    let change = change(&worktree);
    assert_eq!((change.additions(), change.deletions()), (1, 1));
    ground.project.apply(&change, &GO).unwrap();
    assert_eq!(std::fs::read(ground.repo.join("text")).unwrap(), b"one\r\n2\r\nthree\r\n");
}

#[test]
fn a_file_that_could_be_written_in_part_only_is_not_left_behind() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    put(worktree.path(), "a.txt", "changed\n");
    // Small in the repository, too big for the limit in the checkout.
    put(worktree.path(), "big.txt", vec![b'x'; 1 << 20]);
    snap(&worktree);
    let before = tree_by_git(&ground.repo);

    // The limit stands for a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$@\"", "sh"])
        .arg(example())
        .args([ground.state(), ground.repo.clone()])
        .args(["apply", "t"])
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("change"), "{said}");
    assert_eq!(tree_by_git(&ground.repo), before);
    let left: Vec<_> = std::fs::read_dir(&ground.repo)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".boocoder"))
        .collect();
    assert_eq!(left, [""; 0]);
}
