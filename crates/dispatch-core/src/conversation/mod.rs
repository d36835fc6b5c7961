//! Messages and their parts, and how streamed frames fold into them.

mod cut;
mod message;
mod transcript;

pub use cut::Cut;
pub use message::{Message, MessageState, Part, Role};
pub use transcript::Transcript;
