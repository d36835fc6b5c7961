//! A Stop while something goes on.

use std::{fs, time::Duration};

use super::super::{
    Chat, Turn,
    turn::{but, comes},
};
use crate::model_server::{Call, Moment, Reply, Script};

pub(in super::super) fn in_text(chat: &Chat<'_>) -> String {
    // Not all programs show a text before it is complete: the first one is, at the call.
    let script = Script::new()
        .then(Reply::text("I look first. ").call(Call::read("README.md")))
        .then(Reply::words(600).pace(Duration::from_millis(100)));
    chat.desk.server.when("talk on", script);
    let mut turn = chat.ask(&["--allow"], "talk on");
    turn.wait_for_text("I look first.");
    chat.desk.server.wait_for_nth(2, Moment::Asked, "talk on");
    let verdict = stop(chat, turn);
    chat.desk.server.wait_for(Moment::HungUp, "talk on");
    verdict
}

pub(in super::super) fn in_a_tool(chat: &Chat<'_>) -> String {
    let mark = chat.desk.machine.root().join("in-the-tool");
    // Some agents refuse `sleep`.
    let call = Call::shell(&format!("touch {}; tail -f README.md", mark.display()));
    chat.desk.server.when("wait in a tool", Script::new().then(Reply::new().call(call)));
    let turn = chat.ask(&["--allow"], "wait in a tool");
    assert!(comes(|| mark.exists()), "the tool was not run");
    let verdict = stop(chat, turn);
    let command = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let goes_on = chat.processes().iter().any(|pid| command(pid).trim() == "tail");
    but(verdict, !goes_on, "the command goes on")
}

/// Stops a turn whose agent is at work.
fn stop(chat: &Chat<'_>, turn: Turn<'_>) -> String {
    let before = chat.processes();
    let told = turn.stop();
    let is_kept = chat.keeps_as_it_should(&before);
    let done = turn.finish();
    let verdict = but(done.verdict(), told.ends_with("stopped"), &told);
    but(verdict, is_kept, chat.not_kept())
}
