//! How a turn ended, from what the program said last and from how its process ended.

use dispatch_core::agent::{EndedHow, Failure};
use dispatch_core::task::{Name, TerminalReason};

use crate::common::{failure, words};
use crate::process::{Exit, Status};

/// Lines of standard error that may say why a program failed. What comes before them is mostly chatter.
const LAST_LINES: usize = 3;

/// What is known when nothing more comes.
pub(super) struct LastSeen<'a> {
    pub(super) agent: &'a Name,
    /// What the program said of it.
    pub(super) said: Option<EndedHow>,
    /// Whether it says when its turn ended well.
    pub(super) says_when_done: bool,
    /// How its process ended; `None` when it goes on.
    pub(super) exit: Option<Exit>,
    /// What it printed besides.
    pub(super) stdout: &'a str,
    pub(super) stderr: &'a str,
}

impl LastSeen<'_> {
    /// How the turn ended.
    pub(super) fn how(self) -> EndedHow {
        let status = self.exit.map(|exit| exit.status);
        match (&self.said, status) {
            (Some(said @ (EndedHow::Failed(_) | EndedHow::Cancelled | EndedHow::Crashed(_))), _) => {
                said.clone()
            }
            (Some(EndedHow::Completed), None | Some(Status::Code(0))) => EndedHow::Completed,
            (None, Some(Status::Code(0))) if !self.says_when_done => EndedHow::Completed,
            (_, Some(Status::Code(1..))) => EndedHow::Failed(self.failure()),
            _ => EndedHow::Crashed(self.crash()),
        }
    }

    fn failure(&self) -> Failure {
        let printed = if self.stderr.trim().is_empty() { self.stdout } else { self.stderr };
        let lines: Vec<&str> = printed.trim().lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        let reason = failure::of_message(&last).reason;
        Failure::new(reason, self.with_output(&words::gone(self.agent.as_str(), self.exit)))
    }

    fn crash(&self) -> Failure {
        let gone = words::gone(self.agent.as_str(), self.exit);
        Failure::new(
            TerminalReason::AgentCrashed,
            self.with_output(&format!("{gone} before its turn was over")),
        )
    }

    fn with_output(&self, text: &str) -> String {
        words::with_output(text.to_owned(), self.stdout, self.stderr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(said: Option<EndedHow>, says_when_done: bool, status: Option<Status>, stderr: &str) -> EndedHow {
        let agent = Name::new("x").unwrap();
        let exit = status.map(|status| Exit { status, tree_empty: true, fence_lapsed: false });
        LastSeen { agent: &agent, said, says_when_done, exit, stdout: "", stderr }.how()
    }

    #[test]
    fn the_last_line_and_the_exit_must_agree() {
        use EndedHow::{Completed, Crashed, Failed};
        let failure = Failed(Failure::new(TerminalReason::OverQuota, "no"));
        let (zero, one, killed) = (Some(Status::Code(0)), Some(Status::Code(1)), Some(Status::Signal(9)));
        assert_eq!(how(Some(Completed), true, zero, ""), Completed);
        assert_eq!(how(Some(Completed), true, None, ""), Completed, "it is killed now");
        assert!(matches!(how(Some(Completed), true, one, ""), Failed(_)));
        assert!(matches!(how(Some(Completed), true, killed, ""), Crashed(_)));
        for status in [zero, one, killed, None] {
            assert_eq!(how(Some(failure.clone()), true, status, ""), failure, "{status:?}");
        }
        assert!(matches!(how(None, true, zero, ""), Crashed(_)), "it did not say that it was done");
        assert_eq!(how(None, false, zero, ""), Completed);
        assert!(matches!(how(None, false, killed, ""), Crashed(_)));
        assert!(matches!(how(None, false, None, ""), Crashed(_)), "it goes on and says nothing more");
        let Failed(failure) =
            how(None, true, one, "chatter about your login\n\n\nx\ny\nError: Invalid API key\n")
        else {
            panic!()
        };
        assert_eq!(failure.reason, TerminalReason::Unauthorised);
        assert!(
            failure.text.starts_with("agent x ended with exit code 1\n\nstandard error:\n"),
            "{}",
            failure.text
        );
        let Failed(failure) = how(None, false, one, "log in\n1\n2\n3\n") else { panic!() };
        assert_eq!(failure.reason, TerminalReason::AgentFailed);
    }
}
