//! The same scenarios over every route with every real agent, and what comes of each.
//!
//! A [`Scenario`] is written once: what the model says, what is done with boocoder, and the words for what
//! came of it. A [`Route`] says which agents can be reached by it, and why others cannot; a [`Column`] is one of
//! them on it. Where a cell differs from what the scenario expects, [`DIFFERENCES`] says why; [`markdown`] is all of it
//! as the docs show it. Another route is another row of [`ROUTES`].
//!
//! Each scenario is played in a [`Chat`] of its own below a dispatcher of its own, on whatever route: so nothing
//! depends on what was played before, and what a dispatcher leaves behind is seen each time.

mod chat;
mod column;
mod differences;
mod play;
mod route;
mod scenario;
mod table;
mod turn;

pub use chat::Chat;
pub use column::{Column, Extent};
pub use differences::{DIFFERENCES, Difference};
pub use route::{
    CLAUDE_SDK, NATIVE, ONE_SHOT_ACP, ONE_SHOT_CLI, OPENCODE_SERVER, ROUTES, Route, WARM_ACP, WORKERS, Worker,
};
pub use scenario::{SCENARIOS, Scenario};
pub use table::{difference, expected, markdown};
pub use turn::{Done, Turn};
