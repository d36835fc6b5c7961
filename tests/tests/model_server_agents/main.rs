//! Real agents against the scripted model server, without boocoder: server and configurations are as they should be.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

mod acp;
mod once;
mod stream;

use boocoder_tests::model_server::ModelServer;
use std::{path::PathBuf, process::Command, time::Duration};
use tempfile::{TempDir, tempdir};

/// For each single message; a start takes 5 s on two idle cores and was seen to take 30 s on busy ones.
const PATIENCE: Duration = Duration::from_secs(120);

/// The model, a folder, and a scratch repository in it.
fn scratch() -> (ModelServer, TempDir, PathBuf) {
    let (server, dir) = (ModelServer::start(), tempdir().unwrap());
    let repository = dir.path().join("repository");
    assert!(Command::new("git").args(["init", "--quiet"]).arg(&repository).status().unwrap().success());
    (server, dir, repository)
}
