//! `boocoder run`: one task here and now.

mod decide;
mod prompt;
mod watch;

use std::{io::IsTerminal, path::Path, sync::Arc};

use dispatch_core::{
    ids::TaskId,
    ports::NewProject,
    task::{Name, NewTask, PermissionPolicy, Task, TaskState, TurnOptions},
};
use dispatch_driver::Node;

use crate::{
    cli::{Globals, Run},
    exit::{Code, Error},
    frames::{self, Follow},
    keyboard::Keyboard,
    show::text::Style,
    signals::{Ask, Signals},
    wire::App,
};
use decide::Person;
use watch::Watcher;

/// Runs one task, shows it, and decides about its change.
pub async fn run(globals: &Globals, args: Run) -> Result<Code, Error> {
    let input = prompt::read(&args)?;
    let app = App::open(globals)?;
    let repository = app.require_repository()?;
    app.remark();
    let agent = app.choose_agent(args.agent.as_deref())?;
    let watcher = Watcher::new(args.json, Style::for_terminal(std::io::stdout().is_terminal()));
    let options = TurnOptions {
        agent: Some(agent),
        model: name(args.model.as_ref().or(app.config.model.as_ref())),
        mode: name(args.mode.as_ref().or(app.config.mode.as_ref())),
        thinking: name(args.thinking.as_ref().or(app.config.thinking.as_ref())),
    };
    let permissions = permissions(&args, &app);
    let mut signals = Signals::take()?;

    let (wake, woken) = frames::wake();
    let (node, tidying) = app.node(wake, "run").await?;
    let path = Some(repository.clone());
    let project = app.records.ensure_project(NewProject { name: project_name(&repository), path }).await?;
    let new = NewTask {
        project: project.id,
        input,
        options,
        permissions,
        session: None,
        chat: None,
        default_model: None,
    };
    let task = app.records.create_task(new).await?;
    let follow = Follow::new(Arc::clone(&app.records), task.session, woken);
    let mut keyboard = Keyboard::default();
    let mut ended_by = attend(&node, &app, &task, follow, watcher, &mut signals, &mut keyboard).await?;
    node.leave().await?;
    tokio::select! {
        biased;
        () = tidying.end() => {}
        // The next run goes on with it.
        ask = signals.next() => ended_by = Some(ask),
    }

    let task = app.records.task(task.id).await?;
    let code = decide::decide(&app, &args, &task, &mut Person { keyboard, signals, ended_by: &mut ended_by })
        .await?;
    // Who stopped it hears so, also where the turn's own end came first.
    Ok(ended_by.map_or(code, Ask::code))
}

/// Runs the task's turn to its end while it is shown, signals are obeyed and permissions asked for.
async fn attend(
    node: &Node,
    app: &App,
    task: &Task,
    mut follow: Follow,
    mut watcher: Watcher,
    signals: &mut Signals,
    keyboard: &mut Keyboard,
) -> Result<Option<Ask>, Error> {
    let mut ended_by = None;
    let still_waits =
        async || matches!(app.records.task(task.id).await, Ok(task) if task.state == TaskState::Pending);
    let turn = node.run_task(task.id, still_waits);
    tokio::pin!(turn);
    loop {
        tokio::select! {
            biased;
            ask = signals.next() => stop(node, task.id, ask, &mut ended_by).await?,
            report = &mut turn => {
                report?;
                break;
            }
            frames = follow.next() => watcher.show(&frames?, task.permissions),
            answer = watcher.answered(keyboard) => node.answer(task.id, answer.id, answer.answer),
        }
    }
    loop {
        let rest = follow.read().await?;
        if rest.is_empty() {
            break;
        }
        watcher.show(&rest, PermissionPolicy::Deny);
    }
    watcher.end();
    Ok(ended_by)
}

/// The first signal is a Stop; the second one ends it at once.
async fn stop(node: &Node, task: TaskId, ask: Ask, ended_by: &mut Option<Ask>) -> Result<(), Error> {
    if ended_by.replace(ask).is_some() {
        node.hurry(task);
        return Ok(());
    }
    complain!("stopping; once more ends it at once");
    node.stop(task).await?;
    Ok(())
}

fn permissions(args: &Run, app: &App) -> PermissionPolicy {
    let can_ask = !args.json && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    match app.config.permissions {
        _ if args.allow => PermissionPolicy::Allow,
        _ if args.deny => PermissionPolicy::Deny,
        Some(PermissionPolicy::Ask) | None if can_ask => PermissionPolicy::Ask,
        Some(PermissionPolicy::Ask) | None => PermissionPolicy::Deny,
        Some(configured) => configured,
    }
}

fn name(text: Option<&String>) -> Option<Name> {
    text.and_then(|text| Name::new(text))
}

fn project_name(repository: &Path) -> String {
    let last = repository.file_name().unwrap_or(repository.as_os_str());
    last.to_string_lossy().into_owned()
}
