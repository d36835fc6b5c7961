//! Where a program is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The program's file: an absolute path as it is, a bare name from the folders of `path`, if it may be executed.
///
/// Relative folders in `path`, and programs with a relative path, are passed over: they would be looked for in the
/// worktree, where agents write.
#[must_use]
pub fn find_program(program: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    let named = Path::new(program);
    if named.is_absolute() {
        return is_program(named).then(|| named.to_owned());
    }
    if named.components().count() != 1 || program == ".." || program == "." {
        return None;
    }
    let folders = std::env::split_paths(path?).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(named)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_are_found_in_absolute_folders_only() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, program) = (folder.path().join("plain"), folder.path().join("program"));
        for (file, mode) in [(&plain, 0o644), (&program, 0o755)] {
            std::fs::write(file, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = format!(":.:relative:/nowhere:{}", folder.path().display());
        let find = |name: &str| find_program(OsStr::new(name), Some(OsStr::new(&path)));
        assert_eq!(find("program"), Some(program.clone()));
        assert_eq!(find("absent"), None);
        assert_eq!(find(folder.path().to_str().unwrap()), None, "a folder is no program");
        assert_eq!(find(program.to_str().unwrap()), Some(program));
        for name in ["", ".", "..", "./program", "../program", "a/b", "Cargo.toml"] {
            assert_eq!(find(name), None, "{name}");
        }
        assert_eq!(find_program(OsStr::new("program"), None), None);
    }
}
