//! The way from the loop to whoever reads it: in order, and bounded by bytes.

use std::sync::Arc;

use dispatch_core::agent::{AgentUpdate, End, ToolCallPatch, ToolContent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::common::json;

/// How many updates may wait.
const WAITING: usize = 256;
/// And how many bytes of them, about. One that is larger waits alone.
const BYTES: u32 = 4 << 20;

/// What the loop has to say.
pub(super) enum News {
    /// An update, which makes room when it is dropped.
    Update(AgentUpdate, OwnedSemaphorePermit),
    /// The turn's end.
    End(End),
}

/// The loop's side.
#[derive(Clone)]
pub(super) struct Outbox {
    news: mpsc::Sender<News>,
    room: Arc<Semaphore>,
}

/// Both sides.
pub(super) fn channel() -> (Outbox, mpsc::Receiver<News>) {
    let (news, reader) = mpsc::channel(WAITING);
    (Outbox { news, room: Arc::new(Semaphore::new(BYTES as usize)) }, reader)
}

impl Outbox {
    /// Says something, once there is room for it. Nobody may be there to hear it: then the turn is being closed.
    pub(super) async fn send(&self, update: AgentUpdate) {
        let weight = u32::try_from(weight(&update)).unwrap_or(BYTES).clamp(1, BYTES);
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(weight).await {
            let _ = self.news.send(News::Update(update, room)).await;
        }
    }

    /// Says the last.
    pub(super) async fn end(&self, end: End) {
        let _ = self.news.send(News::End(end)).await;
    }
}

fn weight(update: &AgentUpdate) -> usize {
    match update {
        AgentUpdate::Text(text) | AgentUpdate::Reasoning(text) => text.len(),
        AgentUpdate::ToolCall(ToolCallPatch { content, input, output, .. }) => {
            let values = [input, output].into_iter().flatten().map(json::weight);
            let content = content.iter().flatten().map(|content| match content {
                ToolContent::Text { text } => text.len(),
                ToolContent::Diff { old_text, new_text, .. } => {
                    old_text.as_ref().map_or(0, String::len) + new_text.len()
                }
                ToolContent::Terminal { .. } | ToolContent::Other { .. } => 0,
            });
            values.chain(content).sum()
        }
        AgentUpdate::Permission(request) => request.tool_call.input.as_ref().map_or(0, json::weight),
        _ => 0,
    }
}
