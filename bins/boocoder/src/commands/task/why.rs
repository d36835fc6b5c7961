//! `boocoder task why`.

use dispatch_core::{
    ports::{NodeView, WaitsFor},
    task::{Task, TaskState, TerminalReason, first_chars},
};

use super::state_of;
use crate::{
    exit::Error,
    show::{table::short, text::safe_line},
    wire::{App, SERVES},
};

/// What to say where nothing takes tasks.
pub const NOBODY_SERVES: &str = "no dispatcher takes tasks now: start `boocoder serve`";

/// Says why a task waits, or why it ended as it did.
pub async fn why(app: &App, prefix: &str) -> Result<(), Error> {
    let task = app.records.find_task(prefix).await?;
    match task.state {
        TaskState::Pending => say!("task {} {}", task.id, waiting(app, &task).await?),
        TaskState::Running if task.stop_requested => {
            say!("task {} runs; a Stop was accepted, and its agent is being ended", task.id);
        }
        TaskState::Running => say!("task {} runs: `boocoder task watch {}`", task.id, short(task.id)),
        _ => ended(&task),
    }
    Ok(())
}

/// The dispatchers that take tasks of the queue.
pub async fn serving(app: &App) -> Result<Vec<NodeView>, Error> {
    let mut nodes = app.records.nodes().await?;
    nodes.retain(|node| node.label.starts_with(SERVES));
    Ok(nodes)
}

/// What a pending task waits for, in words that follow its name.
pub async fn waiting(app: &App, task: &Task) -> Result<String, Error> {
    let serving = serving(app).await?;
    let mut words = match app.records.waits_for(task.id).await? {
        WaitsFor::Nothing => "waits for nothing any more".to_owned(),
        WaitsFor::ItsProcess => "waits for the `boocoder run` that it was made by".to_owned(),
        WaitsFor::Behind { head, ahead } => {
            let head = app.records.task(head).await?;
            let others = match ahead {
                0 | 1 => String::new(),
                ahead => format!(", with {} more before it in its session", ahead - 1),
            };
            let input = safe_line(first_chars(&head.input, 40));
            format!("waits behind task {} ({}: {input}){others}", short(head.id), state_of(&head))
        }
        WaitsFor::Slot => slot(app, task, &serving),
    };
    if serving.is_empty() {
        words = format!("{words}; {NOBODY_SERVES}");
    }
    Ok(words)
}

fn slot(app: &App, task: &Task, serving: &[NodeView]) -> String {
    let nodes: Vec<_> =
        serving.iter().map(|node| format!("{} runs {}", safe_line(&node.label), node.running)).collect();
    let mut words = format!("waits for a free slot ({})", nodes.join("; "));
    if serving.is_empty() {
        words = "is the next of its session".to_owned();
    }
    let Some(agent) = &task.options.agent else { return words };
    if let Some(limit) = app.config.serve.agents.get(agent.as_str()) {
        words += &format!("; a dispatcher with your configuration runs at most {limit} of {agent} at once");
    }
    if let Some(hint) = app.missing(agent) {
        words += &format!("; agent {agent} is not installed on this machine: {hint}");
    }
    words
}

fn ended(task: &Task) {
    say!("task {} {}", task.id, state_of(task));
    if let Some(reason) = task.reason {
        say!("{}", meaning(reason));
    }
    if let Some(summary) = task.summary.as_deref().filter(|_| task.state != TaskState::Completed) {
        say!("it says: {}", safe_line(summary));
    }
    let is_resumable = task.state == TaskState::Interrupted
        || (task.state == TaskState::Cancelled && task.reason == Some(TerminalReason::Shutdown));
    if is_resumable {
        say!("`boocoder task resume {}` tries it again", short(task.id));
    }
}

const fn meaning(reason: TerminalReason) -> &'static str {
    use TerminalReason as Why;
    match reason {
        Why::Completed => "its agent said that it is done",
        Why::AgentFailed => "its agent failed, by its own word or by its exit code",
        Why::AgentCrashed => "its agent's process, or the connection to it, was lost",
        Why::ModelRefused => "the model refused to answer",
        Why::ModelOverloaded => "the model's service was overloaded or failing; it may work later",
        Why::OverQuota => "a quota or rate limit of the model's service was reached",
        Why::Unauthorised => {
            "the model's service does not accept the agent's credentials: log in to the agent"
        }
        Why::ContextTooLong => "the conversation does not fit the model's context: begin a new one",
        Why::Stalled => "nothing was heard of its agent for longer than limits.silence_s allows",
        Why::OutputLimit => "it had more to say than limits.output_bytes allows",
        Why::Stopped => "somebody stopped it",
        Why::Shutdown => "its dispatcher was stopped while it ran",
        Why::NodeLost => "its dispatcher was lost",
        Why::CouldNotStart => "its agent could not be started, or did not get ready",
        Why::AgentNotInstalled => "its agent is not installed where it was to run",
        Why::NoProject => "its project is no usable git repository any more",
        Why::NoWorktree => "its worktree could not be made",
        Why::DiffFailed => "what it changed could not be compared with its base; its worktree is kept",
        Why::Internal => "boocoder itself failed; the log of its dispatcher says more",
    }
}
