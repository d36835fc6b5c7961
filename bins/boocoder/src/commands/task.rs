//! `boocoder task`.

mod add;
mod list;
mod show;
mod stop;
mod watch;
mod why;

use dispatch_core::task::{Task, TaskState};

pub use stop::wait_for_end;

use crate::{
    cli::{Globals, TaskCommand},
    exit::{Code, Error},
    show::table::short,
    wire::App,
};

/// Queues, looks at, stops and resumes tasks.
pub async fn run(globals: &Globals, command: TaskCommand) -> Result<Code, Error> {
    if let TaskCommand::Add(args) = command {
        return add::add(globals, &args).await;
    }
    let app = App::open(globals).await?;
    match command {
        TaskCommand::Add(_) => {}
        TaskCommand::List(args) => list::list(&app, &args).await?,
        TaskCommand::Show { task, json } => show::show(&app, &task, json).await?,
        TaskCommand::Watch(args) => return watch::watch(&app, &args).await,
        TaskCommand::Stop(args) => return stop::stop(&app, &args).await,
        TaskCommand::Resume { tasks } => return resume(&app, &tasks).await,
        TaskCommand::Why { task } => why::why(&app, &task).await?,
    }
    Ok(Code::Completed)
}

/// Makes tasks pending again, those that can be.
async fn resume(app: &App, prefixes: &[String]) -> Result<Code, Error> {
    let mut code = Code::Completed;
    let mut is_pending = false;
    for prefix in prefixes {
        let resumed = async {
            let task = app.records.find_task(prefix).await?;
            app.records.resume_task(task.id).await
        };
        match resumed.await.map_err(Error::from) {
            Ok(task) => {
                is_pending |= task.state == TaskState::Pending;
                say!("{} {}", short(task.id), state_of(&task));
            }
            Err(error) => {
                complain!("boocoder: {error}");
                code = error.code();
            }
        }
    }
    if is_pending && why::serving(app).await?.is_empty() {
        complain!("boocoder: {}", why::NOBODY_SERVES);
    }
    Ok(code)
}

/// A task's state, with what belongs to it.
fn state_of(task: &Task) -> String {
    match task.reason {
        Some(reason) if reason.as_str() != task.state.as_str() => format!("{} ({reason})", task.state),
        _ if task.state == TaskState::Running && task.stop_requested => "running (stopping)".to_owned(),
        _ => task.state.to_string(),
    }
}
