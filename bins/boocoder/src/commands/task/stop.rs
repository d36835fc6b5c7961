//! `boocoder task stop`.

use std::time::Duration;

use dispatch_core::{
    ids::TaskId,
    ports::{RecordsError, StopAnswer},
    task::Task,
};

use crate::{
    cli::TaskStop,
    exit::{Code, Error},
    show::table::short,
    wire::App,
};

/// How often a task that is being stopped is looked at.
const POLL: Duration = Duration::from_millis(100);

/// How many looks lie between two that ask whether its node is dead.
const LOOKS_A_RECOVERY: u32 = 20;

/// Stops tasks (SPEC S1): all of them are asked to stop before any is waited for.
pub async fn stop(app: &App, args: &TaskStop) -> Result<Code, Error> {
    let (mut code, mut stopping) = (Code::Completed, Vec::new());
    for prefix in &args.tasks {
        let task = match app.records.find_task(prefix).await {
            Ok(task) => task.id,
            Err(RecordsError::NotFound { .. }) => {
                say!("{prefix} not found");
                code = Code::Usage;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match app.store.request_stop(task).await? {
            StopAnswer::Stopping if args.wait => stopping.push(task),
            StopAnswer::Stopping => say!("{} stopping", short(task)),
            StopAnswer::Cancelled => say!("{} cancelled", short(task)),
            StopAnswer::AlreadyEnded(state) => say!("{} already ended: {state}", short(task)),
            StopAnswer::NotFound => say!("{} not found", short(task)),
        }
    }
    // Nobody else may be there to obey for a node that is dead.
    app.store.recover().await?;
    for task in stopping {
        wait_for_end(app, task).await?;
        say!("{} stopped", short(task));
    }
    Ok(code)
}

/// Waits until a task has ended; by then nothing of its turn runs any more (SPEC S5).
pub async fn wait_for_end(app: &App, task: TaskId) -> Result<Task, Error> {
    let mut looks = 0;
    loop {
        let found = app.records.task(task).await?;
        if found.state.is_terminal() {
            return Ok(found);
        }
        looks += 1;
        if looks % LOOKS_A_RECOVERY == 0 {
            app.store.recover().await?;
        }
        tokio::time::sleep(POLL).await;
    }
}
