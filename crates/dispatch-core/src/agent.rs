//! What any agent can tell us, in our words. Every backend translates its wire messages into these.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::task::TerminalReason;

/// One piece of news from a running agent, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentUpdate {
    /// More of the answer's text.
    Text(String),
    /// More of the agent's reasoning.
    Reasoning(String),
    /// A tool call begins or changes.
    ToolCall(ToolCallPatch),
    /// The agent's plan, whole; it replaces the one before.
    Plan(Vec<PlanEntry>),
    /// Tokens, cost and context of *this turn* so far; a field that is set replaces the one before.
    Usage(Usage),
    /// The slash commands that the agent now offers, whole.
    Commands(Vec<AgentCommand>),
    /// What may be chosen with the agent now, and what is chosen, whole.
    Settings(AgentSettings),
    /// The agent asks for leave to do something.
    Permission(PermissionRequest),
    /// The agent takes the request for leave of this id back: it wants no answer any more.
    PermissionWithdrawn(String),
    /// Something that the user should know about this turn.
    Notice(Notice),
    /// The agent's own id of the conversation, where it tells it only now, or another than it told before.
    Conversation(String),
}

/// How a tool call stands. Agents may leave one open for good: the turn closes it as [`Self::Cancelled`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// Announced, not begun (perhaps waiting for a permission).
    #[default]
    Pending,
    /// At work.
    InProgress,
    /// Done.
    Completed,
    /// Failed, by the agent's own word.
    Failed,
    /// Still open when its turn ended.
    Cancelled,
}

impl ToolStatus {
    /// Whether nothing more is expected of the call.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What a tool call produced or shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolContent {
    /// Text, for example a command's output.
    Text {
        /// The text so far, whole.
        text: String,
    },
    /// A change to one file, as the agent describes it.
    Diff {
        /// The file, as the agent named it.
        path: String,
        /// What was there; absent for a new file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_text: Option<String>,
        /// What is there now.
        new_text: String,
    },
    /// A terminal that we run for the agent.
    Terminal {
        /// The terminal's id.
        terminal_id: String,
    },
    /// Anything else, as the agent sent it.
    Other {
        /// The agent's own JSON.
        value: Value,
    },
}

/// A tool call as it stands, merged from everything that was said of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The agent's id of the call, unique within its turn.
    pub id: String,
    /// What a person reads.
    pub title: String,
    /// The kind of tool in the agent's word (`edit`, `execute`, `read`, …); `other` where it gave none.
    pub kind: String,
    /// How it stands.
    pub status: ToolStatus,
    /// What it shows or produced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<ToolContent>,
    /// The files that it touches, as the agent named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<String>,
    /// Its arguments, as the agent sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Its raw result, as the agent sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// A change to a tool call: what is `None` stays as it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolCallPatch {
    /// The agent's id of the call.
    pub id: String,
    /// A new title.
    pub title: Option<String>,
    /// A new kind.
    pub kind: Option<String>,
    /// A new status.
    pub status: Option<ToolStatus>,
    /// The content, whole.
    pub content: Option<Vec<ToolContent>>,
    /// The locations, whole.
    pub locations: Option<Vec<String>>,
    /// The arguments, whole.
    pub input: Option<Value>,
    /// The raw result, whole.
    pub output: Option<Value>,
}

impl ToolCall {
    /// The call that a first patch makes: `pending` and of kind `other` where the agent said nothing.
    #[must_use]
    pub fn begin(patch: ToolCallPatch) -> Self {
        let mut call = Self { id: patch.id.clone(), kind: "other".into(), ..Self::default() };
        call.apply(patch);
        call
    }

    /// Merges a patch. A late patch may still change a title or an output after the call has ended
    /// (goose does), but never reopens it.
    pub fn apply(&mut self, patch: ToolCallPatch) {
        let ToolCallPatch { id: _, title, kind, status, content, locations, input, output } = patch;
        if let Some(status) = status
            && (status.is_terminal() || !self.status.is_terminal())
        {
            self.status = status;
        }
        replace(&mut self.title, title);
        replace(&mut self.kind, kind);
        replace(&mut self.content, content);
        replace(&mut self.locations, locations);
        self.input = input.or(self.input.take());
        self.output = output.or(self.output.take());
    }
}

fn replace<T>(slot: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *slot = new;
    }
}

/// One step of the agent's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// What is to be done.
    pub content: String,
    /// `pending`, `in_progress` or `completed`, in the agent's word.
    pub status: String,
    /// `high`, `medium` or `low`, in the agent's word; empty where it gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub priority: String,
}

