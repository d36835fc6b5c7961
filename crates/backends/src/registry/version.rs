//! What an installed agent says its version is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::entry::AgentEntry;
use crate::launch::Launcher;
use crate::process::env::ForbiddenVariable;
use crate::process::{Child, RunTag, SpawnError, Status};

/// Python agents were seen to need 11 s the first time.
const LIMIT: Duration = Duration::from_secs(20);
/// How much of the output is looked at, in bytes.
const LONGEST: u64 = 4096;

/// Why there is no version.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// Nobody knows how to ask this agent.
    #[error("it cannot be asked")]
    NotAskable,
    /// It could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its entry names a variable that no agent is given.
    #[error(transparent)]
    Environment(#[from] ForbiddenVariable),
    /// It went on for too long, and was killed.
    #[error("no answer within {LIMIT:?}")]
    TimeLimit,
    /// It printed nothing.
    #[error("it ended with {status} and printed nothing")]
    Silent {
        /// How it ended.
        status: Status,
    },
}

impl AgentEntry {
    /// Asks the program at `program` for its version: the first line that it prints. Its tree is gone afterwards.
    ///
    /// # Errors
    /// See [`VersionError`].
    pub async fn version(
        &self,
        program: PathBuf,
        launcher: &Launcher,
        tag: RunTag,
    ) -> Result<String, VersionError> {
        if self.version_args.is_empty() {
            return Err(VersionError::NotAskable);
        }
        let env = launcher.environment(self, [])?;
        let command: Vec<OsString> =
            std::iter::once(program.into()).chain(self.version_args.iter().cloned()).collect();
        let mut child = launcher.spawn(&command, PathBuf::from("/"), env, tag).await?;
        let asked = timeout(LIMIT, first_line(&mut child)).await;
        child.control().kill();
        let exit = child.wait().await;
        match asked {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(VersionError::Silent { status: exit.status }),
            Err(_) => Err(VersionError::TimeLimit),
        }
    }
}

/// The first line with something on it; `None` when the output ends without one.
async fn first_line(child: &mut Child) -> Option<String> {
    drop(child.take_stdin());
    let mut output = Vec::new();
    let mut stdout = child.take_stdout()?.take(LONGEST);
    while stdout.read_buf(&mut output).await.is_ok_and(|count| count > 0) {
        if let Some((line, _)) = lossy(&output).trim_start().split_once('\n') {
            return Some(line.trim_end().to_owned());
        }
    }
    let rest = lossy(&output).trim().to_owned();
    if rest.is_empty() {
        // The end of the output comes with the end of the process: let it be its own.
        child.wait().await;
    }
    (!rest.is_empty()).then_some(rest)
}

fn lossy(bytes: &[u8]) -> String {
    // It goes to a terminal.
    String::from_utf8_lossy(bytes).replace(|c: char| c.is_control() && c != '\n', "")
}
