//! A worktree, a service, and its turns.

use std::path::Path;
use std::time::Duration;

use backends::launch::Launcher;
use backends::native::{Endpoint, NativeInference, NativeSettings};
use backends::process::Supervisor;
use dispatch_core::agent::{AgentUpdate, Answer, End, EndedHow, Failure, PermissionRequest, Usage};
use dispatch_core::ports::{Close, SessionSpec};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Reply, Server};
use crate::support::said::{Said, asked};
use crate::support::spec::spec;
use crate::support::turn::Turn;
use crate::support::waiting::within;

/// A service and a folder for the work.
pub struct Fixture {
    pub server: Server,
    pub place: TempDir,
    pub settings: NativeSettings,
    pub spec: SessionSpec,
}

impl Fixture {
    pub async fn new(answers: impl IntoIterator<Item = Reply>) -> Self {
        let server = Server::start(answers).await;
        let place = tempfile::tempdir().unwrap();
        let cwd = place.path().join("tree");
        std::fs::create_dir(&cwd).unwrap();
        let spec = spec(&cwd);
        let endpoint = Endpoint::new(&server.endpoint()).unwrap();
        let mut settings = NativeSettings::new(Launcher::new(Supervisor::SelfExe), endpoint);
        settings.limits.first_pause = Duration::from_millis(1);
        settings.limits.retries = 4;
        Self { server, place, settings, spec }
    }

    pub fn worktree(&self) -> &Path {
        &self.spec.cwd
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.worktree().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.worktree().join(path)).unwrap()
    }

    pub async fn open(&self) -> Turn {
        Turn::open(&NativeInference::new(self.settings.clone()), self.spec.clone()).await.unwrap()
    }

    pub async fn prompt(&self, text: &str) -> Turn {
        let mut turn = self.open().await;
        turn.start().await.unwrap();
        turn.prompt(text).await;
        turn
    }

    /// A whole turn, everything allowed.
    pub async fn run(&self) -> (Said, End) {
        self.run_answering(Answer::Allow).await
    }

    pub async fn run_answering(&self, answer: Answer) -> (Said, End) {
        let mut turn = self.prompt("do it").await;
        let end = turn.end_answering(answer).await;
        (turn.close(Close::Return).await, end)
    }

    pub async fn start_failure(&self) -> Failure {
        let mut turn = self.open().await;
        let failure = turn.start().await.unwrap_err();
        turn.close(Close::Return).await;
        failure
    }
}

impl Turn {
    /// Waits for the end, and gives this answer to what is asked on the way.
    pub async fn end_answering(&mut self, answer: Answer) -> End {
        let mut answered = 0;
        loop {
            let end = within(self.session.next(&mut self.updates)).await;
            for request in self.updates[answered..].iter().filter_map(asked) {
                self.control.answer("permission-77", Answer::Allow).await;
                self.control.answer(&request.id, answer).await;
            }
            answered = self.updates.len();
            if let Some(end) = end {
                return end;
            }
        }
    }
}

impl Said {
    pub fn permissions(&self) -> Vec<PermissionRequest> {
        self.all(asked)
    }

    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for update in &self.0 {
            if let AgentUpdate::Usage(newer) = update {
                usage.update(newer.clone());
            }
        }
        usage
    }
}

/// The failure that a turn ended with.
pub fn failure(end: &End) -> &Failure {
    match &end.how {
        EndedHow::Failed(failure) | EndedHow::Crashed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// What the model was told of its tools' results, in the last request.
pub fn results(server: &Server) -> Vec<String> {
    let last = server.chats().pop().unwrap();
    let messages = last.body["messages"].as_array().unwrap();
    let results = messages.iter().filter(|message| message["role"] == "tool");
    results.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

/// The roles of a request's messages.
pub fn roles(body: &Value) -> Vec<&str> {
    body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect()
}
