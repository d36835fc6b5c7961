//! Changes and their patches.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use worktree::*;

use crate::support::*;

/// Feeds a patch to git in a checkout of the base; returns the tree that comes out.
fn apply_by_git(checkout: &Path, patch: &[u8], reverse: bool) -> String {
    let mut command = command(checkout);
    command.args(["apply", "--binary", "--index", "--whitespace=nowarn"]);
    if reverse {
        command.arg("-R");
    }
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(patch).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(patch)
    );
    git(checkout, &["write-tree"]).trim().to_owned()
}

fn rich() -> Ground {
    Ground::with(|repo| {
        put(repo, "text", (0..40).map(|n| format!("line {n}\n")).collect::<String>());
        put(repo, "no newline", "a\nb");
        put(repo, "newline", "a\nb\n");
        put(repo, "empty", "");
        put(repo, "gone", "bye\n");
        put(repo, "gone empty", "");
        put(repo, "binary", [0, 1, 2, 3, 200].repeat(100));
        put(repo, "binary gone", [0, 9]);
        put(repo, "moved", (0..20).map(|n| format!("stay {n}\n")).collect::<String>());
        put(repo, "script", "#!/bin/sh\n");
        put(repo, "to link", "file\n");
        symlink("text", repo.join("to file")).unwrap();
        symlink("text", repo.join("link")).unwrap();
        put(repo, "was file", "x\n");
        put(repo, "was folder/x", "x\n");
        put(repo, bytes(b"odd\n\t\"\\\xff"), "odd\n");
        put(repo, "-rf", "dash\n");
        put(repo, "space ", "space\n");
        put(repo, "latin1", b"caf\xe9\n");
        git(repo, &["add", "-A"]);
        git(repo, &["commit", "-qm", "rich"]);
    })
}

