//! An agent that follows a script, in this process.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use dispatch_core::{
    agent::{AgentUpdate, Answer, End, EndedHow, Failure, Notice, NoticeCode},
    ids::ChatId,
    ports::{
        AgentControl, AgentSession, Agents, Backend, Close, Opened, Prompt, SessionInfo, SessionSpec,
        WarmAgent,
    },
    profile::{BackendProfile, Conversation, Life, Stop},
    routing::{AgentFacts, Route, Routes},
    task::{Name, TerminalReason},
};
use tokio::sync::watch;

use super::plan::{Fault, Faults, Planted};

/// An agent that ends when it is asked to, so that no rung's time matters.
pub static OBEDIENT: BackendProfile = profile(&[
    (Stop::Ask, Duration::from_secs(60)),
    (Stop::Terminate, Duration::from_secs(60)),
    (Stop::Kill, Duration::from_secs(60)),
]);

/// An agent whose patience is tried: each rung gets a moment.
pub static STUBBORN: BackendProfile = profile(&[
    (Stop::Ask, Duration::from_millis(100)),
    (Stop::Terminate, Duration::from_millis(100)),
    (Stop::Kill, Duration::from_millis(100)),
]);

/// An obedient agent with a conversation for each chat, which it has forgotten by the next turn.
pub static FORGETFUL: BackendProfile =
    BackendProfile { route: Route::WarmAcp, conversation: Conversation::OfChat, ..profile(OBEDIENT.stop) };

const fn profile(stop: &'static [(Stop, Duration)]) -> BackendProfile {
    BackendProfile {
        name: "scripted",
        route: Route::OneShotAcp,
        life: Life::PerTurn,
        conversation: Conversation::OfTask,
        stop,
    }
}

/// What the agent does next.
#[derive(Debug, Clone)]
pub enum Step {
    /// Tells something.
    Say(Vec<AgentUpdate>),
    /// Writes a file of its worktree.
    Write(&'static str, &'static str),
    /// Says so many pieces of text of so many bytes, each as soon as the last was taken.
    Flood(usize, usize),
    /// Does nothing until a method of a port was called so often.
    AwaitCall(&'static str, usize),
    /// Does nothing until it is asked to stop.
    AwaitStop,
    /// Does nothing until so many answers to its questions came.
    AwaitAnswers(usize),
    /// Does nothing, whatever comes.
    Hang,
    /// Returns at once with neither news nor an end, again and again.
    Spin,
    /// Ends.
    End(EndedHow),
    /// Says a last thing and ends, in one.
    SayAndEnd(Vec<AgentUpdate>, EndedHow),
}

impl Step {
    /// Says a text.
    pub fn text(text: &str) -> Self {
        Self::Say(vec![AgentUpdate::Text(text.to_owned())])
    }
}

/// What the agent was told.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The prompts.
    pub prompts: Vec<String>,
    /// The rungs of stop ladders.
    pub stops: Vec<Stop>,
    /// The answers to permission requests.
    pub answers: Vec<(String, Answer)>,
    /// How its sessions were closed.
    pub closes: Vec<Close>,
    /// How many sessions are open.
    pub open: usize,
    /// The most that were open at once, of all agents under `None` and of each.
    pub most: BTreeMap<Option<Name>, usize>,
    /// The agents of the open ones.
    agents: Vec<Option<Name>>,
    /// How many pieces of a flood were taken.
    pub taken: usize,
}

impl Seen {
    fn opened(&mut self, agent: Option<Name>) {
        self.open += 1;
        self.agents.push(agent.clone());
        let of_agent = self.agents.iter().filter(|open| **open == agent).count();
        for (whose, open) in [(None, self.open), (agent, of_agent)] {
            let most = self.most.entry(whose).or_default();
            *most = open.max(*most);
        }
    }
}

/// An agent that follows a script, chosen by its prompt; it never goes on with a conversation.
pub struct ScriptedAgent {
    shared: Arc<Shared>,
}

struct Shared {
    faults: Arc<Faults>,
    profile: &'static BackendProfile,
    scripts: Mutex<HashMap<String, Vec<Step>>>,
    seen: watch::Sender<Seen>,
    kept: Mutex<Vec<WarmAgent>>,
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Vec<WarmAgent>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scripts(&self) -> MutexGuard<'_, HashMap<String, Vec<Step>>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(note);
    }
}

impl ScriptedAgent {
    pub(super) fn new(faults: Arc<Faults>, profile: &'static BackendProfile) -> Self {
        let seen = watch::Sender::new(Seen::default());
        let (scripts, kept) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { faults, profile, scripts, seen, kept }) }
    }

    /// What it says that is kept between turns from now on.
    pub fn keep(&self, kept: Vec<WarmAgent>) {
        *self.shared.kept() = kept;
    }

    /// What it does when it is given this prompt.
    pub fn script(&self, prompt: &str, steps: &[Step]) {
        self.shared.scripts().insert(prompt.to_owned(), steps.to_vec());
    }

    /// What it was told so far.
    pub fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// Waits until it was told something.
    ///
    /// # Panics
    /// When it is not.
    pub async fn wait_until(&self, wanted: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.shared.seen.subscribe();
        let came = tokio::time::timeout(super::plan::PATIENCE, seen.wait_for(wanted)).await;
        came.unwrap_or_else(|_| panic!("it did not come: {:?}", self.seen())).expect("it lives").clone()
    }
}

fn failure(_: Fault, planted: Planted) -> Failure {
    Failure::new(TerminalReason::CouldNotStart, planted.to_string())
}

