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

    /// The last message of the user that holds these words, by its place in `messages`.
    pub fn prompt_with(&self, words: &str) -> Option<usize> {
        self.messages.iter().rposition(|message| message.role == Role::User && message.text.contains(words))
    }

    /// How many answers of the model follow the message at `place`.
    pub fn answers_after(&self, place: usize) -> usize {
        self.messages[place..].iter().filter(|message| message.role == Role::Assistant).count()
    }

    /// The texts of tool results after the message at `place`.
    pub fn tool_results_after(&self, place: usize) -> impl Iterator<Item = &str> {
        let results = self.messages[place..].iter().filter(|message| message.role == Role::Tool);
        results.map(|message| message.text.as_str())
    }
}
