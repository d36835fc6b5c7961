//! One turn: the machine in the middle, the world around it.

mod begin;
mod config;
mod report;
mod run;

pub use begin::run_turn;
pub(crate) use begin::run_turn_of;
pub use config::TurnConfig;
pub use report::TurnReport;