#[async_trait]
impl Agents for ScriptedAgent {
    fn facts(&self, _: &Name) -> AgentFacts {
        self.shared.faults.at_once("facts");
        AgentFacts::Installed { by: self.available() }
    }

    fn available(&self) -> Routes {
        Routes::of(&[self.shared.profile.route, Route::OneShotAcp])
    }

    fn backend(&self, _: Route) -> Option<Arc<dyn Backend>> {
        self.shared.faults.at_once("backend");
        Some(Arc::new(ScriptedBackend(Arc::clone(&self.shared))))
    }

    fn warm(&self) -> Vec<WarmAgent> {
        self.shared.faults.at_once("warm");
        self.shared.kept().clone()
    }

    async fn close_chats(&self, _: &[ChatId]) {
        self.shared.faults.before("close_chats").await;
    }

    async fn end_idle(&self) {
        self.shared.faults.at_once("end_idle");
    }

    async fn shut_down(&self) {
        self.shared.faults.at_once("shut_down");
    }
}

struct ScriptedBackend(Arc<Shared>);

#[async_trait]
impl Backend for ScriptedBackend {
    fn profile(&self) -> &'static BackendProfile {
        self.0.faults.at_once("profile");
        self.0.profile
    }

    async fn open(&self, spec: SessionSpec) -> Result<Opened, Failure> {
        let open = async {
            let control = Arc::new(ScriptedControl(Arc::clone(&self.0)));
            let told = self.0.seen.subscribe();
            let session = ScriptedSession {
                open: Open::new(&self.0, spec.agent),
                cwd: spec.cwd,
                is_resumed: spec.resume.is_some(),
                steps: vec![],
                next: 0,
                told,
            };
            Ok(Opened { session: Box::new(session), control })
        };
        self.0.faults.around("open", open, failure).await
    }

    async fn undone(&self) {
        self.0.faults.before("undone").await;
    }
}

/// An open session; it is gone when this is.
struct Open(Arc<Shared>, Option<Name>);

impl Open {
    fn new(shared: &Arc<Shared>, agent: Option<Name>) -> Self {
        shared.note(|seen| seen.opened(agent.clone()));
        Self(Arc::clone(shared), agent)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.note(|seen| {
            seen.open -= 1;
            let closed = seen.agents.iter().position(|agent| *agent == self.1);
            closed.map(|closed| seen.agents.swap_remove(closed));
        });
    }
}

struct ScriptedSession {
    open: Open,
    cwd: PathBuf,
    is_resumed: bool,
    steps: Vec<Step>,
    next: usize,
    told: watch::Receiver<Seen>,
}

impl ScriptedSession {
    async fn wait_for(&mut self, wanted: impl FnMut(&Seen) -> bool) {
        self.told.wait_for(wanted).await.expect("the agent lives");
    }
}

#[async_trait]
impl AgentSession for ScriptedSession {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        let ready = async {
            let anew = Notice { code: NoticeCode::SessionNew, text: "the agent begins anew".into() };
            let notices = if self.is_resumed { vec![anew] } else { vec![] };
            Ok(SessionInfo { agent_session: Some("conversation".into()), notices, ..SessionInfo::default() })
        };
        self.open.0.faults.around("start", ready, failure).await
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        let shared = Arc::clone(&self.open.0);
        let take = async {
            shared.note(|seen| seen.prompts.push(prompt.text.clone()));
            // What is asked now comes last.
            let asked = prompt.text.rsplit("\n\n").next().unwrap_or_default();
            self.steps = shared.scripts().get(asked).cloned().expect("a prompt with a script");
            Ok(())
        };
        shared.faults.around("prompt", take, failure).await
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        self.open.0.faults.before("next").await;
        loop {
            match self.steps.get(self.next).cloned().expect("a script has an end") {
                Step::Say(updates) => {
                    self.next += 1;
                    into.extend(updates);
                    return None;
                }
                Step::Write(path, content) => fs::write(self.cwd.join(path), content).expect("a worktree"),
                Step::Flood(0, _) => {}
                Step::Flood(pieces, bytes) => {
                    self.steps[self.next] = Step::Flood(pieces - 1, bytes);
                    self.open.0.note(|seen| seen.taken += 1);
                    into.push(AgentUpdate::Text("x".repeat(bytes)));
                    return None;
                }
                Step::AwaitCall(call, times) => self.open.0.faults.until_made(call, times).await,
                Step::AwaitStop => self.wait_for(|seen| !seen.stops.is_empty()).await,
                Step::AwaitAnswers(count) => self.wait_for(|seen| seen.answers.len() >= count).await,
                Step::Hang => std::future::pending().await,
                Step::Spin => return None,
                Step::End(how) => return Some(End::new(how)),
                Step::SayAndEnd(updates, how) => {
                    into.extend(updates);
                    return Some(End::new(how));
                }
            }
            self.next += 1;
        }
    }

    async fn close(self: Box<Self>, how: Close) {
        let shared = Arc::clone(&self.open.0);
        shared.note(|seen| seen.closes.push(how));
        shared.faults.before("close").await;
    }
}

struct ScriptedControl(Arc<Shared>);

#[async_trait]
impl AgentControl for ScriptedControl {
    async fn stop(&self, rung: Stop) {
        self.0.faults.before("stop").await;
        self.0.note(|seen| seen.stops.push(rung));
    }

    async fn answer(&self, id: &str, answer: Answer) {
        self.0.faults.before("answer").await;
        self.0.note(|seen| seen.answers.push((id.to_owned(), answer)));
    }
}
