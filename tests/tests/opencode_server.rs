//! The opencode server route with the real opencode: text, edits, permissions, Stop, follow-ups, crashes.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use backends::{
    launch::Launcher,
    opencode_server::{OpencodeServer, OpencodeSettings},
    pool::{Keeper, Pool, PoolSettings},
    process::{RunTag, Supervisor, leftovers},
    registry::{Registry, UserAgent},
};
use boocoder_tests::{
    model_server::{Call, ModelError, ModelServer, Moment, Reply, Script},
    product,
    real_agents::{Approval, OPENCODE, Site, tool},
};
use dispatch_core::{
    agent::{AgentUpdate, Answer, End, EndedHow, NoticeCode, OwnSettings, PermissionRequest, ToolCall},
    ids::{ChatId, Epoch, SessionId, TaskId},
    ports::{AgentControl, AgentSession, Backend, Close, Opened, Prompt, SessionInfo, SessionSpec},
    profile::Stop,
    task::{Name, PermissionPolicy, TerminalReason},
};
use tempfile::TempDir;

/// How long anything may take on a busy machine: the first use of a folder takes opencode seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// opencode, its model, and worktrees.
struct Desk {
    model: ModelServer,
    dir: TempDir,
    pool: Arc<Pool>,
    backend: OpencodeServer,
    run_tag: String,
}

/// A turn under way.
struct Turn {
    session: Box<dyn AgentSession>,
    control: Arc<dyn AgentControl>,
    info: SessionInfo,
    updates: Vec<AgentUpdate>,
}

impl Desk {
    fn new() -> Self {
        let (model, dir) = (ModelServer::start(), tempfile::tempdir().expect("a folder"));
        let site = Site { model_url: &model.url(), dir: &dir.path().join("agent"), approval: Approval::Ask };
        let program = Some(tool("opencode").to_str().expect("a plain path").to_owned());
        let env = OPENCODE.env(&site).into_iter().collect();
        let name = Name::new("opencode").expect("a name");
        let registry = Registry::new([(name, UserAgent { program, env, ..UserAgent::default() })]);
        let settings = OpencodeSettings::new(Launcher::new(Supervisor::Program(product::binary())));
        let pool = Pool::new(PoolSettings::default());
        let registry = Arc::new(registry.expect("a registry"));
        let backend = OpencodeServer::new(registry, settings, Arc::clone(&pool));
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let run_tag = format!("real-opencode-{}/{number}", std::process::id());
        Self { model, dir, pool, backend, run_tag }
    }

    /// The n-th worktree, which is made at its first use.
    fn worktree(&self, number: u8) -> std::path::PathBuf {
        let path = self.dir.path().join(format!("tree-{number}"));
        if !path.exists() {
            fs::create_dir(&path).expect("a folder");
            git(&path, &["init", "-q", "-b", "main"]);
            git(
                &path,
                &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "x"],
            );
        }
        path
    }

    fn spec(&self, number: u8, resume: Option<&str>) -> SessionSpec {
        SessionSpec {
            task: TaskId::from_random([number; 16]),
            epoch: Epoch(1),
            session: SessionId::from_random([number; 16]),
            chat: ChatId::from_random([number; 16]),
            run_tag: self.run_tag.clone(),
            agent: Name::new("opencode"),
            cwd: self.worktree(number),
            model: None,
            mode: None,
            thinking: None,
            permissions: PermissionPolicy::Ask,
            resume: resume.map(str::to_owned),
            resume_epoch: None,
            own: OwnSettings::default(),
            history: vec![],
        }
    }

    async fn start(&self, spec: SessionSpec) -> Turn {
        let Opened { mut session, control } = within(self.backend.open(spec)).await.expect("a server");
        let info = within(session.start()).await.expect("a conversation");
        Turn { session, control, info, updates: Vec::new() }
    }

    async fn prompt(&self, number: u8, resume: Option<&str>, text: &str) -> Turn {
        let mut turn = self.start(self.spec(number, resume)).await;
        let prompt = Prompt { text: text.to_owned() };
        within(turn.session.prompt(prompt)).await.expect("it goes out");
        turn
    }

    fn servers(&self) -> Vec<u32> {
        self.pool.warm().iter().map(|kept| kept.pid).collect()
    }

    async fn over(self) {
        within(self.pool.shut_down()).await;
        assert_eq!(leftovers(&RunTag::new(self.run_tag.clone()).expect("a tag")), []);
    }
}

impl Turn {
    async fn until<T>(&mut self, fits: impl Fn(&AgentUpdate) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.updates.iter().find_map(&fits) {
                return found;
            }
            let end = within(self.session.next(&mut self.updates)).await;
            assert!(end.is_none(), "ended early: {end:?} after {:?}", self.updates);
        }
    }

    async fn finish(mut self) -> (Vec<AgentUpdate>, End) {
        loop {
            if let Some(end) = within(self.session.next(&mut self.updates)).await {
                within(self.session.close(Close::Return)).await;
                return (self.updates, end);
            }
        }
    }

    fn conversation(&self) -> String {
        self.info.agent_session.clone().expect("an id")
    }

    fn codes(&self) -> Vec<NoticeCode> {
        self.info.notices.iter().map(|notice| notice.code).collect()
    }
}

