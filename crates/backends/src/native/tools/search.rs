//! Searching the lines of files.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::Path;

use acp_proto::host::Files;
use ignore::overrides::{Override, OverrideBuilder};
use regex::bytes::{Regex, RegexBuilder};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};

use super::patience::Patience;
use super::request::Search;
use super::walk::{Found, Walk};

/// The most lines that are shown.
const HITS: usize = 200;
/// The most characters of a line that are shown.
const LINE: usize = 300;
/// The largest file that is searched, in bytes.
const FILE: u64 = 4 << 20;
/// How much of a line is searched, in bytes: a match cannot be interrupted, and in the worst case each byte costs a step
/// for each state of the compiled pattern.
const SEARCHED: usize = 16 << 10;
/// The most memory that a compiled pattern takes, in bytes.
const PATTERN: usize = 4 << 20;

/// The lines that fit, as `path:line: text`. The error is for the model.
pub(super) fn search(files: &Files, request: &Search, patience: &Patience<'_>) -> Result<String, String> {
    let pattern = RegexBuilder::new(&request.pattern)
        .case_insensitive(request.ignore_case)
        .size_limit(PATTERN)
        .dfa_size_limit(PATTERN)
        .build()
        .map_err(|error| format!("the pattern cannot be used: {error}"))?;
    let which = request.files.as_deref().filter(|glob| !glob.is_empty()).map(which).transpose()?;
    let mut hits = Hits::default();
    let walk = Walk { files, recursive: true, patience };
    let is_whole = walk.go(Path::new(&request.path), &mut |found| {
        let is_meant = which.as_ref().is_none_or(|which| which.matched(found.path, false).is_whitelist());
        if found.kind == FileType::RegularFile && is_meant {
            hits.look_into(&found, &pattern, patience)
        } else {
            ControlFlow::Continue(())
        }
    });
    let is_whole = is_whole.map_err(|error| error.to_string())?;
    Ok(hits.told(is_whole))
}

fn which(glob: &str) -> Result<Override, String> {
    let unusable = |error: ignore::Error| format!("the pattern for files cannot be used: {error}");
    OverrideBuilder::new("").add(glob).map_err(unusable)?.build().map_err(unusable)
}

/// What was found.
#[derive(Default)]
struct Hits {
    text: String,
    count: usize,
    /// Files that are too large.
    large: usize,
}

impl Hits {
    /// Searches a file; breaks off where there are enough, or no more is waited for.
    fn look_into(&mut self, found: &Found<'_>, pattern: &Regex, patience: &Patience<'_>) -> ControlFlow<()> {
        let bytes = match content(found) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.large += 1;
                return ControlFlow::Continue(());
            }
            // Gone, or not for us.
            Err(_) => return ControlFlow::Continue(()),
        };
        // As git tells binary files: by a NUL near the beginning.
        let is_binary = bytes[..bytes.len().min(8000)].contains(&0);
        if is_binary {
            return ControlFlow::Continue(());
        }
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if self.count == HITS || patience.is_over() {
                return ControlFlow::Break(());
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = &line[..line.len().min(SEARCHED)];
            if pattern.is_match(line) {
                self.count += 1;
                let line: String = String::from_utf8_lossy(line).chars().take(LINE).collect();
                self.text.push_str(&format!("{}:{}: {line}\n", found.path.display(), number + 1));
            }
        }
        ControlFlow::Continue(())
    }

    fn told(mut self, is_whole: bool) -> String {
        if self.count == 0 {
            self.text.push_str("(nothing found)\n");
        }
        if !is_whole || self.count == HITS {
            self.text.push_str("(the search ended early; narrow it)\n");
        }
        if self.large > 0 {
            self.text.push_str(&format!("(left out: {} files of more than {FILE} bytes)\n", self.large));
        }
        self.text
    }
}

/// A file's bytes; `None` where there are too many.
fn content(found: &Found<'_>) -> io::Result<Option<Vec<u8>>> {
    // What was a file may be a pipe or a link by now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(found.folder, found.name, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= FILE))
}
