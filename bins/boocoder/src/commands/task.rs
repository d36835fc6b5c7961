//! `boocoder task`.

use dispatch_core::{
    conversation::{Part, Role},
    ports::TaskFilter,
    task::{Task, TaskState, first_chars},
};

use crate::{
    cli::{Globals, TaskCommand, TaskList},
    exit::{Code, Error, unknown_state},
    show::{
        stream::tool_status,
        table::{short, table},
        text::{safe, safe_line},
    },
    wire::App,
};

/// Looks at tasks.
pub async fn run(globals: &Globals, command: TaskCommand) -> Result<Code, Error> {
    let app = App::open(globals)?;
    match command {
        TaskCommand::List(args) => list(&app, &args).await?,
        TaskCommand::Show { task, json } => show(&app, &task, json).await?,
    }
    Ok(Code::Completed)
}

async fn list(app: &App, args: &TaskList) -> Result<(), Error> {
    let state = match &args.state {
        Some(word) => Some(word.parse::<TaskState>().map_err(|_| unknown_state(word, TaskState::ALL, ""))?),
        None => None,
    };
    let project = app.project_filter(args.all).await?;
    let filter = TaskFilter { project, state, limit: args.limit, ..TaskFilter::default() };
    let tasks = app.records.tasks(&filter).await?;
    if args.json {
        return app.json_lines(&tasks);
    }
    let row = |task: &Task| {
        vec![
            short(task.id),
            state_of(task),
            task.options.agent.as_ref().map_or("native".to_owned(), |agent| safe_line(agent.as_str())),
            safe_line(first_chars(&task.input, 60)),
        ]
    };
    put!("{}", table(&["TASK", "STATE", "AGENT", "INPUT"], &tasks.iter().map(row).collect::<Vec<_>>()));
    Ok(())
}

fn state_of(task: &Task) -> String {
    match task.reason {
        Some(reason) if reason.as_str() != task.state.as_str() => format!("{} ({reason})", task.state),
        _ if task.state == TaskState::Running && task.stop_requested => "running (stopping)".to_owned(),
        _ => task.state.to_string(),
    }
}

async fn show(app: &App, prefix: &str, json: bool) -> Result<(), Error> {
    let task = app.records.find_task(prefix).await?;
    let messages = app.records.messages(task.chat).await?;
    let messages: Vec<_> = messages.into_iter().filter(|message| message.task == task.id).collect();
    if json {
        return app.json_lines(&[serde_json::json!({ "task": task, "messages": messages })]);
    }
    say!("task     {}", task.id);
    say!("state    {}", state_of(&task));
    say!("agent    {}", task.options.agent.as_ref().map_or("native", |agent| agent.as_str()));
    say!("session  {}", task.session);
    if let Some(route) = task.route {
        say!("route    {route}");
    }
    if let Some(summary) = &task.summary {
        say!("summary  {}", safe_line(summary));
    }
    for message in &messages {
        say!("\n{} ({})", message.role, message.state);
        if message.role == Role::User {
            say!("{}", safe(&message.content));
        }
        message.parts.iter().for_each(part);
    }
    Ok(())
}

fn part(part: &Part) {
    match part {
        Part::Text { text, .. } => say!("{}", safe(text)),
        Part::Reasoning { text } => say!("(reasoning) {}", safe(text)),
        Part::ToolCall { tool_call: call } => {
            say!("* {} {} {}", safe_line(&call.kind), safe_line(&call.title), tool_status(call.status));
        }
        Part::Plan { entries } => {
            for entry in entries {
                say!("- {} ({})", safe_line(&entry.content), safe_line(&entry.status));
            }
        }
        Part::Error { reason, text } => say!("! {reason}: {}", safe(text)),
    }
}
