//! A host of the demo agent: the real program over real pipes.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{JoinHandle, spawn},
    time::{Duration, Instant},
};

/// How long anything may take; far more than it does.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Host {
    pub child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    stderr: Option<JoinHandle<String>>,
    next_id: u64,
}

impl Host {
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, |_| {})
    }

    pub fn start_with(args: &[&str], adjust: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo-agent"));
        command.args(args).env_remove("BOOCODER_DEMO_STATE");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        adjust(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (send, lines) = channel();
        spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if send.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        let stderr = spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, stderr: Some(stderr), next_id: 1 }
    }

    /// Started, initialized, and with a session in `cwd`; also the session's id.
    pub fn with_session(args: &[&str], cwd: &Path) -> (Self, String) {
        let mut host = Self::start(args);
        host.initialize(json!({}));
        let answer = host.call("session/new", json!({"cwd": cwd, "mcpServers": []})).unwrap();
        let session = answer["sessionId"].as_str().unwrap().to_owned();
        let commands = host.message();
        assert_eq!(commands["params"]["update"]["sessionUpdate"], "available_commands_update");
        (host, session)
    }

    pub fn initialize(&mut self, capabilities: Value) -> Value {
        let params = json!({"protocolVersion": 1, "clientCapabilities": capabilities});
        self.call("initialize", params).unwrap()
    }

    pub fn send(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    /// Sends text that need not be a message, nor a line.
    pub fn send_text(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub fn request(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    pub fn prompt(&mut self, session: &str, text: &str) -> u64 {
        let prompt = json!([{"type": "text", "text": text}]);
        self.request("session/prompt", json!({"sessionId": session, "prompt": prompt}))
    }

    pub fn cancel(&mut self, session: &str) {
        self.send(&json!({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": session}}));
    }

    /// The next line; `None` at the end of the agent's stdout.
    pub fn line(&self) -> Option<Vec<u8>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the agent said nothing for {PATIENCE:?}"),
        }
    }

    pub fn silent_for(&self, time: Duration) -> bool {
        matches!(self.lines.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    pub fn message(&self) -> Value {
        let line = self.line().expect("the agent's stdout ended");
        serde_json::from_slice(&line)
            .unwrap_or_else(|err| panic!("{err}: {}", String::from_utf8_lossy(&line)))
    }

    /// Messages up to the answer of request `id`, and that answer.
    pub fn until_answer(&self, id: u64) -> (Vec<Value>, Result<Value, Value>) {
        let mut before = Vec::new();
        loop {
            let message = self.message();
            if message["id"] == id && message.get("method").is_none() {
                return match message.get("error") {
                    Some(error) => (before, Err(error.clone())),
                    None => (before, Ok(message["result"].clone())),
                };
            }
            before.push(message);
        }
    }

    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.request(method, params);
        self.until_answer(id).1
    }

    /// Runs a prompt that asks nothing of the host.
    pub fn turn(&mut self, session: &str, text: &str) -> (Vec<Value>, Result<Value, Value>) {
        let id = self.prompt(session, text);
        let (messages, answer) = self.until_answer(id);
        (messages.into_iter().map(|message| message["params"]["update"].clone()).collect(), answer)
    }

    /// Waits for a message for which `is` holds.
    pub fn until(&self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.message();
            if is(&message) {
                return message;
            }
        }
    }

    /// Waits until the agent says an update for which `is` holds.
    pub fn until_update(&self, is: impl Fn(&Value) -> bool) -> Value {
        self.until(|message| is(&message["params"]["update"]))["params"]["update"].take()
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn stderr(&mut self) -> String {
        self.stderr.take().unwrap().join().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of all message chunks.
pub fn text(updates: &[Value]) -> String {
    let chunks = updates.iter().filter(|update| update["sessionUpdate"] == "agent_message_chunk");
    chunks.map(|update| update["content"]["text"].as_str().unwrap()).collect()
}

/// Sends a signal to a process that must exist.
pub fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}
