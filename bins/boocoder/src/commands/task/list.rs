//! `boocoder task list`.

use dispatch_core::{
    ports::{TaskFilter, WaitsFor},
    task::{Task, TaskState, first_chars},
};
use serde_json::{Value, json};

use super::state_of;
use crate::{
    cli::TaskList,
    exit::{Error, unknown_state},
    show::{
        json_lines,
        table::{short, table},
        text::safe_line,
    },
    wire::App,
};

/// Lists tasks, newest first, and what those that are pending wait for.
pub async fn list(app: &App, args: &TaskList) -> Result<(), Error> {
    let state = match &args.state {
        Some(word) => Some(word.parse::<TaskState>().map_err(|_| unknown_state(word, TaskState::ALL, ""))?),
        None => None,
    };
    let project = app.project_filter(args.all).await?;
    let filter = TaskFilter { project, state, limit: args.limit, ..TaskFilter::default() };
    let mut tasks = Vec::new();
    for task in app.records.tasks(&filter).await? {
        let waits_for = match task.state {
            TaskState::Pending => app.records.waits_for(task.id).await?,
            _ => WaitsFor::Nothing,
        };
        tasks.push((task, waits_for));
    }
    if args.json {
        let objects = tasks.iter().map(object).collect::<Result<Vec<_>, _>>()?;
        return json_lines::print(&objects);
    }
    let rows: Vec<_> = tasks.iter().map(row).collect();
    put!("{}", table(&["TASK", "STATE", "AGENT", "INPUT"], &rows));
    Ok(())
}

fn row((task, waits_for): &(Task, WaitsFor)) -> Vec<String> {
    let state = match waits_for {
        WaitsFor::Nothing => state_of(task),
        WaitsFor::Behind { head, .. } => format!("pending (behind {})", short(head)),
        WaitsFor::Slot => "pending (for a slot)".to_owned(),
        WaitsFor::ItsProcess => "pending (for its `run`)".to_owned(),
    };
    vec![
        short(task.id),
        state,
        task.options.agent.as_ref().map_or("native".to_owned(), |agent| safe_line(agent.as_str())),
        safe_line(first_chars(&task.input, 60)),
    ]
}

/// The task, with `waits_for` while it is pending.
fn object((task, waits_for): &(Task, WaitsFor)) -> Result<Value, Error> {
    let mut object =
        serde_json::to_value(task).map_err(|error| Error::failed(format!("task {}: {error}", task.id)))?;
    object["waits_for"] = match waits_for {
        WaitsFor::Nothing => return Ok(object),
        WaitsFor::Behind { head, ahead } => json!({ "kind": "behind", "head": head, "ahead": ahead }),
        WaitsFor::Slot => json!({ "kind": "slot" }),
        WaitsFor::ItsProcess => json!({ "kind": "its_process" }),
    };
    Ok(object)
}
