//! Listing and reading.

use std::ops::ControlFlow;
use std::path::Path;

use acp_proto::host::{FileError, Files};
use rustix::fs::FileType;

use super::patience::Patience;
use super::request::{List, Read};
use super::walk::Walk;

/// The most entries of a list.
const ENTRIES: usize = 1000;
/// Lines that are read where the model does not say how many.
const LINES: u32 = 2000;

/// The entries of a folder, one a line.
pub(super) fn list(files: &Files, request: &List, patience: &Patience<'_>) -> Result<String, FileError> {
    let mut text = String::new();
    let mut count = 0;
    let walk = Walk { files, recursive: request.recursive, patience };
    let is_whole = walk.go(Path::new(&request.path), &mut |found| {
        if count == ENTRIES {
            return ControlFlow::Break(());
        }
        count += 1;
        text.push_str(&found.path.to_string_lossy());
        text.push_str(match found.kind {
            FileType::Directory => "/\n",
            FileType::Symlink => "@\n",
            _ => "\n",
        });
        ControlFlow::Continue(())
    })?;
    if !is_whole {
        return Ok(text + "(there is more; list a folder of it)\n");
    }
    Ok(if text.is_empty() { "(empty)\n".to_owned() } else { text })
}

/// The lines of a file that are asked for, at most `most` bytes.
pub(super) fn read(files: &Files, request: &Read, most: usize) -> Result<String, FileError> {
    let path = Path::new(&request.path);
    let first = request.first_line.unwrap_or(1).max(1);
    let lines = request.lines.unwrap_or(LINES).clamp(1, 100_000);
    let mut text = files.read(path, Some(first), Some(lines.saturating_add(1)))?;
    let shown = lines_of(&text, lines).min(text.floor_char_boundary(most));
    if shown == text.len() {
        return Ok(if text.is_empty() { format!("(no text from line {first} on)\n") } else { text });
    }
    text.truncate(shown);
    let count = text.bytes().filter(|byte| *byte == b'\n').count();
    text.push_str(&format!("\n(there is more after line {})\n", u64::from(first) - 1 + count as u64));
    Ok(text)
}

/// How many bytes the first `lines` lines have.
fn lines_of(text: &str, lines: u32) -> usize {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
    ends.take(lines as usize)
        .last()
        .filter(|_| text.matches('\n').count() >= lines as usize)
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use acp_proto::host::{FileLimits, MissingFile};

    #[test]
    fn a_list_that_takes_too_long_tells_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        let files =
            Files::open(folder.path(), FileLimits { read: 1, write: 1 }, MissingFile::Refuse).unwrap();
        let all = List { path: ".".to_owned(), recursive: true };
        let told = list(&files, &all, &Patience::none()).unwrap();
        assert_eq!(told, "(there is more; list a folder of it)\n");
    }
}
