//! Rows as a database returns them, and what they mean in the vocabulary: the same for every engine.

mod agent;
mod at;
mod change;
mod message;
mod node;
mod session;
mod task;

pub(crate) use agent::{AnswerRow, ConversationRow, OfferRow, PermissionRow, answer_column};
pub(crate) use at::or_left_out;
pub(crate) use change::{ChangeRow, CheckpointRow, result_tree};
pub(crate) use message::{FrameRow, MessageRow, frame_body};
pub(crate) use node::{NodeRow, WarmRow};
pub(crate) use session::{ProjectRow, SessionRow, path_of};
pub(crate) use task::{Stage, TaskRow};
