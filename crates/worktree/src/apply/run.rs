//! From a change to a journaled application, and from a journal to a completed one.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use gix::bstr::{BString, ByteSlice};

use super::checkout::Checkout;
use super::hands::Hands;
use super::plan::{self, Step};
use super::{Applied, ApplyError, Journal, JournalState, MergePreview, Recovered, merge};
use crate::change::diff;
use crate::error::{Error, Result};
use crate::ids::{AppliedId, TreeId};
use crate::lock;
use crate::project::Project;
use crate::refs;

pub(super) fn preview(
    project: &Project,
    base: TreeId,
    result: TreeId,
    cancel: &AtomicBool,
) -> Result<MergePreview> {
    match prepare(project, base, result, cancel) {
        Ok(Prepared { before, after, .. }) => {
            let files = diff::files(project, before, after, cancel)?;
            Ok(MergePreview { files, conflicts: Vec::new() })
        }
        Err(ApplyError::Conflicts(conflicts)) => Ok(MergePreview { files: Vec::new(), conflicts }),
        Err(ApplyError::Moved { path }) => unreachable!("because preparing writes nothing, not even {path}"),
        Err(ApplyError::Failed(error)) => Err(error),
    }
}

/// What is to be done, nothing of it yet.
struct Prepared {
    checkout: std::path::PathBuf,
    before: TreeId,
    after: TreeId,
    steps: Vec<Step>,
}

fn prepare(
    project: &Project,
    base: TreeId,
    result: TreeId,
    cancel: &AtomicBool,
) -> Result<Prepared, ApplyError> {
    let path = project.root().ok_or_else(|| Error::Bare { path: project.common_dir().to_owned() })?;
    let repo = project.repo_with_rules()?;
    let concerned: BTreeSet<BString> =
        diff::raw(project, &repo, base.0, result.0, false)?.iter().map(|c| c.location().to_owned()).collect();
    let mut checkout = Checkout::open(project, &repo, path)?;
    let before = checkout.snapshot(&concerned, cancel)?;
    let after = merge::merge(project, &repo, base.0, before, result.0)?;
    let steps = plan::steps(project, &repo, before, after)?;
    plan::check(&mut checkout, &steps)?;
    lock::check(cancel)?;
    Ok(Prepared { checkout: path.to_owned(), before: TreeId(before), after: TreeId(after), steps })
}

pub(super) fn apply(
    project: &Project,
    base: TreeId,
    result: TreeId,
    cancel: &AtomicBool,
) -> Result<Applied, ApplyError> {
    let _lock = project.lock(cancel)?;
    wait_for_git(project, cancel)?;
    for journal in super::journals(project)?.into_iter().filter(|j| j.state == JournalState::Writing) {
        recover(project, journal)?;
    }
    let Prepared { checkout, before, after, steps } = prepare(project, base, result, cancel)?;
    let repo = project.repo_with_rules()?;
    let id = AppliedId::random().map_err(Error::from)?;
    let mut journal = Journal::new(id.clone(), &checkout, before, after);
    // First of all: from here on, whoever finds the journal completes what a kill leaves half done.
    journal.store(project)?;
    let outcome = keep_trees(project, &repo, &journal)
        .map_err(ApplyError::from)
        .and_then(|()| write(project, &repo, &journal, &steps));
    journal.state = if outcome.is_ok() { JournalState::Done } else { JournalState::RolledBack };
    journal.store(project)?;
    outcome?;
    tracing::info!(applied = %id, files = steps.len(), "applied a change");
    // It is applied: being cancelled now changes nothing any more.
    let files = diff::files(project, before, after, &AtomicBool::new(false))?;
    Ok(Applied { id, before, after, files })
}

/// Gives both trees their refs; what is there already stays.
fn keep_trees(project: &Project, repo: &gix::Repository, journal: &Journal) -> Result<()> {
    for (which, tree) in [("before", journal.before), ("after", journal.after)] {
        let name = refs::applied(&journal.id, which);
        if refs::read(project, repo, &name)?.is_none() {
            let message = format!("{which} applying {}\n", journal.id);
            let (commit, _) = project.write_commit(repo, tree.0, &[], &message)?;
            refs::create(project, repo, &name, commit)?;
        }
    }
    Ok(())
}

