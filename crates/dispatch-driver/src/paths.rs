//! Which files a tool call is about, as far as its agent tells.

use std::path::{Component, Path, PathBuf};

use dispatch_core::agent::{ToolCall, ToolContent};

/// The files that a tool call names, relative to the worktree; `None` where one lies outside, is not to be read as
/// text, or none is named.
///
/// Agents are not believed: this decides which rule a request meets, and keeps nobody from anything.
pub(crate) fn inside(worktree: &Path, call: &ToolCall) -> Option<Vec<String>> {
    let diffs = call.content.iter().filter_map(|content| match content {
        ToolContent::Diff { path, .. } => Some(path),
        ToolContent::Text { .. } | ToolContent::Terminal { .. } | ToolContent::Other { .. } => None,
    });
    let mut paths = Vec::new();
    for path in call.locations.iter().chain(diffs) {
        let path = relative(worktree, Path::new(path))?;
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    (!paths.is_empty()).then_some(paths)
}

/// By words alone: what a symbolic link says is not looked at.
fn relative(worktree: &Path, path: &Path) -> Option<String> {
    let path = if path.is_absolute() { path.strip_prefix(worktree).ok()? } else { path };
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    clean.into_os_string().into_string().ok().filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(locations: &[&str], diff: Option<&str>) -> ToolCall {
        let shown =
            |path: &str| ToolContent::Diff { path: path.into(), old_text: None, new_text: String::new() };
        ToolCall {
            locations: locations.iter().map(|&path| path.into()).collect(),
            content: diff.into_iter().map(shown).collect(),
            ..ToolCall::default()
        }
    }

    #[test]
    fn only_what_lies_inside_by_its_words_is_named() {
        let inside = |locations: &[&str], diff| inside(Path::new("/trees/t"), &call(locations, diff));
        assert_eq!(inside(&["/trees/t/a", "b/./c"], Some("a")), Some(vec!["a".to_owned(), "b/c".to_owned()]));
        for outside in ["/etc/passwd", "../x", "/trees/t/../u", "/trees/tt/a", "/trees/t", ""] {
            assert_eq!(inside(&["a", outside], None), None, "{outside}");
        }
        assert_eq!(inside(&[], None), None);
    }
}
