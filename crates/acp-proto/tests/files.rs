//! Files beneath a session's folder, on a real file system.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use acp_proto::host::{FileError, FileLimits, Files, MissingFile};
use rustix::fs::inotify;
use tempfile::TempDir;

struct Ground {
    _temporary: TempDir,
    root: PathBuf,
    outside: PathBuf,
    files: Files,
}

fn ground() -> Ground {
    ground_with(FileLimits::default(), MissingFile::Refuse)
}

fn ground_with(limits: FileLimits, missing: MissingFile) -> Ground {
    let temporary = TempDir::new().unwrap();
    let root = temporary.path().join("root");
    let outside = temporary.path().join("outside");
    fs::create_dir(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let files = Files::open(&root, limits, missing).unwrap();
    Ground { _temporary: temporary, root, outside, files }
}

impl Ground {
    fn read(&self, name: &str) -> Result<String, FileError> {
        self.files.read(&self.root.join(name), None, None)
    }

    fn write(&self, name: &str, content: &str) -> Result<(), FileError> {
        self.files.write(&self.root.join(name), content)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn what_was_written_is_read_with_its_folders_made_and_nothing_else_left() {
    let ground = ground();
    ground.write("a/b/c.txt", "one\ntwo\n").unwrap();
    assert_eq!(ground.read("a/b/c.txt").unwrap(), "one\ntwo\n");
    ground.write("a/b/c.txt", "").unwrap();
    assert_eq!(fs::read_to_string(ground.root.join("a/b/c.txt")).unwrap(), "");
    assert_eq!(fs::read_dir(ground.root.join("a/b")).unwrap().count(), 1);
    assert_eq!(ground.names(), ["a"]);
}

#[test]
fn lines_are_counted_from_one() {
    let ground = ground();
    ground.write("f", "1\n2\r\n3\n4").unwrap();
    let read = |line, limit| ground.files.read(&ground.root.join("f"), line, limit).unwrap();
    assert_eq!(read(Some(1), Some(2)), "1\n2\r\n");
    assert_eq!(read(Some(0), Some(1)), "1\n");
    assert_eq!(read(Some(3), None), "3\n4");
    assert_eq!(read(None, Some(1)), "1\n");
    assert_eq!(read(Some(4), Some(1000)), "4");
    assert_eq!(read(Some(5), Some(1)), "");
    assert_eq!(read(Some(u32::MAX), Some(u32::MAX)), "");
    assert_eq!(read(Some(1), Some(0)), "");
}

#[test]
fn an_existing_file_keeps_its_mode_and_a_new_one_follows_the_umask() {
    let ground = ground();
    let script = ground.root.join("run.sh");
    fs::write(&script, "old").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o754)).unwrap();
    ground.write("run.sh", "new").unwrap();
    assert_eq!(fs::metadata(&script).unwrap().mode() & 0o7777, 0o754);
    assert_eq!(fs::read_to_string(&script).unwrap(), "new");
    fs::write(ground.root.join("plain"), "").unwrap();
    ground.write("new", "").unwrap();
    let mode = |name: &str| fs::metadata(ground.root.join(name)).unwrap().mode();
    assert_eq!(mode("new"), mode("plain"));
}

#[test]
fn a_missing_file_is_refused_or_empty_as_the_agent_needs() {
    assert!(matches!(ground().read("none"), Err(FileError::Missing { .. })));
    let lenient = ground_with(FileLimits::default(), MissingFile::Empty);
    assert_eq!(lenient.read("none").unwrap(), "");
    assert_eq!(lenient.read("no/folder").unwrap(), "");
    assert!(matches!(lenient.files.read(Path::new("/none"), None, None), Err(FileError::Outside { .. })));
}

#[test]
fn nothing_outside_is_read_or_written() {
    let ground = ground();
    symlink(&ground.outside, ground.root.join("absolute")).unwrap();
    symlink("../outside", ground.root.join("relative")).unwrap();
    symlink("../outside/secret", ground.root.join("file")).unwrap();
    symlink("../outside/new", ground.root.join("dangling")).unwrap();
    symlink("/proc/self/root", ground.root.join("magic")).unwrap();
    symlink("loop", ground.root.join("loop")).unwrap();
    let secret = ground.outside.join("secret");
    let mut paths: Vec<PathBuf> = [
        "absolute/secret",
        "relative/secret",
        "file",
        "magic/etc/passwd",
        "../outside/secret",
        "a/../../outside/secret",
        "loop",
        "absolute/new/file",
        "relative/new",
    ]
    .map(|name| ground.root.join(name))
    .to_vec();
    paths.push(secret.clone());
    paths.push(PathBuf::from("/etc/passwd"));
    paths.push(PathBuf::from("../outside/secret"));
    paths.push(ground.root.with_file_name("root-not"));
    for path in &paths {
        let read = ground.files.read(path, None, None);
        assert!(read.is_err(), "read {}: {read:?}", path.display());
        let written = ground.files.write(path, "changed");
        assert!(written.is_err(), "wrote {}", path.display());
    }
    assert!(ground.write("dangling", "changed").is_err());
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
    assert_eq!(fs::read_dir(&ground.outside).unwrap().count(), 1);
}

#[test]
fn a_link_inside_is_followed_and_stays_a_link() {
    let ground = ground();
    ground.write("dir/real", "old").unwrap();
    symlink("dir/real", ground.root.join("link")).unwrap();
    symlink("dir", ground.root.join("folder")).unwrap();
    assert_eq!(ground.read("link").unwrap(), "old");
    ground.write("link", "new").unwrap();
    assert!(ground.root.join("link").is_symlink());
    assert_eq!(fs::read_to_string(ground.root.join("dir/real")).unwrap(), "new");
    ground.write("folder/other", "x").unwrap();
    assert_eq!(fs::read_to_string(ground.root.join("dir/other")).unwrap(), "x");
}

#[test]
fn gits_own_files_are_not_served() {
    let ground = ground();
    fs::write(ground.root.join(".git"), "gitdir: /elsewhere").unwrap();
    fs::create_dir_all(ground.root.join("sub/.git/hooks")).unwrap();
    symlink("sub/.git", ground.root.join("alias")).unwrap();
    for name in [".git", "sub/.git/config", "sub/.git/hooks/pre-commit", ".GIT"] {
        assert!(matches!(ground.write(name, "x"), Err(FileError::Git { .. })), "{name}");
    }
    fs::write(ground.root.join("sub/.git/config"), "").unwrap();
    assert!(matches!(ground.write("alias/config", "x"), Err(FileError::Git { .. })));
    assert!(ground.write("alias/hooks/pre-commit", "x").is_err());
    assert!(!ground.root.join("sub/.git/hooks/pre-commit").exists());
    symlink("sub/.git/config", ground.root.join("configuration")).unwrap();
    for name in [".git", "sub/.git/config", "alias/config", "configuration"] {
        assert!(matches!(ground.read(name), Err(FileError::Git { .. })), "{name}");
    }
    for name in ["sub/.git", "alias", "alias/hooks"] {
        assert!(matches!(ground.files.folder(Path::new(name)), Err(FileError::Git { .. })), "{name}");
    }
    ground.write(".gitignore", "target").unwrap();
}

#[test]
fn only_regular_files_of_text_within_the_limit_are_served() {
    let ground = ground_with(FileLimits { read: 10, write: 10 }, MissingFile::Refuse);
    fs::create_dir(ground.root.join("dir")).unwrap();
    let fifo = ground.root.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    for name in ["dir", "fifo"] {
        assert!(matches!(ground.read(name), Err(FileError::NotAFile { .. })), "{name}");
        assert!(matches!(ground.write(name, ""), Err(FileError::NotAFile { .. })), "{name}");
    }
    assert!(ground.files.write(&ground.root, "").is_err());
    fs::write(ground.root.join("binary"), [0xff, 0xfe]).unwrap();
    assert!(matches!(ground.read("binary"), Err(FileError::NotText { .. })));
    fs::write(ground.root.join("long"), "0123456789\nx").unwrap();
    assert!(matches!(ground.read("long"), Err(FileError::TooLarge { limit: 10, .. })));
    let second = ground.files.read(&ground.root.join("long"), Some(2), Some(5)).unwrap();
    assert_eq!(second, "x");
    assert!(matches!(
        ground.files.read(&ground.root.join("long"), Some(1), Some(1)),
        Err(FileError::TooLarge { .. })
    ));
    let sparse = fs::File::create(ground.root.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let counted = ground.files.read(&ground.root.join("sparse"), Some(u32::MAX), None);
    assert!(matches!(counted, Err(FileError::TooLarge { .. })));
    assert!(matches!(ground.write("big", "0123456789x"), Err(FileError::TooLarge { .. })));
    assert!(!ground.root.join("big").exists());
    ground.write("fits", "0123456789").unwrap();
    assert_eq!(ground.read("fits").unwrap(), "0123456789");
}

#[test]
fn a_folder_is_known_by_each_of_its_names() {
    let ground = ground();
    let alias = ground.outside.join("alias");
    symlink(&ground.root, &alias).unwrap();
    let files = Files::open(&alias, FileLimits::default(), MissingFile::Refuse).unwrap();
    files.write(&alias.join("a"), "1").unwrap();
    files.write(&ground.root.canonicalize().unwrap().join("b"), "2").unwrap();
    files.write(Path::new("c"), "3").unwrap();
    assert_eq!(ground.names(), ["a", "b", "c"]);
}

/// The names that appear in a folder while something is done.
fn names_that_appear(folder: &Path, work: impl FnOnce()) -> Vec<String> {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    let what = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, folder, what).unwrap();
    work();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = events.next() {
        names.push(event.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names
}

/// A process that is killed on any line of a write leaves nothing that a checkpoint would hold.
#[test]
fn no_other_name_is_ever_in_the_folder() {
    let ground = ground();
    let files = Files::open(&ground.root, FileLimits::default(), MissingFile::Refuse).unwrap();
    let files = files.with_scratch(&ground.outside).unwrap();
    let write = |text| files.write(Path::new("file"), text).unwrap();
    assert_eq!(names_that_appear(&ground.root, || write("new")), ["file"]);
    assert_eq!(names_that_appear(&ground.root, || write("newer")), ["file"]);
    assert_eq!(ground.read("file").unwrap(), "newer");
    assert_eq!(fs::read_dir(&ground.outside).unwrap().count(), 1, "the secret alone");
    // The name that passes is beside the file where nothing better is known.
    let names = names_that_appear(&ground.root, || ground.write("file", "newest").unwrap());
    assert!(names.len() == 2 && names[0].starts_with(".acp-") && names[1] == "file", "{names:?}");
}

#[test]
fn a_scratch_folder_on_another_file_system_is_passed_over() {
    let ground = ground();
    let elsewhere = TempDir::new_in("/dev/shm").unwrap();
    assert_ne!(
        fs::metadata(elsewhere.path()).unwrap().dev(),
        fs::metadata(&ground.root).unwrap().dev(),
        "this machine's temporary files and /dev/shm are one file system"
    );
    let files = Files::open(&ground.root, FileLimits::default(), MissingFile::Refuse).unwrap();
    let files = files.with_scratch(elsewhere.path()).unwrap();
    for text in ["new", "newer"] {
        files.write(Path::new("file"), text).unwrap();
        assert_eq!(ground.read("file").unwrap(), text);
        assert_eq!(ground.names(), ["file"]);
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_failed_write_leaves_the_old_text_and_no_temporary_file() {
    let ground = ground();
    ground.write("dir/file", "old").unwrap();
    // A name that leaves no room: the rename fails after the temporary file was written.
    let long = format!("dir/{}", "n".repeat(300));
    assert!(matches!(ground.write(&long, "x"), Err(FileError::Io { .. })));
    assert_eq!(fs::read_dir(ground.root.join("dir")).unwrap().count(), 1);
    assert_eq!(ground.read("dir/file").unwrap(), "old");
}
