//! `boocoder task show`.

use dispatch_core::conversation::{Part, Role};

use super::state_of;
use crate::{
    exit::Error,
    show::{
        json_lines,
        stream::tool_status,
        text::{safe, safe_line},
    },
    wire::App,
};

/// Shows one task with its conversation.
pub async fn show(app: &App, prefix: &str, json: bool) -> Result<(), Error> {
    let task = app.records.find_task(prefix).await?;
    let messages = app.records.messages(task.chat).await?;
    let messages: Vec<_> = messages.into_iter().filter(|message| message.task == task.id).collect();
    if json {
        return json_lines::print(&[serde_json::json!({ "task": task, "messages": messages })]);
    }
    say!("task     {}", task.id);
    say!("state    {}", state_of(&task));
    say!("agent    {}", task.options.agent.as_ref().map_or("native", |agent| agent.as_str()));
    say!("session  {}", task.session);
    say!("chat     {}", task.chat);
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
