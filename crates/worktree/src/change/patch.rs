//! A change as a patch in git's format.

use std::io::Write;

use super::quote;
use super::{ChangeKind, FileChange, Side, base85, hunks};
use crate::error::{Error, Result};
use crate::project::Project;

/// Bytes in a line of binary content.
const BINARY_LINE: usize = 52;

pub(super) fn write(project: &Project, files: &[FileChange], out: &mut dyn Write) -> Result<()> {
    let repo = project.repo();
    for file in files {
        match (file.kind == ChangeKind::TypeChanged, file.old, file.new) {
            // Git has no word for it: the old file goes, then the new one comes.
            (true, old @ Some(_), new @ Some(_)) => {
                let gone = FileChange { kind: ChangeKind::Deleted, new: None, ..file.clone() };
                let come = FileChange { kind: ChangeKind::Added, old: None, ..file.clone() };
                debug_assert!(old != new, "because a changed type is a change");
                write_file(project, &repo, &gone, out)?;
                write_file(project, &repo, &come, out)?;
            }
            _ => write_file(project, &repo, file, out)?,
        }
    }
    Ok(())
}

fn write_file(
    project: &Project,
    repo: &gix::Repository,
    file: &FileChange,
    out: &mut dyn Write,
) -> Result<()> {
    let old = hunks::content(project, repo, file.old)?;
    let new = hunks::content(project, repo, file.new)?;
    render(repo.object_hash(), file, &old, &new, out)
        .map_err(|e| Error::io("write the patch of", project.common_dir(), e))
}

fn render(
    hash: gix::hash::Kind,
    file: &FileChange,
    old: &[u8],
    new: &[u8],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let old_path = match &file.kind {
        ChangeKind::Renamed { from } => from.as_bytes(),
        _ => file.path.as_bytes(),
    };
    let new_path = file.path.as_bytes();
    let (a, b) = (prefixed(b"a/", old_path), prefixed(b"b/", new_path));
    writeln!(out, "diff --git {a} {b}")?;
    write_modes(file, out)?;
    if let ChangeKind::Renamed { .. } = file.kind {
        writeln!(out, "similarity index {}%", file.similarity.unwrap_or(100))?;
        writeln!(out, "rename from {}", quote::if_needed(old_path))?;
        writeln!(out, "rename to {}", quote::if_needed(new_path))?;
    }
    if file.old.map(|s| s.id) == file.new.map(|s| s.id) {
        return Ok(());
    }
    write_index(hash, file, out)?;
    if hunks::is_binary(old) || hunks::is_binary(new) {
        writeln!(out, "GIT binary patch")?;
        write_literal(new, out)?;
        return write_literal(old, out);
    }
    if old == new {
        return Ok(());
    }
    writeln!(out, "--- {}", if file.old.is_some() { named(a) } else { "/dev/null".to_owned() })?;
    writeln!(out, "+++ {}", if file.new.is_some() { named(b) } else { "/dev/null".to_owned() })?;
    hunks::write(old, new, out)
}

fn write_modes(file: &FileChange, out: &mut dyn Write) -> std::io::Result<()> {
    match (file.old, file.new) {
        (None, Some(new)) => writeln!(out, "new file mode {}", new.mode.octal()),
        (Some(old), None) => writeln!(out, "deleted file mode {}", old.mode.octal()),
        (Some(old), Some(new)) if old.mode != new.mode => {
            writeln!(out, "old mode {}\nnew mode {}", old.mode.octal(), new.mode.octal())
        }
        _ => Ok(()),
    }
}

fn write_index(hash: gix::hash::Kind, file: &FileChange, out: &mut dyn Write) -> std::io::Result<()> {
    let id = |side: Option<Side>| side.map_or_else(|| hash.null(), |s| s.id.0);
    write!(out, "index {}..{}", id(file.old), id(file.new))?;
    match (file.old, file.new) {
        (Some(old), Some(new)) if old.mode == new.mode => writeln!(out, " {}", new.mode.octal()),
        _ => writeln!(out),
    }
}

fn prefixed(prefix: &[u8], path: &[u8]) -> String {
    quote::if_needed(&[prefix, path].concat())
}

/// A name with a space ends in a tab, or a timestamp would be looked for behind the space.
fn named(path: String) -> String {
    if path.contains(' ') && !path.starts_with('"') { path + "\t" } else { path }
}

/// The whole content, compressed. Git's deltas would be smaller, and are optional.
fn write_literal(bytes: &[u8], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "literal {}", bytes.len())?;
    let mut deflate = gix::zlib::stream::deflate::Write::new(Vec::new(), gix::zlib::Compression::DEFAULT);
    deflate.write_all(bytes)?;
    deflate.flush()?;
    let compressed = deflate.into_inner();
    let mut lines = Vec::with_capacity(compressed.len() * 4 / 3);
    for chunk in compressed.chunks(BINARY_LINE) {
        base85::line(chunk, &mut lines);
    }
    out.write_all(&lines)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        assert_eq!(prefixed(b"a/", b"plain name"), "a/plain name");
        assert_eq!(prefixed(b"a/", b"new\nline\t\"q\"\\\xff"), r#""a/new\nline\t\"q\"\\\377""#);
        assert_eq!(named(prefixed(b"a/", b"plain name")), "a/plain name\t");
    }
}
