//! `boocoder task watch`.

use std::{sync::Arc, time::Duration};

use dispatch_core::{
    frame::Frame,
    ids::{Seq, SessionId, TaskId},
    ports::{Class, RecordsError},
    task::{Task, TaskState},
};
use dispatch_driver::{Delivery, FanOut, FanOutConfig, Subscription};
use serde_json::json;

use super::why;
use crate::{
    cli::TaskWatch,
    exit::{Code, Error},
    show::{json_lines, view::View},
    wire::App,
};

/// How often the record is looked at: its frames may come from any process.
const POLL: Duration = Duration::from_millis(100);

/// How long to wait after the record could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// Shows what is recorded of a task's session, and what comes, until the task has ended.
pub async fn watch(app: &App, args: &TaskWatch) -> Result<Code, Error> {
    let task = app.records.find_task(&args.task).await?;
    if task.state == TaskState::Pending {
        complain!("task {} {}", task.id, why::waiting(app, &task).await?);
    }
    // Nothing is published here: its subscribers read the record.
    let source = FanOut::new(Arc::clone(&app.records), FanOutConfig::default());
    let frames = source.subscribe(task.session, Some(Seq(args.since)));
    let (json, view) = (args.json, View::new(args.json));
    let mut watching = Watching { app, task: task.id, json, source, frames, is_anew: false, view };
    let code = loop {
        match watching.look().await {
            Ok(Look::Goes) => tokio::time::sleep(POLL).await,
            Ok(Look::Ended(task)) => break Code::of_task(task.state, task.reason),
            Ok(Look::NobodyReads) => break Code::Completed,
            Err(RecordsError::Store(error)) if error.class() == Class::Retry => {
                complain!("boocoder: {error}; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    watching.view.end();
    Ok(code)
}

struct Watching<'a> {
    app: &'a App,
    task: TaskId,
    json: bool,
    source: FanOut,
    frames: Subscription,
    /// Whether it began anew already: what is damaged is passed over the next time.
    is_anew: bool,
    view: View,
}

/// What a look at the record found, once everything that was there is shown.
enum Look {
    Goes,
    Ended(Box<Task>),
    NobodyReads,
}

impl Watching<'_> {
    async fn look(&mut self) -> Result<Look, RecordsError> {
        // Looked at before the frames: those of a task that has ended by then are all recorded.
        let task = self.app.records.task(self.task).await?;
        let has_ended = task.state.is_terminal();
        // After its end, what follows the task's own last frame is another task's affair.
        let mut held = Vec::new();
        loop {
            let frames = match self.frames.read().await? {
                None => break,
                Some(Delivery::Frames(frames)) => frames.to_vec(),
                Some(Delivery::Resync { .. }) => continue,
                Some(Delivery::Reset { .. }) if self.is_anew => continue,
                Some(Delivery::Reset { snapshot }) => {
                    self.begin_anew(snapshot.session.id);
                    continue;
                }
            };
            if !has_ended {
                self.show(frames);
            } else {
                held.extend(frames);
                if let Some(last) = held.iter().rposition(|frame| self.is_own(frame)) {
                    let others = held.split_off(last + 1);
                    self.show(std::mem::replace(&mut held, others));
                }
            }
            if self.view.is_broken() {
                return Ok(Look::NobodyReads);
            }
        }
        Ok(if has_ended { Look::Ended(Box::new(task)) } else { Look::Goes })
    }

    /// The place to go on from is not one of this record.
    fn begin_anew(&mut self, session: SessionId) {
        if self.json {
            // A reader that has gone away is seen at the next frame.
            let _ = json_lines::print(&[json!({ "type": "reset", "session_id": session })]);
        }
        complain!("boocoder: there is no such frame in session {session}: from its first one on");
        self.frames = self.source.subscribe(session, Some(Seq(0)));
        self.is_anew = true;
    }

    /// A program gets the session's stream without gaps, a person what is about the task.
    fn show(&mut self, mut frames: Vec<Frame>) {
        if !self.json {
            frames.retain(|frame| self.is_own(frame));
        }
        self.view.show(&frames);
    }

    fn is_own(&self, frame: &Frame) -> bool {
        frame.about.task_id == Some(self.task)
    }
}
