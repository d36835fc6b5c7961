//! A dispatcher inside an axum service: tasks come by HTTP, and their frames go back as lines of JSON.
//!
//! `cargo run -p boocoder-examples --bin axum-service -- DATA_DIR` prints its address, then
//!
//! ```text
//! curl -s ADDRESS/tasks -H 'content-type: application/json' \
//!      -d '{"repository": "/path/to/repository", "agent": "demo", "prompt": "say hello"}'
//! curl -sN ADDRESS/tasks/ID/frames
//! curl -s -X POST ADDRESS/tasks/ID/stop
//! ```
//!
//! It listens on the loopback interface and asks nobody who they are: put your own service's checks in front.

use std::{
    convert::Infallible,
    error::Error,
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use backends::{
    RegisteredAgents,
    acp::{AcpOnce, AcpSettings},
    launch::Launcher,
    process,
    registry::Registry,
};
use dispatch_core::{
    frame::FrameBody,
    ids::{NodeId, Seq, TaskId},
    ports::{NewProject, Records, RecordsError, Store},
    task::{Name, NewTask, TurnOptions},
};
use dispatch_driver::{
    Delivery, Dispatcher, DispatcherConfig, FanOut, FanOutConfig, Node, NodeConfig, Ports, Shutdown,
    TurnConfig, random_bytes,
};
use futures_core::Stream;
use serde::Deserialize;
use store::SqliteStore;
use tokio::sync::mpsc;
use worktree::{Policy, Worktrees, dispatch::DispatchWorkspace};

fn main() -> ExitCode {
    // This program is also the supervisor of its agents, and, as there may be no other, an agent.
    process::supervise_if_asked();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.as_slice() {
        [first, rest @ ..] if first == "demo-agent" => demo_agent::main(rest.to_vec()),
        [data] => {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let served = runtime.block_on(serve(PathBuf::from(data)));
            served
                .inspect_err(|error| eprintln!("axum-service: {error}"))
                .map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        _ => ExitCode::from(2),
    }
}

/// What the handlers need: the record, and where its frames come from.
#[derive(Clone)]
struct Service {
    store: Arc<SqliteStore>,
    frames: Arc<FanOut>,
}

async fn serve(data: PathBuf) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(SqliteStore::open(&data)?);
    let frames = Arc::new(FanOut::new(Arc::clone(&store) as Arc<dyn Records>, FanOutConfig::default()));
    let node = node(&data, Arc::clone(&store), Arc::clone(&frames)).await?;
    let (shutdown, told) = mpsc::channel(1);
    let dispatcher = tokio::spawn(Dispatcher::run(node, DispatcherConfig::default(), told));

    let service = Router::new()
        .route("/tasks", post(add))
        .route("/tasks/{id}/frames", get(watch))
        .route("/tasks/{id}/stop", post(stop))
        .with_state(Service { store, frames });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
    tokio::select! {
        served = axum::serve(listener, service) => served?,
        () = ctrl_c => {}
    }
    shutdown.send(Shutdown::Graceful).await?;
    println!("{:?}", dispatcher.await??);
    Ok(())
}

async fn node(
    data: &std::path::Path,
    store: Arc<SqliteStore>,
    frames: Arc<FanOut>,
) -> Result<Node, Box<dyn Error>> {
    let demo = vec![std::env::current_exe()?.into(), "demo-agent".into()];
    let registry = Arc::new(Registry::new([])?.with_demo(demo));
    let launcher = Launcher::new(process::Supervisor::SelfExe);
    let agents = RegisteredAgents::new(Arc::clone(&registry), &launcher)
        .with(Arc::new(AcpOnce::new(registry, AcpSettings::new(launcher))));
    let worktrees = Worktrees::open(&data.join("worktrees"), Policy::default())?;
    let ports = Ports {
        store,
        workspace: Arc::new(DispatchWorkspace::new(worktrees)),
        agents: Arc::new(agents),
        publisher: frames,
    };
    let id = NodeId::from_random(random_bytes());
    let config = NodeConfig { id, label: "axum-service".into(), turns: TurnConfig::new("axum-service") };
    Ok(Node::join(ports, config).await?)
}

/// What is asked for.
#[derive(Deserialize)]
struct Request {
    repository: PathBuf,
    agent: String,
    prompt: String,
}

async fn add(State(service): State<Service>, Json(request): Json<Request>) -> Result<Response, Refusal> {
    let path = std::fs::canonicalize(&request.repository)
        .map_err(|error| RecordsError::Refused(format!("{}: {error}", request.repository.display())))?;
    let project = service.store.ensure_project(NewProject { name: "http".into(), path: Some(path) }).await?;
    let task = NewTask {
        options: TurnOptions { agent: Name::new(&request.agent), ..TurnOptions::default() },
        ..NewTask::new(TaskId::from_random(random_bytes()), project.id, request.prompt)
    };
    let task = service.store.create_task(task).await?;
    Ok((StatusCode::CREATED, Json(task)).into_response())
}

/// The frames of the task's session from the first one on, until the task has ended.
async fn watch(State(service): State<Service>, Path(id): Path<String>) -> Result<Body, Refusal> {
    let task = service.store.find_task(&id).await?;
    let mut frames = service.frames.subscribe(task.session, Some(Seq(0)));
    let (sender, lines) = mpsc::channel(16);
    tokio::spawn(async move {
        // A reader that has gone away ends the channel, and with it this task.
        while let Ok(delivery) = frames.next().await {
            let Delivery::Frames(batch) = delivery else { continue };
            for frame in batch.iter() {
                let line = serde_json::to_string(frame).expect("because frames are JSON") + "\n";
                let is_last = matches!(&frame.body, FrameBody::TaskState { state, .. } if state.is_terminal())
                    && frame.about.task_id == Some(task.id);
                if sender.send(Ok(line)).await.is_err() || is_last {
                    return;
                }
            }
        }
    });
    Ok(Body::from_stream(Lines(lines)))
}

async fn stop(State(service): State<Service>, Path(id): Path<String>) -> Result<String, Refusal> {
    let task = service.store.find_task(&id).await?;
    let answer = service.store.request_stop(task.id).await.map_err(RecordsError::from)?;
    Ok(format!("{answer:?}\n"))
}

/// Why the record refuses, as HTTP says it.
struct Refusal(RecordsError);

impl From<RecordsError> for Refusal {
    fn from(error: RecordsError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            RecordsError::NotFound { .. } | RecordsError::Ambiguous { .. } => StatusCode::NOT_FOUND,
            RecordsError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            RecordsError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, format!("{}\n", self.0)).into_response()
    }
}

/// A channel as the body of an answer.
struct Lines(mpsc::Receiver<Result<String, Infallible>>);

impl Stream for Lines {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
