//! `boocoder run`: one task here and now.

mod ask;
mod decide;
mod prompt;
mod watch;

use std::{io::IsTerminal, path::Path, sync::Arc, time::Duration};

use dispatch_core::{
    ids::TaskId,
    ports::{NewProject, Records},
    task::{Name, NewTask, PermissionPolicy, Task, TaskState, TurnOptions},
};
use dispatch_driver::{Node, random_bytes};

use crate::{
    cli::{Globals, Run},
    exit::{Code, Error},
    frames::{self, Follow},
    keyboard::Keyboard,
    show::text::Style,
    signals::{Ask, Signals},
    wire::App,
};
use ask::Questions;
use decide::Person;
use watch::Showing;

/// How often a task that waits for its session is tried again (SPEC D1's poll).
const POLL: Duration = Duration::from_secs(2);

/// Runs one task, shows it, and decides about its change.
pub async fn run(globals: &Globals, args: Run) -> Result<Code, Error> {
    let input = prompt::read(&args)?;
    let app = App::open(globals)?;
    let repository = app.require_repository()?;
    app.remark();
    let agent = app.choose_agent(args.agent.as_deref())?;
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
        options,
        permissions,
        ..NewTask::new(TaskId::from_random(random_bytes()), project.id, input)
    };
    let task = app.records.create_task(new).await?;
    let follow = Follow::new(Arc::clone(&app.records), task.session, woken);
    let showing = Showing::begin(follow, args.json, Style::for_terminal(std::io::stdout().is_terminal()));
    let mut keyboard = Keyboard::default();
    let node = Arc::new(node);
    let attended = attend(&node, &app, &task, showing, &mut signals, &mut keyboard).await;
    // What this cannot do, the next start does.
    if let Err(error) = node.leave().await {
        tracing::warn!(%error, "the record could not be left in order");
    }
    let Attended { mut ended_by, is_shown } = attended?;
    tokio::select! {
        biased;
        () = tidying.end() => {}
        // The next run goes on with it.
        ask = signals.next() => ended_by = Some(ask),
    }
    if let (false, Some(ask)) = (is_shown, ended_by) {
        // Nobody reads any more; the change waits in the record.
        return Ok(ask.code());
    }

    let task = app.records.task(task.id).await?;
    let code = decide::decide(&app, &args, &task, &mut Person { keyboard, signals, ended_by: &mut ended_by })
        .await?;
    // Who stopped it hears so, also where the turn's own end came first.
    Ok(ended_by.map_or(code, Ask::code))
}

/// Runs the task's turn to its end while it is shown, signals are obeyed and permissions asked for. The turn
/// has a task of its own: nothing that happens here can hold it up or end it.
async fn attend(
    node: &Arc<Node>,
    app: &App,
    task: &Task,
    mut showing: Showing,
    signals: &mut Signals,
    keyboard: &mut Keyboard,
) -> Result<Attended, Error> {
    let mut attended = Attended { ended_by: None, is_shown: true };
    let mut questions = Questions::default();
    let mut turn = tokio::spawn(turn(Arc::clone(node), Arc::clone(&app.records), task.id));
    let ran = loop {
        tokio::select! {
            biased;
            ask = signals.next() => stop(node, task.id, ask, &mut attended.ended_by).await,
            ran = &mut turn => break ran,
            body = showing.question(), if task.permissions == PermissionPolicy::Ask => questions.note(body),
            answer = questions.answered(keyboard) => node.answer(task.id, answer.id, answer.answer),
        }
    };
    tokio::select! {
        biased;
        () = showing.end() => {}
        ask = signals.next() => attended = Attended { ended_by: Some(ask), is_shown: false },
    }
    match ran {
        Ok(ran) => ran.map(|()| attended),
        Err(error) => Err(Error::failed(format!("the turn failed: {error}"))),
    }
}

/// How a run was attended to its end.
struct Attended {
    /// The signal that asked for its end, if one did.
    ended_by: Option<Ask>,
    /// Whether everything was shown; a reader that stalls can be given up.
    is_shown: bool,
}

/// Runs the task's turn as soon as it can be claimed; it may have to wait for another of its session.
async fn turn(node: Arc<Node>, records: Arc<dyn Records>, id: TaskId) -> Result<(), Error> {
    while node.run_task(id).await?.is_none() {
        if records.task(id).await?.state != TaskState::Pending {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The first signal is a Stop; the second one ends it at once.
async fn stop(node: &Node, task: TaskId, ask: Ask, ended_by: &mut Option<Ask>) {
    if ended_by.replace(ask).is_some() {
        return node.hurry(task);
    }
    complain!("stopping; once more ends it at once");
    if let Err(error) = node.stop(task).await {
        complain!("the stop could not be recorded: {error}; try again");
        *ended_by = None;
    }
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
