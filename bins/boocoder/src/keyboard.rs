//! What a person types.

use std::io;

use tokio::task::{JoinHandle, spawn_blocking};

/// The lines of stdin. A terminal's input cannot be waited for without a thread, and a read that has begun
/// cannot be given up: it is kept, and its line goes to whoever asks next.
#[derive(Default)]
pub struct Keyboard(Option<JoinHandle<Option<String>>>);

impl Keyboard {
    /// The next line, in lower case and without spaces around it; `None` at the end of the input. Cancel-safe.
    pub async fn line(&mut self) -> Option<String> {
        let reading = self.0.get_or_insert_with(|| spawn_blocking(read));
        let line = reading.await.ok().flatten();
        self.0 = None;
        line
    }
}

fn read() -> Option<String> {
    let mut line = String::new();
    match io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_lowercase()),
    }
}
