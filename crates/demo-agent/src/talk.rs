//! Directives that only talk.

use crate::{
    history::Speaker,
    turn::{Flow, Turn, text_block, text_content},
    wire::Halt,
};
use serde_json::{Value, json};
use std::{fmt::Write as _, os::fd::AsRawFd, time::Duration};

/// Chunks after which a stream looks whether it is cancelled; about one pipe full.
const LOOK_EVERY: u64 = 256;

impl Turn<'_> {
    pub fn say(&mut self, text: &str) -> Result<(), Halt> {
        self.said.push_str(text);
        self.update(json!({"sessionUpdate": "agent_message_chunk", "content": text_block(text)}))
    }

    pub fn think(&mut self, text: &str) -> Result<(), Halt> {
        self.update(json!({"sessionUpdate": "agent_thought_chunk", "content": text_block(text)}))
    }

    /// The chunk's line up to its text, and after it.
    pub fn chunk_frame(&self) -> (Vec<u8>, &'static [u8]) {
        let session = Value::from(self.session.as_str());
        let head = format!(
            r#"{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":{session},"update":{{"sessionUpdate":"agent_message_chunk","content":{{"type":"text","text":""#
        );
        (head.into_bytes(), b"\"}}}}\n")
    }

    pub fn stream(&mut self, count: u64, bytes: usize) -> Result<(), Halt> {
        let (head, tail) = self.chunk_frame();
        let mut text = String::new();
        for number in 0..count {
            if number % LOOK_EVERY == 0 && self.cancelled()? {
                break;
            }
            text.clear();
            numbered(&mut text, number, bytes);
            self.agent.wire.raw(&head)?;
            self.agent.wire.raw(text.as_bytes())?;
            self.agent.wire.raw(tail)?;
            self.said.push_str(&text);
        }
        Ok(())
    }

    /// Not kept in the conversation's record.
    pub fn big_text(&mut self, bytes: usize) -> Result<(), Halt> {
        let (head, tail) = self.chunk_frame();
        self.agent.wire.raw(&head)?;
        self.agent.wire.raw_filler(bytes)?;
        self.agent.wire.raw(tail)
    }

    pub fn plan(&mut self, steps: &[String]) -> Result<(), Halt> {
        for done in 0..=steps.len() {
            let entries: Vec<_> = steps
                .iter()
                .enumerate()
                .map(|(at, step)| {
                    let status = match at {
                        at if at < done => "completed",
                        at if at == done => "in_progress",
                        _ => "pending",
                    };
                    json!({"content": step, "priority": "medium", "status": status})
                })
                .collect();
            self.update(json!({"sessionUpdate": "plan", "entries": entries}))?;
        }
        Ok(())
    }

    pub fn commands(&mut self, names: &[String]) -> Result<(), Halt> {
        let commands: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "description": format!("The command {name}")}))
            .collect();
        self.update(json!({"sessionUpdate": "available_commands_update", "availableCommands": commands}))
    }

    pub fn tool(&mut self, name: &str, text: &str) -> Result<(), Halt> {
        let id = self.tool_call(name, "other", "pending", json!({"text": text}))?;
        self.update(json!({"sessionUpdate": "tool_call_update", "toolCallId": id, "status": "in_progress"}))?;
        self.end_tool(&id, "completed", text_content(text))
    }

    /// Asks permission; what is not allowed ends the turn.
    pub fn ask(&mut self, title: &str, announced: bool) -> Result<Flow, Halt> {
        let input = json!({"title": title});
        let locations: Vec<_> =
            title.strip_prefix("edit ").map(|path| json!({"path": path})).into_iter().collect();
        let id =
            if announced { self.tool_call(title, "edit", "pending", input.clone())? } else { self.tool_id() };
        let option = |id: &str, name: &str, kind: &str| json!({"optionId": id, "name": name, "kind": kind});
        let answer = self.call(
            "session/request_permission",
            json!({
                "sessionId": self.session,
                "toolCall": {"toolCallId": id, "title": title, "kind": "edit", "status": "pending", "rawInput": input,
                             "locations": locations},
                "options": [
                    option("demo-always", "Always allow", "allow_always"),
                    option("demo-once", "Allow", "allow_once"),
                    option("demo-reject", "Reject", "reject_once"),
                ],
            }),
        )?;
        let chosen =
            answer.as_ref().ok().and_then(|answer| answer["outcome"]["optionId"].as_str()).unwrap_or("none");
        if matches!(chosen, "demo-always" | "demo-once") {
            let kind = if chosen == "demo-always" { "allow_always" } else { "allow_once" };
            self.say(&format!("permission: {kind}\n"))?;
            self.end_tool(&id, "completed", text_content(kind))?;
            return Ok(Flow::Next);
        }
        if !self.is_cancelled() {
            self.say("permission: refused\n")?;
        }
        self.end_tool(&id, "failed", text_content("not allowed"))?;
        Ok(Flow::End)
    }

    pub fn sleep(&mut self, time: Duration) -> Result<(), Halt> {
        let id =
            self.begin_tool(&format!("sleep {time:?}"), "other", json!({"ms": time.as_millis() as u64}))?;
        let (status, text) = if self.pause(time)? { ("failed", "cancelled") } else { ("completed", "slept") };
        self.end_tool(&id, status, text_content(text))
    }

    pub fn say_history(&mut self) -> Result<(), Halt> {
        let history = &self.here().history;
        let prompts: Vec<_> = history.iter().filter(|entry| entry.speaker == Speaker::User).collect();
        let mut text = format!("prompts: {}\n", prompts.len());
        for prompt in prompts {
            let _ = writeln!(text, "- {}", prompt.text.lines().next().unwrap_or(""));
        }
        self.say(&text)
    }

    pub fn say_settings(&mut self) -> Result<(), Halt> {
        let settings = self.here().settings;
        let text = format!(
            "mode: {}\nmodel: {}\nthought_level: {}\n",
            settings.mode, settings.model, settings.thought_level
        );
        self.say(&text)
    }

    pub fn say_env(&mut self, name: Option<&str>) -> Result<(), Halt> {
        let text = match name {
            Some(name) => match std::env::var_os(name) {
                Some(value) => format!("{name}={}\n", value.display()),
                None => format!("{name} is not set\n"),
            },
            None => {
                let mut names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
                names.sort();
                names.iter().map(|name| format!("{}\n", name.display())).collect()
            }
        };
        self.say(&text)
    }

    pub fn say_pwd(&mut self) -> Result<(), Halt> {
        let process =
            std::env::current_dir().map_or_else(|err| err.to_string(), |dir| dir.display().to_string());
        let session = self.here().cwd.display().to_string();
        self.say(&format!("process: {process}\nsession: {session}\n"))
    }

    /// The open files, but for the one that lists them.
    pub fn say_fds(&mut self) -> Result<(), Halt> {
        let dir = match std::fs::File::open("/proc/self/fd") {
            Ok(dir) => dir,
            Err(err) => return self.say(&format!("cannot list open files: {err}\n")),
        };
        let own = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let mut lines: Vec<_> = std::fs::read_dir(&own)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let target = std::fs::read_link(entry.path()).ok()?;
                let number: u32 = entry.file_name().to_str()?.parse().ok()?;
                (!target.ends_with("fd")).then_some((number, target))
            })
            .collect();
        lines.sort();
        let lines = lines.iter().map(|(number, target)| format!("{number} {}\n", target.display()));
        let text = lines.collect::<String>();
        self.say(&text)
    }
}

/// A number, padded to `bytes` bytes with its zeros and a space at the end.
fn numbered(text: &mut String, number: u64, bytes: usize) {
    let width = bytes.saturating_sub(1);
    let _ = write!(text, "{number:0width$} ");
    let surplus = text.len().saturating_sub(bytes);
    text.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_text_has_the_length_asked_for() {
        for (number, bytes, expected) in
            [(7, 20, "0000000000000000007 "), (1234, 3, "34 "), (5, 1, " "), (5, 0, "")]
        {
            let mut text = String::new();
            numbered(&mut text, number, bytes);
            assert_eq!(text, expected);
        }
    }
}
