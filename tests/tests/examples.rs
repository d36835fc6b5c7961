//! The example programs, with the real agents behind them and a scripted model behind those.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    collections::BTreeSet,
    env,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    process::Stdio,
};

use boocoder_tests::{
    model_server::{Call, ModelServer, Reply, Script},
    product::{Live, Machine, PATIENCE, binary, text},
    real_agents::{Approval, CLAUDE, GEMINI, GOOSE, OPENCODE, RealAgent, Site, tool},
};
use serde_json::{Value, json};

const SIGINT: i32 = 2;

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

/// An example that serves a machine's record until Ctrl-C.
fn serve(machine: &Machine, example: &str) -> Live {
    let mut command = machine.command(binary().with_file_name(example));
    command.arg(machine.data_dir());
    Live::start(command)
}

/// Ends it; checks that it says how many tasks it has completed, and that nothing is left.
fn assert_served(machine: &Machine, service: Live, completed: usize) {
    service.signal(SIGINT);
    let ended = service.finish().expect(0);
    let summary = ended.stdout.last().expect("a summary");
    assert!(summary.contains(&format!("completed: {completed},")), "{summary}");
    machine.assert_nothing_left();
}

/// Checks that the record holds one change that waits for a decision, and that it can be applied.
fn assert_change_waits(machine: &Machine, prompt: &str) {
    let [change] = &machine.json(["change", "list", "--json"])[..] else { panic!("one change") };
    let _ = machine.run(["change", "apply", text(&change["id"])]).expect(0);
    let written = machine.read("DEMO.md").expect("what the demo agent writes");
    assert!(written.contains(prompt), "{written}");
}

#[test]
fn example_dispatcher_does_what_example_enqueue_and_watch_queues() {
    let machine = Machine::new();
    let dispatcher = serve(&machine, "dispatcher");
    let mut command = machine.command(binary().with_file_name("enqueue-and-watch"));
    command.arg(machine.data_dir()).arg(machine.repository()).arg("remember the milk");
    let watched = Live::start(command).finish().expect(0);
    let frames = watched.stdout.iter().zip(1..).map(|(line, seq)| {
        let frame = line.strip_prefix(&format!("{seq} ")).expect("the frame's place, and the frame");
        serde_json::from_str::<Value>(frame).expect("JSON")
    });
    let frames: Vec<_> = frames.collect();
    assert_eq!(frames[0]["type"], "message_started");
    assert!(frames.iter().any(|frame| frame["type"] == "pending_change"), "{frames:?}");
    let last = frames.last().expect("frames");
    assert_eq!((text(&last["type"]), text(&last["state"])), ("task_state", "completed"));
    assert_served(&machine, dispatcher, 1);
    assert_change_waits(&machine, "remember the milk");
}

#[test]
fn example_axum_service() {
    let machine = Machine::new();
    let mut service = serve(&machine, "axum-service");
    let address = service.wait_for_line(|line| line.starts_with("http://"));
    let ask = |method: &str, path: &str, body: &Value| http(&address, method, path, &body.to_string());

    let asked = json!({"repository": machine.repository(), "agent": "demo", "prompt": "remember the milk"});
    let (status, task) = ask("POST", "/tasks", &asked);
    assert_eq!(status, 201, "{task}");
    let task: Value = serde_json::from_str(&task).expect("a task");
    let path = |what: &str| format!("/tasks/{}/{what}", text(&task["id"]));
    let (status, frames) = ask("GET", &path("frames"), &Value::Null);
    assert_eq!(status, 200, "{frames}");
    let frames: Vec<Value> = frames.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (frame, seq) in frames.iter().zip(1..) {
        assert_eq!((&frame["seq"], &frame["task_id"]), (&json!(seq), &task["id"]), "{frame}");
    }
    assert!(frames.iter().any(|frame| frame["type"] == "pending_change"), "{frames:?}");
    let last = frames.last().expect("frames");
    assert_eq!((text(&last["type"]), text(&last["state"])), ("task_state", "completed"));
    let (status, answer) = ask("POST", &path("stop"), &Value::Null);
    assert_eq!((status, answer.trim_end()), (200, "AlreadyEnded(Completed)"));

    let elsewhere = json!({"repository": "/nowhere", "agent": "demo", "prompt": "x"});
    let (status, why) = ask("POST", "/tasks", &elsewhere);
    assert!(status == 422 && why.contains("/nowhere"), "{status} {why}");
    assert_eq!(ask("GET", "/tasks/ffffffff/frames", &Value::Null).0, 404);
    assert_served(&machine, service, 1);
    assert_change_waits(&machine, "remember the milk");
}

/// Asks an HTTP server at `http://HOST:PORT`; returns the answer's status and body. With HTTP/1.0 the body ends where
/// the connection does.
fn http(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {length}");
    write!(connection, "{head}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split_whitespace().nth(1).unwrap().parse().unwrap(), body.to_owned())
}
