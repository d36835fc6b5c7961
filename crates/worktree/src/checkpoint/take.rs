//! Taking a checkpoint.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::BString;

use super::agent_state::{self, AgentIndex};
use super::trailer::Trailer;
use super::{Checkpoint, CheckpointKind};
use crate::error::Result;
use crate::ids::{CheckpointId, CommitId, TreeId};
use crate::index::PrivateIndex;
use crate::layout;
use crate::project::Project;
use crate::refs;
use crate::scan::{Scan, Scanned};
use crate::worktree::Record;

/// A user's `git gc --prune=now` can delete what we wrote before the ref holds it; then all is written again.
const ATTEMPTS: usize = 3;

/// Takes a checkpoint. The caller holds the worktree's lock. The new ref is the moment at which it exists;
/// before that a crash leaves garbage objects, after it an index that is one step behind.
///
/// `tracked` names paths that are captured even where rules ignore them.
pub(crate) fn take(
    project: &Project,
    record: &Record,
    kind: CheckpointKind,
    label: &str,
    tracked: &HashSet<BString>,
    cancel: &AtomicBool,
) -> Result<Checkpoint> {
    let mut attempt = 1;
    loop {
        let (checkpoint, written) = take_once(project, record, kind, label, tracked, cancel)?;
        let repo = project.repo();
        if attempt == ATTEMPTS || written.iter().all(|id| repo.has_object(id)) {
            return Ok(checkpoint);
        }
        tracing::warn!(worktree = %record.id, attempt, "objects of a new checkpoint were pruned, taking it again");
        crate::fsio::remove_file(&project.layout().worktree(&record.id).index())?;
        attempt += 1;
    }
}

fn take_once(
    project: &Project,
    record: &Record,
    kind: CheckpointKind,
    label: &str,
    tracked: &HashSet<BString>,
    cancel: &AtomicBool,
) -> Result<(Checkpoint, Vec<ObjectId>)> {
    let repo = project.worktree_repo(record)?;
    let git = |e: gix::Error| project.git_error("read the base tree", e);
    let admin = layout::admin_dir(project.common_dir(), &record.id);
    let mut known = known(project, &repo, record)?;
    let agent = AgentIndex::load_if_changed(&admin, repo.object_hash(), &known)?;
    let mut tracked = tracked.clone();
    if let Some(agent) = &agent {
        let base = PrivateIndex::from_tree(&repo, record.base_tree.0).map_err(git)?.entries;
        known.mark_tracked([Some(&base), agent.entries.as_ref()]);
        known.agent_index = Some(agent.stat);
        tracked.extend(agent.paths_unknown_to(&known.entries));
    }
    let mut scanned = scan_from(project, &repo, record, known, &tracked, cancel)?;
    scanned.news |= agent.is_some();
    let (head_ref, head) = agent_state::head(&repo, &admin)?;
    let staged = staged_parent(project, &repo, agent, &scanned, head)?;
    let (skipped, more_skipped) = Trailer::cut_skipped(std::mem::take(&mut scanned.skipped));
    let last = super::last(project, &repo, &record.id)?.map_or(0, |last| last.sequence);
    let mut trailer = Trailer {
        boocoder: Trailer::version(),
        worktree: record.id.clone(),
        owner: record.owner.clone(),
        sequence: refs::number_after(project, last)?,
        kind,
        label: Trailer::cut_label(label),
        base_commit: record.base_commit,
        base_tree: record.base_tree,
        head,
        head_ref,
        operation: agent_state::operation(&admin),
        skipped,
        more_skipped,
    };
    let parents: Vec<ObjectId> = head.map(|id| id.0).into_iter().chain(staged).collect();
    let (commit, reference, seconds) = loop {
        let (commit, seconds) =
            project.write_commit(&repo, scanned.index.tree, &parents, &trailer.message())?;
        let reference = refs::checkpoint(&record.id, trailer.sequence);
        if refs::create(project, &repo, &reference, commit)? {
            break (commit, reference, seconds);
        }
        // Somebody else's ref has this number; ours must not replace it.
        trailer.sequence = refs::number_after(project, trailer.sequence)?;
    };
    if scanned.news {
        scanned.index.store(&project.layout().worktree(&record.id).index())?;
    }
    scanned.written.push(commit);
    let id = CheckpointId { commit: CommitId(commit), reference };
    Ok((trailer.checkpoint(id, TreeId(scanned.index.tree), seconds), scanned.written))
}

/// What the last checkpoint saw, or the base if that is lost.
pub(super) fn known(project: &Project, repo: &gix::Repository, record: &Record) -> Result<PrivateIndex> {
    let files = project.layout().worktree(&record.id);
    match PrivateIndex::load(&files.index(), repo.object_hash()) {
        Some(known) if repo.has_object(known.tree) => Ok(known),
        _ => PrivateIndex::from_tree(repo, record.base_tree.0)
            .map_err(|e| project.git_error("read the base tree", e)),
    }
}

/// Looks at the whole worktree, starting from what is known of it.
pub(super) fn scan_from(
    project: &Project,
    repo: &gix::Repository,
    record: &Record,
    known: PrivateIndex,
    tracked: &HashSet<BString>,
    cancel: &AtomicBool,
) -> Result<Scanned> {
    let files = project.layout().worktree(&record.id);
    let max_file_bytes = project.policy().max_file_bytes;
    let scan =
        Scan { repo, checkout: &files.checkout, private: &files.folder, max_file_bytes, tracked, cancel };
    scan.run(known)
}

/// A commit of what the agent has staged, where neither the files nor its `HEAD` hold the same. An index that
/// did not change since the last checkpoint is held by that one.
fn staged_parent(
    project: &Project,
    repo: &gix::Repository,
    agent: Option<AgentIndex>,
    scanned: &Scanned,
    head: Option<CommitId>,
) -> Result<Option<ObjectId>> {
    let staged = agent.and_then(|agent| agent.tree(repo, &scanned.index.entries, scanned.index.tree));
    let head_tree = head.and_then(|head| project.tree_of(head).ok()).map(|tree| tree.0);
    match staged {
        Some(tree) if Some(tree) != head_tree => {
            let (commit, _) = project.write_commit(repo, tree, &[], "what the agent had staged\n")?;
            Ok(Some(commit))
        }
        _ => Ok(None),
    }
}
