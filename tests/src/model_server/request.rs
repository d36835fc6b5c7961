//! What an agent asks the model, in no wire format's words.

use serde_json::Value;

/// One request of an agent.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// The model's name.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The tools that the agent offers.
    pub tools: Vec<Tool>,
    /// The JSON schema that the answer must fit, if one is asked for.
    pub schema: Option<Value>,
    /// The `authorization` header, or what the format has in its place.
    pub credentials: Option<String>,
    /// The body as it came.
    pub body: Value,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The agent's own instructions, also those that it gives in the user's name.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

/// One entry of the conversation.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text of all its parts; without the agent's additions, if the user speaks.
    pub text: String,
    /// The tools that the model called in it.
    pub calls: Vec<ToolCall>,
}

/// A tool call that the model made.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The agent's name of the tool.
    pub name: String,
    /// The arguments.
    pub arguments: Value,
}

/// A tool that the agent offers.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The agent's name of the tool.
    pub name: String,
    /// JSON schema of the arguments.
    pub parameters: Value,
}

impl ModelRequest {
    /// A request that the agent makes for itself, such as a title for the session: it offers no tools, or
    /// but the one that qwen wants a form filled in with.
    pub fn is_side_request(&self) -> bool {
        self.tools.iter().all(|tool| tool.name == FORM)
    }

    /// The place in `messages` of the prompt that is being answered.
    pub fn prompt(&self) -> Option<usize> {
        self.messages.iter().rposition(|message| message.role == Role::User)
    }

    /// Whether the prompt that is being answered holds these words.
    pub fn is_prompted_with(&self, words: &str) -> bool {
        self.prompt().is_some_and(|place| self.messages[place].text.contains(words))
    }

    /// How many answers the model has given to the prompt: each ends with the results of its tool calls.
    ///
    /// goose hands one answer back as two messages, the text and the call, with a remark of its own between.
    pub fn answers(&self) -> usize {
        let since = self.messages.iter().skip(self.prompt().unwrap_or(0));
        let roles = since.map(|message| message.role);
        let mut roles: Vec<_> = roles.filter(|role| matches!(role, Role::Assistant | Role::Tool)).collect();
        roles.dedup();
        roles.iter().filter(|role| **role == Role::Assistant).count()
    }

    /// Where the agent works, if it says so; qwen does, whose tools want absolute paths.
    pub fn directory(&self) -> Option<String> {
        const SAYING: &str = "currently working in the directory: ";
        let body = self.body.to_string();
        let (_, rest) = body.split_once(SAYING)?;
        let end = rest.find(['\\', '"'])?;
        Some(rest[..end].to_owned())
    }

    /// The texts of the tool results since the prompt.
    pub fn tool_results(&self) -> impl Iterator<Item = &str> {
        let since = self.messages.iter().skip(self.prompt().unwrap_or(0));
        since.filter(|message| message.role == Role::Tool).map(|message| message.text.as_str())
    }
}

impl Message {
    /// A message without calls.
    pub fn new(role: Role, texts: &[&str]) -> Self {
        Self { role, text: texts.concat(), calls: Vec::new() }
    }

    /// What came in the user's name: all agents add words of their own there, some in the same message.
    pub fn user(texts: &[&str]) -> Self {
        let said: Vec<_> = texts.iter().copied().filter(|text| !is_added_by_the_agent(text)).collect();
        let role = if said.is_empty() { Role::System } else { Role::User };
        Self::new(role, if said.is_empty() { texts } else { &said })
    }
}

/// The tool by which qwen has the model fill in a form.
pub(super) const FORM: &str = "respond_in_schema";

/// Agents wrap what they add in a tag: `<system-reminder>`, `<environment_context>`, `<info-msg>` …
/// claude has a remark in brackets, too.
fn is_added_by_the_agent(text: &str) -> bool {
    let text = text.trim();
    let tag = text.strip_prefix('<').and_then(|rest| rest.split_once('>')).map(|(tag, _)| tag);
    text.is_empty()
        || text.starts_with("[Request interrupted by user")
        || tag.is_some_and(|tag| text.ends_with(&format!("</{tag}>")))
}
