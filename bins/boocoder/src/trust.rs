//! Which repositories' own configuration may set everything: those whose user has said so, and only for the
//! file as it stood then.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

/// The name of a repository's own configuration file.
pub const FILE: &str = "boocoder.toml";

/// Whether the user has trusted exactly this content for this repository.
pub fn is_trusted(data_dir: &Path, repository: &Path, content: &[u8]) -> bool {
    fs::read(record(data_dir, repository)).is_ok_and(|trusted| trusted == content)
}

/// Trusts this content for this repository.
pub fn trust(data_dir: &Path, repository: &Path, content: &[u8]) -> io::Result<()> {
    let path = record(data_dir, repository);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    // Written aside and renamed, so that being killed on the way trusts nothing.
    let aside = path.with_extension("new");
    fs::write(&aside, content)?;
    fs::rename(aside, path)
}

/// The copy of what was trusted. The file's name is the repository's path in hexadecimal digits, cut in
/// folders that a file system takes.
fn record(data_dir: &Path, repository: &Path) -> PathBuf {
    let hex: String = repository.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut path = data_dir.join("trusted");
    for piece in hex.as_bytes().chunks(200) {
        path.push(String::from_utf8_lossy(piece).as_ref());
    }
    path.join("trusted.toml")
}
