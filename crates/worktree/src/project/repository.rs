//! Opening a repository so that nothing which it names is ever run.

use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use gix::open::{Options, Permissions, permissions};
use gix::sec::Permission;
use rustix::fs::{AtFlags, FileType};

use crate::error::{Error, Result};
use crate::policy::Policy;

/// Values of a repository's own configuration that say how its files look on disk. Everything else in it is
/// ignored: agents can write to that file.
const PLAIN_SETTINGS: [&str; 5] =
    ["core.autocrlf", "core.eol", "core.filemode", "core.symlinks", "core.ignorecase"];

/// Rule files are read whole and by every git command; larger ones are not written by people.
pub(crate) const MAX_RULE_BYTES: u64 = 1 << 20;

/// A repository as it was found from a project's path.
pub(crate) struct Found {
    pub(crate) repo: gix::ThreadSafeRepository,
    /// The folder that all worktrees of the repository share, free of links.
    pub(crate) common_dir: PathBuf,
    /// This checkout's own git folder; the common one unless the project is a linked worktree.
    pub(crate) git_dir: PathBuf,
    /// The user's checkout; none if bare.
    pub(crate) checkout: Option<PathBuf>,
}

/// Finds and opens the repository that `path` lies in.
pub(crate) fn find(path: &Path, policy: &Policy) -> Result<Found> {
    let real = std::fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::PathMissing { path: path.to_owned() },
        _ => Error::io("examine", path, error),
    })?;
    let not_found = || Error::NotARepository { path: path.to_owned() };
    let (found, _trust) = gix::discover::upwards(&real).map_err(|_| not_found())?;
    let (git_dir, checkout) = found.into_repository_and_work_tree_directories();
    let git_dir = canonical(&git_dir)?;
    let common_dir = common_dir_of(&git_dir)?;
    if common_dir.join("reftable").is_dir() {
        return Err(Error::Reftable { path: common_dir });
    }
    if !policy.trust_foreign_owner {
        for path in [Some(&git_dir), Some(&common_dir), checkout.as_ref()].into_iter().flatten() {
            check_owner(path)?;
        }
    }
    let checkout = checkout.map(|path| canonical(&path)).transpose()?;
    let repo = open(&git_dir, checkout.as_deref()).map_err(git_error(&common_dir, "open"))?;
    Ok(Found { repo, common_dir, git_dir, checkout })
}

fn canonical(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|e| Error::io("examine", path, e))
}

fn common_dir_of(git_dir: &Path) -> Result<PathBuf> {
    match crate::fsio::read_bounded(&git_dir.join("commondir"), 1 << 16)? {
        Some(bytes) => canonical(&git_dir.join(crate::fsio::os_path(bytes.trim_end()))),
        None => Ok(git_dir.to_owned()),
    }
}

/// The rules of the whole repository lie where every agent can write. The git library opens them by path, through
/// links and waiting for a pipe's other end, and reads all that comes: anything unsafe is refused first.
pub(crate) fn check_info(common_dir: &Path) -> Result<()> {
    for name in ["info/exclude", "info/attributes"] {
        let path = common_dir.join(name);
        let stat = crate::fsio::stat(rustix::fs::CWD, path.as_os_str().as_encoded_bytes())
            .map_err(|e| Error::io("examine", &path, e))?;
        let Some(stat) = stat else { continue };
        let is_file = crate::fsio::file_type(&stat) == FileType::RegularFile;
        if !is_file || stat.st_size as u64 > MAX_RULE_BYTES {
            return Err(Error::UnsafeInfo { path, limit: MAX_RULE_BYTES });
        }
    }
    Ok(())
}

fn check_owner(path: &Path) -> Result<()> {
    let stat = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::empty())
        .map_err(|e| Error::io("examine", path, e))?;
    if stat.st_uid == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(Error::ForeignOwner { path: path.to_owned(), uid: stat.st_uid })
    }
}

/// Turns an error of the git library into ours.
pub(crate) fn git_error<E>(common_dir: &Path, doing: &'static str) -> impl FnOnce(E) -> Error
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = common_dir.to_owned();
    move |source| Error::Git { doing, path, source: source.into() }
}

fn open(git_dir: &Path, checkout: Option<&Path>) -> gix::Result<gix::ThreadSafeRepository> {
    let mut repo = options().open(git_dir)?.to_thread_local();
    let config = repo.config_snapshot();
    let settings: Vec<String> = PLAIN_SETTINGS
        .iter()
        .filter_map(|key| {
            let value = config.plumbing().string_filter(*key, |_| true)?;
            let value = value.to_str().ok().filter(|v| v.bytes().all(|b| b.is_ascii_alphanumeric()))?;
            Some(format!("{key}={value}"))
        })
        .collect();
    disarm(&mut repo, settings)?;
    // `core.worktree` is the agent's to write, too; what was discovered holds.
    repo.set_workdir(checkout.map(Path::to_owned))?;
    Ok(repo.into_sync())
}

/// No `GIT_*` variable counts, and nothing of the repository's own configuration but what git's format needs.
fn options() -> Options {
    let permissions = Permissions {
        env: permissions::Environment {
            xdg_config_home: Permission::Allow,
            home: Permission::Allow,
            ..permissions::Environment::isolated()
        },
        config: permissions::Config {
            git_binary: false,
            system: true,
            git: true,
            user: true,
            env: false,
            includes: true,
        },
        attributes: permissions::Attributes { git_binary: false, system: true, git: true },
    };
    Options::default()
        .permissions(permissions)
        .open_path_as_is(true)
        .with(gix::sec::Trust::Full)
        .strict_config(false)
        .filter_config_section(|section| {
            !matches!(section.source, gix::config::Source::Local | gix::config::Source::Worktree)
        })
        // A long-lived project must survive many fetches and repacks by the user.
        .object_store_slots(gix::odb::store::init::Slots::AsNeededByDiskState {
            multiplier: 2.0,
            minimum: 256,
        })
}

/// Removes every section that could name a program, from the user's own configuration too: `git-lfs`, for
/// one, reads the repository's configuration and would run what an agent wrote there.
fn disarm(repo: &mut gix::Repository, settings: Vec<String>) -> gix::Result<()> {
    let mut config = repo.config_snapshot_mut();
    let armed: Vec<_> = config
        .sections_and_ids()
        .filter(|(section, _)| {
            let name = section.header().name().to_ascii_lowercase();
            section.header().subsection_name().is_some()
                && matches!(&name[..], b"filter" | b"merge" | b"diff")
        })
        .map(|(_, id)| id)
        .collect();
    for id in armed {
        config.remove_section_by_id(id);
    }
    config.append_config(settings, gix::config::Source::Api)?;
    config.append_config(["core.safecrlf=false"], gix::config::Source::Api)?;
    config.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        check_owner(folder.path()).unwrap();
        // Only root can give something away; for everybody else the root folder is somebody else's.
        let foreign = match std::os::unix::fs::chown(folder.path(), Some(65534), None) {
            Ok(()) => folder.path(),
            Err(_) => Path::new("/"),
        };
        let error = check_owner(foreign).unwrap_err();
        assert!(matches!(error, Error::ForeignOwner { .. }), "{error}");
        assert!(error.advice().is_some());
    }
}
