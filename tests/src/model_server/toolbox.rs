//! The model's wishes, in the words of the agent that offers the tools.

use super::request::{Tool, ToolCall};
use serde_json::{Map, Value, json};

/// What the model wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Write a whole file.
    Write {
        /// Relative to the session's directory, or absolute.
        path: String,
        /// All of it.
        content: String,
    },
    /// Replace one text in a file.
    Edit {
        /// Relative to the session's directory, or absolute.
        path: String,
        /// What is there once.
        old: String,
        /// What takes its place.
        new: String,
    },
    /// Read a file.
    Read {
        /// Relative to the session's directory, or absolute.
        path: String,
    },
    /// Run a shell command.
    Shell {
        /// The whole line.
        command: String,
    },
    /// Call a tool by the agent's own name for it, offered or not.
    Named(ToolCall),
}

impl Call {
    /// Write a whole file.
    pub fn write(path: &str, content: &str) -> Self {
        Self::Write { path: path.into(), content: content.into() }
    }

    /// Replace one text in a file.
    pub fn edit(path: &str, old: &str, new: &str) -> Self {
        Self::Edit { path: path.into(), old: old.into(), new: new.into() }
    }

    /// Read a file.
    pub fn read(path: &str) -> Self {
        Self::Read { path: path.into() }
    }

    /// Run a shell command.
    pub fn shell(command: &str) -> Self {
        Self::Shell { command: command.into() }
    }

    /// The call in the agent's words.
    ///
    /// # Errors
    /// A sentence that names the tools there are, when none of them can do it.
    pub fn resolve(&self, tools: &[Tool]) -> Result<ToolCall, String> {
        let (names, arguments): (&[&str], Vec<(&[&str], &str)>) = match self {
            Self::Write { path, content } => (WRITE, vec![(PATH, path), (CONTENT, content)]),
            Self::Edit { path, old, new } => (EDIT, vec![(PATH, path), (OLD, old), (NEW, new)]),
            Self::Read { path } => (READ, vec![(PATH, path)]),
            Self::Shell { command } => (SHELL, vec![(COMMAND, command)]),
            Self::Named(call) => return Ok(call.clone()),
        };
        let tool = names.iter().find_map(|name| tools.iter().find(|tool| plain_name(&tool.name) == *name));
        let tool = tool.ok_or_else(|| {
            let offered: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
            format!("none of the tools {offered:?} is one of {names:?}")
        })?;
        let properties = &tool.parameters["properties"];
        let mut filled = Map::new();
        for (keys, value) in arguments {
            let key = keys.iter().find(|key| properties.get(**key).is_some());
            let key = key.ok_or_else(|| format!("{} takes none of {keys:?}: {properties}", tool.name))?;
            filled.insert((*key).to_owned(), json!(value));
        }
        // opencode's bash wants a description; what else may be required is text as well.
        let required = tool.parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for key in required {
            filled.entry(key).or_insert_with(|| json!("scripted"));
        }
        Ok(ToolCall { name: tool.name.clone(), arguments: Value::Object(filled) })
    }
}

/// Tool names of the agents that were tried, the more specific first.
const WRITE: &[&str] = &["write", "write_file"];
const EDIT: &[&str] = &["edit", "edit_file", "replace"];
const READ: &[&str] = &["read", "read_file"];
const SHELL: &[&str] = &["bash", "shell", "run_shell_command"];

/// Argument names, likewise.
const PATH: &[&str] = &["filePath", "file_path", "path"];
const CONTENT: &[&str] = &["content", "file_text"];
const OLD: &[&str] = &["oldString", "old_string", "before", "old_str"];
const NEW: &[&str] = &["newString", "new_string", "after", "new_str"];
const COMMAND: &[&str] = &["command", "cmd"];

/// goose may put an extension's name and two underscores before a tool's.
fn plain_name(name: &str) -> &str {
    name.rsplit("__").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, properties: &[&str]) -> Tool {
        let schema = properties.iter().map(|name| ((*name).to_owned(), json!({"type": "string"})));
        let parameters = json!({"properties": Map::from_iter(schema), "required": properties});
        Tool { name: name.into(), parameters }
    }

    #[test]
    fn a_wish_becomes_the_agent_s_own_call() {
        let tools = [tool("read", &["filePath"]), tool("bash", &["command", "description"])];
        let call = Call::shell("ls").resolve(&tools).unwrap();
        assert_eq!(call.name, "bash");
        assert_eq!(call.arguments, json!({"command": "ls", "description": "scripted"}));
        let tools = [tool("developer__write", &["path", "content"])];
        let call = Call::write("a", "b").resolve(&tools).unwrap();
        assert_eq!(
            (call.name.as_str(), call.arguments),
            ("developer__write", json!({"path": "a", "content": "b"}))
        );
        let why = Call::read("a").resolve(&tools).unwrap_err();
        assert!(why.contains("developer__write"), "{why}");
    }
}
