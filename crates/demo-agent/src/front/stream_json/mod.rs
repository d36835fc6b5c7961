//! Claude Code's stream-json: its control protocol on the standard streams, or one prompt for one process.

mod options;
mod run;

pub(crate) use options::Options;
pub(crate) use run::run;
