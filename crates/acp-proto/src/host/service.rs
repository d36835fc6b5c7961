//! Files and terminals behind a connection.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::files::{FileError, FileLimits, Files, MissingFile};
use super::terminals::{Command, ExitStatus, TerminalError, TerminalLimits, TerminalSpawner, Terminals};
use crate::client::{Answer, RequestHandler};
use crate::message::Request;
use crate::method;
use crate::raw::RawJson;
use crate::rpc_error::{INTERNAL_ERROR, RESOURCE_NOT_FOUND, RpcError};
use crate::schema;

/// How many long texts are in memory at once: those of files that are read or written, and those of terminals.
const TEXTS_AT_ONCE: usize = 4;

/// Serves `fs/*` and `terminal/*` for the sessions that were opened through its connection, each inside its
/// own folder. A request for another session is refused.
pub struct Host {
    missing: MissingFile,
    file_limits: FileLimits,
    spawner: Option<Arc<dyn TerminalSpawner>>,
    terminal_limits: TerminalLimits,
    scratch: Option<PathBuf>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    texts: Arc<Semaphore>,
}

struct Session {
    files: Arc<Files>,
    terminals: Option<Terminals>,
}

impl Host {
    /// A host with files, and with no terminals.
    pub fn new(missing: MissingFile) -> Self {
        Self {
            missing,
            file_limits: FileLimits::default(),
            spawner: None,
            terminal_limits: TerminalLimits::default(),
            scratch: None,
            sessions: Mutex::default(),
            texts: Arc::new(Semaphore::new(TEXTS_AT_ONCE)),
        }
    }

    /// With terminals.
    #[must_use]
    pub fn with_terminals(mut self, spawner: Arc<dyn TerminalSpawner>) -> Self {
        self.spawner = Some(spawner);
        self
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, files: FileLimits, terminals: TerminalLimits) -> Self {
        self.file_limits = files;
        self.terminal_limits = terminals;
        self
    }

    /// With a folder beside the sessions' own; see [`Files::with_scratch`].
    #[must_use]
    pub fn with_scratch(mut self, folder: PathBuf) -> Self {
        self.scratch = Some(folder);
        self
    }

    /// What to announce in `initialize`.
    pub fn capabilities(&self) -> schema::ClientCapabilities {
        let files = schema::FileSystemCapabilities::new().read_text_file(true).write_text_file(true);
        schema::ClientCapabilities::new().fs(files).terminal(self.spawner.is_some())
    }

    fn session(&self, id: &schema::SessionId) -> Result<Arc<Session>, RpcError> {
        let found = self.sessions().get(&*id.0).cloned();
        found.ok_or_else(|| RpcError::new(RESOURCE_NOT_FOUND, format!("no session has the id {id}")))
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_files(&self, folder: &Path) -> io::Result<Files> {
        let files = Files::open(folder, self.file_limits, self.missing)?;
        match &self.scratch {
            Some(scratch) => files.with_scratch(scratch),
            None => Ok(files),
        }
    }

    async fn read(&self, request: schema::ReadTextFileRequest) -> Result<Value, RpcError> {
        let files = Arc::clone(&self.session(&request.session_id)?.files);
        drop(request.meta);
        let content = blocking(move || files.read(&request.path, request.line, request.limit)).await?;
        Ok(json!({ "content": content }))
    }

    async fn write(&self, request: schema::WriteTextFileRequest) -> Result<Value, RpcError> {
        let files = Arc::clone(&self.session(&request.session_id)?.files);
        drop(request.meta);
        blocking(move || files.write(&request.path, &request.content)).await?;
        Ok(json!({}))
    }

    async fn create(&self, request: schema::CreateTerminalRequest) -> Result<Value, RpcError> {
        let session = self.session(&request.session_id)?;
        let terminals = session.terminals()?;
        let cwd = terminals.folder(request.cwd.as_deref()).map_err(terminal_error)?;
        let env = request.env.into_iter().map(|variable| (variable.name, variable.value)).collect();
        let command = Command::new(request.command, request.args, env, cwd);
        let created = terminals.create(command, request.output_byte_limit).await;
        Ok(json!({ "terminalId": created.map_err(terminal_error)? }))
    }

    fn output(&self, request: &schema::TerminalOutputRequest) -> Result<Value, RpcError> {
        let session = self.session(&request.session_id)?;
        let output = session.terminals()?.output(&request.terminal_id.0).map_err(terminal_error)?;
        let mut result = json!({ "output": output.text, "truncated": output.truncated });
        if let Some(exit) = output.exit {
            result["exitStatus"] = exit_status(exit);
        }
        Ok(result)
    }

    async fn wait(&self, request: schema::WaitForTerminalExitRequest) -> Result<Value, RpcError> {
        let session = self.session(&request.session_id)?;
        // It may be waited for very long.
        drop(request.meta);
        let exit = session.terminals()?.wait(&request.terminal_id.0).await;
        exit.map(exit_status).map_err(terminal_error)
    }

    fn kill(&self, request: &schema::KillTerminalRequest) -> Result<Value, RpcError> {
        let session = self.session(&request.session_id)?;
        session.terminals()?.kill(&request.terminal_id.0).map_err(terminal_error)?;
        Ok(json!({}))
    }

    fn release(&self, request: &schema::ReleaseTerminalRequest) -> Result<Value, RpcError> {
        let session = self.session(&request.session_id)?;
        session.terminals()?.release(&request.terminal_id.0).map_err(terminal_error)?;
        Ok(json!({}))
    }
}

impl Session {
    fn terminals(&self) -> Result<&Terminals, RpcError> {
        self.terminals.as_ref().ok_or_else(|| RpcError::method_not_found("terminal/*"))
    }
}

#[async_trait]
impl RequestHandler for Host {
    fn session_opened(&self, session_id: &str, folder: &Path) {
        let files = match self.open_files(folder) {
            Ok(files) => Arc::new(files),
            Err(error) => {
                // Its requests are refused: the session is unknown.
                tracing::warn!(session_id, folder = %folder.display(), %error, "cannot open a session's folder");
                return;
            }
        };
        let mut sessions = self.sessions();
        if sessions.get(session_id).is_some_and(|session| session.files.root() == files.root()) {
            return;
        }
        let root: PathBuf = files.root().to_owned();
        let spawner = self.spawner.clone();
        let terminals = spawner.map(|spawner| Terminals::new(root, spawner, self.terminal_limits));
        sessions.insert(session_id.to_owned(), Arc::new(Session { files, terminals }));
    }

