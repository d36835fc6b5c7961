//! Changing the user's files, so that no byte of theirs can be lost: the new file and the old one are exchanged
//! in one step, and only then is looked at what came out. If that is not what was expected, they are exchanged
//! back. Old content waits in the staging folder until all is done.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::tree::EntryMode;
use rustix::fs::{AtFlags, Mode as Permissions, RenameFlags};

use super::checkout::{Checkout, OnDisk};
use super::plan::Step;
use super::{ApplyError, Journal};
use crate::error::{Error, Result};
use crate::fsio;
use crate::index::PrivateIndex;
use crate::project::Project;
use crate::scan::kind_of;
use crate::writer::Writer;

/// What touches the files.
pub(super) struct Hands<'a> {
    checkout: Checkout<'a>,
    writer: Writer<'a>,
    staging: OwnedFd,
    staging_path: PathBuf,
}

type Side = Option<(ObjectId, EntryMode)>;

impl<'a> Hands<'a> {
    pub(super) fn new(project: &'a Project, repo: &'a gix::Repository, journal: &Journal) -> Result<Self> {
        let checkout = Checkout::open(project, repo, &journal.checkout())?;
        let entries = PrivateIndex::from_tree(repo, journal.after.0)
            .map_err(|e| project.git_error("read the merged tree", e))?
            .entries;
        let writer = Writer::new(project, repo, &entries)?;
        let staging_path = journal.staging();
        let name = staging_path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let failed = |e| Error::io("create", &staging_path, e);
        match rustix::fs::mkdirat(&checkout.root, name, Permissions::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let staging = fsio::open_subfolder(&checkout.root, name).map_err(failed)?;
        Ok(Self { checkout, writer, staging, staging_path })
    }

    /// Does one step. Fails without having done it.
    pub(super) fn perform(&mut self, number: usize, step: &Step) -> Result<(), ApplyError> {
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
        let expected = match step.old {
            Some(_) => self.staged_is(number, step, step.old),
            None => Ok(true),
        };
        if let Ok(true) = expected {
            if step.new.is_none() {
                fsio::remove_empty_parents(&self.checkout.root, &step.path);
            }
            return Ok(());
        }
        // What came out is not what we merged with, so it is newer and the user's; or it cannot be looked at.
        self.take_back(number, step);
        expected?;
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
    pub(super) fn take_back(&mut self, number: usize, step: &Step) {
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
    pub(super) fn resume(&mut self, number: usize, step: &Step) -> Result<bool> {
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
    pub(super) fn finish(&mut self, steps: &[Step]) {
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
