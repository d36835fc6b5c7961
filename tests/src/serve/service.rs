//! A service and what runs below it, as a test that means harm handles it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    product::{Live, Machine, Serve, signal},
    queue::{Kind, Site},
};

/// The variable of the fail points.
const HALT_AT: &str = "BOOCODER_HALT_AT";

const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// Runs a test on both stores, side by side.
///
/// # Panics
/// When it fails on one of them.
pub fn on_both(test: impl Fn(Kind) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for (kind, name) in [(Kind::Sqlite, "on SQLite"), (Kind::Postgres, "on PostgreSQL")] {
            let named = thread::Builder::new().name(name.to_owned());
            named.spawn_scoped(scope, move || test(kind)).expect("a thread");
        }
    });
}

/// A service with the default settings.
#[must_use]
pub fn serve(site: &Site) -> Serve {
    site.machine.serve([] as [&str; 0])
}

/// Starts a service, and waits until it has halted at this fail point. Dropped before it is killed, it stays.
#[must_use]
pub fn halted(site: &Site, point: &str) -> Live {
    let mut command = site.machine.boocoder(["serve"]);
    command.env(HALT_AT, point);
    let mut live = Live::start(command);
    live.wait_for_complaint(&format!("halted at {point}"));
    live
}

/// Lets a process do nothing more until it is thawed: what it was in the middle of stays as it is.
///
/// # Panics
/// When it does not freeze.
pub fn freeze(pid: u32) {
    signal(pid, SIGSTOP);
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_frozen = || stat().rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
    Machine::wait_until("a frozen process", || is_frozen().then_some(()));
}

/// Freezes a service between two of its writes: others are to write meanwhile.
///
/// # Panics
/// As [`freeze`].
pub fn freeze_service(site: &Site, pid: u32) {
    freeze(pid);
    while site.is_locked() {
        thaw(pid);
        thread::sleep(Duration::from_millis(1));
        freeze(pid);
    }
}

/// Lets a frozen process go on.
pub fn thaw(pid: u32) {
    signal(pid, SIGCONT);
}

/// What holds an agent up until the test opens it.
#[derive(Debug, Clone)]
pub struct Gate(PathBuf);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new(machine: &Machine, name: &str) -> Self {
        Self(machine.root().join(name))
    }

    /// The directive of the demo agent that waits for it.
    #[must_use]
    pub fn wait(&self) -> String {
        format!("/shell until [ -e '{}' ]; do sleep 0.02; done", self.0.display())
    }

    /// Opens it, for good.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn open(&self) {
        fs::write(&self.0, "").expect("a file");
    }
}

/// The prompts that arrived at an agent.
pub struct Ledger(PathBuf);

/// The configuration of an agent that keeps a ledger and its conversations.
#[must_use]
pub fn ledger_agent(machine: &Machine, name: &str) -> (String, Ledger) {
    let (ledger, state) =
        (machine.root().join(format!("{name}.ledger")), machine.root().join(format!("{name}.state")));
    let args = ["--ledger", path(&ledger), "--state", path(&state)];
    (Machine::demo_agent(name, &args), Ledger(ledger))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

impl Ledger {
    /// How often a prompt with this first line arrived.
    #[must_use]
    pub fn count(&self, first_line: &str) -> usize {
        let lines = fs::read_to_string(&self.0).unwrap_or_default();
        lines.lines().filter(|line| line.rsplit('\t').next() == Some(first_line)).count()
    }
}

/// Adds a commit with so many small files, so that making a worktree takes its time.
///
/// # Panics
/// When git fails.
pub fn grow(machine: &Machine, files: usize) {
    let mut import = Command::new("git");
    import.args(["fast-import", "--quiet"]).current_dir(machine.repository()).stdin(Stdio::piped());
    let mut import = import.spawn().expect("git is installed");
    let mut script = String::from(
        "blob\nmark :1\ndata 6\nsmall\n\ncommit refs/heads/main\ncommitter T <t@example.org> 0 +0000\ndata 4\nmany\n\
         from refs/heads/main^0\n",
    );
    for number in 0..files {
        script += &format!("M 100644 :1 many/{}/{number}\n", number % 100);
    }
    let mut input = import.stdin.take().expect("its input");
    input.write_all(script.as_bytes()).expect("git reads");
    drop(input);
    assert!(import.wait().expect("git ends").success());
    machine.git(["reset", "--quiet", "--hard"]);
}

/// The folders of the worktrees that are there.
#[must_use]
pub fn worktree_folders(machine: &Machine) -> Vec<PathBuf> {
    let data = machine.data_dir();
    machine.worktrees().into_iter().filter(|path| path.starts_with(&data)).collect()
}

/// The process ids that `/pid` and `/fork` tell.
#[must_use]
pub fn pids(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Whether there is such a process.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Seconds that an escaped child sleeps, which tells it from all others.
pub const ESCAPED: &str = "614";

/// Shell code that starts two children with an empty environment in sessions of their own, outside every folder of a
/// test, which write their process ids and `word` to `told`.
#[must_use]
pub fn escape(told: &Path, word: &str) -> String {
    format!(
        "for child in a b; do (cd /; exec env -i setsid sh -c 'trap \"\" HUP INT TERM; echo $$ {word} >>\"{}\"; exec \
         sleep {ESCAPED}' </dev/null >/dev/null 2>&1 &); done",
        told.display()
    )
}
