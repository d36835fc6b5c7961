//! The demo agent in the place of each agent that a route is for, so that every route has something at its end that
//! does what a prompt's directives say.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use dispatch_core::{
    ids::{SessionId, TaskId},
    routing::Route,
    task::{Name, NewTask, PermissionPolicy, Task, TurnOptions},
};
use dispatch_driver::random_bytes;
use serde_json::json;

use crate::{
    model_server::{Call, ModelServer, Reply, Script, ToolCall},
    product::{Machine, binary},
    queue::Site,
};

/// A route, with what stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandIn {
    /// The route in words; different for each.
    pub name: &'static str,
    /// Which route that is.
    pub route: Route,
    /// The agent by its name in the registry; `None` is native inference.
    agent: Option<&'static str>,
    /// Whether its tasks come from a chat, which decides about the route of some agents.
    pub is_in_chat: bool,
}

const fn row(name: &'static str, route: Route, agent: &'static str, is_in_chat: bool) -> StandIn {
    StandIn { name, route, agent: Some(agent), is_in_chat }
}

/// All of them.
pub const STAND_INS: [StandIn; 7] = [
    row("warm ACP", Route::WarmAcp, "demo-acp", true),
    row("one-shot ACP", Route::OneShotAcp, "demo-acp", false),
    row("program", Route::OneShotPty, "demo-program", false),
    row("program on a terminal", Route::OneShotPty, "demo-typist", false),
    row("Claude SDK", Route::ClaudeSdk, "claude", true),
    row("opencode server", Route::OpencodeServer, "opencode", true),
    StandIn { name: "native", route: Route::Native, agent: None, is_in_chat: true },
];

impl StandIn {
    /// Those whose agents are kept between the turns of a chat.
    pub fn warm() -> impl Iterator<Item = &'static Self> {
        let is_warm =
            |row: &&Self| matches!(row.route, Route::WarmAcp | Route::ClaudeSdk | Route::OpencodeServer);
        STAND_INS.iter().filter(is_warm)
    }

    /// Queues a task that takes this route; what is in no chat is in no session of its own either.
    #[must_use]
    pub fn queue(&self, site: &Site, prompt: &str, session: SessionId) -> Task {
        let new = NewTask {
            options: TurnOptions { agent: self.agent.and_then(Name::new), ..TurnOptions::default() },
            permissions: PermissionPolicy::Allow,
            session: self.is_in_chat.then_some(session),
            ..NewTask::new(TaskId::from_random(random_bytes()), site.project(), prompt)
        };
        site.ask(|records| async move { records.create_task(new).await })
    }
}

/// Puts them all on a machine, whose configuration begins with `config`; returns the model of native inference.
///
/// # Panics
/// When something cannot be written.
#[must_use]
pub fn install(site: &mut Site, config: &str) -> ModelServer {
    let model = ModelServer::start();
    let machine = &mut site.machine;
    let state = machine.root().join("state");
    let state = ["--state", state.to_str().expect("a path of ours")];
    let mut text =
        format!("{config}\n[routes]\nclaude_sdk = true\n\n[native]\nendpoint = \"{}/v1\"\n", model.url());
    text += "model = \"scripted\"\n\n";
    text += &Machine::demo_agent("demo-acp", &state);
    for (name, terminal) in [("demo-program", false), ("demo-typist", true)] {
        let entry = Machine::demo_agent(name, &[&state[..], &["stream-json"]].concat());
        text += &entry.replace("transport = \"acp\"", "transport = \"cli\"\noutput = \"claude\"");
        text += &format!("terminal = {terminal}\n");
    }
    for (name, protocol) in [("claude", "stream-json"), ("opencode", "serve")] {
        let program = machine.root().join(name);
        write_program(&program, &state, protocol);
        text += &format!("[agents.{name}]\nprogram = {:?}\n", program.to_str().expect("a path of ours"));
    }
    machine.configure(&text);
    machine.set("BOOCODER_ROUTES__WARM_ACP", "true");
    model
}

/// Has the model of native inference run this command, as soon as a prompt with these words comes.
pub fn when_told(model: &ModelServer, words: &str, command: &str) {
    let call =
        ToolCall { name: "run_command".to_owned(), arguments: json!({"command": command, "seconds": 600}) };
    model.when(
        words,
        Script::new().then(Reply::text("So be it. ").call(Call::Named(call))).then(Reply::text("Done.")),
    );
}

/// A program that is started like the agent in whose place it stands.
fn write_program(path: &Path, args: &[&str], protocol: &str) {
    let boocoder = binary().display().to_string();
    let args = args.iter().map(|arg| format!("'{arg}' ")).collect::<String>();
    let script = format!("#!/bin/sh\nexec '{boocoder}' demo-agent {args}{protocol} \"$@\"\n");
    fs::write(path, script).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program of ours");
}
