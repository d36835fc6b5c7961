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
    /// The `authorization` header, or what the format has in its place.
    pub credentials: Option<String>,
    /// The body as it came.
    pub body: Value,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The agent's own instructions.
    System,
    /// The user, or what the agent adds in the user's name.
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
    /// The text of all its parts.
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
    /// A request that the agent makes for itself, such as a title for the session: it offers no tools.
    pub fn is_side_request(&self) -> bool {
        self.tools.is_empty()
    }

    /// The place in `messages` of the prompt that is being answered.
    pub fn prompt(&self) -> Option<usize> {
        self.messages.iter().rposition(|message| message.role == Role::User && !message.is_added_by_goose())
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
        let mut roles: Vec<_> =
            since.map(|message| message.role).filter(|role| *role != Role::User).collect();
        roles.dedup();
        roles.iter().filter(|role| **role == Role::Assistant).count()
    }

    /// The texts of the tool results since the prompt.
    pub fn tool_results(&self) -> impl Iterator<Item = &str> {
        let since = self.messages.iter().skip(self.prompt().unwrap_or(0));
        since.filter(|message| message.role == Role::Tool).map(|message| message.text.as_str())
    }
}

impl Message {
    /// goose tells the time and its notes in the user's name, anew in each request and in any place.
    fn is_added_by_goose(&self) -> bool {
        let text = self.text.trim();
        text.starts_with("<info-msg>") && text.ends_with("</info-msg>")
    }
}
