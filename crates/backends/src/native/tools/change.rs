//! Changing files: what is to be written is worked out before anybody is asked for leave.

use std::path::Path;

use acp_proto::host::{FileError, Files};
use dispatch_core::agent::ToolContent;

use super::request::{Edit, Write};

/// The most bytes of a file's old text that are shown beside its new one.
const SHOWN: usize = 64 << 10;

/// A change of one file.
#[derive(Debug)]
pub(super) struct Change {
    path: String,
    /// What must still stand there when it is written.
    expected: Option<String>,
    text: String,
    /// What a person reads.
    pub(super) shown: ToolContent,
}

impl Change {
    /// A text in the file is replaced. The error is for the model.
    pub(super) fn edit(files: &Files, edit: Edit) -> Result<Self, String> {
        let Edit { path, old_text, new_text } = edit;
        if old_text.is_empty() {
            return Err("old_text is empty; use write_file for a new file".to_owned());
        }
        if old_text == new_text {
            return Err("old_text and new_text are the same".to_owned());
        }
        let before = files.read(Path::new(&path), None, None).map_err(|error| error.to_string())?;
        let (old, new) = in_its_line_ends(&before, &old_text, &new_text);
        let at = match places(&before, &old) {
            (None, _) => return Err(format!("old_text does not stand in {path}; read it again")),
            (Some(_), true) => {
                return Err(format!("old_text stands in {path} more than once; take more lines around it"));
            }
            (Some(at), false) => at,
        };
        let text = [&before[..at], &new, &before[at + old.len()..]].concat();
        let shown = ToolContent::Diff { path: path.clone(), old_text: Some(old_text), new_text };
        Ok(Self { path, expected: Some(before), text, shown })
    }

    /// The file is written whole.
    pub(super) fn write(files: &Files, write: Write) -> Result<Self, String> {
        let Write { path, content } = write;
        let old_text = match files.read(Path::new(&path), None, None) {
            Ok(text) => Some(text).filter(|text| text.len() <= SHOWN),
            // It is replaced, whatever it is.
            Err(FileError::Missing { .. } | FileError::NotText { .. } | FileError::TooLarge { .. }) => None,
            Err(error) => return Err(error.to_string()),
        };
        let shown = ToolContent::Diff { path: path.clone(), old_text, new_text: content.clone() };
        Ok(Self { path, expected: None, text: content, shown })
    }

    /// Writes it. What was shown to whoever allowed it is what happens: a file that has changed since is left alone.
    pub(super) fn make(&self, files: &Files) -> Result<String, String> {
        let path = Path::new(&self.path);
        if let Some(expected) = &self.expected
            && files.read(path, None, None).map_err(|error| error.to_string())? != *expected
        {
            return Err(format!("{} has changed meanwhile; read it again", self.path));
        }
        files.write(path, &self.text).map_err(|error| error.to_string())?;
        Ok(format!("{} is written\n", self.path))
    }
}

/// Where a text stands first, and whether it stands anywhere else.
fn places(text: &str, part: &str) -> (Option<usize>, bool) {
    let first = text.find(part);
    let is_again = first.is_some_and(|at| {
        let next = at + part.chars().next().map_or(1, char::len_utf8);
        text[next..].contains(part)
    });
    (first, is_again)
}

/// Models write `\n`; a file with `\r\n` keeps them.
fn in_its_line_ends(text: &str, old: &str, new: &str) -> (String, String) {
    if text.contains("\r\n") && !old.contains('\r') && !text.contains(old) {
        return (old.replace('\n', "\r\n"), new.replace('\n', "\r\n"));
    }
    (old.to_owned(), new.to_owned())
}