/// What a turn used. Everything is absent until an agent reports it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read by the model in this turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens written by the model in this turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// All tokens of this turn, as the agent counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Input tokens that came from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Tokens of the context window in use after this turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_used: Option<u64>,
    /// The size of the context window, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_size: Option<u64>,
    /// What this turn cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// How much, in units of the currency.
    pub amount: f64,
    /// The currency's code, for example `USD`.
    pub currency: String,
}

impl Usage {
    /// Takes over every field that `newer` sets.
    pub fn update(&mut self, newer: Self) {
        let Self {
            input_tokens,
            output_tokens,
            total_tokens,
            cached_tokens,
            context_used,
            context_size,
            cost,
        } = newer;
        self.input_tokens = input_tokens.or(self.input_tokens);
        self.output_tokens = output_tokens.or(self.output_tokens);
        self.total_tokens = total_tokens.or(self.total_tokens);
        self.cached_tokens = cached_tokens.or(self.cached_tokens);
        self.context_used = context_used.or(self.context_used);
        self.context_size = context_size.or(self.context_size);
        self.cost = cost.or(self.cost.take());
    }

    /// Whether nothing was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A slash command that the agent offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCommand {
    /// The name, without the slash.
    pub name: String,
    /// What it does.
    pub description: String,
    /// What to type after it, where it takes input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What may be chosen with an agent (SPEC T8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Its models.
    #[serde(default, skip_serializing_if = "Setting::is_empty")]
    pub model: Setting,
    /// Its modes.
    #[serde(default, skip_serializing_if = "Setting::is_empty")]
    pub mode: Setting,
    /// Its thinking options.
    #[serde(default, skip_serializing_if = "Setting::is_empty")]
    pub thinking: Setting,
}

impl AgentSettings {
    /// Whether nothing may be chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was chosen with an agent before tasks asked for something else: what a task that asks for nothing gets
/// (SPEC T8). None where nothing else was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSettings {
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The thinking option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
}

/// One thing that may be chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The id of what is chosen, where the agent told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What there is, in the agent's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
}

impl Setting {
    /// Whether nothing is known of it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.current.is_none() && self.choices.is_empty()
    }
}

/// One of the things that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What a task names it by.
    pub id: String,
    /// What a person reads.
    pub name: String,
    /// What it is; empty where the agent says nothing of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// What an agent was last known to offer, whoever asked it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentOffer {
    /// Its slash commands.
    pub commands: Vec<AgentCommand>,
    /// What may be chosen with it.
    pub settings: AgentSettings,
}

/// The agent's request for leave to do something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionRequest {
    /// Our id of the request: a backend's is unique within its turn, to which the driver adds the claim, so that it is
    /// unique within its task.
    pub id: String,
    /// What it is about, as far as the agent told.
    pub tool_call: ToolCall,
    /// The answers that the agent accepts, in its order.
    pub options: Vec<PermissionOption>,
    /// The files that it is about, relative to the worktree's top folder, where all that the agent named lie
    /// inside; none where it named none, or one outside. The driver works this out: a backend leaves it empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// One answer that an agent accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionOption {
    /// The agent's own id of the option.
    pub id: String,
    /// What a person reads.
    pub name: String,
    /// What choosing it means.
    pub kind: OptionKind,
}

/// What choosing a permission option means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionKind {
    /// This once.
    AllowOnce,
    /// From now on; with some agents for ever, so it is never chosen for a user (SPEC 8).
    AllowAlways,
    /// Not this time.
    RejectOnce,
    /// Never again; with some agents for ever, so it is not chosen for a user either.
    RejectAlways,
    /// A kind that this build does not know.
    Other,
}

/// The answer to a permission request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes, this once.
    Allow,
    /// No.
    Deny,
    /// No, as nobody answered in time.
    Lapsed,
    /// Nobody decided: the turn is being stopped, or the agent has taken the request back.
    Cancelled,
}

impl Answer {
    /// Why the answer is no, for an agent that can be told.
    #[must_use]
    pub const fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Allow => None,
            Self::Deny => Some("the user refused this"),
            Self::Lapsed => Some("nobody answered in time, so this is refused"),
            Self::Cancelled => Some("the turn is being stopped"),
        }
    }
}

impl PermissionRequest {
    /// The id of the agent's option that says `answer`: by kind, once only, never an "always", be it to allow or to
    /// refuse. `None` means that the request is answered as cancelled.
    #[must_use]
    pub fn option_for(&self, answer: Answer) -> Option<&str> {
        let of_kind = |kind| self.options.iter().find(|option| option.kind == kind).map(|o| o.id.as_str());
        match answer {
            Answer::Allow => of_kind(OptionKind::AllowOnce),
            Answer::Deny | Answer::Lapsed => of_kind(OptionKind::RejectOnce),
            Answer::Cancelled => None,
        }
    }
}

