//! What a call of a named tool means, for programs that tell a tool's name and arguments and nothing else.

use dispatch_core::agent::{PlanEntry, ToolCallPatch, ToolContent, ToolStatus};
use serde_json::Value;

use super::json::text;

/// Names of tools by the kind that they are of, in ACP's words. Claude Code's, qwen's and gemini's, goose's, opencode's,
/// vibe's, each as recorded or documented; compared without case, without what stands before the last `__` or `.`, and
/// without `_`.
const KINDS: [(&str, &[&str]); 6] = [
    (
        "edit",
        &[
            "write",
            "edit",
            "multiedit",
            "notebookedit",
            "writefile",
            "editfile",
            "replace",
            "patch",
            "applypatch",
            "filewrite",
            "fileedit",
            "texteditor",
            "searchreplace",
        ],
    ),
    ("execute", &["bash", "shell", "runshellcommand", "killshell", "bashoutput"]),
    (
        "read",
        &["read", "readfile", "readmanyfiles", "fileread", "list", "ls", "listdirectory", "tree", "view"],
    ),
    ("search", &["grep", "glob", "grepsearch", "searchfilecontent", "search"]),
    ("fetch", &["webfetch", "websearch", "googlewebsearch"]),
    ("think", &["task", "agent", "todowrite", "taskcreate", "taskupdate", "writetodos"]),
];
/// Arguments that name a file.
const PATHS: [&str; 5] = ["file_path", "filePath", "path", "notebook_path", "absolute_path"];
/// Arguments that say what a call is about, best first.
const SUBJECTS: [&str; 6] = ["command", "pattern", "query", "url", "subject", "description"];
/// Pairs of arguments that hold what a file's text was and is.
const CHANGES: [(&str, &str); 3] =
    [("old_string", "new_string"), ("oldString", "newString"), ("before", "after")];
/// Characters of a title.
const LONGEST_TITLE: usize = 200;

/// The first patch of a call that is being written: of its arguments nothing is known.
pub(crate) fn begun(id: String, name: &str) -> ToolCallPatch {
    ToolCallPatch {
        id,
        title: Some(name.chars().take(LONGEST_TITLE).collect()),
        kind: Some(kind(name).to_owned()),
        status: Some(ToolStatus::Pending),
        ..ToolCallPatch::default()
    }
}

/// The patch of a call that is whole: title, kind, files, and its change where it is one of a file.
pub(crate) fn announced(id: String, name: &str, input: Value) -> ToolCallPatch {
    let path = PATHS.iter().map(|key| text(&input, key)).find(|path| !path.is_empty());
    let subject = SUBJECTS.iter().map(|key| text(&input, key)).find(|text| !text.is_empty());
    let title = match (path, subject) {
        (Some(path), _) => format!("{name} {path}"),
        (None, Some(subject)) if kind(name) == "execute" => subject.to_owned(),
        (None, Some(subject)) => format!("{name} {subject}"),
        (None, None) => name.to_owned(),
    };
    ToolCallPatch {
        id,
        title: Some(title.chars().take(LONGEST_TITLE).collect()),
        kind: Some(kind(name).to_owned()),
        status: Some(ToolStatus::InProgress),
        content: path.and_then(|path| change(path, kind(name), &input)).map(|diff| vec![diff]),
        locations: path.map(|path| vec![path.to_owned()]),
        input: Some(input),
        output: None,
    }
}

/// The kind of a tool, by its name.
pub(crate) fn kind(name: &str) -> &'static str {
    let name = name.rsplit(['.', '/']).next().unwrap_or(name);
    let name = name.rsplit("__").next().unwrap_or(name).replace('_', "").to_ascii_lowercase();
    KINDS.iter().find(|(_, names)| names.contains(&name.as_str())).map_or("other", |(kind, _)| kind)
}

fn change(path: &str, kind: &str, input: &Value) -> Option<ToolContent> {
    let word = |key: &str| input.get(key).and_then(Value::as_str).map(str::to_owned);
    let pair = || CHANGES.iter().find_map(|(old, new)| Some((Some(word(old)?), word(new)?)));
    let whole = || Some((None, word("content").filter(|_| kind == "edit")?));
    let (old_text, new_text) = pair().or_else(whole)?;
    Some(ToolContent::Diff {
        path: path.to_owned(),
        old_text: old_text.filter(|text| !text.is_empty()),
        new_text,
    })
}

/// The plan in the arguments of a tool that writes one, as Claude Code's `TodoWrite`.
pub(crate) fn plan(name: &str, input: &Value) -> Option<Vec<PlanEntry>> {
    let name = name.replace('_', "").to_ascii_lowercase();
    if !matches!(name.as_str(), "todowrite" | "writetodos") {
        return None;
    }
    let entry = |todo: &Value| {
        let content =
            [text(todo, "content"), text(todo, "description")].into_iter().find(|text| !text.is_empty())?;
        let (status, priority) = (text(todo, "status").to_owned(), text(todo, "priority").to_owned());
        Some(PlanEntry { content: content.to_owned(), status, priority })
    };
    Some(input.get("todos")?.as_array()?.iter().filter_map(entry).collect())
}

/// The text of a result: a string, or a list of blocks.
pub(crate) fn result_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_say_what_they_are_about() {
        let patch = announced(
            "1".into(),
            "developer__text_editor",
            json!({"path": "/w/a", "before": "x", "after": "y"}),
        );
        assert_eq!(
            (patch.title.as_deref(), patch.kind.as_deref()),
            (Some("developer__text_editor /w/a"), Some("edit"))
        );
        assert_eq!(patch.locations, Some(vec!["/w/a".to_owned()]));
        let diff =
            ToolContent::Diff { path: "/w/a".into(), old_text: Some("x".into()), new_text: "y".into() };
        assert_eq!(patch.content, Some(vec![diff]));
        let patch = announced("1".into(), "Bash", json!({"command": "ls", "description": "look"}));
        assert_eq!((patch.title.as_deref(), patch.kind.as_deref()), (Some("ls"), Some("execute")));
        assert_eq!(announced("1".into(), "mcp__x__frob", json!(null)).kind.as_deref(), Some("other"));
        assert_eq!(kind("file_system.write_file"), "edit");
    }
}
