//! The product as a user has it: the real binary, a home, a data directory and a repository of its own.

mod finished;
mod live;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub use finished::{Finished, assert_turn_in_order};
pub use live::{Live, Serve, signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::stopwatch::Stopwatch;

/// How long a test waits for something that must come. Generous, as two busy cores are slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test, beside the test's own program.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let folder = test.ancestors().nth(2).expect("tests lie two folders below the profile's");
    let binary = folder.join("boocoder");
    assert!(
        binary.is_file(),
        "{} is missing: `cargo build --workspace --bins`, or `cargo xtask test`",
        binary.display()
    );
    binary
}

/// A machine with nothing but a home, a data directory and one repository.
pub struct Machine {
    root: TempDir,
    repository: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine whose repository has two files and one commit.
    #[must_use]
    pub fn new() -> Self {
        Self::with_repository_named("repository")
    }

    /// The same, with the repository in a folder of this name.
    #[must_use]
    pub fn with_repository_named(name: impl AsRef<OsStr>) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let repository = root.path().join(name.as_ref());
        fs::create_dir(root.path().join("home")).expect("a home");
        fs::create_dir(&repository).expect("a repository's folder");
        let machine = Self { root, repository, variables: BTreeMap::new() };
        machine.git(["init", "--quiet", "--initial-branch=main"]);
        machine.write("README.md", "# A repository\n");
        machine.write("src/lib.rs", "pub fn one() -> u32 {\n    1\n}\n");
        machine.git(["add", "--all"]);
        machine.git(["commit", "--quiet", "--message", "begin"]);
        machine
    }

    /// Sets an environment variable for everything that runs from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// The folder that holds everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The user's repository.
    #[must_use]
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Writes a file of the repository's checkout.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.repository.join(path);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("its folder");
        fs::write(path, content).expect("a file");
    }

    /// Reads a file of the repository's checkout; `None` when it is not there.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.repository.join(path)).ok()
    }

    /// Runs git in the repository; returns what it printed.
    ///
    /// # Panics
    /// When git fails.
    pub fn git<const N: usize>(&self, args: [&str; N]) -> String {
        let mut command = Command::new("git");
        self.clean(&mut command);
        command.args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]).args(args);
        let output = command.output().expect("git is installed: apt-get install git");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// boocoder with these arguments, in the repository, not started yet.
    #[must_use]
    pub fn boocoder<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let mut command = self.command(binary());
        command.args(args);
        command
    }

    /// Any program, in the repository and with the environment that boocoder is started with.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.clean(&mut command);
        command.env("BOOCODER_DATA_DIR", self.data_dir()).stdin(Stdio::null());
        command
    }

    /// Runs boocoder to its end.
    #[must_use]
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Finished {
        Live::start(self.boocoder(args)).finish()
    }

    /// Starts boocoder and leaves it running.
    #[must_use]
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Live {
        Live::start(self.boocoder(args))
    }

    /// Starts `boocoder serve` with these arguments, and waits until it takes tasks.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn serve<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Serve {
        let mut command = self.boocoder(["serve"]);
        command.args(args);
        Serve::start(command)
    }

    /// Queues a task for the demo agent, allowed to do what it asks leave for; returns its id.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn add(&self, prompt: &str) -> String {
        self.add_with(["--agent", "demo", "--allow", prompt])
    }

    /// Queues a task with these arguments of `boocoder task add`; returns its id.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn add_with<const N: usize>(&self, args: [&str; N]) -> String {
        let mut command = self.boocoder(["task", "add"]);
        command.args(args);
        let mut added = Live::start(command).finish().expect(0);
        assert_eq!(added.stdout.len(), 1, "{added:?}");
        added.stdout.remove(0)
    }

    /// A task as `boocoder task show` tells it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn task(&self, id: &str) -> Value {
        self.json(["task", "show", id, "--json"]).remove(0)["task"].take()
    }

    /// Waits until a task has ended; returns everything that its watcher saw.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn watch(&self, id: &str) -> Finished {
        self.run(["task", "watch", id, "--json"])
    }

    fn clean(&self, command: &mut Command) {
        command.env_clear().current_dir(&self.repository);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", path).env("HOME", self.root.path().join("home")).env("NO_COLOR", "1");
        command.envs(&self.variables);
    }

    /// Every file of the user's repository that boocoder must not touch, with its mode and content: the
    /// checkout, and of `.git` all but objects, our own refs and the registrations of worktrees.
    #[must_use]
    pub fn fingerprint(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        collect(&self.repository, &self.repository, &mut files);
        files
    }

    /// What is left of worktrees: their folders in the data directory and their registrations in the repository.
    #[must_use]
    pub fn worktrees(&self) -> Vec<PathBuf> {
        let mut found = entries(&self.repository.join(".git/worktrees"));
        for project in entries(&self.data_dir().join("worktrees/w")) {
            found.extend(entries(&project));
        }
        found
    }

    /// Gives the user a configuration file with this text, for everything that runs from now on.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&mut self, text: &str) -> PathBuf {
        let path = self.root.path().join("boocoder.toml");
        fs::write(&path, text).expect("a configuration");
        self.set("BOOCODER_CONFIG", path.display().to_string());
        path
    }

    /// Adds an agent of the user's own to a configuration: the demo agent with these arguments.
    #[must_use]
    pub fn demo_agent(name: &str, args: &[&str]) -> String {
        let program = binary().display().to_string();
        let command: Vec<_> =
            [program.as_str(), "demo-agent"].into_iter().chain(args.iter().copied()).collect();
        format!("[agents.{name}]\ntransport = \"acp\"\ncommand = {command:?}\n")
    }

    /// Runs boocoder to its end; returns what it printed, one JSON value a line.
    ///
    /// # Panics
    /// When it fails, or prints something else.
    #[must_use]
    pub fn json<const N: usize>(&self, args: [&str; N]) -> Vec<Value> {
        self.run(args).expect(0).json()
    }

    /// Checks that nothing is left behind: no process, no worktree, no node's lock, no message that streams.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_nothing_left(&self) {
        self.wait_for_no_process(Duration::from_secs(5)).expect("no process is left");
        assert_eq!(self.worktrees(), Vec::<PathBuf>::new());
        assert_eq!(self.node_locks(), Vec::<PathBuf>::new());
        for task in self.json(["task", "list", "--all", "--limit", "0", "--json"]) {
            assert!(!["pending", "running"].contains(&text(&task["state"])), "{task}");
            let shown = self.json(["task", "show", text(&task["id"]), "--json"]);
            for message in shown[0]["messages"].as_array().expect("messages") {
                assert_ne!(message["state"], "streaming", "{message}");
            }
        }
    }

    /// The lock files of nodes.
    #[must_use]
    pub fn node_locks(&self) -> Vec<PathBuf> {
        entries(&self.data_dir().join("nodes"))
    }

    /// Processes that work below this machine's folder or run with its home, the test's own aside.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        // A tag of a folder that is not there yet fits nothing.
        let tag = fs::metadata(self.data_dir())
            .map_or_else(|_| "no data".to_owned(), |data| format!("{:x}-{:x}", data.dev(), data.ino()));
        let root = self.root.path().as_os_str().as_encoded_bytes();
        let numbers = entries(Path::new("/proc"))
            .into_iter()
            .filter_map(|path| path.file_name()?.to_str()?.parse().ok());
        numbers
            .filter(|pid: &u32| *pid != std::process::id() && belongs(*pid, root, tag.as_bytes()))
            .collect()
    }

    /// Waits until something of this machine's is there that tells nobody when it comes.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not come");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until none of this machine's processes is left.
    ///
    /// # Errors
    /// The processes that are still there after `patience`.
    pub fn wait_for_no_process(&self, patience: Duration) -> Result<(), Vec<u32>> {
        let mut since = Stopwatch::start();
        loop {
            // Before the look, so that one comes after the deadline.
            let spent = since.look();
            let left = self.processes();
            if left.is_empty() {
                return Ok(());
            }
            if spent > patience {
                return Err(left);
            }
            // The kernel tells nobody when processes that are not ours end.
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The text of a JSON value.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Whether a process is of the machine: by its folder, its environment, its arguments, or, as a supervisor has
/// none of these, by the tag of the data directory.
fn belongs(pid: u32, root: &[u8], tag: &[u8]) -> bool {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let is_zombie = fs::read_to_string(proc.join("stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')));
    let below = |path: &str| {
        fs::read_link(proc.join(path)).is_ok_and(|path| path.as_os_str().as_encoded_bytes().starts_with(root))
    };
    let names = |path: &str| {
        fs::read(proc.join(path)).is_ok_and(|bytes| bytes.windows(root.len()).any(|window| window == root))
    };
    let is_supervisor = || {
        fs::read(proc.join("cmdline")).is_ok_and(|line| line.windows(tag.len()).any(|window| window == tag))
    };
    !is_zombie && (below("cwd") || names("environ") || names("cmdline") || is_supervisor())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for path in entries(folder) {
        let name = path.strip_prefix(root).expect("below the root").to_owned();
        let ours = [".git/objects", ".git/worktrees", ".git/refs/boocoder"];
        if ours.iter().any(|ours| name.as_path() == Path::new(ours)) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).expect("a file that was listed");
        if meta.is_dir() {
            collect(root, &path, files);
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            files.insert(name, (0, target.into_os_string().into_encoded_bytes()));
        } else {
            files.insert(name, (meta.permissions().mode(), fs::read(&path).expect("a file")));
        }
    }
}