fn text(updates: &[AgentUpdate]) -> String {
    let text = |update: &AgentUpdate| match update {
        AgentUpdate::Text(text) => Some(text.clone()),
        _ => None,
    };
    updates.iter().filter_map(text).collect()
}

fn tools(updates: &[AgentUpdate]) -> Vec<ToolCall> {
    let mut calls: Vec<ToolCall> = Vec::new();
    for update in updates {
        if let AgentUpdate::ToolCall(patch) = update {
            match calls.iter_mut().find(|call| call.id == patch.id) {
                Some(call) => call.apply(patch.clone()),
                None => calls.push(ToolCall::begin(patch.clone())),
            }
        }
    }
    calls
}

fn asked(update: &AgentUpdate) -> Option<PermissionRequest> {
    match update {
        AgentUpdate::Permission(request) => Some(request.clone()),
        _ => None,
    }
}

fn git(dir: &Path, args: &[&str]) {
    assert!(Command::new("git").args(args).current_dir(dir).status().expect("git").success());
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("because it must not take that long")
}

#[tokio::test]
async fn real_agent_opencode_server_streams_text_and_goes_on_with_its_conversation() {
    let desk = Desk::new();
    let script = Script::new().then(Reply::words(20).reasoning(["so ", "so"]).usage(500, 20));
    desk.model.when("first words", script);
    let turn = desk.prompt(1, None, "first words").await;
    let conversation = turn.conversation();
    assert!(turn.info.commands.iter().any(|command| command.name == "init"), "{:?}", turn.info.commands);
    assert_eq!(turn.info.settings.model.current.as_deref(), Some("mock/mock-1"));
    let modes: BTreeSet<_> = turn.info.settings.mode.choices.iter().map(|mode| mode.id.as_str()).collect();
    assert_eq!(modes, BTreeSet::from(["build", "plan"]));
    let (said, end) = turn.finish().await;
    assert_eq!(end.how, EndedHow::Completed);
    let words: String = (1..=20).map(|word| format!("word{word} ")).collect();
    assert_eq!(text(&said).trim_end(), words.trim_end());
    assert!(said.iter().any(|update| *update == AgentUpdate::Reasoning("so so".into())), "{said:?}");
    assert_eq!(
        (end.usage.total_tokens, end.usage.context_size),
        (Some(520), Some(100_000)),
        "{:?}",
        end.usage
    );

    desk.model.when("more words", Script::new().then(Reply::text("More.").usage(700, 3)));
    let turn = desk.prompt(1, Some(&conversation), "more words").await;
    assert_eq!((turn.conversation(), turn.codes()), (conversation.clone(), vec![NoticeCode::SessionLoaded]));
    let (said, end) = turn.finish().await;
    assert_eq!((text(&said).as_str(), end.usage.total_tokens), ("More.", Some(703)), "of this turn alone");
    let request = desk.model.wait_for(Moment::Ended, "more words");
    assert!(request.is_prompted_with("more words"));
    assert_eq!(desk.servers().len(), 1);

    // The same conversation does not work in another folder.
    let turn = desk.start(desk.spec(2, Some(&conversation))).await;
    assert_eq!(turn.codes(), [NoticeCode::SessionNew]);
    within(turn.session.close(Close::Return)).await;
    desk.over().await;
}

#[tokio::test]
async fn real_agent_opencode_server_edits_with_leave_only() {
    let desk = Desk::new();
    let write = |file: &str| Reply::text("I write. ").call(Call::write(file, "hello\n"));
    desk.model.when("make a", Script::new().then(write("a.txt")).then(Reply::text("Done.")));
    desk.model.when("make b", Script::new().then(write("b.txt")).then(Reply::text("Then not.")));
    let mut turn = desk.prompt(1, None, "make a").await;
    let request = turn.until(asked).await;
    assert_eq!(request.tool_call.kind, "edit");
    let file = desk.worktree(1).join("a.txt");
    assert_eq!(request.tool_call.locations, [file.to_str().expect("a plain path")]);
    assert!(!file.exists());
    turn.control.answer(&request.id, Answer::Allow).await;
    let conversation = turn.conversation();
    let (said, end) = turn.finish().await;
    assert_eq!((text(&said).as_str(), end.how), ("I write. Done.", EndedHow::Completed));
    assert_eq!(fs::read_to_string(&file).expect("it was written"), "hello\n");
    assert!(tools(&said).iter().all(|call| call.status.is_terminal()), "{:?}", tools(&said));

    let mut turn = desk.prompt(1, Some(&conversation), "make b").await;
    let request = turn.until(asked).await;
    turn.control.answer(&request.id, Answer::Deny).await;
    let (said, end) = turn.finish().await;
    assert_eq!((text(&said).as_str(), end.how), ("I write. Then not.", EndedHow::Completed));
    assert!(!desk.worktree(1).join("b.txt").exists());
    desk.over().await;
}

