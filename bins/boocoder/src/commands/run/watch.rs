//! The turn as it goes by, and the questions that it asks.

use std::io::{self, BufRead, StdoutLock, Write};

use dispatch_core::{
    agent::{Answer, PermissionRequest},
    frame::{Frame, FrameBody},
    task::PermissionPolicy,
};
use tokio::sync::mpsc;

use crate::show::{
    stream::Stream,
    text::{Style, safe_line},
};

/// A user's answer to a permission request.
pub struct Answered {
    /// The request's id.
    pub id: String,
    /// The answer.
    pub answer: Answer,
}

/// Shows a turn, as text or as JSON lines, and asks what it asks.
pub struct Watcher {
    view: View,
    asks: mpsc::UnboundedSender<PermissionRequest>,
    answers: mpsc::UnboundedReceiver<Answered>,
    /// Taken by the thread that asks, once there is something to ask.
    asker: Option<(mpsc::UnboundedReceiver<PermissionRequest>, mpsc::UnboundedSender<Answered>)>,
}

enum View {
    Text(Box<Stream<StdoutLock<'static>>>),
    Json { broken: bool },
}

impl Watcher {
    /// A watcher that writes to stdout.
    pub fn new(json: bool, style: Style) -> Self {
        let (asks, to_ask) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let view = if json {
            View::Json { broken: false }
        } else {
            View::Text(Box::new(Stream::new(io::stdout().lock(), style)))
        };
        Self { view, asks, answers, asker: Some((to_ask, answer)) }
    }

    /// Shows frames; asks at the terminal where the policy says so.
    pub fn show(&mut self, frames: &[Frame], policy: PermissionPolicy) {
        match &mut self.view {
            View::Json { broken } => *broken = *broken || json_lines(frames).is_err(),
            View::Text(stream) => {
                frames.iter().for_each(|frame| stream.frame(&frame.body));
                stream.flush();
            }
        }
        if policy == PermissionPolicy::Ask {
            for frame in frames {
                if let FrameBody::PermissionRequest { request } = &frame.body {
                    self.ask(request.clone());
                }
            }
        }
    }

    /// Ends what is being written.
    pub fn end(&mut self) {
        if let View::Text(stream) = &mut self.view {
            stream.fresh_line();
            stream.flush();
        }
    }

    /// The next answer that the user gave. Cancel-safe.
    pub async fn answered(&mut self) -> Answered {
        match self.answers.recv().await {
            Some(answered) => answered,
            None => std::future::pending().await,
        }
    }

    fn ask(&mut self, request: PermissionRequest) {
        if let Some((to_ask, answer)) = self.asker.take() {
            // Reading a terminal blocks and cannot be given up, so it has a thread that the program outlives.
            std::thread::spawn(move || ask_all(to_ask, &answer));
        }
        let _ = self.asks.send(request);
    }
}

fn json_lines(frames: &[Frame]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for frame in frames {
        serde_json::to_writer(&mut out, frame)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn ask_all(
    mut to_ask: mpsc::UnboundedReceiver<PermissionRequest>,
    answers: &mpsc::UnboundedSender<Answered>,
) {
    while let Some(request) = to_ask.blocking_recv() {
        let answer = ask_one(&request);
        if answers.send(Answered { id: request.id, answer }).is_err() {
            return;
        }
    }
}

/// Asks until the answer is a yes or a no; the end of the input is a no.
fn ask_one(request: &PermissionRequest) -> Answer {
    loop {
        eprint!("allow once: {}? [y/n] ", safe_line(&request.tool_call.title));
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => return Answer::Deny,
            Ok(_) => {}
        }
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => return Answer::Allow,
            "n" | "no" => return Answer::Deny,
            _ => {}
        }
    }
}
