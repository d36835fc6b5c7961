//! Agents that are kept between turns (SPEC 7).
//!
//! One [`Pool`] serves all routes that keep something. A backend says how its kind is looked after between turns
//! (`Warm`) and asks for it by a `Key`; what it gets is a `Lease`, which it gives back when its turn has ended in
//! good order, and ends otherwise. Everything else is the pool's: that no key is started twice, that what is idle too
//! long or too many is let go, that what dies between turns is noticed at once and the next turn is told of it, and
//! that nothing is left when it shuts down.

mod keeping;
mod lease;
mod memory;
mod table;
mod taking;
mod warm;

use async_trait::async_trait;
use dispatch_core::ids::ChatId;
use dispatch_core::ports::WarmAgent;

pub use keeping::{Pool, PoolSettings};
pub(crate) use lease::Lease;
pub(crate) use memory::Memory;
pub(crate) use warm::{Ending, Key, Warm};

/// What keeps agents between turns.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// What is kept now.
    fn warm(&self) -> Vec<WarmAgent>;

    /// Lets go of what is kept for these chats: at once where it is idle, else when its turn ends. When this returns,
    /// nothing of it runs any more; dropping the future takes nothing back.
    async fn close_chats(&self, chats: &[ChatId]);

    /// Ends what no turn uses, at once, and all else with its turn: another node may go on with its conversations. When
    /// this returns, nothing runs any more of what no turn used.
    async fn end_idle(&self);

    /// Ends everything that is kept, and keeps nothing from then on. When this returns, nothing of it runs any more.
    async fn shut_down(&self);
}
