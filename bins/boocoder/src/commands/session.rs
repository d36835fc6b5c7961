//! `boocoder session`.

use std::time::{Duration, Instant};

use dispatch_core::ports::{SessionFilter, SessionView, WorkspaceOwner};
use serde_json::json;
use worktree::OwnerId;

use super::task::wait_for_end;
use crate::{
    cli::{Globals, SessionCommand, SessionList},
    exit::{Code, Error},
    show::{
        json_lines,
        table::{short, table},
        text::safe_line,
    },
    tidy,
    wire::App,
};

/// How long the dispatcher of a turn that has just ended may take to remove its worktree.
const RELEASE: Duration = Duration::from_secs(10);

/// Looks at sessions, closes and reopens them.
pub async fn run(globals: &Globals, command: SessionCommand) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    match command {
        SessionCommand::List(args) => list(&app, &args).await?,
        SessionCommand::Close { session } => close(&app, &session).await?,
        SessionCommand::Reopen { session } => {
            let session = app.records.find_session(&session).await?;
            app.records.reopen_session(session.id).await?;
            say!("{} open", short(session.id));
        }
    }
    Ok(Code::Completed)
}

async fn list(app: &App, args: &SessionList) -> Result<(), Error> {
    let project = app.project_filter(args.all).await?;
    let open = (!args.closed).then_some(true);
    let sessions = app.records.sessions(&SessionFilter { project, open, limit: args.limit }).await?;
    if args.json {
        let objects: Vec<_> = sessions.iter().map(object).collect();
        return json_lines::print(&objects);
    }
    let row = |session: &SessionView| {
        let state = match (session.open, session.running) {
            (false, None) => "closed".to_owned(),
            (false, Some(task)) => format!("closed, stopping {}", short(task)),
            (true, Some(task)) => format!("open, runs {}", short(task)),
            (true, None) => "open".to_owned(),
        };
        vec![short(session.id), state, session.waiting.to_string(), safe_line(&session.title)]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    put!("{}", table(&["SESSION", "STATE", "WAITING", "TITLE"], &rows));
    Ok(())
}

fn object(session: &SessionView) -> serde_json::Value {
    json!({
        "id": session.id,
        "project": session.project,
        "title": session.title,
        "model": session.model,
        "open": session.open,
        "chats": session.chats,
        "waiting": session.waiting,
        "running": session.running,
        "created_at": session.created_at,
    })
}

/// Closes a session, waits for the end of its turn, and removes its worktrees (SPEC R4).
async fn close(app: &App, prefix: &str) -> Result<(), Error> {
    let session = app.records.find_session(prefix).await?;
    let closed = app.records.close_session(session.id).await?;
    if let Some(task) = closed.running {
        complain!("stopping task {}", short(task));
        app.store.recover().await?;
        wait_for_end(app, task).await?;
        wait_for_release(app, &closed, WorkspaceOwner::Task(task)).await?;
    }
    wait_for_agents(app, &closed).await?;
    if app.records.session(session.id).await?.open {
        return Err(Error::failed(format!(
            "{} was opened again meanwhile: its worktree stays",
            short(session.id)
        )));
    }
    tidy::remove_session_worktree(&app.worktrees, &*app.records, &closed).await?;
    let failed = app.tidy(tidy::data_tag(&app.data_dir)?).end().await;
    say!("{} closed", short(session.id));
    match failed {
        0 => Ok(()),
        failed => Err(Error::failed(format!(
            "{failed} worktrees could not be removed, see above; the next start tries again"
        ))),
    }
}

/// The dispatchers let go of the agents that they keep for the session, which may still write. One that does not
/// is dead, or stopped: what its agents write after the final checkpoint is lost.
async fn wait_for_agents(app: &App, session: &SessionView) -> Result<(), Error> {
    let kept = async || -> Result<bool, Error> {
        let warm = app.records.warm().await?;
        Ok(warm.iter().any(|warm| warm.agent.chat.is_some_and(|chat| session.chats.contains(&chat))))
    };
    let begun = Instant::now();
    while kept().await? {
        if begun.elapsed() > RELEASE {
            complain!("boocoder: an agent that is kept for session {} was not let go", short(session.id));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The dispatcher of the turn removes its worktree once the task has ended. What it leaves to others, the
/// sweep that follows removes.
async fn wait_for_release(app: &App, session: &SessionView, owner: WorkspaceOwner) -> Result<(), Error> {
    let Ok(project) = app.git_project_of(session.project).await else { return Ok(()) };
    let owner: OwnerId = owner.to_string().parse().expect("because `task-` and 32 digits name an owner");
    let gone = async {
        while project.find(&owner).is_ok_and(|found| found.is_some()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Over time, it is somebody else's: killed, or on another machine's data.
    let _ = tokio::time::timeout(RELEASE, gone).await;
    Ok(())
}
