//! A real repository, made by the real git, and a state directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use worktree::*;

pub static GO: AtomicBool = AtomicBool::new(false);

/// A repository with a few files in one commit, a state directory, and an open project.
pub struct Ground {
    pub folder: TempDir,
    pub repo: PathBuf,
    pub worktrees: Worktrees,
    pub project: Project,
}

impl Ground {
    pub fn new() -> Self {
        Self::with(|repo| {
            put(repo, "a.txt", "one\ntwo\nthree\n");
            put(repo, "b.txt", "bee\n");
            put(repo, "dir/c.txt", "sea\n");
            put(repo, "dir/deep/d.txt", "dee\n");
            put(repo, ".gitignore", "ignored/\n*.log\n");
            git(repo, &["add", "-A"]);
            git(repo, &["commit", "-qm", "first"]);
        })
    }

    /// A repository that `fill` makes of a fresh `git init`.
    pub fn with(fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repo = folder.path().join("user's \"repo\"");
        std::fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q", "-b", "main"]);
        fill(&repo);
        let worktrees = Worktrees::open(&folder.path().join("state"), Policy::default()).unwrap();
        let project = worktrees.project(&repo).unwrap();
        Self { folder, repo, worktrees, project }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn task(&self, owner: &str) -> Worktree {
        self.project.create(&id(owner), Base::Head, Kind::Task, &GO).unwrap()
    }

    pub fn git(&self, args: &[&str]) -> String {
        git(&self.repo, args)
    }

    /// Everything of the user's that nothing but `apply` may change.
    pub fn fingerprint(&self) -> Vec<(String, Vec<u8>)> {
        let dot_git = self.repo.join(".git");
        ["HEAD", "config", "index", "packed-refs", "refs/stash", "logs/HEAD", "ORIG_HEAD"]
            .into_iter()
            .map(|name| (name.to_owned(), std::fs::read(dot_git.join(name)).unwrap_or_default()))
            .chain([("branches".to_owned(), git(&self.repo, &["branch", "-av"]).into_bytes())])
            .collect()
    }
}

pub fn id(owner: &str) -> OwnerId {
    owner.parse().unwrap()
}

pub fn put(root: &Path, path: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
    let path = root.join(path.as_ref());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub fn bytes(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Git without any configuration but the repository's.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([
            ("GIT_AUTHOR_NAME", "u"),
            ("GIT_AUTHOR_EMAIL", "u@x"),
            ("GIT_COMMITTER_NAME", "u"),
            ("GIT_COMMITTER_EMAIL", "u@x"),
        ]);
    command
}

#[track_caller]
pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = try_git(folder, args);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn try_git(folder: &Path, args: &[&str]) -> Output {
    command(folder).args(args).stdin(Stdio::null()).output().unwrap()
}

/// The tree that git itself would make of everything in `folder`, without touching its index.
#[track_caller]
pub fn tree_by_git(folder: &Path) -> String {
    let index = tempfile::tempdir().unwrap();
    let index = index.path().join("index");
    for args in [&["read-tree", "HEAD"][..], &["add", "-A"]] {
        let output = command(folder).env("GIT_INDEX_FILE", &index).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = command(folder).env("GIT_INDEX_FILE", &index).arg("write-tree").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn snap(worktree: &Worktree) -> Checkpoint {
    worktree.checkpoint(CheckpointKind::Periodic, "test", &GO).unwrap()
}

pub fn change(worktree: &Worktree) -> ChangeSet {
    worktree.diff(&BaseRef::Captured, CheckpointKind::After, "test", &GO).unwrap()
}

pub fn patch(change: &ChangeSet) -> Vec<u8> {
    let mut patch = Vec::new();
    change.write_patch(&mut patch).unwrap();
    patch
}

/// The crate's example program, for what needs a process of its own.
pub fn example() -> PathBuf {
    let target = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let path = target.join("examples/by_hand");
    assert!(path.exists(), "{} is built with the tests", path.display());
    path
}
