//! Requests for leave, and their answers.

use serde::{Deserialize, Serialize};

use super::tool::ToolCall;

/// The agent's request for leave to do something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionRequest {
    /// Our id of the request: a backend's is unique within its turn, to which the driver adds the claim, so that it is
    /// unique within its task.
    pub id: String,
    /// What it is about, as far as the agent told.
    pub tool_call: ToolCall,
    /// The answers that the agent accepts, in its order.
    pub options: Vec<PermissionOption>,
    /// The files that it is about, relative to the worktree's top folder, where all that the agent named lie
    /// inside; none where it named none, or one outside. The driver works this out: a backend leaves it empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// One answer that an agent accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionOption {
    /// The agent's own id of the option.
    pub id: String,
    /// What a person reads.
    pub name: String,
    /// What choosing it means.
    pub kind: OptionKind,
}

/// What choosing a permission option means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionKind {
    /// This once.
    AllowOnce,
    /// From now on; with some agents for ever, so it is never chosen for a user (SPEC 8).
    AllowAlways,
    /// Not this time.
    RejectOnce,
    /// Never again; with some agents for ever, so it is not chosen for a user either.
    RejectAlways,
    /// A kind that this build does not know.
    Other,
}

/// The answer to a permission request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes, this once.
    Allow,
    /// No.
    Deny,
    /// No, as nobody answered in time.
    Lapsed,
    /// Nobody decided: the turn is being stopped, or the agent has taken the request back.
    Cancelled,
}

impl Answer {
    /// Why the answer is no, for an agent that can be told.
    #[must_use]
    pub const fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Allow => None,
            Self::Deny => Some("the user refused this"),
            Self::Lapsed => Some("nobody answered in time, so this is refused"),
            Self::Cancelled => Some("the turn is being stopped"),
        }
    }
}

impl PermissionRequest {
    /// The id of the agent's option that says `answer`: by kind, once only, never an "always", be it to allow or to
    /// refuse. `None` means that the request is answered as cancelled.
    #[must_use]
    pub fn option_for(&self, answer: Answer) -> Option<&str> {
        let of_kind = |kind| self.options.iter().find(|option| option.kind == kind).map(|o| o.id.as_str());
        match answer {
            Answer::Allow => of_kind(OptionKind::AllowOnce),
            Answer::Deny | Answer::Lapsed => of_kind(OptionKind::RejectOnce),
            Answer::Cancelled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kinds: &[OptionKind]) -> PermissionRequest {
        let option = |kind: &OptionKind| PermissionOption {
            id: format!("{kind:?}"),
            name: String::new(),
            kind: *kind,
        };
        PermissionRequest {
            id: "1".into(),
            tool_call: ToolCall::default(),
            options: kinds.iter().map(option).collect(),
            paths: vec![],
        }
    }

    #[test]
    fn always_is_never_chosen_for_a_user() {
        use OptionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};
        let asked = request(&[AllowAlways, AllowOnce, RejectAlways, RejectOnce]);
        assert_eq!(asked.option_for(Answer::Allow), Some("AllowOnce"));
        assert_eq!(asked.option_for(Answer::Deny), Some("RejectOnce"));
        assert_eq!(asked.option_for(Answer::Cancelled), None);
        let only_always = request(&[AllowAlways, RejectAlways]);
        for answer in [Answer::Allow, Answer::Deny, Answer::Lapsed, Answer::Cancelled] {
            assert_eq!(only_always.option_for(answer), None, "{answer:?}");
        }
    }
}
