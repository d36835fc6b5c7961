//! The example programs, with the real agents behind them and a scripted model behind those.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{collections::BTreeSet, env, os::unix::fs::symlink, process::Stdio};

use boocoder_tests::{
    model_server::{Call, ModelServer, Reply, Script},
    product::{Machine, binary},
    real_agents::{Approval, CLAUDE, GEMINI, GOOSE, OPENCODE, RealAgent, Site, tool},
};

/// A machine on which an example is run as a user would do it.
struct Desk {
    model: ModelServer,
    machine: Machine,
}

impl Desk {
    fn new() -> Self {
        let (model, mut machine) = (ModelServer::start(), Machine::new());
        machine.set("MODEL_ENDPOINT", format!("{}/v1", model.url())).set("MODEL_NAME", "mock-1");
        for number in ["one", "two", "three"] {
            let write = Reply::new().call(Call::write(&format!("{number}.txt"), "hello\n"));
            let script = Script::new().then(write).then(Reply::text(&format!("That was {number}.")));
            model.when(&format!("write number {number}"), script);
        }
        Self { model, machine }
    }

    /// With this agent installed and configured.
    fn with(agent: &RealAgent) -> Self {
        let mut desk = Self::new();
        let dir = desk.machine.root().join("agent");
        let site = Site { model_url: &desk.model.url(), dir: &dir, approval: Approval::Ask };
        for (name, value) in agent.env(&site).into_iter().filter(|(name, _)| name != "PATH") {
            desk.machine.set(&name, value);
        }
        let programs = desk.machine.root().join("bin");
        std::fs::create_dir(&programs).unwrap();
        for program in BTreeSet::from([agent.name, agent.acp_program]) {
            symlink(tool(program), programs.join(program)).unwrap();
        }
        desk.machine.set("PATH", format!("{}:{}", programs.display(), env::var("PATH").unwrap()));
        desk
    }

    /// What the example prints of so many tasks, each of which writes a file. Nothing is left of it, and nothing of it
    /// is in the user's checkout.
    fn run(&self, example: &str, tasks: usize) -> String {
        let program = binary().with_file_name(example);
        let prompts =
            ["one", "two", "three"].iter().take(tasks).map(|number| format!("write number {number}"));
        let mut command = self.machine.command(program);
        command.arg(self.machine.data_dir()).arg(self.machine.repository()).args(prompts);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{printed}\n{complaints}", output.status);
        assert_eq!(self.machine.processes(), Vec::<u32>::new());
        assert_eq!(self.machine.git(["status", "--porcelain"]), "");
        printed
    }
}

/// Checks that each task's answer and its change were printed, and which way each of them took.
fn assert_done(printed: &str, routes: &[&str]) {
    let ends: Vec<&str> = printed.lines().filter(|line| line.starts_with("[completed by ")).collect();
    let expected: Vec<String> = routes.iter().map(|route| format!("[completed by {route}]")).collect();
    assert_eq!(ends, expected, "{printed}");
    for number in ["one", "two", "three"].iter().take(routes.len()) {
        assert!(printed.contains(&format!("That was {number}.")), "{printed}");
        assert!(printed.contains(&format!("[changed {number}.txt +1 -0]")), "{printed}");
    }
}

/// The processes that were kept after each task.
fn kept(printed: &str) -> Vec<&str> {
    printed.lines().filter(|line| line.starts_with("[kept ")).collect()
}

#[test]
fn real_agent_example_warm_acp() {
    let printed = Desk::with(&GOOSE).run("warm-acp", 3);
    assert_done(&printed, &["one_shot_acp", "warm_acp", "warm_acp"]);
    let [second, third] = kept(&printed)[..] else { panic!("{printed}") };
    assert_eq!(second, third, "one process for both turns");
}

#[test]
fn real_agent_example_opencode_server() {
    let printed = Desk::with(&OPENCODE).run("opencode-server", 2);
    assert_done(&printed, &["opencode_server", "opencode_server"]);
    let [first, second] = kept(&printed)[..] else { panic!("{printed}") };
    assert_eq!(first, second, "one server for both turns");
}

#[test]
fn real_agent_example_claude_sdk() {
    let printed = Desk::with(&CLAUDE).run("claude-sdk", 3);
    assert_done(&printed, &["one_shot_pty", "claude_sdk", "claude_sdk"]);
    let [second, third] = kept(&printed)[..] else { panic!("{printed}") };
    assert_eq!(second, third, "one process for both turns");
}

#[test]
fn real_agent_example_one_shot_cli() {
    let printed = Desk::with(&GEMINI).run("one-shot-cli", 1);
    assert_done(&printed, &["one_shot_pty"]);
    assert!(kept(&printed).is_empty(), "{printed}");
}

#[test]
fn example_native_inference() {
    let printed = Desk::new().run("native-inference", 2);
    assert_done(&printed, &["native", "native"]);
}

/// One-shot ACP, all of it in one file, with the demo agent.
#[test]
fn example_run_one_task() {
    let desk = Desk::new();
    let mut command = desk.machine.command(binary().with_file_name("run-one-task"));
    let output = command.arg(desk.machine.repository()).env("TMPDIR", desk.machine.root()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.contains("Completed"), "{printed}");
    assert_eq!(desk.machine.processes(), Vec::<u32>::new());
}