#[tokio::test]
async fn real_agent_opencode_server_stops_turns_and_stays() {
    let desk = Desk::new();
    desk.model.when("talk", Script::new().then(Reply::words(600).pace(Duration::from_millis(100))));
    desk.model.when("run it", Script::new().then(Reply::new().call(Call::shell("sleep 600"))));
    desk.model.when("ask me", Script::new().then(Reply::new().call(Call::write("a.txt", "x"))));
    let said = |update: &AgentUpdate| matches!(update, AgentUpdate::Text(_)).then_some(());
    let mut turn = desk.prompt(1, None, "please talk").await;
    let (kept, conversation) = (desk.servers(), turn.conversation());
    turn.until(said).await;
    turn.control.stop(Stop::Ask).await;
    let (updates, end) = turn.finish().await;
    assert_eq!(end.how, EndedHow::Cancelled);
    assert!(text(&updates).starts_with("word1 "), "{updates:?}");
    desk.model.wait_for(Moment::HungUp, "please talk");

    let mut turn = desk.prompt(1, Some(&conversation), "run it").await;
    let request = turn.until(asked).await;
    turn.control.answer(&request.id, Answer::Allow).await;
    let running = |update: &AgentUpdate| match update {
        AgentUpdate::ToolCall(patch) => patch.status.filter(|status| !status.is_terminal()).map(drop),
        _ => None,
    };
    turn.until(running).await;
    turn.control.stop(Stop::Ask).await;
    assert_eq!(turn.finish().await.1.how, EndedHow::Cancelled);

    let mut turn = desk.prompt(1, Some(&conversation), "ask me").await;
    turn.until(asked).await;
    turn.control.stop(Stop::Ask).await;
    assert_eq!(turn.finish().await.1.how, EndedHow::Cancelled);

    desk.model.when("and now", Script::new().then(Reply::text("Fine.")));
    let (updates, _) = desk.prompt(1, Some(&conversation), "and now").await.finish().await;
    assert_eq!(text(&updates), "Fine.");
    assert_eq!(updates.iter().filter_map(asked).count(), 0, "what was asked before is not asked again");
    assert_eq!(desk.servers(), kept);
    desk.over().await;
}

#[tokio::test]
async fn real_agent_opencode_server_that_is_killed_is_started_again_and_remembers() {
    let desk = Desk::new();
    desk.model.when("talk", Script::new().then(Reply::words(600).pace(Duration::from_millis(100))));
    let mut turn = desk.prompt(1, None, "please talk").await;
    let conversation = turn.conversation();
    turn.until(|update| matches!(update, AgentUpdate::Text(_)).then_some(())).await;
    let [pid] = desk.servers()[..] else { panic!("{:?}", desk.servers()) };
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).expect("it runs");
    let end = loop {
        if let Some(end) = within(turn.session.next(&mut turn.updates)).await {
            break end;
        }
    };
    assert!(matches!(&end.how, EndedHow::Crashed(failure) if failure.reason == TerminalReason::AgentCrashed));
    within(turn.session.close(Close::Kill)).await;

    desk.model.when("and now", Script::new().then(Reply::text("Fine.")));
    let turn = desk.prompt(1, Some(&conversation), "and now").await;
    assert_eq!(turn.codes(), [NoticeCode::BackendRestarted, NoticeCode::SessionLoaded]);
    let (updates, end) = turn.finish().await;
    assert_eq!((text(&updates).as_str(), end.how), ("Fine.", EndedHow::Completed));
    desk.over().await;
}

#[tokio::test]
async fn real_agent_opencode_server_says_why_a_turn_fails() {
    let desk = Desk::new();
    desk.model.when("no key", Script::new().then(ModelError::Unauthorised));
    let (_, end) = desk.prompt(1, None, "no key").await.finish().await;
    let EndedHow::Failed(failure) = end.how else { panic!("{end:?}") };
    assert_eq!(failure.reason, TerminalReason::Unauthorised);
    assert!(failure.text.contains("Incorrect API key"), "{}", failure.text);

    let mut spec = desk.spec(1, None);
    (spec.model, spec.mode) = (Name::new("nope"), Name::new("nope"));
    let turn = desk.start(spec).await;
    assert_eq!(turn.codes(), [NoticeCode::OptionIgnored, NoticeCode::OptionIgnored]);
    within(turn.session.close(Close::Return)).await;
    desk.over().await;
}

/// Two turns at once in two folders of one server hear nothing of each other.
#[tokio::test]
async fn real_agent_opencode_server_keeps_its_turns_apart() {
    let desk = Desk::new();
    for (words, word) in [("left side", "left "), ("right side", "right ")] {
        let deltas: Vec<&str> = std::iter::repeat_n(word, 40).collect();
        desk.model
            .when(words, Script::new().then(Reply::new().and_text(deltas).pace(Duration::from_millis(20))));
    }
    let (left, right) = tokio::join!(desk.prompt(1, None, "left side"), desk.prompt(2, None, "right side"));
    assert_eq!(desk.servers().len(), 1);
    let (left, right) = tokio::join!(left.finish(), right.finish());
    assert_eq!(text(&left.0), "left ".repeat(40));
    assert_eq!(text(&right.0), "right ".repeat(40));
    desk.over().await;
}
