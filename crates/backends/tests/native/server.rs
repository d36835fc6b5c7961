//! A service that says what a test wants it to say, byte for byte.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
    /// How often the body is sent.
    pub times: usize,
    pub end: End,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// The connection is closed in the middle.
    Cut,
    /// Not at all, until the client goes.
    Never,
}

impl Reply {
    pub fn stream(body: impl Into<Vec<u8>>) -> Self {
        let headers = "content-type: text/event-stream\r\n".to_owned();
        Self { status: 200, headers, body: body.into(), times: 1, end: End::Whole }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        let headers = "content-type: application/json\r\n".to_owned();
        Self { status, headers, body: body.to_string().into(), times: 1, end: End::Whole }
    }

    pub fn with_header(mut self, header: &str) -> Self {
        self.headers.push_str(header);
        self.headers.push_str("\r\n");
        self
    }

    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    pub fn repeated(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

/// Events with these objects, without a last one.
pub fn events(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("data: {object}\n\n")).collect()
}

pub fn delta(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

pub fn finish(word: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": word }] })
}

pub fn usage(read: u64, written: u64) -> Value {
    json!({ "choices": [], "usage": { "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written } })
}

/// A whole answer with this text.
pub fn says(text: &str) -> Reply {
    let objects = [delta(json!({ "content": text })), finish("stop"), usage(10, 5)];
    Reply::stream(events(&objects) + "data: [DONE]\n\n")
}

/// A whole answer that calls tools.
pub fn calls(calls: &[(&str, Value)]) -> Reply {
    let call = |(index, (name, arguments)): (usize, &(&str, Value))| {
        json!({ "index": index, "id": format!("wire-{index}"), "type": "function",
                "function": { "name": name, "arguments": arguments.to_string() } })
    };
    let calls: Vec<Value> = calls.iter().enumerate().map(call).collect();
    let objects = [delta(json!({ "tool_calls": calls })), finish("tool_calls"), usage(20, 7)];
    Reply::stream(events(&objects) + "data: [DONE]\n\n")
}

pub fn error(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "error": { "message": message } }))
}

/// The server, gone with the test.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    models: Mutex<Reply>,
    props: Mutex<Reply>,
    answers: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Request>>,
    /// How many requests came, and how many clients went in the middle of an answer.
    seen: watch::Sender<(usize, usize)>,
}

impl Server {
    pub async fn start(answers: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            models: Mutex::new(Reply::json(200, &json!({ "data": [{ "id": "small" }, { "id": "large" }] }))),
            props: Mutex::new(error(404, "no")),
            answers: Mutex::new(answers.into_iter().collect()),
            requests: Mutex::default(),
            seen: watch::Sender::new((0, 0)),
        });
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Self { address, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What is answered next.
    pub fn answer(&self, answers: impl IntoIterator<Item = Reply>) {
        self.state.answers.lock().unwrap().extend(answers);
    }

    pub fn models(&self, reply: Reply) {
        *self.state.models.lock().unwrap() = reply;
    }

    pub fn props(&self, reply: Reply) {
        *self.state.props.lock().unwrap() = reply;
    }

    /// The requests to the model so far.
    pub fn chats(&self) -> Vec<Request> {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|request| request.path == "/v1/chat/completions").cloned().collect()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub async fn requested(&self, count: usize) {
        self.state.seen.subscribe().wait_for(|(requests, _)| *requests >= count).await.unwrap();
    }

    /// Waits until a client has gone in the middle of an answer.
    pub async fn left(&self) {
        self.state.seen.subscribe().wait_for(|(_, left)| *left > 0).await.unwrap();
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let reply = match request.path.as_str() {
            "/v1/models" => state.models.lock().unwrap().clone(),
            "/props" => state.props.lock().unwrap().clone(),
            "/v1/chat/completions" => {
                let next = state.answers.lock().unwrap().pop_front();
                next.unwrap_or_else(|| error(418, "the script is over"))
            }
            _ => error(404, "no such place"),
        };
        state.requests.lock().unwrap().push(request);
        state.seen.send_modify(|(requests, _)| *requests += 1);
        if answer(&mut stream, &reply).await.is_err() {
            state.seen.send_modify(|(_, left)| *left += 1);
            return;
        }
        if reply.end != End::Whole {
            return;
        }
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, reply: &Reply) -> std::io::Result<()> {
    let Reply { status, headers, body, times, end } = reply;
    let head = format!("HTTP/1.1 {status} x\r\n{headers}transfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..*times {
        if !body.is_empty() {
            stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
            stream.write_all(body).await?;
            stream.write_all(b"\r\n").await?;
        }
    }
    match end {
        End::Whole => stream.write_all(b"0\r\n\r\n").await,
        End::Cut => Ok(()),
        End::Never => match stream.read(&mut [0; 1]).await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(std::io::ErrorKind::BrokenPipe.into()),
        },
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Request { path, authorization, body })
}
