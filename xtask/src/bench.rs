//! The whole path against acpx, with the same agent program: time, and peak memory.
//!
//! `docs/benchmarks.md` keeps the table of a run with the machine that it ran on.

use crate::{
    Failure,
    process::{output, run_to_end},
    tools,
    workspace::Workspace,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Rounds of each contestant, unless the command line says another number.
const ROUNDS: usize = 9;

/// Bytes of one update.
const BYTES: usize = 20;

/// How many updates one turn streams.
const UPDATES: [usize; 2] = [50_000, 1];

pub fn run(workspace: &Workspace, args: &[String]) -> Result<(), Failure> {
    let rounds = match args {
        [] => ROUNDS,
        [rounds] => rounds
            .parse()
            .map_err(|_| Failure::new(format!("{rounds:?} is no number"), "cargo xtask bench [ROUNDS]"))?,
        _ => return Err(Failure::new("too many arguments", "cargo xtask bench [ROUNDS]")),
    };
    tools::install_npm_tools(workspace)?;
    run_to_end(
        &mut workspace.cargo(&["build", "--release", "--locked", "--package", "boocoder"]),
        "mend what does not compile",
    )?;
    let ground = Ground::new(workspace)?;
    println!("| updates | boocoder, s | acpx, s | ratio | boocoder + supervisor, MiB | acpx, MiB |");
    println!("|---|---|---|---|---|---|");
    for updates in UPDATES {
        println!("{}", ground.compare(updates, rounds)?);
    }
    ground.remove()
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Boocoder,
    Acpx,
}

/// A scratch repository and a home, so that nobody's own configuration counts.
struct Ground {
    root: PathBuf,
    boocoder: PathBuf,
    path: std::ffi::OsString,
}

impl Ground {
    fn new(workspace: &Workspace) -> Result<Self, Failure> {
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.root.join("target"), PathBuf::from);
        let root = env::temp_dir().join(format!("boocoder-bench-{}", std::process::id()));
        let boocoder = target.join("release/boocoder");
        let path = env::join_paths(
            std::iter::once(workspace.tools().join("bin"))
                .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
        )
        .map_err(|err| Failure::new(format!("PATH: {err}"), "name no folder with a colon"))?;
        let ground = Self { root, boocoder, path };
        for folder in ["home", "repository"] {
            make(fs::create_dir_all(ground.root.join(folder)), &ground.root)?;
        }
        make(fs::write(ground.root.join("repository/file.txt"), "content\n"), &ground.root)?;
        for args in
            [&["init", "--quiet"][..], &["add", "--all"], &["commit", "--quiet", "--message", "begin"]]
        {
            let mut git = ground.command(Path::new("git"));
            git.args(["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]).args(args);
            output(&mut git, "install git")?;
        }
        Ok(ground)
    }

    fn remove(self) -> Result<(), Failure> {
        make(fs::remove_dir_all(&self.root), &self.root)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", &self.path).env("HOME", self.root.join("home"));
        command.current_dir(self.root.join("repository"));
        command
    }

    fn contestant(&self, who: Contestant, updates: usize) -> Command {
        let prompt = format!("/stream {updates} {BYTES}");
        match who {
            Contestant::Boocoder => {
                let mut command = self.command(&self.boocoder);
                command.args(["run", "--agent", "demo", "--json", "--allow", &prompt]);
                command
            }
            Contestant::Acpx => {
                let mut command = self.command(Path::new("acpx"));
                let agent = format!("{} demo-agent", self.boocoder.display());
                command.args(["--agent", &agent, "--approve-all", "--format", "json", "exec", &prompt]);
                command
            }
        }
    }

    /// Runs one to its end, its output in a file; returns the wall time and the peak memory.
    fn turn(&self, who: Contestant, updates: usize, memory: bool) -> Result<(Duration, u64), Failure> {
        let path = self.root.join("output");
        let file = fs::File::create(&path).map_err(|err| broken(&path, &err))?;
        let mut command = self.contestant(who, updates);
        let begin = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|err| broken(Path::new(command.get_program()), &err))?;
        let peak = if memory { peak_memory(&mut child, who) } else { 0 };
        let status = child.wait().map_err(|err| broken(&self.boocoder, &err))?;
        let took = begin.elapsed();
        let printed = fs::read_to_string(&path).map_err(|err| broken(&path, &err))?;
        if !status.success() || streamed(who, &printed) != updates * BYTES {
            return Err(Failure::new(
                format!("{:?} {status}: {} bytes of text", command.get_program(), streamed(who, &printed)),
                "run the command by hand",
            ));
        }
        Ok((took, peak))
    }

    /// Both in turn, so that what else the machine does meets both; one row of the table.
    fn compare(&self, updates: usize, rounds: usize) -> Result<String, Failure> {
        let both = [Contestant::Boocoder, Contestant::Acpx];
        let peaks = both.map(|who| self.turn(who, updates, true).map(|(_, peak)| peak));
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                times[which].push(self.turn(both[which], updates, false)?.0.as_secs_f64());
            }
        }
        let ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(ours, theirs)| ours / theirs).collect();
        let [ours, theirs] = times.map(|mut times| spread(&mut times));
        let [our_peak, their_peak] = peaks;
        let mebibytes = |peak: u64| peak / 1024;
        Ok(format!(
            "| {updates} | {ours} | {theirs} | {} | {} | {} |",
            spread(&mut ratios.clone()),
            mebibytes(our_peak?),
            mebibytes(their_peak?)
        ))
    }
}

