//! Running a command: supervised, bounded in time and output, and gone when its turn is.

use std::path::Path;
use std::time::Duration;

use acp_proto::host::{Command, ExitStatus, Output, TerminalError, Terminals};
use tokio::time::timeout;

use super::request::Run;
use crate::common::words;

/// Its time limit where the model names none.
const USUAL: Duration = Duration::from_secs(120);
/// How often somebody who watches is shown what it has printed, and how much of it, in bytes.
const SHOWN_EVERY: Duration = Duration::from_secs(2);
const SHOWN: usize = 4096;
/// How long a killed command is waited for.
const KILLED: Duration = Duration::from_secs(5);

/// Runs it; tells what it printed and how it ended, and whether it ended well. Meanwhile `show` gets the end of what it
/// has printed, whenever there is more.
pub(super) async fn run<F: Future<Output = ()>>(
    terminals: &Terminals,
    request: &Run,
    longest: Duration,
    bytes: usize,
    mut show: impl FnMut(String) -> F,
) -> Result<(String, bool), String> {
    let limit = request.seconds.map_or(USUAL, Duration::from_secs).clamp(Duration::from_secs(1), longest);
    let told = |error: TerminalError| error.to_string();
    let folder = terminals.folder(request.folder.as_deref().map(Path::new)).map_err(told)?;
    let command = Command::new(request.command.clone(), Vec::new(), Vec::new(), folder);
    let id = terminals.create(command, Some(bytes as u64)).await.map_err(told)?;
    let showing = async {
        let mut shown = String::new();
        loop {
            tokio::time::sleep(SHOWN_EVERY).await;
            let Ok(Output { text, .. }) = terminals.output(&id) else { continue };
            let tail = &text[text.ceil_char_boundary(text.len().saturating_sub(SHOWN))..];
            if tail != shown {
                tail.clone_into(&mut shown);
                show(shown.clone()).await;
            }
        }
    };
    let is_late = tokio::select! {
        biased;
        ended = timeout(limit, terminals.wait(&id)) => ended.is_err(),
        () = showing => false,
    };
    if is_late {
        terminals.kill(&id).map_err(told)?;
        let _ = timeout(KILLED, terminals.wait(&id)).await;
    }
    let output = terminals.output(&id).map_err(told)?;
    terminals.release(&id).map_err(told)?;
    Ok(told_of(output, is_late.then_some(limit)))
}

fn told_of(output: Output, late: Option<Duration>) -> (String, bool) {
    let Output { mut text, truncated, exit } = output;
    if truncated {
        text.insert_str(0, "(its beginning is left out)\n");
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let (end, is_well) = match (late, exit) {
        (Some(limit), _) => (format!("killed after {}", words::time(limit)), false),
        (None, Some(ExitStatus { code: Some(code), .. })) => (format!("exit code {code}"), code == 0),
        (None, Some(ExitStatus { signal: Some(signal), .. })) => (format!("ended by {signal}"), false),
        (None, _) => ("it is not known how it ended".to_owned(), false),
    };
    text.push_str(&format!("({end})\n"));
    (text, is_well)
}
