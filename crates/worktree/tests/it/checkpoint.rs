//! What a checkpoint sees.

use std::os::unix::fs::{PermissionsExt, symlink};

use worktree::*;

use crate::support::*;

#[test]
fn a_clean_worktree_has_the_tree_of_its_base() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let first = snap(&worktree);
    let second = snap(&worktree);
    assert_eq!(first.tree, worktree.base_tree());
    assert_eq!(second.tree, first.tree);
    assert_eq!((first.sequence, second.sequence), (1, 2));
    assert_ne!(first.id, second.id);
    assert_eq!(first.skipped, []);
    assert_eq!(first.head, Some(worktree.base_commit()));
    assert!(change(&worktree).is_empty());
}

/// Each edit of the conformance table, alone and on top of the others: the tree is the one that git makes.
#[test]
fn trees_are_those_that_git_makes() {
    type Edit = fn(&std::path::Path);
    let edits: &[(&str, Edit)] = &[
        ("modify", |w| put(w, "a.txt", "one\n2\nthree\n")),
        ("delete", |w| std::fs::remove_file(w.join("b.txt")).unwrap()),
        ("add", |w| put(w, "new/n.txt", "new\n")),
        ("rename and edit", |w| {
            std::fs::rename(w.join("dir/c.txt"), w.join("moved.txt")).unwrap();
            put(w, "moved.txt", "sea\nshore\n");
        }),
        ("chmod", |w| chmod(w, "a.txt", 0o755)),
        ("file to symlink", |w| {
            std::fs::remove_file(w.join("a.txt")).unwrap();
            symlink("moved.txt", w.join("a.txt")).unwrap();
        }),
        ("symlink to file", |w| {
            std::fs::remove_file(w.join("a.txt")).unwrap();
            put(w, "a.txt", "file again\n");
        }),
        ("file to folder", |w| {
            std::fs::remove_file(w.join("moved.txt")).unwrap();
            put(w, "moved.txt/inside", "x\n");
        }),
        ("folder to file", |w| {
            std::fs::remove_dir_all(w.join("dir")).unwrap();
            put(w, "dir", "a file\n");
        }),
        ("dangling, absolute and looping links", |w| {
            symlink("nowhere", w.join("dangling")).unwrap();
            symlink("/etc/passwd", w.join("absolute")).unwrap();
            symlink("loop", w.join("loop")).unwrap();
            symlink(".", w.join("self")).unwrap();
        }),
        ("odd names", |w| {
            for name in [
                &b"new\nline"[..],
                b"tab\t",
                b"quo\"te",
                b"back\\slash",
                b"-rf",
                b"a b",
                b"--",
                b"space ",
                b"\xff\xfe",
            ] {
                put(w, bytes(name), "odd\n");
            }
        }),
        ("not text, no newline, empty", |w| {
            put(w, "latin1", b"caf\xe9\n");
            put(w, "binary", [0, 1, 2, 255]);
            put(w, "no-newline", "end");
            put(w, "empty", "");
        }),
        ("ignored", |w| {
            put(w, "ignored/x", "x\n");
            put(w, "x.log", "x\n");
        }),
        ("rules changed", |w| put(w, ".gitignore", "empty\n")),
    ];
    let ground = Ground::new();
    let worktree = ground.task("all");
    for (n, (what, edit)) in edits.iter().enumerate() {
        edit(worktree.path());
        let seen = snap(&worktree);
        assert_eq!(seen.tree.to_string(), tree_by_git(worktree.path()), "{what}");
        assert_eq!(seen.skipped, [], "{what}");
        // A worktree whose cache is lost sees the same.
        std::fs::remove_file(ground.state().join(private(&ground, &worktree)).join("index")).unwrap();
        assert_eq!(snap(&worktree).tree, seen.tree, "{what}, from scratch");
        assert_eq!(ground.project.checkpoints(&id("all")).unwrap().len(), 2 * (n + 1));
    }
    ground.git(&["fsck", "--strict"]);
}

fn chmod(root: &std::path::Path, path: &str, mode: u32) {
    std::fs::set_permissions(root.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Where the state directory keeps what it knows of a worktree.
fn private(ground: &Ground, worktree: &Worktree) -> std::path::PathBuf {
    let project = worktree.path().parent().unwrap().file_name().unwrap();
    ground.state().join("m").join(project).join(worktree.id().as_str())
}

#[test]
fn restore_brings_everything_back_and_can_be_undone() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let start = snap(&worktree);
    let w = worktree.path();
    put(w, "a.txt", "changed\n");
    chmod(w, "b.txt", 0o755);
    std::fs::remove_dir_all(w.join("dir")).unwrap();
    put(w, "dir", "now a file\n");
    put(w, bytes(b"odd\n\xff"), "odd\n");
    put(w, "deep/er/x", "x\n");
    symlink("/etc", w.join("link")).unwrap();
    put(w, "ignored/secret", "keep me\n");
    let edited = snap(&worktree);

    let report = worktree.restore(&start.id, &GO).unwrap();

    assert_eq!(report.before.tree, edited.tree);
    assert_eq!(report.before.kind, CheckpointKind::PreRestore);
    assert_eq!(tree_by_git(w), start.tree.to_string());
    assert_eq!(git(w, &["status", "--porcelain"]), "");
    assert!(!w.join("deep").exists());
    assert_eq!(std::fs::read_to_string(w.join("ignored/secret")).unwrap(), "keep me\n");
    assert!(
        !std::fs::read_dir(w).unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".boocoder"))
    );

    worktree.restore(&report.before.id, &GO).unwrap();
    assert_eq!(tree_by_git(w), edited.tree.to_string());
    assert_eq!(snap(&worktree).tree, edited.tree);
}

#[test]
fn a_cancelled_operation_leaves_everything_as_it_was() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let start = snap(&worktree);
    put(worktree.path(), "a.txt", "changed\n");
    let stop = std::sync::atomic::AtomicBool::new(true);
    assert!(matches!(worktree.checkpoint(CheckpointKind::After, "", &stop), Err(Error::Cancelled)));
    assert!(matches!(worktree.restore(&start.id, &stop), Err(Error::Cancelled)));
    assert!(matches!(worktree.remove(&stop), Err(Error::Cancelled)));
    assert_eq!(ground.project.checkpoints(&id("t")).unwrap(), std::slice::from_ref(&start));
    assert_eq!(std::fs::read_to_string(worktree.path().join("a.txt")).unwrap(), "changed\n");
}

#[test]
fn a_checkpoint_is_read_back_as_it_was_taken() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let label = "before turn 7\n\"quoted\" {json}";
    let taken = worktree.checkpoint(CheckpointKind::Before, label, &GO).unwrap();
    assert_eq!(taken.label, label);
    assert_eq!(ground.project.checkpoint(&taken.id).unwrap(), taken);
    let elsewhere = CheckpointId { reference: "refs/heads/main".to_owned(), ..taken.id.clone() };
    assert!(matches!(ground.project.checkpoint(&elsewhere), Err(Error::NoCheckpoint { .. })));
    let text: CheckpointId = taken.id.to_string().parse().unwrap();
    assert_eq!(text, taken.id);
}
