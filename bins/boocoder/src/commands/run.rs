//! `boocoder run`: one task here and now.

mod ask;
mod decide;
mod watch;

use std::{io::IsTerminal, sync::Arc, time::Duration};

use dispatch_core::{
    ids::{Seq, TaskId},
    ports::{Publisher, Records},
    task::{NewTask, PermissionPolicy, Task, TaskState},
};
use dispatch_driver::{FanOut, FanOutConfig, Node, random_bytes};

use crate::{
    cli::{Globals, Run},
    exit::{Code, Error},
    keyboard::Keyboard,
    show::view::View,
    signals::{Ask, Signals},
    wire::App,
};
use ask::Questions;
use decide::Person;
use watch::Showing;

/// How often a task that waits for its session is tried again (SPEC D1's poll).
const POLL: Duration = Duration::from_secs(2);

/// How long a run that has ended, and is asked to make haste, may take to leave everything in order.
const HURRIED: Duration = Duration::from_secs(1);

/// Runs one task, shows it, and decides about its change.
pub async fn run(globals: &Globals, args: Run) -> Result<Code, Error> {
    let request = &args.request;
    let input = request.input()?;
    let app = App::open(globals).await?;
    let repository = app.require_repository()?;
    app.remark();
    let options = request.options(&app.choose_agent(request.agent.as_deref())?, &app.config);
    let can_ask = !args.json && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut signals = Signals::take()?;

    let watched = Arc::new(FanOut::new(Arc::clone(&app.records), FanOutConfig::default()));
    let (node, mut tidying) = app.node(Arc::clone(&watched) as Arc<dyn Publisher>, "run").await?;
    let project = app.ensure_project(&repository, None).await?;
    let new = NewTask {
        options,
        permissions: request
            .permissions(if can_ask { PermissionPolicy::Ask } else { PermissionPolicy::Deny }, &app.config),
        attended_by: Some(node.id()),
        ..NewTask::new(TaskId::from_random(random_bytes()), project.id, input)
    };
    let task = app.records.create_task(new).await?;
    let frames = watched.subscribe(task.session, Some(Seq(0)));
    let showing = Showing::begin(frames, View::new(args.json));
    let mut keyboard = Keyboard::default();
    let node = Arc::new(node);
    let attended = attend(&node, &app, &task, can_ask, showing, &mut signals, &mut keyboard).await;
    let asked = leave(&node, &mut signals).await;
    let Attended { mut ended_by, is_shown } = attended?;
    ended_by = asked.or(ended_by);
    tokio::select! {
        biased;
        _ = tidying.end() => {}
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
    can_ask: bool,
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
            body = showing.question(), if can_ask => questions.note(body),
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

/// Ends what the node has kept, and leaves the record. A signal that comes meanwhile, which is returned, lets that go on
/// for a moment, and a second one for no longer: what is not done then, the supervisors and the next start do.
async fn leave(node: &Node, signals: &mut Signals) -> Option<Ask> {
    let mut asked = None;
    let leaving = async {
        node.release_agents().await;
        node.leave().await
    };
    let hurried = async {
        asked = Some(signals.next().await);
        let _ = tokio::time::timeout(HURRIED, signals.next()).await;
    };
    tokio::select! {
        biased;
        left = leaving => {
            if let Err(error) = left {
                tracing::warn!(%error, "the record could not be left in order");
            }
        }
        () = hurried => tracing::warn!("the record was not left in time"),
    }
    asked
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
        // Its session's turn may have ended, in this process or another.
        let _ = tokio::time::timeout(POLL, node.woken()).await;
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
