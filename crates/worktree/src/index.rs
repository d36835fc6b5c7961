//! The private index: what the last checkpoint of a worktree saw. A cache that spares hashing unchanged files;
//! losing it costs time, never correctness.
//!
//! It is git's index format behind one line of our own that carries the tree which the entries imply, so that
//! the two cannot disagree after a crash. It is never the agent's index: entries that an agent drops, adds or
//! marks as "assume unchanged" must not change what a checkpoint sees.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use gix::ObjectId;
use gix::bstr::BStr;
use gix::index::State;
pub(crate) use gix::index::entry::stat::Time;
use gix::index::entry::{Flags, Mode, Stat};

use crate::error::{Error, Result};
use crate::fsio;

/// Changes when the format does; an older file is then ignored.
const MAGIC: &str = "boocoder-index-1";
/// Far above the index of the largest known repositories.
const MAX_BYTES: u64 = 4 << 30;

/// What a checkpoint saw.
pub(crate) struct PrivateIndex {
    /// The tree that the entries imply.
    pub(crate) tree: ObjectId,
    /// Entries whose file changed at this moment or later may have changed again unnoticed: they are hashed.
    pub(crate) as_of: Time,
    /// The agent's index when it was last looked at, so that it is only read when it changed.
    pub(crate) agent_index: Option<Stat>,
    pub(crate) entries: State,
}

impl PrivateIndex {
    /// Everything in `tree`, with nothing known about the files.
    pub(crate) fn from_tree(repo: &gix::Repository, tree: ObjectId) -> gix::Result<Self> {
        let entries: State = repo.index_from_tree(&tree)?.into_parts().0;
        Ok(Self { tree, as_of: Time::default(), agent_index: None, entries })
    }

    /// Reads the cache; `None` if there is none that can be used.
    pub(crate) fn load(path: &Path, hash: gix::hash::Kind) -> Option<Self> {
        let bytes = fsio::read_bounded(path, MAX_BYTES).ok()??;
        let end = bytes.iter().take(1000).position(|&b| b == b'\n')?;
        let header = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut words = header.split(' ');
        if words.next() != Some(MAGIC) {
            return None;
        }
        let tree = ObjectId::from_hex(words.next()?.as_bytes()).ok()?;
        let as_of = Time { secs: words.next()?.parse().ok()?, nsecs: words.next()?.parse().ok()? };
        let agent_index = read_stat(&mut words);
        let options = gix::index::decode::Options::default();
        let entries = decode(&bytes[end + 1..], hash, options)?;
        (tree.kind() == hash).then_some(Self { tree, as_of, agent_index, entries })
    }

    /// Replaces the file at once. A crash leaves the old one.
    pub(crate) fn store(&self, path: &Path) -> Result<()> {
        let new = fsio::with_suffix(path, ".new");
        let failed = |e| Error::io("write", &new, e);
        let mut out = std::io::BufWriter::new(File::create(&new).map_err(failed)?);
        let Time { secs, nsecs } = self.as_of;
        write!(out, "{MAGIC} {} {secs} {nsecs}", self.tree).map_err(failed)?;
        if let Some(s) = self.agent_index {
            let (m, c) = (s.mtime, s.ctime);
            write!(out, " {} {} {} {} {} {} {}", m.secs, m.nsecs, c.secs, c.nsecs, s.dev, s.ino, s.size)
                .map_err(failed)?;
        }
        writeln!(out).map_err(failed)?;
        self.entries
            .write_to(&mut out, gix::index::write::Options::default())
            .map_err(|e| failed(std::io::Error::other(e)))?;
        // The place of the checksum; all zeroes means that there is none.
        let no_checksum = self.entries.object_hash().null();
        out.write_all(no_checksum.as_slice()).and_then(|()| out.flush()).map_err(failed)?;
        std::fs::rename(&new, path).map_err(|e| Error::io("replace", path, e))
    }

    /// Decides anew which entries are tracked: those that are in one of `holders`.
    pub(crate) fn mark_tracked(&mut self, holders: [Option<&State>; 2]) {
        let (entries, paths) = self.entries.entries_mut_and_pathbacking();
        for entry in entries {
            let path = entry.path_in(paths);
            let tracked = holders.iter().flatten().any(|h| h.entry_index_by_path(path).is_ok());
            entry.flags.set(UNTRACKED, !tracked);
        }
    }

    /// Takes over what `other` knows about files that have the same content here.
    pub(crate) fn borrow_stats(&mut self, other: &State) {
        let (entries, paths) = self.entries.entries_mut_and_pathbacking();
        for entry in entries {
            let path = entry.path_in(paths);
            if let Some(known) = other.entry_by_path(path)
                && known.id == entry.id
                && known.mode == entry.mode
            {
                entry.stat = known.stat;
            }
        }
    }
}

/// Reads git's index format; `None` if it cannot be read.
pub(crate) fn decode(
    bytes: &[u8],
    hash: gix::hash::Kind,
    options: gix::index::decode::Options,
) -> Option<State> {
    // Only the library's own notion of raciness needs the time, and we have ours.
    let no_time = State::new(hash).timestamp();
    State::from_bytes(bytes, no_time, hash, options).ok().map(|(state, _)| state)
}

fn read_stat<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Stat> {
    let mut next = || words.next()?.parse::<u32>().ok();
    Some(Stat {
        mtime: Time { secs: next()?, nsecs: next()? },
        ctime: Time { secs: next()?, nsecs: next()? },
        dev: next()?,
        ino: next()?,
        size: next()?,
        uid: 0,
        gid: 0,
    })
}

/// What the index keeps of a file's state; git cuts the numbers to 32 bits.
pub(crate) fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let time = |secs: i64, nsecs: u64| Time { secs: secs as u32, nsecs: nsecs as u32 };
    Stat {
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        dev: stat.st_dev as u32,
        ino: stat.st_ino as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u32,
    }
}

/// Whether the file is untouched since `known` was recorded. User and group do not matter for its content.
pub(crate) fn same_file(known: &Stat, now: &Stat) -> bool {
    known.mtime == now.mtime && known.ctime == now.ctime && known.ino == now.ino && known.size == now.size
}

/// Whether a file with this state could have been changed after it was hashed without its times moving on.
pub(crate) fn is_racy(known: &Stat, as_of: Time) -> bool {
    known.mtime >= as_of || known.ctime >= as_of
}

/// The file system's own clock, read off a file: the system's clock runs up to a tick ahead of it.
pub(crate) fn clock_of(folder: &Path) -> Result<Time> {
    let path = folder.join("clock");
    let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
    let stat = rustix::fs::fstat(&file).map_err(|e| Error::io("examine", &path, e))?;
    fsio::remove_file(&path)?;
    Ok(stat_of(&stat).mtime)
}

/// Marks entries that were captured only because no rule ignored them: neither the base nor the agent's index
/// holds them. Git writes this bit and gives it a meaning that has no place in a private index.
pub(crate) const UNTRACKED: Flags = Flags::ASSUME_VALID;

/// Adds an entry; the state must be sorted before it is searched.
pub(crate) fn push(state: &mut State, path: &BStr, id: ObjectId, mode: Mode, stat: Stat, flags: Flags) {
    state.dangerously_push_entry(stat, id, flags, mode, path);
}
