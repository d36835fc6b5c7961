//! A turn's end, made ready to be written: what is long is JSON already, so that the one that writes
//! neither copies nor encodes it.

use dispatch_core::{
    agent::{Cost, Usage},
    conversation::MessageState,
    frame::FrameBody,
    ids::MessageId,
    ports::{ChangeVerdict, SettledMessage, Settlement},
    task::{TaskState, TerminalReason},
};

use crate::fault::Fault;

/// Everything that a turn's end writes.
pub(crate) struct End {
    pub state: TaskState,
    pub reason: TerminalReason,
    pub summary: Option<String>,
    pub cost: Option<Cost>,
    pub message: Option<EndedMessage>,
    pub change: ChangeVerdict,
    pub frames: Vec<FrameBody>,
}

/// The end of an assistant message.
pub(crate) struct EndedMessage {
    pub id: MessageId,
    pub state: MessageState,
    pub content: String,
    pub content_truncated: bool,
    pub reasoning: String,
    pub reasoning_truncated: bool,
    /// JSON: the parts, in order.
    pub parts: String,
    pub usage: Usage,
}

impl TryFrom<&Settlement> for End {
    type Error = Fault;

    fn try_from(settlement: &Settlement) -> Result<Self, Fault> {
        if !settlement.state.is_terminal() {
            return Err(Fault::Misuse("a turn cannot end in a state that is not final"));
        }
        Ok(Self {
            state: settlement.state,
            reason: settlement.reason,
            summary: settlement.summary.clone(),
            cost: settlement.cost.clone(),
            message: settlement.message.as_ref().map(EndedMessage::try_from).transpose()?,
            change: settlement.change.clone(),
            frames: settlement.frames.clone(),
        })
    }
}

impl TryFrom<&SettledMessage> for EndedMessage {
    type Error = Fault;

    fn try_from(message: &SettledMessage) -> Result<Self, Fault> {
        Ok(Self {
            id: message.id,
            state: message.state,
            content: message.content.clone(),
            content_truncated: message.content_truncated,
            reasoning: message.reasoning.clone(),
            reasoning_truncated: message.reasoning_truncated,
            parts: serde_json::to_string(&message.parts)?,
            usage: message.usage.clone(),
        })
    }
}

/// The stored text of frames.
pub(crate) fn encode(frames: &[FrameBody]) -> Result<Vec<String>, Fault> {
    Ok(frames.iter().map(serde_json::to_string).collect::<Result<_, _>>()?)
}
