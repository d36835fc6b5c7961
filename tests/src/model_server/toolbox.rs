//! The model's wishes, in the words of the agent that offers the tools.

use super::{
    request::{Tool, ToolCall},
    side::instance,
};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What the model wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Write a whole file.
    Write {
        /// Relative to the session's directory, or absolute.
        path: String,
        /// All of it; codex ends it with a line feed in any case.
        content: String,
    },
    /// Replace one text in a file.
    Edit {
        /// Relative to the session's directory, or absolute.
        path: String,
        /// Whole lines that are there once, as codex's patches know nothing smaller.
        old: String,
        /// What takes their place.
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
    /// codex edits with one tool that takes a patch, and reads with its shell. Paths are put below `directory`,
    /// if the agent says where it works.
    ///
    /// # Errors
    /// A sentence that names the tools there are, when none of them can do it.
    pub fn resolve(&self, tools: &[Tool], directory: Option<&str>) -> Result<ToolCall, String> {
        let place = |path: &str| Path::new(directory.unwrap_or("")).join(path).display().to_string();
        let (names, arguments): (&[&str], Vec<(&[&str], String)>) = match self {
            Self::Write { path, content } => (WRITE, vec![(PATH, place(path)), (CONTENT, content.clone())]),
            Self::Edit { path, old, new } => {
                (EDIT, vec![(PATH, place(path)), (OLD, old.clone()), (NEW, new.clone())])
            }
            Self::Read { path } => (READ, vec![(PATH, place(path))]),
            Self::Shell { command } => (SHELL, vec![(COMMAND, command.clone())]),
            Self::Named(call) => return Ok(call.clone()),
        };
        match (find(tools, names), find(tools, &[PATCH]), self) {
            (Some(tool), _, _) => fill(tool, arguments),
            (None, Some(tool), Self::Write { path, content }) => {
                Ok(patch(tool, &format!("*** Add File: {path}\n{}", prefixed('+', content))))
            }
            (None, Some(tool), Self::Edit { path, old, new }) => {
                let lines = prefixed('-', old) + &prefixed('+', new);
                Ok(patch(tool, &format!("*** Update File: {path}\n@@\n{lines}")))
            }
            (None, _, Self::Read { path }) if find(tools, SHELL).is_some() => {
                Self::shell(&format!("cat '{path}'")).resolve(tools, directory)
            }
            _ => {
                let offered: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
                Err(format!("none of the tools {offered:?} is one of {names:?}"))
            }
        }
    }
}

fn find<'a>(tools: &'a [Tool], names: &[&str]) -> Option<&'a Tool> {
    names.iter().find_map(|name| tools.iter().find(|tool| plain_name(&tool.name) == *name))
}

fn fill(tool: &Tool, arguments: Vec<(&[&str], String)>) -> Result<ToolCall, String> {
    let properties = &tool.parameters["properties"];
    let mut filled = Map::new();
    for (keys, value) in arguments {
        let key = keys.iter().find(|key| properties.get(**key).is_some());
        let key = key.ok_or_else(|| format!("{} takes none of {keys:?}: {properties}", tool.name))?;
        filled.insert((*key).to_owned(), json!(value));
    }
    // opencode's bash wants a description, gemini's replace an instruction.
    let required = tool.parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for key in required {
        filled.entry(key).or_insert_with(|| instance(&properties[key]));
    }
    Ok(ToolCall { name: tool.name.clone(), arguments: Value::Object(filled) })
}

/// A call of a tool that takes text in a language of its own.
fn patch(tool: &Tool, change: &str) -> ToolCall {
    let text = format!("*** Begin Patch\n{change}*** End Patch\n");
    ToolCall { name: tool.name.clone(), arguments: Value::String(text) }
}

fn prefixed(mark: char, text: &str) -> String {
    text.lines().map(|line| format!("{mark}{line}\n")).collect()
}

/// Tool names of the agents that were tried, the more specific first.
const WRITE: &[&str] = &["write", "write_file"];
const EDIT: &[&str] = &["edit", "edit_file", "replace"];
const READ: &[&str] = &["read", "read_file"];
const SHELL: &[&str] = &["bash", "shell", "run_shell_command", "exec_command", "run_command"];
const PATCH: &str = "apply_patch";

/// Argument names, likewise.
const PATH: &[&str] = &["filePath", "file_path", "path"];
const CONTENT: &[&str] = &["content", "file_text"];
const OLD: &[&str] = &["oldString", "old_string", "before", "old_str", "old_text"];
const NEW: &[&str] = &["newString", "new_string", "after", "new_str", "new_text"];
const COMMAND: &[&str] = &["command", "cmd"];

/// claude writes names in capitals; goose may put an extension's name and two underscores before a tool's.
fn plain_name(name: &str) -> String {
    name.rsplit("__").next().unwrap_or(name).to_lowercase()
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
        let call = Call::shell("ls").resolve(&tools, None).unwrap();
        assert_eq!(call.name, "bash");
        assert_eq!(call.arguments, json!({"command": "ls", "description": "scripted"}));
        let tools = [tool("developer__write", &["path", "content"])];
        let call = Call::write("a", "b").resolve(&tools, None).unwrap();
        assert_eq!(
            (call.name.as_str(), call.arguments),
            ("developer__write", json!({"path": "a", "content": "b"}))
        );
        let why = Call::read("a").resolve(&tools, None).unwrap_err();
        assert!(why.contains("developer__write"), "{why}");
    }

    #[test]
    fn paths_are_absolute_where_the_agent_says_where_it_is() {
        let tools = [tool("write_file", &["file_path", "content"])];
        let path = |path| {
            Call::write(path, "").resolve(&tools, Some("/tree")).unwrap().arguments["file_path"].clone()
        };
        assert_eq!((path("a/b"), path("/c")), (json!("/tree/a/b"), json!("/c")));
    }

    #[test]
    fn codex_patches_and_reads_with_its_shell() {
        let patch = Tool { name: "apply_patch".into(), parameters: Value::Null };
        let tools = [tool("exec_command", &["cmd"]), patch];
        let text = |call: Call| call.resolve(&tools, None).unwrap().arguments;
        assert_eq!(
            text(Call::write("a.txt", "one\ntwo\n")),
            "*** Begin Patch\n*** Add File: a.txt\n+one\n+two\n*** End Patch\n"
        );
        assert_eq!(
            text(Call::edit("a.txt", "one", "three")),
            "*** Begin Patch\n*** Update File: a.txt\n@@\n-one\n+three\n*** End Patch\n"
        );
        assert_eq!(text(Call::read("a.txt")), json!({"cmd": "cat 'a.txt'"}));
    }
}
