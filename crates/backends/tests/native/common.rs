//! A worktree, a service, and a turn.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backends::launch::Launcher;
use backends::native::{Endpoint, NativeInference, NativeSettings};
use backends::process::{RunTag, Supervisor, leftovers};
use dispatch_core::agent::{
    AgentUpdate, Answer, End, EndedHow, Failure, NoticeCode, OwnSettings, PermissionRequest, ToolCall, Usage,
};
use dispatch_core::ids::{ChatId, Epoch, SessionId, TaskId};
use dispatch_core::ports::{
    AgentControl, AgentSession, Backend, Close, Opened, Prompt, SessionInfo, SessionSpec,
};
use dispatch_core::task::PermissionPolicy;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Reply, Server};

/// How long anything may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// This test program is also the supervisor of the commands.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    backends::process::supervise_if_asked();
}

/// A service and a folder for the work.
pub struct Fixture {
    pub server: Server,
    pub place: TempDir,
    pub settings: NativeSettings,
    pub spec: SessionSpec,
}

/// A turn under way.
pub struct Turn {
    pub session: Box<dyn AgentSession>,
    pub control: Arc<dyn AgentControl>,
    pub info: SessionInfo,
    pub updates: Vec<AgentUpdate>,
    /// What is answered to requests for leave.
    pub answer: Answer,
    tag: RunTag,
}

impl Fixture {
    pub async fn new(answers: impl IntoIterator<Item = Reply>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let server = Server::start(answers).await;
        let place = tempfile::tempdir().unwrap();
        let cwd = place.path().join("tree");
        std::fs::create_dir(&cwd).unwrap();
        let spec = SessionSpec {
            task: TaskId::from_random([7; 16]),
            epoch: Epoch(1),
            session: SessionId::from_random([6; 16]),
            chat: ChatId::from_random([8; 16]),
            run_tag: format!("native-test-{}/{number}", std::process::id()),
            agent: None,
            cwd,
            model: None,
            mode: None,
            thinking: None,
            permissions: PermissionPolicy::Ask,
            resume: None,
            resume_epoch: None,
            own: OwnSettings::default(),
            history: Vec::new(),
        };
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
        let backend = NativeInference::new(self.settings.clone());
        let Opened { session, control } = backend.open(self.spec.clone()).await.unwrap();
        let tag = RunTag::new(self.spec.run_tag.clone()).unwrap();
        Turn {
            session,
            control,
            info: SessionInfo::default(),
            updates: Vec::new(),
            answer: Answer::Allow,
            tag,
        }
    }

    pub async fn prompt(&self, text: &str) -> Turn {
        let mut turn = self.open().await;
        turn.info = within(turn.session.start()).await.unwrap();
        turn.session.prompt(Prompt { text: text.to_owned() }).await.unwrap();
        turn
    }

    /// A whole turn, everything allowed.
    pub async fn run(&self) -> (Said, End) {
        self.run_answering(Answer::Allow).await
    }

    pub async fn run_answering(&self, answer: Answer) -> (Said, End) {
        let mut turn = self.prompt("do it").await;
        turn.answer = answer;
        let end = turn.end().await;
        (turn.close().await, end)
    }

    pub async fn start_failure(&self) -> Failure {
        let mut turn = self.open().await;
        let failure = within(turn.session.start()).await.unwrap_err();
        turn.close().await;
        failure
    }
}

impl Turn {
    /// Waits for the end, and answers what is asked on the way.
    pub async fn end(&mut self) -> End {
        let mut answered = 0;
        loop {
            let end = within(self.session.next(&mut self.updates)).await;
            for update in &self.updates[answered..] {
                if let AgentUpdate::Permission(request) = update {
                    self.control.answer("permission-77", Answer::Allow).await;
                    self.control.answer(&request.id, self.answer).await;
                }
            }
            answered = self.updates.len();
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Waits until something was said that fits.
    pub async fn until(&mut self, fits: impl Fn(&AgentUpdate) -> bool) {
        while !self.updates.iter().any(&fits) {
            let end = within(self.session.next(&mut self.updates)).await;
            assert!(end.is_none(), "ended early: {end:?} after {:?}", self.updates);
        }
    }

    /// Lets it go and looks that nothing of it is left.
    pub async fn close(self) -> Said {
        within(self.session.close(Close::Return)).await;
        assert_eq!(leftovers(&self.tag), []);
        Said(self.updates)
    }
}

/// What was said in a turn.
pub struct Said(pub Vec<AgentUpdate>);

impl Said {
    pub fn text(&self) -> String {
        self.all(|update| match update {
            AgentUpdate::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .concat()
    }

    pub fn reasoning(&self) -> String {
        self.all(|update| match update {
            AgentUpdate::Reasoning(text) => Some(text.as_str()),
            _ => None,
        })
        .concat()
    }

    /// The tool calls, merged.
    pub fn tools(&self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = Vec::new();
        for update in &self.0 {
            if let AgentUpdate::ToolCall(patch) = update {
                match calls.iter_mut().find(|call| call.id == patch.id) {
                    Some(call) => call.apply(patch.clone()),
                    None => calls.push(ToolCall::begin(patch.clone())),
                }
            }
        }
        calls
    }

    pub fn permissions(&self) -> Vec<&PermissionRequest> {
        self.all(|update| match update {
            AgentUpdate::Permission(request) => Some(request),
            _ => None,
        })
    }

    pub fn notices(&self, code: NoticeCode) -> Vec<&str> {
        self.all(|update| match update {
            AgentUpdate::Notice(notice) if notice.code == code => Some(notice.text.as_str()),
            _ => None,
        })
    }

    pub fn all<'a, T>(&'a self, pick: impl Fn(&'a AgentUpdate) -> Option<T>) -> Vec<T> {
        self.0.iter().filter_map(pick).collect()
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

/// Fails the test when it takes too long.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("because it must not take that long")
}