/// Something that the user should know about a turn; it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of thing it is.
    pub code: NoticeCode,
    /// What a person reads.
    pub text: String,
}

/// The closed set of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeCode {
    /// The turn has no `before` checkpoint to go back to.
    NoCheckpoint,
    /// The agent's conversation was loaded again.
    SessionLoaded,
    /// The agent's conversation was replayed to it as text.
    SessionReplayed,
    /// The agent starts a new conversation.
    SessionNew,
    /// The agent's process was started again after a crash.
    BackendRestarted,
    /// The agent did not obey a Stop: the turn is cut off, and the conversation goes on in another process.
    BackendRecycled,
    /// The agent named is not available; the native loop runs instead.
    FellBackToNative,
    /// A model, mode or thinking option that the agent lacks was left out.
    OptionIgnored,
    /// The worktree does not see changes of the session that are not applied yet.
    UnappliedChanges,
    /// Something about what the agent sent: skipped lines, unknown messages.
    AgentOddity,
    /// A permission was answered by policy.
    PermissionByPolicy,
    /// Old parts of the conversation were shortened or left out to fit the model's context.
    ContextShortened,
    /// A request that the model's service had no time for is made again.
    RequestRepeated,
}

/// How an agent's attempt ended, as the agent or its process tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// How it ended.
    pub how: EndedHow,
    /// What the agent reported at the end; merged over what came before.
    pub usage: Usage,
    /// What its process printed outside the protocol.
    pub printed: Printed,
}

impl End {
    /// An end without usage or stray output.
    #[must_use]
    pub fn new(how: EndedHow) -> Self {
        Self { how, usage: Usage::default(), printed: Printed::default() }
    }
}

/// The ways in which an attempt ends.
#[derive(Debug, Clone, PartialEq)]
pub enum EndedHow {
    /// The agent says that it is done.
    Completed,
    /// The agent says that it was cancelled, whoever asked.
    Cancelled,
    /// The agent says, or its exit code shows, that it failed.
    Failed(Failure),
    /// The process or the connection was lost.
    Crashed(Failure),
}

impl std::fmt::Display for EndedHow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Failed(failure) => write!(f, "failed: {}", failure.reason),
            Self::Crashed(failure) => write!(f, "crashed: {}", failure.reason),
        }
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The kind of failure.
    pub reason: TerminalReason,
    /// What a person reads: the agent's own words where it has any.
    pub text: String,
}

impl Failure {
    /// A failure of a kind, in these words.
    pub fn new(reason: TerminalReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// What a process printed that was not part of its protocol; both are bounded by the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Printed {
    /// Standard output that could not be parsed.
    pub stdout: String,
    /// The last of standard error.
    pub stderr: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kinds: &[OptionKind]) -> PermissionRequest {
        let option = |kind: &OptionKind| PermissionOption {
            id: format!("{kind:?}"),
            name: String::new(),
            kind: *kind,
        };
        PermissionRequest {
            id: "1".into(),
            tool_call: ToolCall::default(),
            options: kinds.iter().map(option).collect(),
            paths: vec![],
        }
    }

    #[test]
    fn always_is_never_chosen_for_a_user() {
        use OptionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};
        let asked = request(&[AllowAlways, AllowOnce, RejectAlways, RejectOnce]);
        assert_eq!(asked.option_for(Answer::Allow), Some("AllowOnce"));
        assert_eq!(asked.option_for(Answer::Deny), Some("RejectOnce"));
        assert_eq!(asked.option_for(Answer::Cancelled), None);
        let only_always = request(&[AllowAlways, RejectAlways]);
        for answer in [Answer::Allow, Answer::Deny, Answer::Lapsed, Answer::Cancelled] {
            assert_eq!(only_always.option_for(answer), None, "{answer:?}");
        }
    }

    #[test]
    fn a_late_patch_names_but_never_reopens_a_call() {
        let patch = |status, title: &str| ToolCallPatch {
            id: "t".into(),
            status: Some(status),
            title: Some(title.into()),
            ..ToolCallPatch::default()
        };
        let mut call = ToolCall::begin(patch(ToolStatus::Completed, "first"));
        call.apply(patch(ToolStatus::InProgress, "second"));
        assert_eq!((call.status, call.title.as_str()), (ToolStatus::Completed, "second"));
    }
}
