//! A boocoder that has ended.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use serde_json::Value;

use super::text;

/// A boocoder that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The lines of stdout.
    pub stdout: Vec<String>,
    /// Everything on stderr.
    pub stderr: String,
}

impl Finished {
    /// Its exit code; a signal's number plus 128 when one ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another one.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout: {:#?}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The frames of `--json`, without the result.
    #[must_use]
    pub fn frames(&self) -> Vec<Value> {
        self.json().into_iter().filter(|line| line["type"] != "result").collect()
    }

    /// The last line of `--json`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn result(&self) -> Value {
        self.json().into_iter().find(|line| line["type"] == "result").expect("a result line")
    }

    pub(super) fn json(&self) -> Vec<Value> {
        self.stdout.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The types of the frames, runs of one type as one.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<_> =
            self.frames().iter().map(|frame| frame["type"].as_str().unwrap_or("?").to_owned()).collect();
        kinds.dedup();
        kinds
    }

    /// Checks what holds for the frames of every turn, however it ended (SPEC T7, T13, 6).
    ///
    /// # Panics
    /// When it does not.
    pub fn assert_orderly(&self) {
        let lines = self.json();
        let (result, frames) = lines.split_last().expect("lines");
        assert_eq!(result["type"], "result", "the last line");
        for (frame, seq) in frames.iter().zip(1..) {
            assert_eq!(frame["seq"], seq, "{frame}");
            assert_eq!(frame["session_id"], result["session"], "{frame}");
            assert_eq!(frame["task_id"], result["task"], "{frame}");
        }
        assert_turn_in_order(frames);
        let state = &frames[frames.len() - 2];
        assert_eq!((&state["state"], &state["reason"]), (&result["state"], &result["reason"]));
    }

    /// The streamed text, joined.
    #[must_use]
    pub fn text(&self) -> String {
        let deltas = self.frames().into_iter().filter(|frame| frame["type"] == "delta");
        deltas.filter_map(|frame| Some(frame["content"].as_str()?.to_owned())).collect()
    }
}

/// Checks the order of one turn's frames, however it ended (SPEC T7, T13).
///
/// # Panics
/// When they are in another one.
pub fn assert_turn_in_order(frames: &[Value]) {
    let kinds: Vec<_> = frames.iter().map(|frame| text(&frame["type"])).collect();
    let once = |kind: &str| kinds.iter().filter(|each| **each == kind).count();
    assert_eq!(once("task_state"), 1, "{kinds:?}");
    let has_message = once("message_started") > 0;
    if has_message {
        assert_eq!(kinds[..2], ["message_started", "agent_status"], "{kinds:?}");
        assert_eq!(frames[1]["status"], "working");
        assert_eq!(frames[1]["reason"], "turn_start");
        assert_eq!(once("message_started"), 1, "{kinds:?}");
    }
    let mut end = vec!["task_state", "agent_status"];
    if once("message_complete") > 0 {
        end.insert(0, "message_complete");
    }
    if once("pending_change") > 0 {
        end.insert(0, "pending_change");
    }
    assert_eq!(once("message_complete"), usize::from(end.contains(&"message_complete")));
    assert!(once("message_complete") == 1 || !has_message, "{kinds:?}");
    assert_eq!(kinds[kinds.len() - end.len()..], end, "{kinds:?}");
}
