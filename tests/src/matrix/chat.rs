//! A chat below a dispatcher, as a user has it.

use std::{cell::RefCell, fs, process::Command};

use dispatch_core::routing::Route as Way;

use super::{
    Done, Route, Turn,
    turn::{PATIENCE, comes},
};
use crate::{
    desk::Desk,
    model_server::Script,
    product::{Live, Serve, binary, text},
};

/// How much of a task is told, in characters.
const LONGEST: usize = 2000;

/// A chat in a session of its own, below a dispatcher of its own.
pub struct Chat<'a> {
    /// Where it is.
    pub desk: &'a Desk,
    /// How its turns reach who works.
    pub route: &'static Route,
    serve: Serve,
    dispatcher: u32,
    session: String,
    tasks: RefCell<Vec<String>>,
}

impl<'a> Chat<'a> {
    /// Starts a dispatcher, and a session whose tasks come from a chat.
    ///
    /// # Panics
    /// When there is no such thing.
    #[must_use]
    pub fn begin(desk: &'a Desk, route: &'static Route) -> Self {
        let machine = &desk.machine;
        // A session begins with a task: with one that is stopped before anybody is there who could run it.
        let first = machine.add_with(["--agent", desk.agent, "begin"]);
        let _ = machine.run(["task", "stop", &first]).expect(0);
        let session = text(&machine.task(&first)["session"]).to_owned();
        let mut serve = machine.serve([] as [&str; 0]);
        let dispatcher = serve.pid();
        Self { desk, route, serve, dispatcher, session, tasks: RefCell::default() }
    }

    /// Asks for something with these arguments of `task add` besides.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn ask(&self, args: &[&str], prompt: &str) -> Turn<'_> {
        let mut command = self.desk.machine.boocoder(["task", "add", "--agent", self.desk.agent]);
        command.args(["--session", &self.session]).args(args).arg(prompt);
        let mut added = Live::start(command).finish().expect(0);
        let id = added.stdout.pop().expect("its id");
        self.tasks.borrow_mut().push(id.clone());
        Turn::watch(self, id)
    }

    /// Has the model answer a prompt by this script, and the turn run to its end; what is asked leave for is allowed.
    pub fn tell(&self, prompt: &str, script: Script) -> Done {
        self.desk.server.when(prompt, script);
        self.ask(&["--allow"], prompt).finish()
    }

    /// What was asked for and what was answered, as a person would read it.
    #[must_use]
    pub fn story(&self) -> String {
        let tasks = self.tasks.borrow();
        let shown = tasks.iter().map(|id| {
            let shown = self.desk.machine.run(["task", "show", id]).stdout.join("\n");
            shown.chars().take(LONGEST).collect::<String>() + "\n"
        });
        shown.collect()
    }

    /// The agents' processes: whatever is there but boocoder's own, of which a supervisor ends after what it watched.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let ours = binary().canonicalize().expect("the binary");
        let is_agent = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe != ours);
        self.others().into_iter().filter(is_agent).collect()
    }

    /// All processes but the dispatcher.
    fn others(&self) -> Vec<u32> {
        self.desk.machine.processes().into_iter().filter(|pid| *pid != self.dispatcher).collect()
    }

    /// Whether one of these processes is there still, where the route keeps one, and none at all where it does not.
    #[must_use]
    pub fn keeps_as_it_should(&self, before: &[u32]) -> bool {
        let now = self.processes();
        if self.route.keeps_a_process() { now.iter().any(|pid| before.contains(pid)) } else { now.is_empty() }
    }

    /// What is not as it should be otherwise.
    #[must_use]
    pub const fn not_kept(&self) -> &'static str {
        if self.route.keeps_a_process() { "its process is not kept" } else { "something of it runs on" }
    }

    /// Kills whatever is kept, as `kill -9` does, and waits until its supervisor has seen that.
    ///
    /// # Panics
    /// When it does not.
    pub fn kill_what_is_kept(&self) {
        for pid in self.processes() {
            // It may be gone with another one.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
        assert!(comes(|| self.others().is_empty()), "what was killed stays");
    }

    /// Closes the session, then stops the dispatcher; says what is left that should not be.
    ///
    /// # Panics
    /// When one of them fails.
    #[must_use]
    pub fn end(self) -> Vec<&'static str> {
        let machine = &self.desk.machine;
        let mut left = Vec::new();
        let close = machine.start(["session", "close", &self.session]);
        let _ = close.with_patience(PATIENCE).finish().expect(0);
        // opencode's server is not the session's, but the dispatcher's.
        let is_shared = self.route.way == Way::OpencodeServer;
        if !is_shared && !self.processes().is_empty() {
            left.push("processes of a closed session");
        }
        if !machine.worktrees().is_empty() {
            left.push("worktrees of a closed session");
        }
        let _ = self.serve.stop().expect(0);
        if !machine.processes().is_empty() {
            left.push("processes of a stopped dispatcher");
        }
        if !machine.node_locks().is_empty() {
            left.push("locks of a stopped dispatcher");
        }
        left
    }
}
