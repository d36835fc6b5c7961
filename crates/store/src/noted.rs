//! What the record keeps of a turn's frames beside their log: open permission requests, the agent's offer.

use dispatch_core::{
    agent::{AgentCommand, AgentSettings, PermissionRequest},
    frame::FrameBody,
};

use crate::fault::Fault;

/// What a batch of frames comes to; nothing for ordinary ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Requests that wait for a user from now on, oldest first.
    pub asked: Vec<Asked>,
    /// The ids of those before this batch that wait no longer.
    pub resolved: Vec<String>,
    /// JSON: the agent's commands, where it told.
    pub commands: Option<String>,
    /// JSON: what may be chosen with the agent, where it told.
    pub settings: Option<String>,
}

/// A permission request that waits for a user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub id: String,
    /// JSON: the request.
    pub request: String,
    /// How long it waits, in milliseconds.
    pub waits_ms: i64,
}

impl Noted {
    pub fn of(frames: &[FrameBody]) -> Result<Self, Fault> {
        let mut noted = Self::default();
        for frame in frames {
            match frame {
                FrameBody::PermissionRequest { request, waits_s: Some(waits_s) } => {
                    noted.ask(request, *waits_s)?;
                }
                FrameBody::PermissionResolved { id, .. } => noted.resolve(id),
                FrameBody::AgentCommands { commands } => {
                    noted.commands = Some(serde_json::to_string(commands)?);
                }
                FrameBody::AgentSettings { settings } => {
                    noted.settings = Some(serde_json::to_string(settings)?);
                }
                _ => {}
            }
        }
        Ok(noted)
    }

    fn ask(&mut self, request: &PermissionRequest, waits_s: u64) -> Result<(), Fault> {
        // Far from the end of time, so that a moment can be added to it.
        let waits_ms = i64::try_from(waits_s.saturating_mul(1000)).unwrap_or(i64::MAX).min(i64::MAX / 2);
        let (id, request) = (request.id.clone(), serde_json::to_string(request)?);
        self.asked.push(Asked { id, request, waits_ms });
        Ok(())
    }

    fn resolve(&mut self, id: &str) {
        let asked = self.asked.len();
        self.asked.retain(|asked| asked.id != id);
        if self.asked.len() == asked {
            self.resolved.push(id.to_owned());
        }
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the agent told what it offers.
    pub fn has_offer(&self) -> bool {
        self.commands.is_some() || self.settings.is_some()
    }
}

/// The stored text of an agent without commands.
pub(crate) fn no_commands() -> Result<String, Fault> {
    Ok(serde_json::to_string(&[] as &[AgentCommand])?)
}

/// The stored text of an agent with which nothing may be chosen.
pub(crate) fn no_settings() -> Result<String, Fault> {
    Ok(serde_json::to_string(&AgentSettings::default())?)
}

#[cfg(test)]
mod tests {
    use dispatch_core::agent::{Answer, ToolCall};

    use super::*;

    fn ask(id: &str, waits_s: Option<u64>) -> FrameBody {
        let tool_call = ToolCall::default();
        let request = PermissionRequest { id: id.into(), tool_call, options: vec![], paths: vec![] };
        FrameBody::PermissionRequest { request, waits_s }
    }

    fn resolve(id: &str) -> FrameBody {
        FrameBody::PermissionResolved { id: id.into(), answer: Answer::Allow }
    }

    #[test]
    fn ordinary_frames_come_to_nothing() {
        assert!(Noted::of(&[FrameBody::delta("text"), ask("by policy", None)]).unwrap().is_empty());
    }

    #[test]
    fn what_is_resolved_in_its_own_batch_is_never_open() {
        let noted = Noted::of(&[resolve("earlier"), ask("a", Some(1)), ask("b", Some(2)), resolve("a")]);
        let noted = noted.unwrap();
        assert_eq!(noted.resolved, ["earlier"]);
        let asked: Vec<_> = noted.asked.iter().map(|asked| (asked.id.as_str(), asked.waits_ms)).collect();
        assert_eq!(asked, [("b", 2000)]);
    }

    #[test]
    fn the_longest_wait_ends_before_time_does() {
        let noted = Noted::of(&[ask("a", Some(u64::MAX))]).unwrap();
        assert!(noted.asked[0].waits_ms.checked_add(2_000_000_000_000).is_some());
    }
}
