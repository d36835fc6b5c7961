//! What the model says.

use super::super::{Chat, turn::but};
use crate::model_server::{Reply, Script};

/// Two MiB.
const BIG: usize = 2 << 20;

pub(in super::super) fn text(chat: &Chat<'_>) -> String {
    let done = chat.tell("say three words", Script::new().then(Reply::words(3)));
    but(done.verdict(), done.text().trim() == "word1 word2 word3", "the text is another one")
}

pub(in super::super) fn reasoning(chat: &Chat<'_>) -> String {
    let reply = Reply::new().reasoning(["**Thought**\n\n", "First I think."]).and_text(["42"]);
    let done = chat.tell("think about it", Script::new().then(reply));
    but(done.verdict(), done.reasoning().contains("I think"), "the reasoning is not shown")
}

pub(in super::super) fn empty(chat: &Chat<'_>) -> String {
    let done = chat.tell("say nothing", Script::new().then(Reply::new()));
    but(done.verdict(), done.text().is_empty(), "it says something")
}

pub(in super::super) fn big(chat: &Chat<'_>) -> String {
    big_in(chat, "say a lot", 64)
}

pub(in super::super) fn big_delta(chat: &Chat<'_>) -> String {
    big_in(chat, "say a lot at once", 1)
}

fn big_in(chat: &Chat<'_>, prompt: &str, deltas: usize) -> String {
    // gemini ends a turn in which the model repeats itself.
    let words: Vec<_> = (0..BIG / 8).map(|number| format!("{number:07} ")).collect();
    let deltas = words.chunks(words.len() / deltas).map(<[_]>::concat);
    let done = chat.tell(prompt, Script::new().then(Reply::new().and_text(deltas)));
    but(done.verdict(), done.text().trim_end() == words.concat().trim_end(), "some of it is missing")
}
