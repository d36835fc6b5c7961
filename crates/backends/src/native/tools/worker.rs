//! From a tool call to its result.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acp_proto::host::{FileLimits, Files, MissingFile, TerminalLimits, TerminalSpawner, Terminals};
use dispatch_core::agent::ToolContent;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::change::Change;
use super::patience::Patience;
use super::request::{Look, Read, Request, Run};
use super::{command, look, search};
use crate::native::settings::NativeLimits;

/// The largest file that is edited or written, in bytes.
const FILE: usize = 1 << 20;
/// The most characters of a title.
const TITLE: usize = 200;

/// The tools of one turn.
pub(in crate::native) struct Tools {
    files: Arc<Files>,
    terminals: Terminals,
    limits: NativeLimits,
    /// One at a time; whoever holds it is at work on files.
    bench: Arc<Semaphore>,
    cancelled: Arc<AtomicBool>,
}

/// A call that is understood and can be done.
pub(in crate::native) struct Prepared {
    /// What a person reads.
    pub(in crate::native) title: String,
    /// The kind of tool, in ACP's words.
    pub(in crate::native) kind: &'static str,
    /// The files that it is about.
    pub(in crate::native) locations: Vec<String>,
    /// What it shows before it is done.
    pub(in crate::native) content: Vec<ToolContent>,
    /// Whether a person is to be asked first.
    pub(in crate::native) needs_leave: bool,
    work: Work,
}

enum Work {
    Look(Look),
    Change(Change),
    Run(Run),
}

/// What came of a call.
pub(in crate::native) struct Done {
    /// For the model.
    pub(in crate::native) result: String,
    pub(in crate::native) is_failed: bool,
    /// For a person; `None` leaves what was shown before.
    pub(in crate::native) content: Option<Vec<ToolContent>>,
}

impl Tools {
    /// Tools for a worktree.
    pub(in crate::native) fn open(
        worktree: &Path,
        spawner: Arc<dyn TerminalSpawner>,
        limits: NativeLimits,
    ) -> io::Result<Self> {
        let sizes = FileLimits { read: 2 * FILE, write: FILE };
        let files = Files::open(worktree, sizes, MissingFile::Refuse)?;
        let files = match worktree.parent() {
            // Ours, as the worktree is, and no part of any checkpoint.
            Some(beside) => files.with_scratch(beside)?,
            None => files,
        };
        let terminal_limits = TerminalLimits { count: 2, output: limits.result_bytes };
        let terminals = Terminals::new(files.root().to_owned(), spawner, terminal_limits);
        let bench = Arc::new(Semaphore::new(1));
        Ok(Self { files: Arc::new(files), terminals, limits, bench, cancelled: Arc::default() })
    }

    /// Ends what is under way. Returns at once.
    pub(in crate::native) fn stop(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.terminals.stop_all();
    }

    /// Returns when nobody is at work on files any more.
    pub(in crate::native) async fn idle(&self) {
        let _idle = self.bench.acquire().await;
    }

    /// Understands a call. The error is for the model.
    pub(in crate::native) async fn prepare(&self, name: &str, arguments: &Value) -> Result<Prepared, String> {
        let prepared = match Request::read(name, arguments)? {
            Request::Edit(edit) => {
                let title = format!("Edit {}", edit.path);
                let change = self.at_work(move |files, _| Change::edit(files, edit)).await?;
                Prepared::change(title, change)
            }
            Request::Write(write) => {
                let title = format!("Write {}", write.path);
                let change = self.at_work(move |files, _| Change::write(files, write)).await?;
                Prepared::change(title, change)
            }
            Request::Run(run) => Prepared::run(run),
            Request::Look(look) => Prepared::look(look),
        };
        Ok(prepared)
    }

