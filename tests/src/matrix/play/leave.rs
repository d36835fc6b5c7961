//! What is asked leave for.

use super::super::{Chat, turn::but};
use crate::model_server::{Call, Reply, Script};

/// The model wants one file after the other.
fn files<const N: usize>(names: [&str; N]) -> Script {
    let write = |name: &str| Reply::new().call(Call::write(name, "one\n")).or_say("I may not.");
    names
        .iter()
        .fold(Script::new(), |script, name| script.then(write(name)))
        .then(Reply::text("That is all."))
}

/// Each request is allowed once, so that the second file is asked for, too.
pub(in super::super) fn allowed(chat: &Chat<'_>) -> String {
    let done = chat.tell("write two files with leave", files(["a.txt", "b.txt"]));
    let verdict = but(done.verdict(), done.changed() == ["a.txt", "b.txt"], "the change is another one");
    but(verdict, done.of("permission_request").count() == 2, "not both are asked for")
}

pub(in super::super) fn asked(chat: &Chat<'_>) -> String {
    chat.desk.server.when("write when it is answered", files(["a.txt"]));
    let mut turn = chat.ask(&["--ask"], "write when it is answered");
    let mut asked = 0;
    while let Some(request) = turn.wait_for_request() {
        turn.allow(&request);
        asked += 1;
    }
    let done = turn.finish();
    let verdict = but(done.verdict(), asked > 0, "nothing is asked");
    but(verdict, asked == 0 || done.changed() == ["a.txt"], "the change is another one")
}

pub(in super::super) fn refused(chat: &Chat<'_>) -> String {
    chat.desk.server.when("write without leave", files(["a.txt"]));
    let done = chat.ask(&["--deny"], "write without leave").finish();
    let verdict = but(done.verdict(), done.changed().is_empty(), "it was done all the same");
    but(verdict, done.of("permission_request").count() > 0, "the request is not shown")
}

pub(in super::super) fn stopped(chat: &Chat<'_>) -> String {
    chat.desk.server.when("write when it is stopped", files(["a.txt"]));
    let mut turn = chat.ask(&["--ask"], "write when it is stopped");
    if turn.wait_for_request().is_none() {
        return but(turn.finish().verdict(), false, "nothing is asked");
    }
    let before = chat.processes();
    let told = turn.stop();
    let is_kept = chat.keeps_as_it_should(&before);
    let done = turn.finish();
    let verdict = but(done.verdict(), told.ends_with("stopped"), &told);
    let open = chat.desk.machine.json(["permission", "list", "--json"]);
    let verdict = but(verdict, open.is_empty(), "the request stays open");
    but(verdict, is_kept, chat.not_kept())
}
