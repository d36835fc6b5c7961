//! Directives that change files, each reported as a tool call.

use crate::{
    turn::{Turn, text_content},
    wire::Halt,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

/// The longest old text that a tool call shows in its diff.
const LONGEST_DIFF: u64 = 1 << 20;

impl Turn<'_> {
    pub fn write(&mut self, path: &str, text: &str, append: bool) -> Result<(), Halt> {
        let path = self.path(path);
        let verb = if append { "Append to" } else { "Write" };
        let input = json!({"path": path.to_string_lossy(), "content": text});
        let id = self.begin_tool(&title(verb, &path), "edit", input)?;
        let old = shown_text(&path);
        let written = write_file(&path, text, append).map(|()| {
            let new = if append { old.clone().unwrap_or_default() + text } else { text.to_owned() };
            json!([{"type": "diff", "path": path.to_string_lossy(), "oldText": old, "newText": new}])
        });
        self.end_file_tool(&id, written)
    }

    pub fn delete(&mut self, path: &str) -> Result<(), Halt> {
        let path = self.path(path);
        self.file_tool(&title("Delete", &path), "delete", || match fs::symlink_metadata(&path)?.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        })
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Halt> {
        let (from, to) = (self.path(from), self.path(to));
        let title = format!("{} to {}", title("Rename", &from), to.display());
        self.file_tool(&title, "move", || fs::rename(&from, &to))
    }

    pub fn mkdir(&mut self, path: &str) -> Result<(), Halt> {
        let path = self.path(path);
        self.file_tool(&title("Make directory", &path), "edit", || fs::create_dir_all(&path))
    }

    pub fn chmod(&mut self, mode: u32, path: &str) -> Result<(), Halt> {
        let path = self.path(path);
        let title = title(&format!("Set mode {mode:o} of"), &path);
        self.file_tool(&title, "edit", || fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
    }

    pub fn symlink(&mut self, target: &str, path: &str) -> Result<(), Halt> {
        let path = self.path(path);
        self.file_tool(&title("Link", &path), "edit", || symlink(target, &path))
    }

    /// Reads through the host if it offers that, and says what is there.
    pub fn read(&mut self, path: &str) -> Result<(), Halt> {
        let path = self.path(path);
        let shown = path.to_string_lossy().into_owned();
        let id = self.begin_tool(&title("Read", &path), "read", json!({"path": shown}))?;
        let content = if self.agent.offers.read {
            let params = json!({"sessionId": self.session, "path": shown});
            let answer = self.call("fs/read_text_file", params)?;
            answer.map(|answer| answer["content"].as_str().unwrap_or("").to_owned()).map_err(io_error)
        } else {
            fs::read_to_string(&path)
        };
        self.end_file_tool(&id, content.map(|text| text_content(&text)))
    }

    /// Asks the host to write a file, wherever that is, and says what it answers.
    pub fn outside(&mut self, path: &str) -> Result<(), Halt> {
        let path = self.path(path).to_string_lossy().into_owned();
        let params = json!({"sessionId": self.session, "path": path, "content": "written by the host\n"});
        let text = match self.call("fs/write_text_file", params)? {
            Ok(_) => format!("the host wrote {path}\n"),
            Err(error) => format!("the host refused {path}: {error}\n"),
        };
        self.say(&text)
    }

    fn file_tool(
        &mut self,
        title: &str,
        kind: &str,
        work: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), Halt> {
        let id = self.begin_tool(title, kind, json!({}))?;
        self.end_file_tool(&id, work().map(|()| text_content("done")))
    }

    fn end_file_tool(&mut self, id: &str, done: io::Result<Value>) -> Result<(), Halt> {
        match done {
            Ok(content) => self.end_tool(id, "completed", content),
            Err(err) => self.end_tool(id, "failed", text_content(&err.to_string())),
        }
    }
}

fn io_error(error: Value) -> io::Error {
    io::Error::other(error.to_string())
}

fn title(verb: &str, path: &Path) -> String {
    format!("{verb} {}", path.file_name().unwrap_or(path.as_os_str()).display())
}

/// The file's text, if it is a short text file.
fn shown_text(path: &Path) -> Option<String> {
    let short = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST_DIFF);
    if short { fs::read_to_string(path).ok() } else { None }
}

fn write_file(path: &Path, text: &str, append: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).append(append).truncate(!append);
    options.open(path)?.write_all(text.as_bytes())
}
