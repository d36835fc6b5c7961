//! A turn under way.

use std::sync::Arc;

use backends::process::{RunTag, leftovers};
use dispatch_core::agent::{AgentUpdate, End, Failure, NoticeCode};
use dispatch_core::ports::{
    AgentControl, AgentSession, Backend, Close, Opened, Prompt, SessionInfo, SessionSpec,
};
use dispatch_core::profile::Life;

use super::said::Said;
use super::waiting::within;

/// A session, and what it has said.
pub struct Turn {
    pub session: Box<dyn AgentSession>,
    pub control: Arc<dyn AgentControl>,
    /// Empty until the agent is ready.
    pub info: SessionInfo,
    pub updates: Vec<AgentUpdate>,
    /// Of what must be gone after the turn: nothing where the agent is kept.
    tag: Option<String>,
}

impl Turn {
    /// Starts the agent's process, without talking to it yet.
    pub async fn open(backend: &dyn Backend, spec: SessionSpec) -> Result<Self, Failure> {
        let tag = (backend.profile().life == Life::PerTurn).then(|| spec.run_tag.clone());
        let Opened { session, control } = within(backend.open(spec)).await?;
        Ok(Self { session, control, info: SessionInfo::default(), updates: Vec::new(), tag })
    }

    /// Waits until the agent is ready for a prompt.
    pub async fn start(&mut self) -> Result<(), Failure> {
        self.info = within(self.session.start()).await?;
        Ok(())
    }

    /// The codes of what was told at the start.
    pub fn told(&self) -> Vec<NoticeCode> {
        self.info.notices.iter().map(|notice| notice.code).collect()
    }

    /// Sends a prompt.
    pub async fn prompt(&mut self, text: &str) {
        within(self.session.prompt(Prompt { text: text.to_owned() })).await.unwrap();
    }

    /// Waits until something was said that fits.
    pub async fn until<T>(&mut self, fits: impl Fn(&AgentUpdate) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.updates.iter().find_map(&fits) {
                return found;
            }
            let end = within(self.session.next(&mut self.updates)).await;
            assert!(end.is_none(), "ended early: {end:?} after {:?}", self.updates);
        }
    }

    /// Waits for the end.
    pub async fn end(&mut self) -> End {
        loop {
            if let Some(end) = within(self.session.next(&mut self.updates)).await {
                return end;
            }
        }
    }

    /// Lets the agent go and looks that nothing of it is left, unless it is kept.
    pub async fn close(self, how: Close) -> Said {
        within(self.session.close(how)).await;
        if let Some(tag) = &self.tag {
            assert_nothing_left(tag);
        }
        Said(self.updates)
    }

    /// Waits for the end and lets the agent go.
    pub async fn finish(mut self) -> (Said, End) {
        let end = self.end().await;
        (self.close(Close::Return).await, end)
    }
}

/// No process carries this tag any more.
pub fn assert_nothing_left(tag: &str) {
    assert_eq!(leftovers(&RunTag::new(tag).unwrap()), []);
}
