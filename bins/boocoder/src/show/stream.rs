//! A turn as it goes by on a terminal.

use std::{collections::BTreeMap, io::Write};

use dispatch_core::{
    agent::{ToolCall, ToolStatus},
    frame::{AgentStatus, FrameBody},
    task::TaskState,
};

use super::text::{Style, safe, safe_line};

/// Shows frames as they come. A writer that fails (a closed pipe) ends the showing, never the turn.
pub struct Stream<W> {
    out: W,
    style: Style,
    /// What the line that is being written holds.
    line: Line,
    tools: BTreeMap<String, (ToolStatus, String)>,
    broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    Text,
    Reasoning,
}

impl<W: Write> Stream<W> {
    /// Shows on `out`.
    pub fn new(out: W, style: Style) -> Self {
        Self { out, style, line: Line::Empty, tools: BTreeMap::new(), broken: false }
    }

    /// Shows one frame.
    pub fn frame(&mut self, body: &FrameBody) {
        match body {
            FrameBody::Delta { content, .. } => self.run(Line::Text, content),
            FrameBody::ReasoningDelta { content } => self.run(Line::Reasoning, content),
            FrameBody::ToolCall { tool_call } => self.tool(tool_call),
            FrameBody::Plan { entries } => {
                for entry in entries {
                    let mark = match entry.status.as_str() {
                        "completed" => "x",
                        "in_progress" => ">",
                        _ => " ",
                    };
                    self.note(&format!("[{mark}] {}", safe_line(&entry.content)));
                }
            }
            FrameBody::PermissionRequest { request, .. } => {
                self.note(&format!(
                    "? {} asks for leave: {}",
                    request.tool_call.kind,
                    safe_line(&request.tool_call.title)
                ));
            }
            FrameBody::PermissionResolved { answer, .. } => {
                self.note(&format!("? answered: {answer:?}").to_lowercase())
            }
            FrameBody::Notice { text, .. } => self.note(&format!("! {}", safe_line(text))),
            FrameBody::AgentStatus { agent, status: AgentStatus::Working, .. } => {
                self.note(&format!("{} works", safe_line(agent)));
            }
            FrameBody::MessageComplete { error: Some(error), .. } => {
                let (red, plain) = (self.style.red(), self.style.plain());
                self.fresh_line();
                self.put(&format!("{red}{}{plain}\n", safe(error)));
            }
            FrameBody::TaskState { state: TaskState::Running | TaskState::Pending, .. }
            | FrameBody::AgentStatus { .. }
            | FrameBody::MessageStarted { .. }
            | FrameBody::MessageComplete { .. }
            | FrameBody::Usage { .. }
            | FrameBody::AgentCommands { .. }
            | FrameBody::AgentSettings { .. }
            | FrameBody::PendingChange { .. } => {}
            FrameBody::TaskState { state, reason } => {
                let reason = reason.filter(|reason| reason.as_str() != state.as_str());
                let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                self.note(&format!("task {state}{reason}"));
            }
        }
    }

    /// Shows what was written so far.
    pub fn flush(&mut self) {
        self.broken |= self.out.flush().is_err();
    }

    /// Whether nobody reads any more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Ends the line that is being written.
    pub fn fresh_line(&mut self) {
        if self.line != Line::Empty {
            let plain = self.style.plain();
            self.put(&format!("{plain}\n"));
            self.line = Line::Empty;
        }
    }

    /// A line of ours, dimmed.
    pub fn note(&mut self, text: &str) {
        let (dim, plain) = (self.style.dim(), self.style.plain());
        self.fresh_line();
        self.put(&format!("{dim}{text}{plain}\n"));
    }

    fn run(&mut self, kind: Line, content: &str) {
        if self.line != kind {
            self.fresh_line();
            if kind == Line::Reasoning {
                self.put(self.style.dim());
            }
            self.line = kind;
        }
        self.put(&safe(content));
    }

    fn tool(&mut self, call: &ToolCall) {
        let seen = (call.status, call.title.clone());
        if self.tools.get(&call.id) == Some(&seen) {
            return;
        }
        self.tools.insert(call.id.clone(), seen);
        let status = tool_status(call.status);
        self.note(&format!("* {} {} {status}", safe_line(&call.kind), safe_line(&call.title)));
    }

    fn put(&mut self, text: &str) {
        if !self.broken {
            self.broken = self.out.write_all(text.as_bytes()).is_err();
        }
    }
}

/// A tool call's status as a person reads it.
pub const fn tool_status(status: ToolStatus) -> &'static str {
    match status {
        ToolStatus::Pending => "…",
        ToolStatus::InProgress => "running",
        ToolStatus::Completed => "done",
        ToolStatus::Failed => "failed",
        ToolStatus::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_runs_on_and_everything_else_has_its_line() {
        let mut shown = Vec::new();
        let mut stream = Stream::new(&mut shown, Style::for_terminal(false));
        let call = |status| FrameBody::ToolCall {
            tool_call: ToolCall {
                id: "1".into(),
                title: "edit a\nb".into(),
                kind: "edit".into(),
                status,
                ..ToolCall::default()
            },
        };
        for body in [
            FrameBody::delta("one "),
            FrameBody::delta("two"),
            call(ToolStatus::InProgress),
            call(ToolStatus::InProgress),
            call(ToolStatus::Completed),
            FrameBody::ReasoningDelta { content: "hm\x1b[2J".into() },
            FrameBody::delta("end"),
        ] {
            stream.frame(&body);
        }
        stream.fresh_line();
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "one two\n* edit edit a b running\n* edit edit a b done\nhm\u{fffd}[2J\nend\n"
        );
    }
}
