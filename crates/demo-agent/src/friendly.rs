//! What happens to a prompt without directives.

use crate::{turn::Turn, wire::Halt};
use serde_json::json;
use std::time::Duration;

/// The file that shows what a pending change looks like.
const NOTES: &str = "DEMO.md";

/// Between two words, so that one sees that they are streamed.
const PACE: Duration = Duration::from_millis(15);

/// Characters of the prompt that are noted.
const LONGEST_NOTE: usize = 2000;

/// Explains itself and notes the prompt, so that there is a change to review.
pub(crate) fn run(turn: &mut Turn<'_>, prompt: &str) -> Result<(), Halt> {
    turn.think("No model here: I say who I am and leave a note.")?;
    if slowly(turn, "Hello, I am the demo agent. I have no model behind me: I show how a turn looks. ")? {
        return Ok(());
    }
    if turn.here().settings.mode == "plan" {
        turn.plan_only()?;
        slowly(turn, "In plan mode I change nothing.\n")?;
        return Ok(());
    }
    let old = std::fs::read_to_string(turn.path(NOTES)).unwrap_or_default();
    let heading = if old.is_empty() { "# Notes of the demo agent\n" } else { "" };
    turn.write(NOTES, &format!("{heading}\n{}", note(prompt)), true)?;
    slowly(turn, "I noted your prompt in DEMO.md, so that there is a change to review. ")?;
    slowly(turn, "Send /help to see what else I can be told, or pick a real agent.\n")?;
    Ok(())
}

/// Says a text word by word; true when the turn is cancelled.
fn slowly(turn: &mut Turn<'_>, text: &str) -> Result<bool, Halt> {
    for word in text.split_inclusive(' ') {
        turn.say(word)?;
        if turn.pause(PACE)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The prompt as a quotation.
fn note(prompt: &str) -> String {
    let short: String = prompt.trim().chars().take(LONGEST_NOTE).collect();
    short.lines().map(|line| format!("> {line}").trim_end().to_owned() + "\n").collect()
}

impl Turn<'_> {
    fn plan_only(&mut self) -> Result<(), Halt> {
        let step = |text: &str| json!({"content": text, "priority": "medium", "status": "pending"});
        let entries = json!([step("Read the prompt"), step("Note it in DEMO.md")]);
        self.update(json!({"sessionUpdate": "plan", "entries": entries}))
    }
}
