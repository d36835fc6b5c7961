//! What ties a checkout to its repository: git's administrative folder `worktrees/<id>` and the `.git` file.
//!
//! We write these few files ourselves. The git library's own way would edit the user's configuration if
//! `worktree.useRelativePaths` is set, fails when any other registered worktree is broken, and leaves moments
//! in which the registration is not locked, so that a `git worktree prune` could take it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::Record;
use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::WorktreeId;
use crate::layout;
use crate::project::Project;

const MAX_LINK_BYTES: u64 = 1 << 16;

/// Registers the checkout at once: git sees all of it, locked, or nothing.
pub(crate) fn register(project: &Project, id: &WorktreeId, checkout: &Path, head: ObjectId) -> Result<()> {
    let admin = layout::admin_dir(project.common_dir(), id);
    let new = project.common_dir().join(format!("boocoder-{id}.new"));
    fsio::remove_tree(&new)?;
    create_folder(&new)?;
    write(&new.join("locked"), lock_reason(project, id).as_bytes())?;
    write(&new.join("HEAD"), format!("{head}\n").as_bytes())?;
    write(&new.join("commondir"), b"../..\n")?;
    write(&new.join("gitdir"), &link_to(&checkout.join(".git"), b""))?;
    create_folder(&project.common_dir().join("worktrees"))?;
    std::fs::rename(&new, &admin).map_err(|e| Error::io("register the worktree as", &admin, e))?;
    write(&checkout.join(".git"), &link_to(&admin, b"gitdir: "))
}

/// The text of git's lock: says whose worktree it is, and keeps `git worktree prune` away.
pub(crate) fn lock_reason(project: &Project, id: &WorktreeId) -> String {
    format!("boocoder {id} {}\n", project.state().id())
}

fn link_to(path: &Path, before: &[u8]) -> Vec<u8> {
    [before, path.as_os_str().as_bytes(), b"\n"].concat()
}

fn create_folder(path: &Path) -> Result<()> {
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("create", path, e)),
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| Error::io("write", path, e))
}

/// Fails unless the checkout and the administrative folder still point to each other. An agent can rewrite
/// both; following what it wrote could make us work on another repository.
pub(crate) fn verify(project: &Project, record: &Record) -> Result<()> {
    let checkout = project.layout().worktree(&record.id).checkout;
    if !checkout.is_dir() {
        return Err(Error::CheckoutMissing { path: checkout });
    }
    let admin = layout::admin_dir(project.common_dir(), &record.id);
    let tampered = |what| Err(Error::Tampered { path: checkout.clone(), what });
    let read = |path: &Path| fsio::read_bounded(path, MAX_LINK_BYTES).ok().flatten().unwrap_or_default();
    if read(&checkout.join(".git")) != link_to(&admin, b"gitdir: ") {
        return tampered("its .git file was changed");
    }
    if read(&admin.join("gitdir")) != link_to(&checkout.join(".git"), b"") {
        return tampered("its registration points elsewhere");
    }
    if read(&admin.join("commondir")).trim_end() != b"../.." {
        return tampered("its registration names another repository");
    }
    Ok(())
}

/// Removes the registration, if it is ours.
pub(crate) fn unregister(project: &Project, id: &WorktreeId) -> Result<()> {
    fsio::remove_tree(&project.common_dir().join(format!("boocoder-{id}.new")))?;
    fsio::remove_tree(&layout::admin_dir(project.common_dir(), id))
}
