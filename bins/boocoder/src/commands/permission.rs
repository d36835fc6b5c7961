//! `boocoder permission`.

use dispatch_core::{
    agent::Answer,
    ports::{OpenPermission, RecordsError},
};
use serde_json::json;

use crate::{
    cli::{Globals, PermissionAnswer, PermissionCommand},
    exit::{Code, Error},
    show::{
        json_lines,
        table::{short, table},
        text::safe_line,
    },
    wire::App,
};

/// Looks at what agents ask leave for, and answers it.
pub async fn run(globals: &Globals, command: PermissionCommand) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    match command {
        PermissionCommand::List { task, json } => list(&app, task.as_deref(), json).await?,
        PermissionCommand::Allow(which) => answer(&app, &which, Answer::Allow).await?,
        PermissionCommand::Deny(which) => answer(&app, &which, Answer::Deny).await?,
    }
    Ok(Code::Completed)
}

async fn list(app: &App, task: Option<&str>, as_json: bool) -> Result<(), Error> {
    let task = match task {
        Some(prefix) => Some(app.records.find_task(prefix).await?.id),
        None => None,
    };
    let open = app.records.permissions(task).await?;
    if as_json {
        return json_lines::print(&open.iter().map(object).collect::<Vec<_>>());
    }
    let row = |open: &OpenPermission| {
        let OpenPermission { task, agent, request, answer, .. } = open;
        let state = match answer {
            Some(answer) => format!("answered: {}", word(*answer)),
            None => "waits".to_owned(),
        };
        let agent = agent.as_ref().map_or("native", |agent| agent.as_str());
        let what = if request.tool_call.title.is_empty() {
            &request.tool_call.kind
        } else {
            &request.tool_call.title
        };
        vec![short(task), request.id.clone(), safe_line(agent), state, safe_line(what)]
    };
    let rows: Vec<_> = open.iter().map(row).collect();
    put!("{}", table(&["TASK", "REQUEST", "AGENT", "STATE", "WHAT"], &rows));
    Ok(())
}

fn object(open: &OpenPermission) -> serde_json::Value {
    let OpenPermission { task, session, agent, request, asked_at, lapses_at, answer } = open;
    json!({
        "task": task,
        "session": session,
        "agent": agent,
        "request": request,
        "asked_at": asked_at,
        "lapses_at": lapses_at,
        "answer": answer,
    })
}

async fn answer(app: &App, which: &PermissionAnswer, answer: Answer) -> Result<(), Error> {
    let task = app.records.find_task(&which.task).await?;
    let request = match &which.request {
        Some(request) => request.clone(),
        None => only_one(app.records.permissions(Some(task.id)).await?, &which.task)?,
    };
    match app.records.answer_permission(task.id, &request, answer).await {
        Ok(()) => {
            say!("{} {request}: {}", short(task.id), word(answer));
            Ok(())
        }
        Err(RecordsError::NotFound { .. }) => Err(Error::usage(format!(
            "task {} does not wait for an answer to {request}: it was answered, it lapsed, or its turn ended",
            short(task.id)
        ))),
        Err(error) => Err(error.into()),
    }
}

fn only_one(open: Vec<OpenPermission>, task: &str) -> Result<String, Error> {
    let mut waiting = open.into_iter().filter(|open| open.answer.is_none()).map(|open| open.request.id);
    match (waiting.next(), waiting.next()) {
        (Some(request), None) => Ok(request),
        (None, _) => Err(Error::usage(format!("task {task} does not wait for an answer"))),
        (Some(_), Some(_)) => Err(Error::usage(format!(
            "task {task} waits for several answers: name the request, see `boocoder permission list {task}`"
        ))),
    }
}

const fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Allow => "allowed",
        Answer::Deny => "refused",
        Answer::Lapsed => "lapsed",
        Answer::Cancelled => "cancelled",
    }
}
