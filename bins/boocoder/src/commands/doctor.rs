//! `boocoder doctor`.

use dispatch_core::{
    ports::{Agents, TaskFilter},
    routing::AgentFacts,
    task::TaskState,
};

use crate::{
    cli::Globals,
    exit::{Code, Error},
    show::{table::short, text::safe_line},
    tidy,
    wire::App,
};
use worktree::Leftover;

/// Says what is missing and how to install it, and what earlier runs left over. Changes nothing.
pub async fn run(globals: &Globals) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    say!("data directory   {}", app.data_dir.display());
    say!("record           {}", app.about_store);
    match app.require_repository() {
        Ok(path) => say!("repository       {}", path.display()),
        Err(error) => say!("repository       none: {error}"),
    }
    app.remark();
    say!("\nagents");
    let agents = app.agents()?;
    for entry in app.registry.entries() {
        match agents.facts(&entry.name) {
            AgentFacts::Installed { .. } => say!("  {:18} installed", entry.name),
            AgentFacts::NotInstalled { hint } | AgentFacts::Unknown { hint } => {
                say!("  {:18} missing: {hint}", entry.name);
            }
        }
    }
    say!("\ndispatchers");
    let nodes = app.records.nodes().await?;
    if nodes.is_empty() {
        say!("  none: `boocoder serve` starts one for queued tasks");
    }
    for node in nodes {
        say!("  {}  {}, runs {}", short(node.id), safe_line(&node.label), node.running);
    }
    say!("\nleft over");
    let found = leftovers(&app).await?;
    if found.is_empty() {
        say!("  nothing");
    }
    found.iter().for_each(|line| say!("  {line}"));
    if !found.is_empty() {
        say!("the next `boocoder run` or `boocoder serve` tidies up what no live dispatcher needs");
    }
    Ok(Code::Completed)
}

async fn leftovers(app: &App) -> Result<Vec<String>, Error> {
    let tag = tidy::data_tag(&app.data_dir)?;
    let mut found: Vec<_> = tidy::orphans(&app.data_dir, &tag)
        .into_iter()
        .map(|left| format!("process {} of {}", left.pid, left.tag))
        .collect();
    let filter = TaskFilter { state: Some(TaskState::Running), ..TaskFilter::default() };
    let running = app.records.tasks(&filter).await?;
    let held: u64 = app.records.nodes().await?.iter().map(|node| node.running).sum();
    // Those of the dispatchers that are there are nothing left over.
    for task in running.iter().filter(|_| held < running.len() as u64) {
        found.push(format!("task {} is running, or was when its dispatcher ended", short(task.id)));
    }
    let worktrees = app.worktrees.leftovers().map_err(|error| Error::failed(error.to_string()))?;
    found.extend(worktrees.iter().map(describe));
    Ok(found)
}

fn describe(left: &Leftover) -> String {
    match left {
        Leftover::HalfMade { owner, path } => format!("a half-made worktree of {owner}: {}", path.display()),
        Leftover::HalfRemoved { owner, path } => {
            format!("a half-removed worktree of {owner}: {}", path.display())
        }
        Leftover::HalfRestored { owner, path } => {
            format!("a half-restored worktree of {owner}: {}", path.display())
        }
        Leftover::CheckoutMissing { owner, path, .. } => {
            format!("the worktree of {owner} is gone: {}", path.display())
        }
        Leftover::HalfApplied { checkout } => format!("a half-applied change in {}", checkout.display()),
        Leftover::Kept { path } => format!("kept, as no checkpoint holds all of it: {}", path.display()),
        Leftover::Trash { path } => format!("removed, but not deleted yet: {}", path.display()),
        Leftover::Orphan { id, admin, .. } => {
            format!("a worktree {id} that is not known here: {}", admin.display())
        }
        Leftover::Unreadable { path, why } => format!("{}: {why}", path.display()),
        other => format!("{other:?}"),
    }
}
