//! What happens to the change of a run.

use std::io::{self, IsTerminal, Write};

use dispatch_core::{
    change::{Change, ChangeState},
    ports::ChangeFilter,
    task::{Task, TaskState},
};
use serde_json::json;

use crate::{
    cli::Run,
    commands::change::{apply, reject, show_summary},
    exit::{Code, Error},
    keyboard::Keyboard,
    show::json_lines,
    signals::{Ask, Signals},
    wire::App,
};

/// Who decides: what they type, and whether they have had enough.
pub struct Person<'a> {
    /// What they type.
    pub keyboard: Keyboard,
    /// Their signals.
    pub signals: Signals,
    /// The signal that ended the run, if one did.
    pub ended_by: &'a mut Option<Ask>,
}

enum Choice {
    Apply,
    Keep,
    Reject,
}

/// Shows the run's result, decides about its change, and says how the run ended.
pub async fn decide(app: &App, args: &Run, task: &Task, person: &mut Person<'_>) -> Result<Code, Error> {
    let filter = ChangeFilter { task: Some(task.id), ..ChangeFilter::default() };
    let change = app.records.changes(&filter).await?.into_iter().next();
    let ended = Code::of_task(task.state, task.reason);
    let (code, change, problem) = match change {
        Some(change) if change.state == ChangeState::Pending => {
            settle(app, args, task, change, ended, person).await?
        }
        other => (ended, other, None),
    };
    if args.json {
        result_line(task, change.as_ref(), problem.as_deref())?;
    } else if let Some(problem) = &problem {
        complain!("boocoder: {problem}");
    } else if change.is_none() && task.state == TaskState::Completed {
        say!("nothing was changed");
    }
    Ok(code)
}

async fn settle(
    app: &App,
    args: &Run,
    task: &Task,
    change: Change,
    ended: Code,
    person: &mut Person<'_>,
) -> Result<(Code, Option<Change>, Option<String>), Error> {
    if !args.json {
        say!();
        show_summary(app, &change).await?;
    }
    match choose(args, task, &change, person).await {
        Choice::Keep => {
            if !args.json {
                let id = &change.id.to_string()[..8];
                say!("\nkept: `boocoder change apply {id}` or `boocoder change reject {id}`");
            }
            Ok((ended, Some(change), None))
        }
        Choice::Apply => match apply(app, &change).await {
            Ok(applied) => {
                if !args.json {
                    say!("applied");
                }
                Ok((ended, Some(applied), None))
            }
            Err(error) => Ok((error.code(), Some(change), Some(error.to_string()))),
        },
        Choice::Reject => {
            let rejected = reject(app, &change).await?;
            say!("rejected");
            Ok((ended, Some(rejected), None))
        }
    }
}

/// Only what completed is applied without a question, and only a terminal is asked. Who has stopped the run,
/// or stops it now, keeps the change.
async fn choose(args: &Run, task: &Task, change: &Change, person: &mut Person<'_>) -> Choice {
    *person.ended_by = person.ended_by.or_else(|| person.signals.waiting());
    if person.ended_by.is_some() {
        return Choice::Keep;
    }
    if args.apply {
        return if task.state == TaskState::Completed { Choice::Apply } else { Choice::Keep };
    }
    if args.json || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Choice::Keep;
    }
    if change.from_failed_turn {
        say!("\nthis change is from a turn that failed");
    }
    loop {
        put!("\n[a]pply, [k]eep for later, [r]eject? ");
        let _ = io::stdout().flush();
        let line = tokio::select! {
            biased;
            ask = person.signals.next() => {
                *person.ended_by = Some(ask);
                say!();
                return Choice::Keep;
            }
            line = person.keyboard.line() => line,
        };
        let Some(line) = line else { return Choice::Keep };
        match line.as_str() {
            "a" | "apply" => return Choice::Apply,
            "k" | "keep" => return Choice::Keep,
            "r" | "reject" => return Choice::Reject,
            _ => {}
        }
    }
}

/// The last line of `--json`.
fn result_line(task: &Task, change: Option<&Change>, problem: Option<&str>) -> Result<(), Error> {
    let change = change.map(|change| {
        let (additions, deletions) = change.draft.totals();
        json!({
            "id": change.id,
            "state": change.state,
            "from_failed_turn": change.from_failed_turn,
            "files": change.draft.files,
            "additions": additions,
            "deletions": deletions,
            "warnings": change.draft.warnings,
        })
    });
    let line = json!({
        "type": "result",
        "task": task.id,
        "session": task.session,
        "state": task.state,
        "reason": task.reason,
        "summary": task.summary,
        "route": task.route,
        "change": change,
        "problem": problem,
    });
    json_lines::print(&[line])
}
