//! The same scenarios over every route with every real agent, and what comes of each.
//!
//! A [`Scenario`] is written once: what the model says, what is done with boocoder, and the words for what
//! came of it. A [`Route`] says how boocoder is configured to take it and which agents can be reached by it.
//! Where a cell differs from what the scenario expects, [`DIFFERENCES`] says why; [`markdown`] is all of it
//! as the docs show it. Another route is another row of [`ROUTES`].

mod play;
mod route;
mod scenario;
mod table;

pub use route::{ONE_SHOT_ACP, ROUTES, Route};
pub use scenario::{SCENARIOS, Scenario};
pub use table::{DIFFERENCES, Difference, expected, markdown};
