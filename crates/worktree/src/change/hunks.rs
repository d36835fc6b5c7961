//! Comparing two contents line by line.

use std::io::Write;

use gix::diff::blob::unified_diff::{ConsumeHunk, ContextSize, DiffLineKind, HunkHeader};
use gix::diff::blob::{Algorithm, Diff, InternedInput, UnifiedDiff, diff_with_slider_heuristics};

use super::{FileMode, Side};
use crate::error::Result;
use crate::project::Project;

/// Git looks for a zero byte in this much of a file (`FIRST_FEW_BYTES` in its xdiff-interface.c).
const BINARY_PROBE: usize = 8000;

/// The bytes that git compares for one side; nothing for a side that is not there.
pub(super) fn content(project: &Project, repo: &gix::Repository, side: Option<Side>) -> Result<Vec<u8>> {
    match side {
        None => Ok(Vec::new()),
        Some(Side { id, mode: FileMode::Submodule }) => Ok(format!("Subproject commit {id}\n").into_bytes()),
        Some(Side { id, .. }) => {
            let mut blob = repo.find_blob(id.0).map_err(|e| project.git_error("read a file's content", e))?;
            Ok(blob.take_data())
        }
    }
}

pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(BINARY_PROBE)].contains(&0)
}

/// How many lines are new and how many are gone.
pub(super) fn count(old: &[u8], new: &[u8]) -> (u64, u64) {
    let diff = Diff::compute(Algorithm::Histogram, &InternedInput::new(old, new));
    (u64::from(diff.count_additions()), u64::from(diff.count_removals()))
}

/// Writes the hunks of a patch.
pub(super) fn write(old: &[u8], new: &[u8], out: &mut dyn Write) -> std::io::Result<()> {
    let input = InternedInput::new(old, new);
    let diff = diff_with_slider_heuristics(Algorithm::Histogram, &input);
    UnifiedDiff::new(&diff, &input, Hunks { out }, ContextSize::symmetrical(3)).consume()
}

struct Hunks<'a> {
    out: &'a mut dyn Write,
}

impl ConsumeHunk for Hunks<'_> {
    type Out = ();

    fn consume_hunk(&mut self, header: HunkHeader, lines: &[(DiffLineKind, &[u8])]) -> std::io::Result<()> {
        // Before nothing stands "after line 0": an empty range is numbered one lower than the library does.
        let start = |start: u32, len: u32| if len == 0 { start.saturating_sub(1) } else { start };
        let HunkHeader { before_hunk_start, before_hunk_len, after_hunk_start, after_hunk_len } = header;
        writeln!(
            self.out,
            "@@ -{},{before_hunk_len} +{},{after_hunk_len} @@",
            start(before_hunk_start, before_hunk_len),
            start(after_hunk_start, after_hunk_len),
        )?;
        for (kind, line) in lines {
            self.out.write_all(&[kind.to_prefix() as u8])?;
            self.out.write_all(line)?;
            if !line.ends_with(b"\n") {
                self.out.write_all(b"\n\\ No newline at end of file\n")?;
            }
        }
        Ok(())
    }

    fn finish(self) {}
}
