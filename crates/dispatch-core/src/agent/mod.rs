//! What any agent can tell us, in our words. Every backend translates its wire messages into these.

mod end;
mod notice;
mod offer;
mod permission;
mod tool;
mod update;
mod usage;

pub use end::{End, EndedHow, Failure, Printed};
pub use notice::{Notice, NoticeCode};
pub use offer::{AgentCommand, AgentOffer, AgentSettings, Choice, OwnSettings, Setting};
pub use permission::{Answer, OptionKind, PermissionOption, PermissionRequest};
pub use tool::{ToolCall, ToolCallPatch, ToolContent, ToolStatus};
pub use update::{AgentUpdate, PlanEntry};
pub use usage::{Cost, Usage};
