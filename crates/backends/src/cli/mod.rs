//! Programs that take one prompt for one process, and end.
//!
//! What a program prints is its [`Output`](crate::registry::Output): for each that prints JSON a file in `shapes/` says
//! what its lines mean, any other's is text for people. `options.rs` holds how each is told what is asked for, as data;
//! `asked.rs` makes the arguments of a turn of it. A session ([`CliOnce`], `backend.rs`) starts the process when the
//! prompt is sent, since the prompt may be one of its arguments (`run.rs`), translates its lines (`translate.rs`), and
//! says from its last line and its exit how the turn ended (`ending.rs`).

mod asked;
mod backend;
mod control;
mod ending;
mod options;
mod profile;
mod run;
mod session;
mod shapes;
mod translate;

pub use backend::{CliOnce, CliSettings};
pub use profile::CLI_ONCE;
pub use translate::Translator;
