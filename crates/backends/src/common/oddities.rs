//! What an agent sent that this build makes nothing of: counted, and said once.

use std::collections::BTreeMap;

use dispatch_core::agent::{Notice, NoticeCode};

/// Different oddities that are told apart; an agent that sends more has made its point.
const KINDS: usize = 12;
/// Characters of a word that the agent made up.
const LONGEST: usize = 60;

/// Oddities by what they are, with how often they were seen.
#[derive(Debug, Default)]
pub(crate) struct Oddities {
    seen: BTreeMap<String, u64>,
    others: u64,
}

impl Oddities {
    /// Counts one. `what` is a phrase such as ``update of unknown kind `x` ``.
    pub(crate) fn add(&mut self, what: &str) {
        if let Some(count) = self.seen.get_mut(what) {
            *count += 1;
        } else if self.seen.len() < KINDS {
            self.seen.insert(what.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    /// Counts one that is about a word of the agent's.
    pub(crate) fn add_word(&mut self, what: &str, word: &str) {
        let word: String = word.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        self.add(&format!("{what} `{word}`"));
    }

    /// The notice, if there is something to say. Says it once.
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        let Self { seen, others } = std::mem::take(self);
        let mut parts: Vec<String> = seen
            .into_iter()
            .map(|(what, count)| if count == 1 { what } else { format!("{what} ({count} times)") })
            .collect();
        if others > 0 {
            parts.push(format!("{others} more"));
        }
        let text = format!("passed over what the agent sent: {}", parts.join("; "));
        (!parts.is_empty()).then_some(Notice { code: NoticeCode::AgentOddity, text })
    }
}