/// A git command that is at work in the user's checkout holds this lock.
fn wait_for_git(project: &Project, cancel: &AtomicBool) -> Result<()> {
    let path = project.git_dir().join("index.lock");
    let deadline = Instant::now() + project.policy().lock_wait;
    while path.symlink_metadata().is_ok() {
        lock::check(cancel)?;
        if Instant::now() >= deadline {
            return Err(Error::Busy { path });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn write(
    project: &Project,
    repo: &gix::Repository,
    journal: &Journal,
    steps: &[Step],
) -> Result<(), ApplyError> {
    if steps.is_empty() {
        return Ok(());
    }
    let mut hands = Hands::new(project, repo, journal)?;
    for (number, step) in steps.iter().enumerate() {
        if let Err(error) = hands.perform(number, step) {
            for (number, step) in steps[..number].iter().enumerate().rev() {
                hands.take_back(number, step);
            }
            hands.finish(steps);
            return Err(error);
        }
    }
    hands.finish(steps);
    Ok(())
}

/// Completes an application that a crash interrupted. The caller holds the project's lock.
pub(crate) fn recover(project: &Project, mut journal: Journal) -> Result<Recovered> {
    let repo = project.repo_with_rules()?;
    keep_trees(project, &repo, &journal)?;
    let steps = plan::steps(project, &repo, journal.before.0, journal.after.0)?;
    let mut left = Vec::new();
    if !steps.is_empty() && journal.checkout().is_dir() {
        let mut hands = Hands::new(project, &repo, &journal)?;
        for (number, step) in steps.iter().enumerate() {
            if !hands.resume(number, step)? {
                left.push(step.path.as_bstr().into());
            }
        }
        hands.finish(&steps);
    }
    journal.state = JournalState::Done;
    journal.store(project)?;
    Ok(Recovered { id: journal.id.clone(), checkout: journal.checkout(), left })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::policy::Policy;
    use crate::state_dir::Worktrees;

    static GO: AtomicBool = AtomicBool::new(false);

    fn git(folder: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=u", "-c", "user.email=u@x"])
            .args(args)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A checkout of four files, and the trees of a change to all of them.
    struct Ground {
        folder: tempfile::TempDir,
        project: Project,
        base: TreeId,
        result: TreeId,
    }

    impl Ground {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let repo = folder.path().join("repo");
            std::fs::create_dir(&repo).unwrap();
            git(&repo, &["init", "-q"]);
            for name in ["a", "b", "c"] {
                std::fs::write(repo.join(name), format!("old {name}\n")).unwrap();
            }
            git(&repo, &["add", "-A"]);
            git(&repo, &["commit", "-qm", "base"]);
            let base = git(&repo, &["rev-parse", "HEAD^{tree}"]).parse().unwrap();
            for name in ["b", "c", "d"] {
                std::fs::write(repo.join(name), format!("new {name}\n")).unwrap();
            }
            std::fs::remove_file(repo.join("a")).unwrap();
            git(&repo, &["add", "-A"]);
            let result = git(&repo, &["write-tree"]).parse().unwrap();
            git(&repo, &["reset", "-q", "--hard"]);
            let worktrees = Worktrees::open(&folder.path().join("state"), Policy::default()).unwrap();
            let project = worktrees.project(&repo).unwrap();
            Self { folder, project, base, result }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join("repo").join(name)
        }

        /// Every file of the checkout with its content.
        fn files(&self) -> Vec<(String, String)> {
            let repo = self.path("");
            let mut files: Vec<_> = std::fs::read_dir(repo)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != ".git")
                .map(|name| (name.clone(), std::fs::read_to_string(self.path(&name)).unwrap()))
                .collect();
            files.sort();
            files
        }
    }

    /// The user saves `name` in the moment between merging and writing.
    fn save_in_between(name: &str) {
        let ground = Ground::new();
        let prepared = prepare(&ground.project, ground.base, ground.result, &GO).unwrap();
        std::fs::write(ground.path(name), "saved just now\n").unwrap();
        let saved = ground.files();
        let id = AppliedId::random().unwrap();
        let journal = Journal::new(id, &prepared.checkout, prepared.before, prepared.after);

        let error = write(&ground.project, &ground.project.repo(), &journal, &prepared.steps).unwrap_err();

        assert!(
            matches!(&error, ApplyError::Moved { path } if path.as_bytes() == name.as_bytes()),
            "{error}"
        );
        assert_eq!(ground.files(), saved);
    }

    #[test]
    fn a_save_during_the_application_is_kept_and_everything_taken_back() {
        for name in ["a", "b", "c", "d"] {
            save_in_between(name);
        }
    }

    #[test]
    fn recovery_keeps_what_the_user_saved_after_the_crash() {
        let ground = Ground::new();
        let prepared = prepare(&ground.project, ground.base, ground.result, &GO).unwrap();
        let journal =
            Journal::new(AppliedId::random().unwrap(), &prepared.checkout, prepared.before, prepared.after);
        let repo = ground.project.repo();
        let mut hands = Hands::new(&ground.project, &repo, &journal).unwrap();
        // Killed after two steps and in the middle of staging the third.
        for (number, step) in prepared.steps[..2].iter().enumerate() {
            hands.perform(number, step).unwrap();
        }
        std::fs::write(journal.staging().join("2"), "half wri").unwrap();
        drop(hands);
        std::fs::write(ground.path("b"), "saved after the crash\n").unwrap();

        let recovered = recover(&ground.project, journal).unwrap();

        assert_eq!(recovered.left.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b"]);
        let expected = [("b", "saved after the crash\n"), ("c", "new c\n"), ("d", "new d\n")];
        assert_eq!(ground.files(), expected.map(|(n, c)| (n.to_owned(), c.to_owned())));
    }

    #[test]
    fn recovery_leaves_no_lock_of_a_process_that_died_writing_a_ref() {
        let ground = Ground::new();
        let prepared = prepare(&ground.project, ground.base, ground.result, &GO).unwrap();
        let journal =
            Journal::new(AppliedId::random().unwrap(), &prepared.checkout, prepared.before, prepared.after);
        let after = refs::applied(&journal.id, "after");
        let lock = ground.project.common_dir().join(format!("{after}.lock"));
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        std::fs::write(&lock, "").unwrap();

        recover(&ground.project, journal).unwrap();

        assert!(!lock.exists());
        assert!(refs::read(&ground.project, &ground.project.repo(), &after).unwrap().is_some());
    }
}
