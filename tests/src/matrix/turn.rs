//! A turn that somebody watches, and what came of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Chat;
use crate::product::{Live, assert_turn_in_order, text};

/// How long anything may take: real agents start and retry for minutes where both cores are busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until something is there that tells nobody when it comes; whether it came.
pub(super) fn comes(is_there: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A turn under way.
pub struct Turn<'a> {
    chat: &'a Chat<'a>,
    id: String,
    watcher: Option<Live>,
}

impl<'a> Turn<'a> {
    pub(super) fn watch(chat: &'a Chat<'a>, id: String) -> Self {
        let watcher = chat.desk.machine.start(["task", "watch", &id, "--json"]).with_patience(PATIENCE);
        Self { chat, id, watcher: Some(watcher) }
    }

    /// Waits for a frame of this turn.
    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let watcher = self.watcher.as_mut().expect("it is there until the turn is finished");
        let frame = |line: &str| serde_json::from_str::<Value>(line).expect("a line of JSON");
        let line = watcher.wait_for_line(|line| {
            let frame = frame(line);
            frame["task_id"] == self.id.as_str() && wanted(&frame)
        });
        frame(&line)
    }

    /// Waits until this was said.
    pub fn wait_for_text(&mut self, words: &str) {
        self.wait_for(|frame| frame["type"] == "delta" && text(&frame["content"]).contains(words));
    }

    /// Waits until leave is asked for; returns the request's id, or `None` when the turn ends without that.
    pub fn wait_for_request(&mut self) -> Option<String> {
        let is_either =
            |frame: &Value| frame["type"] == "permission_request" || frame["type"] == "task_state";
        let frame = self.wait_for(is_either);
        frame["request"]["id"].as_str().map(str::to_owned)
    }

    /// Allows a request, from another process.
    ///
    /// # Panics
    /// When nothing waits for it.
    pub fn allow(&self, request: &str) {
        let _ = self.chat.desk.machine.run(["permission", "allow", &self.id, request]).expect(0);
    }

    /// Stops it, from another process; returns what that one was told.
    pub fn stop(&self) -> String {
        let told = self.chat.desk.machine.start(["task", "stop", "--wait", &self.id]);
        told.with_patience(PATIENCE).finish().expect(0).stdout.concat()
    }

    /// Waits for its end.
    #[must_use]
    pub fn finish(mut self) -> Done {
        let watcher = self.watcher.take().expect("it is there until the turn is finished");
        let frames = watcher.finish().frames();
        let frames: Vec<_> =
            frames.into_iter().filter(|frame| frame["task_id"] == self.id.as_str()).collect();
        assert_turn_in_order(&frames);
        let machine = &self.chat.desk.machine;
        let task = machine.task(&self.id);
        let state = &frames[frames.len() - 2];
        assert_eq!((&state["state"], &state["reason"]), (&task["state"], &task["reason"]));
        let changes = machine.json(["change", "list", "--state", "all", "--json"]);
        let change = changes.into_iter().find(|change| change["task"] == self.id.as_str());
        Done { frames, task, change, way: self.chat.route.way.as_str() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            // A test that failed half way; the turn may not end before its dispatcher does.
            watcher.signal(9);
            let _ = watcher.finish();
        }
    }
}

/// A turn that has ended.
#[derive(Debug)]
pub struct Done {
    /// Its frames.
    pub frames: Vec<Value>,
    task: Value,
    change: Option<Value>,
    way: &'static str,
}

impl Done {
    /// How it ended, in few words: the state, and the reason unless it completed or was stopped. `, but …` follows when
    /// another route was taken.
    #[must_use]
    pub fn verdict(&self) -> String {
        let verdict = match text(&self.task["state"]) {
            state @ ("completed" | "cancelled") => state.to_owned(),
            state => format!("{state}: {}", text(&self.task["reason"])),
        };
        but(verdict, self.task["route"] == self.way, &format!("by the route {}", self.task["route"]))
    }

    /// The streamed text, joined; without what stands for an answer that has none (SPEC T11).
    #[must_use]
    pub fn text(&self) -> String {
        self.contents("delta")
    }

    /// The streamed reasoning, joined.
    #[must_use]
    pub fn reasoning(&self) -> String {
        self.contents("reasoning_delta")
    }

    fn contents(&self, kind: &str) -> String {
        let said = self.of(kind).filter(|frame| frame["placeholder"] != true);
        said.filter_map(|frame| frame["content"].as_str()).collect()
    }

    /// Its frames of one type.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.frames.iter().filter(move |frame| frame["type"] == kind)
    }

    /// Whether the user was told this.
    #[must_use]
    pub fn has_notice(&self, code: &str) -> bool {
        self.of("notice").any(|frame| frame["code"] == code)
    }

    /// The paths of its pending change.
    #[must_use]
    pub fn changed(&self) -> Vec<&str> {
        let files = self.change.iter().filter_map(|change| change["draft"]["files"].as_array()).flatten();
        files.map(|file| text(&file["path"])).collect()
    }
}

/// The verdict, with `, but …` when something does not hold.
pub(super) fn but(verdict: String, holds: bool, otherwise: &str) -> String {
    if holds { verdict } else { format!("{verdict}, but {otherwise}") }
}
