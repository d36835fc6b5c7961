//! Where the server's programs are, and how they are run.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Failure;

/// Where Debian keeps each version's programs: they are not on the `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The folder of PostgreSQL's programs.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the programs: on the `PATH`, else the newest version that is installed in Debian's way.
    ///
    /// # Errors
    /// [`Failure::NotInstalled`] when there are none.
    pub fn find() -> Result<Self, Failure> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.extend(debian());
        let complete = |folder: &PathBuf| {
            ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|name| folder.join(name).is_file())
        };
        folders.into_iter().find(complete).map(|folder| Self { folder }).ok_or(Failure::NotInstalled)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A program as the server's user: `initdb` and `postgres` refuse to run as root.
    pub(crate) fn as_server(&self, name: &str) -> Command {
        if !is_root() {
            return Command::new(self.path(name));
        }
        let mut command = Command::new("runuser");
        command.args(["-u", SERVER_USER, "--"]).arg(self.path(name));
        command
    }
}

/// Who runs the server when we are root; the packages make this user.
pub(crate) const SERVER_USER: &str = "postgres";

pub(crate) fn is_root() -> bool {
    // The owner of our own entry in /proc is our effective user.
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Debian's folders, newest version first.
fn debian() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, folder)| folder).collect()
}

/// Runs a program to its end; returns what it printed.
pub(crate) fn run(command: &mut Command, log: Option<&Path>) -> Result<String, Failure> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    let shown = words.join(" ");
    // The root folder, as the server's user may not enter ours.
    let output = command.current_dir("/").stdin(Stdio::null()).output();
    let output = output.map_err(|source| Failure::NotStarted { command: shown.clone(), source })?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let mut said = format!("{}: {printed} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    if let Some(log) = log.and_then(|log| fs::read_to_string(log).ok()) {
        let end = log.len().saturating_sub(4096);
        said = format!("{said}\n{}", log.get(end..).unwrap_or(&log));
    }
    Err(Failure::Program { command: shown, said })
}