    fn turn_stopped(&self, session_id: &str) {
        let session = self.sessions().get(session_id).cloned();
        if let Some(terminals) = session.as_ref().and_then(|session| session.terminals.as_ref()) {
            terminals.stop_all();
        }
    }

    fn connection_closed(&self) {
        let sessions: Vec<_> = self.sessions().values().cloned().collect();
        sessions.iter().filter_map(|session| session.terminals.as_ref()).for_each(Terminals::stop_all);
    }

    async fn serve(&self, request: Request) -> Result<Answer, RpcError> {
        let Request { method, params, extra, .. } = request;
        drop(extra);
        let text = match method.as_str() {
            method::READ_TEXT_FILE | method::WRITE_TEXT_FILE | method::TERMINAL_OUTPUT => {
                let text = Arc::clone(&self.texts).acquire_owned().await;
                Some(text.expect("because nobody closes it"))
            }
            _ => None,
        };
        let params = params.unwrap_or_else(RawJson::empty_object);
        let result = match method.as_str() {
            method::READ_TEXT_FILE => self.read(decode(params)?).await,
            method::WRITE_TEXT_FILE => self.write(decode(params)?).await,
            method::TERMINAL_CREATE => self.create(decode(params)?).await,
            method::TERMINAL_OUTPUT => self.output(&decode(params)?),
            method::TERMINAL_WAIT => self.wait(decode(params)?).await,
            method::TERMINAL_KILL => self.kill(&decode(params)?),
            method::TERMINAL_RELEASE => self.release(&decode(params)?),
            other => Err(RpcError::method_not_found(other)),
        }?;
        let result =
            RawJson::encode(&result).map_err(|error| RpcError::new(INTERNAL_ERROR, error.to_string()))?;
        Ok(match text {
            Some(text) => Answer::holding(result, text),
            None => result.into(),
        })
    }
}

/// Runs what blocks where it may.
async fn blocking<T, F>(work: F) -> Result<T, RpcError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, FileError> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| RpcError::new(INTERNAL_ERROR, error.to_string()))?.map_err(file_error)
}

/// Takes the text along: a request may be served for long, and its text be much longer than what is used of it.
fn decode<T: DeserializeOwned>(params: RawJson) -> Result<T, RpcError> {
    params.decode().map_err(RpcError::invalid_params)
}

fn exit_status(exit: ExitStatus) -> Value {
    json!({ "exitCode": exit.code, "signal": exit.signal })
}

fn file_error(error: FileError) -> RpcError {
    match error {
        FileError::Missing { .. } => RpcError::new(RESOURCE_NOT_FOUND, error.to_string()),
        FileError::Io { .. } => RpcError::new(INTERNAL_ERROR, error.to_string()),
        _ => RpcError::invalid_params(error),
    }
}

fn terminal_error(error: TerminalError) -> RpcError {
    match error {
        TerminalError::Unknown { .. } => RpcError::new(RESOURCE_NOT_FOUND, error.to_string()),
        TerminalError::Outside { .. } => RpcError::invalid_params(error),
        _ => RpcError::new(INTERNAL_ERROR, error.to_string()),
    }
}