fn edit(w: &Path) {
    let text: String = (0..40)
        .filter(|n| *n != 17)
        .map(|n| if n == 2 { "new\n".into() } else { format!("line {n}\n") })
        .collect();
    put(w, "text", text + "more\n");
    put(w, "no newline", "a\nb\nc\n");
    put(w, "newline", "a\nc");
    put(w, "empty", "no more\n");
    put(w, "new empty", "");
    std::fs::remove_file(w.join("gone")).unwrap();
    std::fs::remove_file(w.join("gone empty")).unwrap();
    put(w, "binary", [7, 0, 1].repeat(60_000));
    std::fs::remove_file(w.join("binary gone")).unwrap();
    put(w, "binary new", [0]);
    std::fs::rename(w.join("moved"), w.join("a new place")).unwrap();
    put(w, "a new place", (0..21).map(|n| format!("stay {n}\n")).collect::<String>());
    std::fs::set_permissions(w.join("script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_file(w.join("to link")).unwrap();
    symlink("elsewhere", w.join("to link")).unwrap();
    std::fs::remove_file(w.join("to file")).unwrap();
    put(w, "to file", "file\n");
    std::fs::remove_file(w.join("link")).unwrap();
    symlink("newline", w.join("link")).unwrap();
    std::fs::remove_file(w.join("was file")).unwrap();
    put(w, "was file/x", "x\n");
    std::fs::remove_dir_all(w.join("was folder")).unwrap();
    put(w, "was folder", "x2\n");
    put(w, bytes(b"odd\n\t\"\\\xff"), "odder\n");
    put(w, bytes(b"\xfe new"), "new odd\n");
    put(w, "-rf", "dashed\n");
    put(w, "space ", "spaced\n");
    put(w, "latin1", b"caf\xe9 cr\xe8me\n");
}

#[test]
fn git_applies_the_patch_both_ways_and_gets_the_same_trees() {
    let ground = rich();
    let worktree = ground.task("t");
    edit(worktree.path());

    let change = change(&worktree);

    assert_eq!(change.result().to_string(), tree_by_git(worktree.path()));
    let checkout = ground.folder.path().join("check");
    ground.git(&["worktree", "add", "-q", "--detach", checkout.to_str().unwrap()]);
    let patch = patch(&change);
    let forward = apply_by_git(&checkout, &patch, false);
    assert_eq!(git(&checkout, &["diff", "--raw", &change.result().to_string(), &forward]), "");
    let back = apply_by_git(&checkout, &patch, true);
    // `git apply -R` turns a link that became a file back into a file, with git's own patches, too.
    let rest = git(&checkout, &["diff", "--name-only", &change.base().to_string(), &back]);
    assert_eq!(rest, "to file\n");
}

#[test]
fn files_are_described_and_counted_as_git_does() {
    let ground = rich();
    let worktree = ground.task("t");
    edit(worktree.path());
    let change = change(&worktree);

    let file = |path: &str| change.files().iter().find(|f| f.path == RelPath::from(path)).unwrap();
    assert_eq!(file("a new place").kind, ChangeKind::Renamed { from: "moved".into() });
    assert_eq!((file("a new place").additions, file("a new place").deletions), (1, 0));
    assert_eq!(file("script").kind, ChangeKind::ModeChanged);
    assert_eq!(file("to link").kind, ChangeKind::TypeChanged);
    assert_eq!(file("gone").kind, ChangeKind::Deleted);
    assert_eq!(file("new empty").kind, ChangeKind::Added);
    assert!(file("binary").binary && file("binary new").binary && !file("latin1").binary);
    assert_eq!((file("text").additions, file("text").deletions), (2, 2));

    let range = [change.base().to_string(), change.result().to_string()];
    let numstat = ground.git(&["diff", "-M", "--no-rename-empty", "--numstat", &range[0], &range[1]]);
    let (mut additions, mut deletions) = (0, 0);
    for line in numstat.lines() {
        let mut numbers = line.split('\t').map(|n| n.parse::<u64>().unwrap_or(0));
        additions += numbers.next().unwrap();
        deletions += numbers.next().unwrap();
    }
    assert_eq!(numstat.lines().count(), change.files().len());
    assert_eq!((change.additions(), change.deletions()), (additions, deletions));
}

#[test]
fn a_change_is_rebuilt_from_its_ids_after_the_worktree_is_gone() {
    let ground = rich();
    let worktree = ground.task("t");
    edit(worktree.path());
    let first = change(&worktree);
    let patch_before = patch(&first);
    worktree.remove(&GO).unwrap();
    ground.git(&["gc", "-q", "--prune=now"]);

    let stored =
        (first.base().to_string(), first.result().to_string(), first.checkpoint().unwrap().to_string());
    let project = Worktrees::open(&ground.state(), Policy::default()).unwrap().project(&ground.repo).unwrap();
    let again = project
        .change_set(
            stored.0.parse().unwrap(),
            stored.1.parse().unwrap(),
            Some(stored.2.parse().unwrap()),
            &GO,
        )
        .unwrap();

    assert_eq!(again.files(), first.files());
    assert_eq!(patch(&again), patch_before);
    let json = serde_json::to_string(first.files()).unwrap();
    assert_eq!(serde_json::from_str::<Vec<FileChange>>(&json).unwrap(), first.files());
}

#[test]
fn the_agents_own_commits_are_part_of_the_change() {
    let ground = Ground::new();
    let worktree = ground.task("t");
    let w = worktree.path();
    put(w, "committed.txt", "1\n");
    git(w, &["checkout", "-q", "-b", "agent-branch"]);
    git(w, &["add", "-A"]);
    git(w, &["commit", "-qm", "by the agent"]);
    put(w, "loose.txt", "2\n");
    let change = change(&worktree);
    let paths: Vec<_> = change.files().iter().map(|f| f.path.to_string()).collect();
    assert_eq!(paths, ["committed.txt", "loose.txt"]);
    let checkpoint = ground.project.checkpoint(change.checkpoint().unwrap()).unwrap();
    assert_eq!(checkpoint.head_ref.as_deref(), Some("refs/heads/agent-branch"));

    let other: CommitId = ground.git(&["rev-parse", "agent-branch"]).trim().parse().unwrap();
    let since = worktree.diff(&BaseRef::Commit(other), CheckpointKind::After, "", &GO).unwrap();
    assert_eq!(since.files().len(), 1);
}
