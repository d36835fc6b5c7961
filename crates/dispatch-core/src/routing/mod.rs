//! How a turn reaches its agent: the table of SPEC 3 as data, and one pure function over it.

mod choose;
mod table;

pub use choose::{AgentFacts, Chosen, RoutingFacts, choose};
pub use table::{ChangeUse, Route, RouteRow, Routes, TABLE, WorktreeUse};
