//! The turn as it goes by, and the questions that it asks.

use std::{
    collections::VecDeque,
    io::{self, StdoutLock, Write},
};

use dispatch_core::{
    agent::{Answer, PermissionRequest},
    frame::{Frame, FrameBody},
    task::PermissionPolicy,
};

use crate::{
    keyboard::Keyboard,
    show::{
        stream::Stream,
        text::{Style, safe_line},
    },
};

/// A user's answer to a permission request.
pub struct Answered {
    /// The request's id.
    pub id: String,
    /// The answer.
    pub answer: Answer,
}

/// Shows a turn, as text or as JSON lines, and asks what it asks.
pub struct Watcher {
    view: View,
    /// What waits for an answer. The first one is the question that was put, if one was.
    open: VecDeque<PermissionRequest>,
    is_put: bool,
}

enum View {
    Text(Box<Stream<StdoutLock<'static>>>),
    Json { broken: bool },
}

impl Watcher {
    /// A watcher that writes to stdout.
    pub fn new(json: bool, style: Style) -> Self {
        let view = if json {
            View::Json { broken: false }
        } else {
            View::Text(Box::new(Stream::new(io::stdout().lock(), style)))
        };
        Self { view, open: VecDeque::new(), is_put: false }
    }

    /// Shows frames; asks at the terminal where the policy says so.
    pub fn show(&mut self, frames: &[Frame], policy: PermissionPolicy) {
        match &mut self.view {
            View::Json { broken } => *broken = *broken || json_lines(frames).is_err(),
            View::Text(stream) => {
                frames.iter().for_each(|frame| stream.frame(&frame.body));
                stream.flush();
            }
        }
        if policy == PermissionPolicy::Ask {
            frames.iter().for_each(|frame| self.note_question(&frame.body));
        }
    }

    /// Ends what is being written.
    pub fn end(&mut self) {
        if let View::Text(stream) = &mut self.view {
            stream.fresh_line();
            stream.flush();
        }
    }

    /// The next answer that the user gives; the end of the input is a no. Cancel-safe.
    pub async fn answered(&mut self, keyboard: &mut Keyboard) -> Answered {
        loop {
            let Some(request) = self.open.front() else { return std::future::pending().await };
            if !std::mem::replace(&mut self.is_put, true) {
                ask!("allow once: {}? [y/n] ", safe_line(&request.tool_call.title));
            }
            let line = keyboard.line().await;
            self.is_put = false;
            let answer = match line.as_deref() {
                Some("y" | "yes") => Answer::Allow,
                Some("n" | "no") | None => Answer::Deny,
                Some(_) => continue,
            };
            let id = request.id.clone();
            self.open.pop_front();
            return Answered { id, answer };
        }
    }

    /// A question that was answered otherwise, by its limit or by a Stop, is no longer asked.
    fn note_question(&mut self, body: &FrameBody) {
        match body {
            FrameBody::PermissionRequest { request } => self.open.push_back(request.clone()),
            FrameBody::PermissionResolved { id, .. } => {
                self.is_put &= self.open.front().is_some_and(|request| request.id != *id);
                self.open.retain(|request| request.id != *id);
            }
            _ => {}
        }
    }
}

fn json_lines(frames: &[Frame]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for frame in frames {
        serde_json::to_writer(&mut out, frame)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
