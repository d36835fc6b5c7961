//! What the model has done.

use std::collections::BTreeSet;

use super::super::{Chat, turn::but};
use crate::model_server::{Call, Reply, Script};

pub(in super::super) fn edit(chat: &Chat<'_>) -> String {
    let script = Script::new()
        .then(Reply::text("I look. ").call(Call::read("README.md")))
        .then(Reply::new().call(Call::edit("README.md", "# A repository", "# The repository")))
        .then(Reply::new().call(Call::write("new.txt", "one\n")))
        .then(Reply::text("All done."));
    let done = chat.tell("change two files", script);
    but(done.verdict(), done.changed() == ["README.md", "new.txt"], "the change is another one")
}

pub(in super::super) fn shell(chat: &Chat<'_>) -> String {
    let script = Script::new()
        .then(Reply::new().call(Call::shell("echo made > made.txt && pwd")))
        .then(Reply::text("All done."));
    let done = chat.tell("run a command", script);
    but(done.verdict(), done.changed() == ["made.txt"], "the command did not run")
}

pub(in super::super) fn several(chat: &Chat<'_>) -> String {
    let calls = Reply::new().call(Call::write("a.txt", "a\n")).call(Call::shell("echo b > b.txt"));
    let done = chat.tell("do two things at once", Script::new().then(calls).then(Reply::text("Both done.")));
    let shown: BTreeSet<_> = done.of("tool_call").map(|frame| frame["tool_call"]["id"].to_string()).collect();
    let verdict = but(done.verdict(), done.changed() == ["a.txt", "b.txt"], "the change is another one");
    but(verdict, shown.len() == 2, "not both are shown")
}
