//! The queue as its users have it: one record in either store, many tasks, and dispatchers that share them.

mod load;
mod proxy;
mod site;

pub use load::{AGENT, Load, Tasks, assert_in_order, assert_no_prompt_twice, prompts};
pub use proxy::Proxy;
pub use site::{DATABASE_URL, Kind, Site};
