//! One prompt, told as one JSON object a line.

use boocoder_tests::{
    model_server::{Call, ModelError, Reply, Script},
    real_agents::{Approval, CLAUDE, CODEX, GEMINI, GOOSE, OPENCODE, QWEN, RealAgent, Site, Start},
};
use serde_json::Value;
use std::{io::Write, path::Path, process::Stdio};

use super::scratch;

/// What an agent printed for one prompt, and how it ended.
struct Run {
    lines: Vec<Value>,
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

/// Runs an agent to its end in `repository`.
fn run(start: &Start, repository: &Path) -> Run {
    let mut command = start.to_command();
    command.current_dir(repository).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(start.input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let lines = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Run { lines, stdout, stderr, code: output.status.code() }
}

/// Without anybody to ask: writes, edits, runs a command and reads as the script says, then talks.
fn works_through_a_script_once(agent: &RealAgent) {
    let (server, dir, repository) = scratch();
    std::fs::write(repository.join("old.txt"), "zero\n").unwrap();
    let script = Script::new()
        .then(Reply::new().reasoning(["First ", "I write."]).call(Call::write("new.txt", "one\ntwo\n")))
        .then(Reply::text("Now I edit. ").call(Call::edit("new.txt", "two", "three")))
        .then(Reply::new().call(Call::shell("echo four >> new.txt")))
        .then(Reply::new().call(Call::read("old.txt")))
        .then(Reply::text("All done.").usage(2000, 30));
    server.when("make the file", script);
    let site = Site { model_url: &server.url(), dir: dir.path(), approval: Approval::Allow };
    let run = run(&agent.once(&site, "please make the file"), &repository);
    let told = format!("{}\n{}", run.stdout, run.stderr);
    let asked = server.requests();
    let results: Vec<_> = asked.last().map(|request| request.tool_results().collect()).unwrap_or_default();
    assert_eq!(run.code, Some(0), "{told}");
    // The command is seen by what it did: on a busy machine qwen at times loses what a command printed.
    let file = std::fs::read_to_string(repository.join("new.txt"));
    assert_eq!(file.ok().as_deref(), Some("one\nthree\nfour\n"), "{told}\n{results:#?}");
    assert!(results[3].contains("zero"), "{results:#?}");
    assert!(run.lines.iter().any(|line| line.to_string().contains("All done.")), "{told}");
    assert!(asked.iter().all(|request| request.credentials.as_deref().unwrap().contains("scripted")));
}

/// A key that the model's host refuses ends the run, with this code and these words somewhere.
fn reports_a_refused_key_once(agent: &RealAgent, code: i32, words: &str) {
    let (server, dir, repository) = scratch();
    server.when("hello", Script::new().then(ModelError::Unauthorised));
    let site = Site { model_url: &server.url(), dir: dir.path(), approval: Approval::Allow };
    let run = run(&agent.once(&site, "hello"), &repository);
    assert_eq!(run.code, Some(code), "{}\n{}", run.stdout, run.stderr);
    assert!(run.lines.iter().any(|line| line.to_string().contains(words)), "{}\n{}", run.stdout, run.stderr);
}

/// A module for each agent, as each test is a process of its own.
macro_rules! one_prompt {
    ($($name:ident: $agent:expr, $code:expr, $words:expr;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn real_agent_works_through_a_script_once() {
                works_through_a_script_once(&$agent);
            }

            #[test]
            fn real_agent_reports_a_refused_key_once() {
                reports_a_refused_key_once(&$agent, $code, $words);
            }
        }
    )* };
}

// The code and the words with which a refused key ends a run.
one_prompt! {
    opencode: OPENCODE, 1, "Incorrect API key";
    goose: GOOSE, 0, "Ran into this error";
    claude: CLAUDE, 1, "Invalid API key";
    qwen: QWEN, 1, "Incorrect API key";
    gemini: GEMINI, 145, "API key not valid";
    codex: CODEX, 1, "Incorrect API key";
}
