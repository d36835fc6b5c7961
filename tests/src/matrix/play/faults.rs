//! What goes wrong between an agent and its model.

use super::super::{Chat, turn::but};
use crate::model_server::{Ending, ModelError, NO_SUCH_MODEL, Reply, Script};

pub(in super::super) fn refused_key(chat: &Chat<'_>) -> String {
    fault(chat, "hello with a bad key", ModelError::Unauthorised)
}

pub(in super::super) fn no_such_model(chat: &Chat<'_>) -> String {
    fault(chat, "hello to a model that is gone", ModelError::NoSuchModel)
}

pub(in super::super) fn host_fails(chat: &Chat<'_>) -> String {
    fault(chat, "hello to a broken host", ModelError::Internal)
}

pub(in super::super) fn context_too_long(chat: &Chat<'_>) -> String {
    fault(chat, "hello at length", ModelError::ContextTooLong)
}

fn fault(chat: &Chat<'_>, prompt: &str, error: ModelError) -> String {
    chat.tell(prompt, Script::new().then(error)).verdict()
}

pub(in super::super) fn unknown_model(chat: &Chat<'_>) -> String {
    let done = chat.ask(&["--allow", "--model", NO_SUCH_MODEL], "hello to a model of another name").finish();
    but(done.verdict(), done.has_notice("option_ignored"), "the user is not told that it is unknown")
}

pub(in super::super) fn cut(chat: &Chat<'_>) -> String {
    let half = Reply::text("half ").ending(Ending::Cut);
    let script = Script::new().then_after([half.into()], Reply::text("whole"));
    let done = chat.tell("hello over a bad line", script);
    but(done.verdict(), done.text().ends_with("whole"), "the answer is not asked for again")
}

pub(in super::super) fn output_limit(chat: &Chat<'_>) -> String {
    let reply = Reply::text("half ").ending(Ending::Length);
    chat.tell("say too much", Script::new().then(reply)).verdict()
}

pub(in super::super) fn content_filter(chat: &Chat<'_>) -> String {
    let reply = Reply::text("half ").ending(Ending::Refusal);
    chat.tell("say something bad", Script::new().then(reply)).verdict()
}
