//! The data folder of a node on a shared store: its lock file lives there, so that another process on the
//! same folder sees at once that it died, and need not wait for its lease (SPEC D6, D8).

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A data folder as nodes name it in the record.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// Equal for all processes that share the lock files, and for nobody else.
    pub id: String,
    /// The folder of the lock files.
    pub nodes: PathBuf,
}

impl Host {
    /// Makes what is missing of the folder; it is readable by its owner only.
    pub fn of(data_dir: &Path) -> io::Result<Self> {
        let nodes = data_dir.join("nodes");
        DirBuilder::new().recursive(true).mode(0o700).create(&nodes)?;
        let random = random_of(&data_dir.join("host"))?;
        // The folder may have been copied, to another machine or within this one: then the locks beside the
        // copied id are others. A machine made of another one's image has even its name and its devices'
        // numbers, but was booted by itself; and no lock outlives a boot.
        let folder = fs::metadata(&nodes)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let id = format!("{random} {} {}:{}", boot.trim(), folder.dev(), folder.ino());
        Ok(Self { id, nodes })
    }
}

/// The random id that the file keeps; written whole or not at all, and once, whoever comes first.
fn random_of(path: &Path) -> io::Result<String> {
    if let Some(id) = read(path)? {
        return Ok(id);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let id = format!("{:032x}", u128::from_be_bytes(bytes));
    let draft = path.with_extension(&id);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let linked = file.write_all(id.as_bytes()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(path)?.ok_or_else(|| io::Error::other("the file `host` holds no id: remove it")),
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let id = text.trim();
            Ok((id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| id.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_id_and_a_copy_is_another() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Host::of(one.path()).unwrap();
        assert_eq!(Host::of(one.path()).unwrap().id, first.id);
        fs::copy(one.path().join("host"), two.path().join("host")).unwrap();
        assert_ne!(Host::of(two.path()).unwrap().id, first.id);
        assert_eq!(fs::read_dir(one.path()).unwrap().count(), 2);
    }

    #[test]
    fn all_who_come_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| Host::of(folder.path()).unwrap().id)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
