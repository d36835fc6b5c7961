//! The calls, and who has which conversation.

use super::{
    conversation::Conversation,
    http::{Request, answer, basic, begin_stream},
    stream::Streams,
};
use crate::{args::Args, front::host::Opening};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{self, BufReader},
    net::TcpStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// All conversations of this process.
pub(super) struct Server {
    args: Args,
    /// What everybody must say who asks for something; `None` lets everybody in.
    authorization: Option<String>,
    streams: Arc<Streams>,
    conversations: Mutex<HashMap<String, Arc<Conversation>>>,
}

/// A status and a body.
type Answer = (u16, Option<Value>);

impl Server {
    pub fn new(args: Args) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user = variable("OPENCODE_SERVER_USERNAME").unwrap_or_else(|| "opencode".to_owned());
        let password = variable("OPENCODE_SERVER_PASSWORD");
        Self {
            args,
            authorization: password.map(|password| basic(&format!("{user}:{password}"))),
            streams: Arc::default(),
            conversations: Mutex::default(),
        }
    }

    /// Answers the requests of one connection.
    ///
    /// # Errors
    /// The connection broke.
    pub fn converse(&self, mut connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut requests = BufReader::new(connection.try_clone()?);
        while let Some(request) = Request::read(&mut requests)? {
            if self.authorization.is_some() && self.authorization != request.authorization {
                answer(&mut connection, 401, None)?;
                continue;
            }
            let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
            if path == ["global", "event"] {
                begin_stream(&mut connection)?;
                return self.streams.serve(&mut connection);
            }
            let (status, body) = self.call(&request.method, &path, &request)?;
            answer(&mut connection, status, body.as_ref())?;
        }
        Ok(())
    }

    fn call(&self, method: &str, path: &[&str], request: &Request) -> io::Result<Answer> {
        let directory = request.directory.as_deref().unwrap_or("/");
        let ok = |value| Ok((200, Some(value)));
        match (method, path) {
            ("GET", ["global", "health"]) => {
                ok(json!({"healthy": true, "version": env!("CARGO_PKG_VERSION")}))
            }
            ("GET", ["config", "providers"]) => ok(providers()),
            ("GET", ["config"]) => ok(json!({"model": "demo/demo-1"})),
            ("GET", ["agent"]) => {
                ok(json!([{"name": "build", "mode": "primary"}, {"name": "plan", "mode": "primary"}]))
            }
            ("GET", ["session", "status"]) => {
                let all = self.lock();
                let busy = all.iter().filter(|(_, one)| one.directory == directory && one.is_busy());
                ok(busy.map(|(id, _)| (id.clone(), json!({"type": "busy"}))).collect())
            }
            ("GET", ["permission"]) => {
                let all: Vec<_> = self.lock().values().cloned().collect();
                ok(all.iter().filter(|one| one.directory == directory).flat_map(|one| one.asked()).collect())
            }
            ("POST", ["permission", id, "reply"]) => {
                let all: Vec<_> = self.lock().values().cloned().collect();
                let leave = request.body["reply"] != "reject";
                all.iter().for_each(|one| one.reply(id, leave));
                ok(json!(true))
            }
            ("POST", ["session"]) => self.open(directory, Opening::New(None)),
            (_, ["session", id, rest @ ..]) => self.about(method, id, rest, request, directory),
            ("GET", _) => ok(json!([])),
            _ => ok(json!(true)),
        }
    }

    /// A call about one conversation.
    fn about(
        &self,
        method: &str,
        id: &str,
        rest: &[&str],
        request: &Request,
        directory: &str,
    ) -> io::Result<Answer> {
        let known = self.lock().get(id).cloned();
        let Some(conversation) = known else {
            // It may be kept from an earlier process; whoever goes on with it asks for it first.
            return self.open(directory, Opening::Kept(id));
        };
        match (method, rest) {
            ("GET", []) => Ok((200, Some(conversation.describe()))),
            ("GET", ["message"]) => Ok((200, Some(conversation.messages()))),
            ("POST", ["prompt_async"]) => {
                conversation.prompt(&request.body);
                Ok((204, None))
            }
            ("POST", ["abort"]) => {
                conversation.abort();
                Ok((200, Some(json!(true))))
            }
            _ => Ok((200, Some(json!([])))),
        }
    }

    /// Begins a conversation, or goes on with a kept one.
    fn open(&self, directory: &str, opening: Opening<'_>) -> io::Result<Answer> {
        match Conversation::open(&self.args, directory, opening, &self.streams)? {
            Ok(conversation) => {
                let answer = conversation.describe();
                self.lock().insert(conversation.id.clone(), conversation);
                Ok((200, Some(answer)))
            }
            Err(why) => Ok((404, Some(json!({"name": "NotFoundError", "data": {"message": why}})))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Conversation>>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn providers() -> Value {
    let model = |name: &str| json!({"name": name, "limit": {"context": 100_000, "output": 8000}});
    let models = json!({"demo-1": model("Demo One"), "demo-2": model("Demo Two")});
    json!({"providers": [{"id": "demo", "name": "Demo", "models": models}], "default": {"demo": "demo-1"}})
}
