//! The data folder: ours alone, or refused (SAFETY A38).

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::open_error::OpenError;

/// The data folder's paths.
pub(super) struct Folder {
    pub database: PathBuf,
    pub nodes: PathBuf,
    pub bell: PathBuf,
    opening: PathBuf,
}

impl Folder {
    /// Makes what is missing of the folder; it and its files are readable by their owner only.
    pub fn prepare(path: &Path) -> Result<Self, OpenError> {
        make_private(path)?;
        let folder = Self {
            database: path.join("boocoder.db"),
            nodes: path.join("nodes"),
            bell: path.join("bell"),
            opening: path.join("open.lock"),
        };
        make_private(&folder.nodes)?;
        // SQLite gives the files beside it (`-wal`, `-shm`) the same mode.
        let file = private_file(&folder.database)?;
        owned(&folder.database, &file.metadata().map_err(|e| OpenError::unwritable(&folder.database, e))?)?;
        Ok(folder)
    }

    /// Waits until this process alone prepares the database; dropping the file lets the next one.
    pub fn lock_for_migration(&self) -> Result<File, OpenError> {
        let file = private_file(&self.opening)?;
        file.lock().map_err(|e| OpenError::unwritable(&self.opening, e))?;
        Ok(file)
    }
}

fn make_private(path: &Path) -> Result<(), OpenError> {
    let unwritable = |source| OpenError::unwritable(path, source);
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(unwritable(e)),
    }
    owned(path, &fs::symlink_metadata(path).map_err(unwritable)?)?;
    let found = fs::metadata(path).map_err(unwritable)?;
    owned(path, &found)?;
    if !found.is_dir() {
        return Err(unwritable(io::ErrorKind::NotADirectory.into()));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).map_err(unwritable)?;
    }
    Ok(())
}

fn owned(path: &Path, found: &fs::Metadata) -> Result<(), OpenError> {
    let us = rustix::process::geteuid().as_raw();
    if found.uid() == us {
        return Ok(());
    }
    Err(OpenError::Foreign { path: path.to_owned(), owner: found.uid(), us })
}

/// Opens a file of ours to read and write, never through a link; one that is made gets mode 0600.
pub(super) fn private_file(path: &Path) -> Result<File, OpenError> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(path)
        .map_err(|source| OpenError::unwritable(path, source))?;
    let mode = file.metadata().map_err(|e| OpenError::unwritable(path, e))?.permissions().mode();
    if mode & 0o077 != 0 {
        let tight = fs::Permissions::from_mode(mode & 0o700);
        file.set_permissions(tight).map_err(|e| OpenError::unwritable(path, e))?;
    }
    Ok(file)
}