    /// Does it. A command's output is handed to `show` while it runs.
    pub(in crate::native) async fn perform<F: Future<Output = ()>>(
        &self,
        work: Prepared,
        show: impl FnMut(String) -> F,
    ) -> Done {
        let most = self.limits.result_bytes;
        match work.work {
            Work::Look(wanted) => {
                let result =
                    self.at_work(move |files, cancelled| look(files, &wanted, cancelled, most)).await;
                Done::shown(result.map(|text| (text, true)), most)
            }
            Work::Change(change) => {
                let result = self.at_work(move |files, _| change.make(files)).await;
                Done {
                    is_failed: result.is_err(),
                    result: result.unwrap_or_else(|error| error),
                    content: None,
                }
            }
            Work::Run(run) => {
                let ended = command::run(&self.terminals, &run, self.limits.command, most, show).await;
                // A little more than the output: how it ended stands behind it.
                Done::shown(ended, most + 200)
            }
        }
    }

    /// Runs what blocks where it may. When the turn is given up meanwhile, [`Self::idle`] waits for it.
    async fn at_work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files, &AtomicBool) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let bench = Arc::clone(&self.bench).acquire_owned().await.map_err(|error| error.to_string())?;
        let (files, cancelled) = (Arc::clone(&self.files), Arc::clone(&self.cancelled));
        let done = tokio::task::spawn_blocking(move || {
            let done = if cancelled.load(Ordering::Relaxed) {
                Err("the turn was stopped".to_owned())
            } else {
                work(&files, &cancelled)
            };
            drop(bench);
            done
        });
        done.await.map_err(|error| error.to_string())?
    }
}

fn look(files: &Files, look: &Look, cancelled: &AtomicBool, most: usize) -> Result<String, String> {
    let patience = Patience::new(cancelled);
    match look {
        Look::List(list) => look::list(files, list, &patience).map_err(|error| error.to_string()),
        Look::Search(search) => search::search(files, search, &patience),
        Look::Read(read) => look::read(files, read, most).map_err(|error| error.to_string()),
    }
}

impl Prepared {
    fn look(look: Look) -> Self {
        let (title, kind, path) = match &look {
            Look::Read(Read { path, first_line: None, .. }) => (format!("Read {path}"), "read", path),
            Look::Read(Read { path, first_line: Some(line), .. }) => {
                (format!("Read {path} from line {line} on"), "read", path)
            }
            Look::Search(search) => {
                (format!("Search {} for {}", search.path, search.pattern), "search", &search.path)
            }
            Look::List(list) => (format!("List {}", list.path), "read", &list.path),
        };
        let (title, locations) = (short(&title), vec![path.clone()]);
        let work = Work::Look(look);
        Self { title, kind, locations, content: Vec::new(), needs_leave: false, work }
    }

    fn change(title: String, change: Change) -> Self {
        let locations = match &change.shown {
            ToolContent::Diff { path, .. } => vec![path.clone()],
            _ => Vec::new(),
        };
        let content = vec![change.shown.clone()];
        Self {
            title: short(&title),
            kind: "edit",
            locations,
            content,
            needs_leave: true,
            work: Work::Change(change),
        }
    }

    fn run(run: Run) -> Self {
        let title = short(&run.command);
        Self {
            title,
            kind: "execute",
            locations: Vec::new(),
            content: Vec::new(),
            needs_leave: true,
            work: Work::Run(run),
        }
    }
}

impl Done {
    /// What the model is told is what a person reads.
    fn shown(ended: Result<(String, bool), String>, most: usize) -> Self {
        let (mut result, is_well) = ended.unwrap_or_else(|error| (error, false));
        if result.len() > most {
            result.truncate(result.floor_char_boundary(most));
            result.push_str("\n(the rest is left out)\n");
        }
        let content = Some(vec![ToolContent::Text { text: result.clone() }]);
        Self { result, is_failed: !is_well, content }
    }

    /// A call that was not done.
    pub(in crate::native) fn refused(why: String) -> Self {
        let content = Some(vec![ToolContent::Text { text: why.clone() }]);
        Self { result: why, is_failed: true, content }
    }
}

/// One line, not too long.
fn short(title: &str) -> String {
    title.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TITLE).collect()
}
