//! An agent that is played by the test, line by line, over a pipe in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use acp_proto::client::{Answer, Client, Config, Event, Events, RefuseAll, RequestHandler, connect};
use acp_proto::{Request, RpcError};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::time::timeout;

/// No step of a test takes as long unless it hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Agent {
    reads: BufReader<ReadHalf<DuplexStream>>,
    writes: WriteHalf<DuplexStream>,
}

pub fn start(config: Config) -> (Client, Events, Agent) {
    start_with(config, Arc::new(RefuseAll))
}

pub fn start_with(config: Config, handler: Arc<dyn RequestHandler>) -> (Client, Events, Agent) {
    let (host, agent) = tokio::io::duplex(64 * 1024);
    let (output, input) = tokio::io::split(host);
    let (client, events) = connect(output, input, handler, config);
    let (reads, writes) = tokio::io::split(agent);
    (client, events, Agent { reads: BufReader::new(reads), writes })
}

/// Serves no request, ever.
pub struct ServesNever;

#[async_trait]
impl RequestHandler for ServesNever {
    fn session_opened(&self, _: &str, _: &Path) {}

    fn turn_stopped(&self, _: &str) {}

    fn connection_closed(&self) {}

    async fn serve(&self, _: Request) -> Result<Answer, RpcError> {
        std::future::pending().await
    }
}

impl Agent {
    /// The next line that the host wrote.
    pub async fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = timeout(DEADLINE, self.reads.read_line(&mut line)).await;
        assert!(read.expect("the host wrote nothing in time").unwrap() > 0, "the host closed its end");
        serde_json::from_str(&line).unwrap()
    }

    /// Passes over a line; returns its length.
    pub async fn skip_line(&mut self) -> usize {
        let mut length = 0;
        loop {
            let read = timeout(DEADLINE, self.reads.fill_buf()).await.expect("in time").unwrap();
            assert!(!read.is_empty(), "the host closed its end");
            let end = memchr::memchr(b'\n', read);
            let used = end.map_or(read.len(), |end| end + 1);
            self.reads.consume(used);
            length += used;
            if end.is_some() {
                return length;
            }
        }
    }

    /// Whether the host has closed its end.
    pub async fn hears_the_end(&mut self) -> bool {
        let mut line = String::new();
        timeout(DEADLINE, self.reads.read_line(&mut line)).await.expect("in time").unwrap() == 0
    }

    /// The next line, which must be a call of this method; returns its id and parameters.
    pub async fn hear_call(&mut self, method: &str) -> (Value, Value) {
        let mut call = self.hear().await;
        assert_eq!(call["method"], method, "{call}");
        (call["id"].take(), call["params"].take())
    }

    pub async fn say(&mut self, message: Value) {
        self.say_raw(&format!("{message}\n")).await;
    }

    pub async fn say_raw(&mut self, text: &str) {
        timeout(DEADLINE, self.writes.write_all(text.as_bytes())).await.expect("in time").unwrap();
    }

    pub async fn answer(&mut self, id: &Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
    }

    pub async fn update(&mut self, session: &str, update: Value) {
        let params = json!({"sessionId": session, "update": update});
        self.say(json!({"jsonrpc": "2.0", "method": "session/update", "params": params})).await;
    }

    pub async fn text(&mut self, session: &str, text: &str) {
        let content = json!({"type": "text", "text": text});
        self.update(session, json!({"sessionUpdate": "agent_message_chunk", "content": content})).await;
    }

    /// Says a text, if the host still listens.
    pub async fn try_text(&mut self, session: &str, text: &str) -> bool {
        let update =
            json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}});
        let params = json!({"sessionId": session, "update": update});
        let line = json!({"method": "session/update", "params": params}).to_string() + "\n";
        self.writes.write_all(line.as_bytes()).await.is_ok()
    }

    /// Says something, if the host still listens.
    pub async fn try_say(&mut self, message: &Value) -> bool {
        self.writes.write_all(format!("{message}\n").as_bytes()).await.is_ok()
    }

    /// Ends the agent's output, and its input.
    pub async fn exit(mut self) {
        self.writes.shutdown().await.unwrap();
    }
}

/// The next event.
pub async fn next(events: &mut Events) -> Event {
    let mut one = Vec::new();
    let count = timeout(DEADLINE, events.recv_many(&mut one, 1)).await.expect("an event in time");
    assert_eq!(count, 1, "the connection has ended");
    one.remove(0)
}

/// All events up to and with the end.
pub async fn rest(events: &mut Events) -> Vec<Event> {
    let mut all = Vec::new();
    while timeout(DEADLINE, events.recv_many(&mut all, 64)).await.expect("the end in time") > 0 {}
    all
}
