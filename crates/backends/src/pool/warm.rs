//! What a pool keeps.

use std::any::Any;

use async_trait::async_trait;
use dispatch_core::ids::ChatId;
use dispatch_core::routing::Route;
use dispatch_core::task::Name;

/// Which of the kept ones is meant. All that are kept for one route are of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// How it is reached.
    pub route: Route,
    /// The agent.
    pub agent: Name,
    /// The conversation that it is kept for, one turn at a time; none for what any number of turns share.
    pub chat: Option<ChatId>,
}

/// Something that is kept between turns: a process, or a server.
#[async_trait]
pub(crate) trait Warm: Any + Send + Sync {
    /// Its process, as this machine numbers it.
    fn pid(&self) -> u32;

    /// Looks after it while no turn uses it: reads what it says, so that no full pipe stops it, and answers what it
    /// asks. Returns when it is of no more use, as soon as that shows, with the reason in words that follow the agent's
    /// name, such as `ended with exit code 1`. Dropped when a turn takes it, so it must be cancel-safe; a turn may
    /// already have the lease in that moment.
    async fn idle(&self) -> String;

    /// Whether it can be used for another turn, as far as a quick look shows. The pool waits 5 s for it.
    async fn is_well(&self) -> bool;

    /// Ends it. When this returns, nothing of it runs any more. May be called at any time, and more than once.
    async fn end(&self, how: Ending);
}

/// How something that is kept is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not needed now: it may take the time that an orderly end takes, and its conversation is kept.
    LetGo,
    /// As [`LetGo`](Self::LetGo), but its chat is closed: so may its conversation be.
    ChatClosed,
    /// It is dead, or did not obey, or nobody knows what it does.
    Kill,
}
