//! Changing the user's files, so that no byte of theirs can be lost: the new file and the old one are exchanged
//! in one step, and only then is looked at what came out. If that is not what was expected, they are exchanged
//! back. Old content waits in the staging folder until all is done.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::objs::tree::EntryMode;
use rustix::fs::{AtFlags, Mode as Permissions, RenameFlags};

use super::checkout::{Checkout, OnDisk};
use super::plan::{self, Step};
use super::{Applied, ApplyError, Journal, JournalState, MergePreview, Recovered, merge};
use crate::change::diff;
use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::{AppliedId, TreeId};
use crate::index::PrivateIndex;
use crate::lock;
use crate::project::Project;
use crate::refs;
use crate::scan::kind_of;
use crate::writer::Writer;

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
    let repo = project.repo();
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
    let repo = project.repo();
    let id = AppliedId::random().map_err(Error::from)?;
    let mut journal = Journal::new(id.clone(), &checkout, before, after);
    for (which, tree) in [("before", before), ("after", after)] {
        let (commit, _) = project.write_commit(&repo, tree.0, &[], &format!("{which} applying {id}\n"))?;
        refs::create(project, &repo, &refs::applied(&id, which), commit)?;
    }
    journal.store(project)?;
    let outcome = write(project, &repo, &journal, &steps);
    journal.state = if outcome.is_ok() { JournalState::Done } else { JournalState::RolledBack };
    journal.store(project)?;
    outcome?;
    tracing::info!(applied = %id, files = steps.len(), "applied a change");
    // It is applied: being cancelled now changes nothing any more.
    let files = diff::files(project, before, after, &AtomicBool::new(false))?;
    Ok(Applied { id, before, after, files })
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
    let repo = project.repo();
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

/// What touches the files.
struct Hands<'a> {
    checkout: Checkout<'a>,
    writer: Writer<'a>,
    staging: OwnedFd,
    staging_path: std::path::PathBuf,
}

type Side = Option<(ObjectId, EntryMode)>;

