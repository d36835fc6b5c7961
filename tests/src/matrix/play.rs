//! The scenarios, played with the real program.
//!
//! What came of one is the task's state, and its reason unless it completed or was stopped; `, but …` follows
//! when something else is not as it should be.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    desk::Desk,
    model_server::{Call, Ending, ModelError, Moment, Reply, Script},
    product::{Finished, Machine, text as words},
};

/// SIGINT, as a terminal's Ctrl-C sends it.
const INTERRUPT: i32 = 2;

/// Two MiB.
const BIG: usize = 2 << 20;

pub(super) fn text(desk: &Desk) -> String {
    let run = tell(desk, "say three words", Script::new().then(Reply::words(3)));
    but(verdict(&run), run.text().trim() == "word1 word2 word3", "the text is another one")
}

pub(super) fn reasoning(desk: &Desk) -> String {
    let reply = Reply::new().reasoning(["**Thought**\n\n", "First I think."]).and_text(["42"]);
    let run = tell(desk, "think about it", Script::new().then(reply));
    let frames = run.frames();
    let thought = frames.iter().filter(|frame| frame["type"] == "reasoning_delta");
    let thought: String = thought.filter_map(|frame| frame["content"].as_str()).collect();
    but(verdict(&run), thought.contains("I think"), "the reasoning is not shown")
}

pub(super) fn edit(desk: &Desk) -> String {
    let script = Script::new()
        .then(Reply::text("I look. ").call(Call::read("README.md")))
        .then(Reply::new().call(Call::edit("README.md", "# A repository", "# The repository")))
        .then(Reply::new().call(Call::write("new.txt", "one\n")))
        .then(Reply::text("All done."));
    let run = tell(desk, "change two files", script);
    but(verdict(&run), changed(&run) == ["README.md", "new.txt"], "the change is another one")
}

pub(super) fn shell(desk: &Desk) -> String {
    let script = Script::new()
        .then(Reply::new().call(Call::shell("echo made > made.txt && pwd")))
        .then(Reply::text("All done."));
    let run = tell(desk, "run a command", script);
    but(verdict(&run), changed(&run) == ["made.txt"], "the command did not run")
}

pub(super) fn several_tools(desk: &Desk) -> String {
    let calls = Reply::new().call(Call::write("a.txt", "a\n")).call(Call::shell("echo b > b.txt"));
    let run = tell(desk, "do two things at once", Script::new().then(calls).then(Reply::text("Both done.")));
    let shown: BTreeSet<_> = run
        .frames()
        .iter()
        .filter(|frame| frame["type"] == "tool_call")
        .map(|frame| frame["tool_call"]["id"].to_string())
        .collect();
    let verdict = but(verdict(&run), changed(&run) == ["a.txt", "b.txt"], "the change is another one");
    but(verdict, shown.len() == 2, "not both are shown")
}

pub(super) fn refused(desk: &Desk) -> String {
    let write = Reply::new().call(Call::write("new.txt", "one\n"));
    desk.server.when("write without leave", Script::new().then(write).then(Reply::text("Too bad.")));
    let args = ["run", "--agent", desk.agent, "--json", "--deny", "write without leave"];
    let run = desk.machine.run(args);
    let asked = run.frames().iter().any(|frame| frame["type"] == "permission_request");
    let verdict = but(verdict(&run), changed(&run).is_empty(), "it was done all the same");
    but(verdict, asked, "the request is not shown")
}

pub(super) fn stop_in_text(desk: &Desk) -> String {
    desk.server.when("talk on", Script::new().then(Reply::words(600).pace(Duration::from_millis(100))));
    let mut live = desk.machine.start(desk.args(&["talk on"]));
    live.wait_for_frame("delta", |frame| words(&frame["content"]).contains("word"));
    live.signal(INTERRUPT);
    let run = live.finish();
    desk.server.wait_for(Moment::HungUp, "talk on");
    but(verdict(&run), run.text().starts_with("word1 "), "what was streamed is lost")
}

pub(super) fn stop_in_a_tool(desk: &Desk) -> String {
    let mark = desk.machine.root().join("in-the-tool");
    // Some agents refuse `sleep`.
    let call = Call::shell(&format!("touch {}; tail -f README.md", mark.display()));
    desk.server.when("wait in a tool", Script::new().then(Reply::new().call(call)));
    let live = desk.machine.start(desk.args(&["wait in a tool"]));
    Machine::wait_until("the tool's mark", || mark.exists().then_some(()));
    live.signal(INTERRUPT);
    verdict(&live.finish())
}

pub(super) fn refused_key(desk: &Desk) -> String {
    verdict(&tell(desk, "hello with a bad key", Script::new().then(ModelError::Unauthorised)))
}

pub(super) fn host_fails(desk: &Desk) -> String {
    verdict(&tell(desk, "hello to a broken host", Script::new().then(ModelError::Internal)))
}

pub(super) fn cut(desk: &Desk) -> String {
    let half = Reply::text("half ").ending(Ending::Cut);
    let run =
        tell(desk, "hello over a bad line", Script::new().then_after([half.into()], Reply::text("whole")));
    but(verdict(&run), run.text().ends_with("whole"), "the answer is not asked for again")
}

pub(super) fn context_too_long(desk: &Desk) -> String {
    verdict(&tell(desk, "hello at length", Script::new().then(ModelError::ContextTooLong)))
}

pub(super) fn output_limit(desk: &Desk) -> String {
    let reply = Reply::text("half ").ending(Ending::Length);
    verdict(&tell(desk, "say too much", Script::new().then(reply)))
}

pub(super) fn content_filter(desk: &Desk) -> String {
    let reply = Reply::text("half ").ending(Ending::Refusal);
    verdict(&tell(desk, "say something bad", Script::new().then(reply)))
}

pub(super) fn empty(desk: &Desk) -> String {
    let run = tell(desk, "say nothing", Script::new().then(Reply::new()));
    but(verdict(&run), run.text().is_empty(), "it says something")
}

pub(super) fn big(desk: &Desk) -> String {
    big_in(desk, "say a lot", 64)
}

pub(super) fn big_delta(desk: &Desk) -> String {
    big_in(desk, "say a lot at once", 1)
}

fn big_in(desk: &Desk, prompt: &str, deltas: usize) -> String {
    // gemini ends a turn in which the model repeats itself.
    let words: Vec<_> = (0..BIG / 8).map(|number| format!("{number:07} ")).collect();
    let deltas = words.chunks(words.len() / deltas).map(<[_]>::concat);
    let run = tell(desk, prompt, Script::new().then(Reply::new().and_text(deltas)));
    but(verdict(&run), run.text().trim_end() == words.concat().trim_end(), "some of it is missing")
}

fn tell(desk: &Desk, prompt: &str, script: Script) -> Finished {
    desk.server.when(prompt, script);
    desk.machine.run(desk.args(&[prompt]))
}

fn verdict(run: &Finished) -> String {
    run.assert_orderly();
    let result = run.result();
    match words(&result["state"]) {
        state @ ("completed" | "cancelled") => state.to_owned(),
        state => format!("{state}: {}", words(&result["reason"])),
    }
}

fn but(verdict: String, holds: bool, otherwise: &str) -> String {
    if holds { verdict } else { format!("{verdict}, but {otherwise}") }
}

/// The paths of the pending change.
fn changed(run: &Finished) -> Vec<String> {
    let result = run.result();
    let files = result["change"]["files"].as_array().into_iter().flatten();
    files.map(|file| words(&file["path"]).to_owned()).collect()
}
