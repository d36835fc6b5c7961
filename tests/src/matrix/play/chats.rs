//! What a second turn knows of the first.

use std::time::Duration;

use super::super::{Chat, Done, turn::but};
use crate::model_server::{Call, ModelRequest, Reply, Script};

pub(in super::super) fn follow_up(chat: &Chat<'_>) -> String {
    let first = begin(chat);
    let before = chat.processes();
    let verdict = go_on(chat, &first);
    but(verdict, chat.keeps_as_it_should(&before), chat.not_kept())
}

pub(in super::super) fn after_a_kill(chat: &Chat<'_>) -> String {
    let first = begin(chat);
    chat.kill_what_is_kept();
    let second = chat.tell(SECOND, Script::new().then(Reply::text("Those two.")));
    let is_told = !chat.route.keeps_a_process() || second.has_notice("backend_restarted");
    but(remembers(chat, &first, &second), is_told, "the user is not told of the restart")
}

pub(in super::super) fn after_a_stop(chat: &Chat<'_>) -> String {
    let first = begin(chat);
    let script = Script::new()
        .then(Reply::text("I look first. ").call(Call::read("README.md")))
        .then(Reply::words(600).pace(Duration::from_millis(100)));
    chat.desk.server.when("talk on until you are stopped", script);
    let mut stopped = chat.ask(&["--allow"], "talk on until you are stopped");
    stopped.wait_for_text("I look first.");
    stopped.stop();
    drop(stopped.finish());
    go_on(chat, &first)
}

const FIRST: &str = "note the word apricot";
const SECOND: &str = "which words did we have";

/// A turn with a word of the user's and one of the model's.
fn begin(chat: &Chat<'_>) -> Done {
    chat.tell(FIRST, Script::new().then(Reply::text("Noted, and I add quince.")))
}

/// A turn that asks for them.
fn go_on(chat: &Chat<'_>, first: &Done) -> String {
    remembers(chat, first, &chat.tell(SECOND, Script::new().then(Reply::text("Those two."))))
}

/// Whether the model was told of both words.
fn remembers(chat: &Chat<'_>, first: &Done, second: &Done) -> String {
    if first.verdict() != "completed" {
        return format!("the first turn is {}", first.verdict());
    }
    let requests = chat.desk.server.requests();
    let asked = |request: &&ModelRequest| !request.is_side_request() && request.is_prompted_with(SECOND);
    let body = requests.iter().rfind(asked).map(|request| request.body.to_string()).unwrap_or_default();
    let is_told = ["apricot", "quince"].iter().all(|word| body.contains(word));
    let verdict = but(second.verdict(), second.text().contains("Those two."), "the text is another one");
    but(verdict, is_told, "the model is not told of the first turn")
}
