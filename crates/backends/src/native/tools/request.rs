//! What the model may ask for, and how it is told of it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A call, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Look(Look),
    Edit(Edit),
    Write(Write),
    Run(Run),
}

/// What changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    List(List),
    Search(Search),
    Read(Read),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct List {
    #[serde(default = "top")]
    pub(super) path: String,
    #[serde(default)]
    pub(super) recursive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Search {
    pub(super) pattern: String,
    #[serde(default = "top")]
    pub(super) path: String,
    #[serde(default)]
    pub(super) files: Option<String>,
    #[serde(default)]
    pub(super) ignore_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Read {
    pub(super) path: String,
    #[serde(default)]
    pub(super) first_line: Option<u32>,
    #[serde(default)]
    pub(super) lines: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Edit {
    pub(super) path: String,
    pub(super) old_text: String,
    pub(super) new_text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Write {
    pub(super) path: String,
    pub(super) content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Run {
    pub(super) command: String,
    #[serde(default)]
    pub(super) folder: Option<String>,
    #[serde(default)]
    pub(super) seconds: Option<u64>,
}

fn top() -> String {
    ".".to_owned()
}

/// The tools' names.
const NAMES: [&str; 6] = ["list_files", "search", "read_file", "edit_file", "write_file", "run_command"];

/// Whether there is a tool of this name.
pub(in crate::native) fn is_tool(name: &str) -> bool {
    NAMES.contains(&name)
}

impl Request {
    /// Reads a call. The error is for the model.
    pub(super) fn read(name: &str, arguments: &Value) -> Result<Self, String> {
        fn of<T: DeserializeOwned>(arguments: &Value) -> Result<T, String> {
            T::deserialize(arguments).map_err(|error| format!("the arguments do not fit the tool: {error}"))
        }
        match name {
            "list_files" => of(arguments).map(Look::List).map(Self::Look),
            "search" => of(arguments).map(Look::Search).map(Self::Look),
            "read_file" => of(arguments).map(Look::Read).map(Self::Look),
            "edit_file" => of(arguments).map(Self::Edit),
            "write_file" => of(arguments).map(Self::Write),
            "run_command" => of(arguments).map(Self::Run),
            _ => Err(format!("there is no tool named {name:?}; there are {}", NAMES.join(", "))),
        }
    }
}

/// The tools, as Chat Completions has them.
pub(in crate::native) fn definitions() -> Value {
    let path = |what: &str| json!({ "type": "string", "description": what });
    let tool = |name: &str, description: &str, properties: Value, required: &[&str]| {
        let parameters = json!({ "type": "object", "properties": properties, "required": required });
        json!({ "type": "function", "function": { "name": name, "description": description, "parameters": parameters } })
    };
    json!([
        tool(
            "list_files",
            "Lists a folder. Folders end in /, symbolic links in @. Recursively, what .gitignore names is left out.",
            json!({ "path": path("The folder; the top one by default."), "recursive": { "type": "boolean" } }),
            &[],
        ),
        tool(
            "search",
            "Searches the lines of files for a regular expression (Rust's syntax). What .gitignore names is left out.",
            json!({
                "pattern": { "type": "string" },
                "path": path("The folder to search; the top one by default."),
                "files": { "type": "string", "description": "A pattern for paths, such as *.rs or src/**/*.ts." },
                "ignore_case": { "type": "boolean" },
            }),
            &["pattern"],
        ),
        tool(
            "read_file",
            "Reads a text file, or some lines of it.",
            json!({
                "path": path("The file."),
                "first_line": { "type": "integer", "minimum": 1 },
                "lines": { "type": "integer", "minimum": 1, "description": "How many; 2000 by default." },
            }),
            &["path"],
        ),
        tool(
            "edit_file",
            "Replaces a text in a file. It must stand there exactly once; take more lines around it if it does not.",
            json!({
                "path": path("The file."),
                "old_text": { "type": "string", "description": "What stands there, to the letter." },
                "new_text": { "type": "string" },
            }),
            &["path", "old_text", "new_text"],
        ),
        tool(
            "write_file",
            "Writes a whole file, with the folders that it needs.",
            json!({ "path": path("The file."), "content": { "type": "string" } }),
            &["path", "content"],
        ),
        tool(
            "run_command",
            "Runs a shell command and returns the end of its output. Nothing of it goes on running.",
            json!({
                "command": { "type": "string" },
                "folder": path("Where it runs; the top folder by default."),
                "seconds": { "type": "integer", "minimum": 1, "description": "Its time limit; 120 by default." },
            }),
            &["command"],
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_that_is_told_of_is_understood() {
        for tool in definitions().as_array().unwrap() {
            let function = &tool["function"];
            let required = function["parameters"]["required"].as_array().unwrap();
            let arguments: serde_json::Map<String, Value> =
                required.iter().map(|name| (name.as_str().unwrap().to_owned(), json!("x"))).collect();
            let name = function["name"].as_str().unwrap();
            assert!(is_tool(name));
            Request::read(name, &Value::Object(arguments)).unwrap();
        }
        let unknown = Request::read("rm", &json!({})).unwrap_err();
        assert!(unknown.contains("no tool named \"rm\""), "{unknown}");
        let missing = Request::read("edit_file", &json!({ "path": 7 })).unwrap_err();
        assert!(missing.contains("do not fit"), "{missing}");
    }
}
