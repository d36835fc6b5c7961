//! `boocoder change`.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::AtomicBool,
};

use dispatch_core::{
    change::{Change, ChangeState},
    ports::{ChangeFilter, Decision},
};
use worktree::{ChangeSet, CheckpointId, dispatch::with_advice};

use crate::{
    cli::{ChangeCommand, ChangeFormat, ChangeList, Globals},
    exit::{Code, Error, unknown_state},
    show::{
        json_lines,
        table::{files, short, table},
        text::{Style, safe, safe_line},
    },
    wire::App,
};

/// A patch longer than this is not shown to a person, in bytes.
const SHOWN: usize = 256 * 1024;

/// Looks at changes and decides about them.
pub async fn run(globals: &Globals, command: ChangeCommand) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    match command {
        ChangeCommand::List(args) => list(&app, &args).await?,
        ChangeCommand::Show { change, format } => {
            let change = app.records.find_change(&change).await?;
            show(&app, &change, format).await?;
        }
        ChangeCommand::Apply { change } => {
            let change = app.records.find_change(&change).await?;
            apply(&app, &change).await?;
            say!("applied");
        }
        ChangeCommand::Reject { change } => {
            let change = app.records.find_change(&change).await?;
            reject(&app, &change).await?;
            say!("rejected");
        }
    }
    Ok(Code::Completed)
}

async fn list(app: &App, args: &ChangeList) -> Result<(), Error> {
    let state = match args.state.as_str() {
        "all" => None,
        word => {
            Some(word.parse::<ChangeState>().map_err(|_| unknown_state(word, ChangeState::ALL, ", all"))?)
        }
    };
    let project = app.project_filter(args.all).await?;
    let changes = app.records.changes(&ChangeFilter { project, state, ..ChangeFilter::default() }).await?;
    if args.json {
        return json_lines::print(&changes);
    }
    let row = |change: &Change| {
        let (additions, deletions) = change.draft.totals();
        vec![
            short(change.id),
            change.state.to_string(),
            safe_line(&change.agent),
            format!("{}, +{additions} -{deletions}{}", files(change.draft.files.len()), marks(change)),
            short(change.task),
        ]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    put!("{}", table(&["CHANGE", "STATE", "AGENT", "SIZE", "TASK"], &rows));
    Ok(())
}

fn marks(change: &Change) -> String {
    let mut marks = String::new();
    if change.from_failed_turn {
        marks.push_str(", from a failed turn");
    }
    if change.rejected_before {
        marks.push_str(", holds edits that were rejected before");
    }
    marks
}

async fn show(app: &App, change: &Change, format: ChangeFormat) -> Result<(), Error> {
    match format {
        ChangeFormat::Json => json_lines::print(std::slice::from_ref(change)),
        ChangeFormat::Summary => {
            say!("change  {}\ntask    {}\nstate   {}", change.id, change.task, change.state);
            show_summary(app, change).await
        }
        ChangeFormat::Patch => {
            let set = change_set(app, change).await?;
            let mut out = io::stdout().lock();
            set.write_patch(&mut out).map_err(|error| Error::failed(with_advice(&error)))?;
            out.flush().map_err(|error| Error::failed(format!("stdout: {error}")))
        }
    }
}

/// The files of a change, and its patch.
pub async fn show_summary(app: &App, change: &Change) -> Result<(), Error> {
    let style = Style::for_terminal(io::stdout().is_terminal());
    let (additions, deletions) = change.draft.totals();
    say!("{} changed, +{additions} -{deletions}{}", files(change.draft.files.len()), marks(change));
    for file in &change.draft.files {
        let from = file.from.as_ref().map(|from| format!(" (was {})", safe_line(from))).unwrap_or_default();
        let size = if file.binary {
            "binary".to_owned()
        } else {
            format!("+{} -{}", file.additions, file.deletions)
        };
        say!("  {:12} {}{from}  {size}", file.kind, safe_line(&file.path));
    }
    for warning in &change.draft.warnings {
        say!("  ! {}", safe_line(warning));
    }
    let mut patch = Patch(Vec::new());
    let set = change_set(app, change).await?;
    match set.write_patch(&mut patch) {
        Ok(()) => print_patch(&String::from_utf8_lossy(&patch.0), style),
        Err(_) if patch.0.len() >= SHOWN => {
            say!(
                "the patch is too long to be shown here: `boocoder change show {} --format patch`",
                short(change.id)
            );
        }
        Err(error) => return Err(Error::failed(with_advice(&error))),
    }
    Ok(())
}

/// A patch as long as a person may read it; writing more fails, which ends its making.
struct Patch(Vec<u8>);

impl Write for Patch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = SHOWN - self.0.len();
        if room == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn print_patch(patch: &str, style: Style) {
    let mut out = io::stdout().lock();
    for line in patch.lines() {
        let colour = match line.as_bytes().first() {
            Some(b'+') => style.green(),
            Some(b'-') => style.red(),
            Some(b'@') => style.dim(),
            Some(b'd') => style.bold(),
            _ => "",
        };
        // A reader that has gone away (a pager that was quit) is no failure.
        if writeln!(out, "{colour}{}{}", safe(line), style.plain()).is_err() {
            return;
        }
    }
}

/// The change as the repository holds it.
async fn change_set(app: &App, change: &Change) -> Result<ChangeSet, Error> {
    let project = app.git_project_of(change.project).await?;
    let draft = &change.draft;
    let broken = |error| Error::failed(format!("the record of change {} is broken: {error}", change.id));
    let base = draft.base_tree.parse().map_err(broken)?;
    let result = draft.result_tree.parse().map_err(broken)?;
    let snapshot = &draft.snapshot;
    let checkpoint = CheckpointId {
        commit: snapshot.commit.parse().map_err(broken)?,
        reference: snapshot.reference.clone(),
    };
    project
        .change_set(base, result, Some(checkpoint), &AtomicBool::new(false))
        .map_err(|error| Error::failed(with_advice(&error)))
}

/// Puts a change into the user's checkout and records that. A change that is decided already is not touched:
/// killed between the two, the next attempt finds it in the checkout and only records it.
pub async fn apply(app: &App, change: &Change) -> Result<Change, Error> {
    match change.state {
        ChangeState::Pending => {}
        ChangeState::Applied => return Ok(change.clone()),
        other => {
            return Err(Error::usage(format!(
                "change {} is {other}: it cannot be applied",
                short(change.id)
            )));
        }
    }
    let set = change_set(app, change).await?;
    let project = app.git_project_of(change.project).await?;
    project.apply(&set, &AtomicBool::new(false)).map_err(|error| Error::not_applied(error.to_string()))?;
    Ok(app.records.decide(change.id, Decision::Applied).await?)
}

/// Records that a change is refused.
pub async fn reject(app: &App, change: &Change) -> Result<Change, Error> {
    Ok(app.records.decide(change.id, Decision::Rejected).await?)
}
