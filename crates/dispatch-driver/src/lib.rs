//! Runs the turn machine's effects through the ports and feeds the results back as events.
//!
//! [`Node`] is one running dispatcher process: it holds a lease, recovers what dead ones left and runs
//! claimed tasks; [`Dispatcher`] lets it run tasks as they come. [`run_turn`] is one turn: the machine of `dispatch-core` in the middle, the store,
//! workspace, agent and watchers around it. [`FanOut`] is where a process's watchers get their frames.

mod contained;
mod conversation;
mod course;
mod dispatcher;
mod fan_out;
mod inbox;
mod kept;
mod lease;
mod node;
mod paths;
mod ports;
mod random;
mod request_ids;
mod running;
mod session;
mod settler;
mod store_calls;
mod timers;
mod turn;
mod workspace_calls;
mod writer;

pub use dispatcher::{Dispatcher, DispatcherConfig, Shutdown, Summary};
pub use fan_out::{Delivery, FanOut, FanOutConfig, Frames, SessionSnapshot, Subscription};
pub use inbox::{Inbox, Signal, TurnHandle, inbox};
pub use node::{Node, NodeConfig};
pub use ports::Ports;
pub use random::random_bytes;
pub use turn::{TurnConfig, TurnReport, run_turn};
