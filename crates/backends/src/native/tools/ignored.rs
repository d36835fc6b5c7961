//! What git would not look at, by the worktree's own `.gitignore` files.

use std::path::Path;

use acp_proto::host::Files;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The longest `.gitignore` that is heeded, in bytes.
const LONGEST: usize = 32 << 10;

/// The rules that hold in a folder: its own and those of the folders above, the innermost last.
#[derive(Default)]
pub(super) struct Ignored(Vec<Option<Gitignore>>);

impl Ignored {
    /// The rules above `folder`, which is relative to the worktree; its own are not yet among them.
    pub(super) fn above(files: &Files, folder: &Path) -> Self {
        let mut ignored = Self::default();
        let mut above: Vec<&Path> = folder.ancestors().skip(1).collect();
        above.reverse();
        above.into_iter().for_each(|folder| ignored.enter(files, folder));
        ignored
    }

    /// Goes into a folder.
    pub(super) fn enter(&mut self, files: &Files, folder: &Path) {
        let rules = files.read(&folder.join(".gitignore"), None, None).ok();
        let rules = rules.filter(|rules| !rules.is_empty() && rules.len() <= LONGEST);
        self.0.push(rules.and_then(|rules| rules_of(folder, &rules)));
    }

    /// And out of it.
    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    /// Whether a path is ignored; the innermost rule that names it decides.
    pub(super) fn names(&self, path: &Path, is_folder: bool) -> bool {
        let path = Path::new("/").join(path);
        for rules in self.0.iter().rev().flatten() {
            match rules.matched(&path, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

fn rules_of(folder: &Path, rules: &str) -> Option<Gitignore> {
    let mut builder = GitignoreBuilder::new(Path::new("/").join(folder));
    for line in rules.lines() {
        // A line that is no pattern names nothing, as with git.
        let _ = builder.add_line(None, line);
    }
    builder.build().ok()
}