impl<'a> Hands<'a> {
    fn new(project: &'a Project, repo: &'a gix::Repository, journal: &Journal) -> Result<Self> {
        let checkout = Checkout::open(project, repo, &journal.checkout())?;
        let entries = PrivateIndex::from_tree(repo, journal.after.0)
            .map_err(|e| project.git_error("read the merged tree", e))?
            .entries;
        let writer = Writer::new(project, repo, &entries)?;
        let staging_path = journal.staging();
        let name = staging_path.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default();
        let failed = |e| Error::io("create", &staging_path, e);
        match rustix::fs::mkdirat(&checkout.root, name, Permissions::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let staging = fsio::open_subfolder(&checkout.root, name).map_err(failed)?;
        Ok(Self { checkout, writer, staging, staging_path })
    }

    /// Does one step. Fails without having done it.
    fn perform(&mut self, number: usize, step: &Step) -> Result<(), ApplyError> {
        let moved = || ApplyError::Moved { path: step.path.as_bstr().into() };
        let failed = |error| Error::io("change", self.checkout.path.join(fsio::os_path(&step.path)), error);
        let staged = staged_name(number);
        if let Some((id, mode)) = step.new {
            let content = self.writer.on_disk(step.path.as_bstr(), id, mode)?;
            content.write_new(&self.staging, &staged).map_err(failed)?;
        }
        let folder = match step.new {
            Some(_) => {
                Some(fsio::create_parent(&self.checkout.root, &step.path).map_err(|e| failed(e.into()))?)
            }
            None => fsio::open_parent(&self.checkout.root, &step.path).map_err(|e| failed(e.into()))?,
        };
        let Some(folder) = folder else { return Err(moved()) };
        let name = fsio::split(&step.path).1;
        if !self.swap(&folder, name, &staged, step).map_err(|e| failed(e.into()))? {
            return Err(moved());
        }
        if step.old.is_none() || self.staged_is(number, step, step.old)? {
            if step.new.is_none() {
                fsio::remove_empty_parents(&self.checkout.root, &step.path);
            }
            return Ok(());
        }
        // What came out is not what we merged with: it is newer, and the user's.
        self.take_back(number, step);
        Err(moved())
    }

    /// Exchanges what is staged with what is in place. False if that is not as the step expects it.
    fn swap(&self, folder: &OwnedFd, name: &[u8], staged: &[u8], step: &Step) -> rustix::io::Result<bool> {
        use rustix::io::Errno;
        let done = match (step.old, step.new) {
            (Some(_), Some(_)) => {
                rustix::fs::renameat_with(&self.staging, staged, folder, name, RenameFlags::EXCHANGE)
            }
            (None, _) => {
                // A folder that the deletions before left empty is in nobody's way.
                let _ = rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
                rustix::fs::renameat_with(&self.staging, staged, folder, name, RenameFlags::NOREPLACE)
            }
            (Some(_), None) => {
                rustix::fs::renameat_with(folder, name, &self.staging, staged, RenameFlags::NOREPLACE)
            }
        };
        match done {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::EXIST | Errno::ISDIR | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Undoes a step that was done. What the user has made of the file since stays in place.
    fn take_back(&mut self, number: usize, step: &Step) {
        let staged = staged_name(number);
        let name = fsio::split(&step.path).1;
        let Ok(folder) = fsio::create_parent(&self.checkout.root, &step.path) else { return };
        let reverse = Step { path: step.path.clone(), old: step.new, new: step.old };
        match self.swap(&folder, name, &staged, &reverse) {
            Ok(true) if step.new.is_some() => {
                if !self.staged_is(number, step, step.new).unwrap_or(false) {
                    // The user has saved on top of the change: theirs is the newest.
                    let _ = self.swap(&folder, name, &staged, step);
                }
                if step.old.is_none() {
                    fsio::remove_empty_parents(&self.checkout.root, &step.path);
                }
            }
            Ok(true) => {}
            Ok(false) | Err(_) => {
                tracing::warn!(path = %step.path, "could not take back a change; the content is kept in refs/boocoder/applied");
            }
        }
    }

    /// Completes a step after a crash. False if the file is the user's own by now.
    fn resume(&mut self, number: usize, step: &Step) -> Result<bool> {
        let failed = |e: rustix::io::Errno| Error::io("complete", fsio::os_path(&step.path), e);
        let in_place = self.checkout.look(step.path.as_bstr(), false)?;
        let staged = staged_name(number);
        let waiting = self.checkout.look_in(&self.staging, &staged, step.path.as_bstr(), false)?;
        let known = |found: OnDisk| found == OnDisk::Nothing || is(found, step.old) || is(found, step.new);
        if is(in_place, step.new) {
            if known(waiting) {
                return Ok(true);
            }
            // We died between the exchange and looking at what came out: the user's edit. It goes back.
            let folder = fsio::create_parent(&self.checkout.root, &step.path).map_err(failed)?;
            let reverse = Step { path: step.path.clone(), old: step.new, new: step.old };
            self.swap(&folder, fsio::split(&step.path).1, &staged, &reverse).map_err(failed)?;
            return Ok(false);
        }
        // Only an exchange brings what is the user's into the staging folder. Before that it is ours there, perhaps
        // written in part.
        if !is(in_place, step.old) || (step.new.is_none() && !known(waiting)) {
            return Ok(false);
        }
        if waiting != OnDisk::Nothing {
            rustix::fs::unlinkat(&self.staging, &staged, AtFlags::empty()).map_err(failed)?;
        }
        match self.perform(number, step) {
            Ok(()) => Ok(true),
            Err(ApplyError::Failed(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Removes from the staging folder what is known to be in the repository, and then the folder.
    fn finish(&mut self, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            let known = [step.old, step.new]
                .into_iter()
                .any(|side| side.is_some() && self.staged_is(number, step, side).unwrap_or(false));
            if known {
                let _ = rustix::fs::unlinkat(&self.staging, staged_name(number), AtFlags::empty());
            }
        }
        if let Err(error) = std::fs::remove_dir(&self.staging_path) {
            tracing::warn!(path = %self.staging_path.display(), %error, "kept files that are in no repository");
        }
    }

    fn staged_is(&mut self, number: usize, step: &Step, side: Side) -> Result<bool> {
        let found = self.checkout.look_in(&self.staging, &staged_name(number), step.path.as_bstr(), false)?;
        Ok(is(found, side))
    }
}

fn staged_name(number: usize) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn is(found: OnDisk, side: Side) -> bool {
    match (found, side) {
        (OnDisk::Nothing, None) => true,
        // A folder is no file, and will only be empty when its turn comes.
        (OnDisk::Folder, None) => true,
        (OnDisk::Object(id, mode), Some((expected, kind))) => id == expected && kind_of(mode) == kind.kind(),
        _ => false,
    }
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
}