/// The median, and from where to where the values go.
fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    match &*values {
        [] => "none".to_owned(),
        [first, .., last] => format!("{:.2} ({first:.2} to {last:.2})", values[values.len() / 2]),
        [only] => format!("{only:.2}"),
    }
}

/// Bytes of the agent's text in what was printed. The text is digits and spaces, so that no JSON is needed.
fn streamed(who: Contestant, printed: &str) -> usize {
    let (marker, begin) = match who {
        Contestant::Boocoder => (r#""type":"delta""#, r#""content":""#),
        Contestant::Acpx => ("agent_message_chunk", r#""text":""#),
    };
    let text = |line: &str| line.split_once(begin).and_then(|(_, rest)| rest.find('"')).unwrap_or_default();
    printed.lines().filter(|line| line.contains(marker)).map(text).sum()
}

/// The most memory, in KiB, that a contestant had at any time, the agent not counted: boocoder with its
/// supervisor, or acpx.
fn peak_memory(child: &mut Child, who: Contestant) -> u64 {
    let (mut own, mut supervisor) = (0, 0);
    while let Ok(None) = child.try_wait() {
        own = high_water(child.id()).unwrap_or(own);
        if who == Contestant::Boocoder {
            let children = children_of_threads(child.id());
            let peaks = children.split_whitespace().filter_map(|pid| high_water(pid.parse().ok()?));
            supervisor = peaks.max().unwrap_or(0).max(supervisor);
        }
        thread::sleep(Duration::from_millis(2));
    }
    own + supervisor
}

/// The process ids of a process's children: each thread has its own.
fn children_of_threads(pid: u32) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok()).collect()
}

/// `VmHWM` of a process, in KiB.
fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn make(result: std::io::Result<()>, path: &Path) -> Result<(), Failure> {
    result.map_err(|err| broken(path, &err))
}

fn broken(path: &Path, err: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {err}", path.display()), "look at that file and its folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_the_median_and_both_ends() {
        assert_eq!(spread(&mut [3.0, 1.0, 2.0]), "2.00 (1.00 to 3.00)");
    }

    #[test]
    fn only_the_text_of_the_agent_is_counted() {
        let ours = "{\"type\":\"delta\",\"content\":\"0001 \"}\n{\"type\":\"usage\",\"content\":\"12\"}\n";
        assert_eq!(streamed(Contestant::Boocoder, ours), 5);
        let theirs =
            "{\"sessionUpdate\":\"agent_message_chunk\",\"content\":{\"type\":\"text\",\"text\":\"01 \"}}\n";
        assert_eq!(streamed(Contestant::Acpx, theirs), 3);
    }

    #[test]
    fn a_process_has_a_peak() {
        assert!(high_water(std::process::id()).is_some_and(|peak| peak > 0));
    }
}
