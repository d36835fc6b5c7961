//! Queues a task for whichever `boocoder serve` uses the same record, and prints its frames until it ends. No
//! driver, no agent and no worktree is needed for that, only the record; here SQLite's in a data directory.
//!
//! `cargo run -p boocoder-examples --bin enqueue-and-watch -- DATA_DIR /path/to/repository "say hello"`

use std::{error::Error, path::PathBuf, sync::Arc};

use dispatch_core::{
    frame::FrameBody,
    ids::{Seq, TaskId},
    ports::{NewProject, Records},
    task::{Name, NewTask, TurnOptions},
};
use dispatch_driver::{Delivery, FanOut, FanOutConfig, random_bytes};
use store::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [data, repository, prompt] = args.as_slice() else {
        return Err("usage: enqueue-and-watch DATA_DIR REPOSITORY PROMPT".into());
    };
    let records: Arc<dyn Records> = Arc::new(SqliteStore::open(&PathBuf::from(data))?);
    let path = Some(std::fs::canonicalize(repository)?);
    let project = records.ensure_project(NewProject { name: "example".into(), path }).await?;
    let task = NewTask {
        options: TurnOptions { agent: Name::new("demo"), ..TurnOptions::default() },
        ..NewTask::new(TaskId::from_random(random_bytes()), project.id, prompt.to_string_lossy().into_owned())
    };
    let task = records.create_task(task).await?;

    let fan_out = FanOut::new(Arc::clone(&records), FanOutConfig::default());
    let mut frames = fan_out.subscribe(task.session, Some(Seq(0)));
    loop {
        let Delivery::Frames(batch) = frames.next().await? else { continue };
        for frame in batch.iter() {
            println!("{} {}", frame.seq.0, serde_json::to_string(&frame.body)?);
            match frame.body {
                FrameBody::TaskState { state, .. } if state.is_terminal() => return Ok(()),
                _ => {}
            }
        }
    }
}
