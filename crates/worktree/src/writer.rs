//! Putting content from the repository into a checkout.

use std::io::Read;
use std::os::fd::OwnedFd;

use gix::ObjectId;
use gix::bstr::BStr;
use gix::filter::plumbing::driver::apply::Delay;
use gix::filter::plumbing::pipeline::convert::to_worktree;
use gix::index::State;
use gix::objs::tree::{EntryKind, EntryMode};

use crate::error::{Error, Result};
use crate::fsio::{self, Content};
use crate::project::Project;

/// Writes files as git would check them out: with the line ends and encodings that attributes ask for.
pub(crate) struct Writer<'a> {
    project: &'a Project,
    repo: &'a gix::Repository,
    filter: gix::filter::Pipeline<'a>,
}

/// Content as it shall be on disk.
pub(crate) enum OnDisk {
    File { bytes: Vec<u8>, executable: bool },
    Link(Vec<u8>),
    Folder,
}

impl OnDisk {
    fn content(&self) -> Content<'_> {
        match self {
            Self::File { bytes, executable } => Content::File { bytes, executable: *executable },
            Self::Link(target) => Content::Link(target),
            Self::Folder => Content::Folder,
        }
    }

    /// Creates it under a name that is free.
    pub(crate) fn write_new(&self, folder: &OwnedFd, name: &[u8]) -> std::io::Result<()> {
        fsio::write_new(folder, name, &self.content())
    }
}

impl<'a> Writer<'a> {
    /// Attributes are those that `entries` hold, not those that happen to be on disk.
    pub(crate) fn new(project: &'a Project, repo: &'a gix::Repository, entries: &State) -> Result<Self> {
        let git = |e: gix::Error| project.git_error("read attributes", e);
        let source = gix::worktree::stack::state::attributes::Source::IdMapping;
        let attributes = repo.attributes_only(entries, source).map_err(git)?.detach();
        let filter = gix::filter::Pipeline::new(repo, attributes).map_err(git)?;
        Ok(Self { project, repo, filter })
    }

    /// The content as it shall be on disk.
    pub(crate) fn on_disk(&mut self, path: &BStr, id: ObjectId, mode: EntryMode) -> Result<OnDisk> {
        let git = |e: gix::Error| self.project.git_error("read a file's content", e);
        if mode.kind() == EntryKind::Commit {
            return Ok(OnDisk::Folder);
        }
        let bytes = self.repo.find_blob(id).map_err(git)?.take_data();
        if mode.kind() == EntryKind::Link {
            return Ok(OnDisk::Link(bytes));
        }
        let options = to_worktree::Options { can_delay: Delay::Forbid, ..Default::default() };
        let mut converted = Vec::with_capacity(bytes.len());
        let mut outcome = self.filter.convert_to_worktree(&bytes, path, options).map_err(git)?;
        outcome.read_to_end(&mut converted).map_err(|e| Error::io("convert", fsio::os_path(path), e))?;
        Ok(OnDisk::File { bytes: converted, executable: mode.kind() == EntryKind::BlobExecutable })
    }
}
