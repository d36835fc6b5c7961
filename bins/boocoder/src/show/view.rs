//! Frames on stdout, for people or for programs.

use std::io::{self, BufWriter, IsTerminal, Stdout};

use dispatch_core::frame::Frame;

use super::{json_lines, stream::Stream, text::Style};

/// Where frames are shown. A reader that has gone away ends the showing, never the turn.
pub enum View {
    /// As a person reads them.
    Text(Box<Stream<BufWriter<Stdout>>>),
    /// One JSON object a line.
    Json {
        /// Where to.
        out: BufWriter<Stdout>,
        /// Whether nobody reads any more.
        broken: bool,
    },
}

impl View {
    /// Text, or JSON lines.
    pub fn new(json: bool) -> Self {
        let out = BufWriter::new(io::stdout());
        if json {
            Self::Json { out, broken: false }
        } else {
            Self::Text(Box::new(Stream::new(out, Style::for_terminal(io::stdout().is_terminal()))))
        }
    }

    /// Shows frames.
    pub fn show(&mut self, frames: &[Frame]) {
        match self {
            Self::Json { out, broken } => *broken = *broken || json_lines::write(out, frames).is_err(),
            Self::Text(stream) => {
                frames.iter().for_each(|frame| stream.frame(&frame.body));
                stream.flush();
            }
        }
    }

    /// Whether nobody reads any more.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Json { broken, .. } => *broken,
            Self::Text(stream) => stream.is_broken(),
        }
    }

    /// Ends the showing.
    pub fn end(&mut self) {
        if let Self::Text(stream) = self {
            stream.fresh_line();
            stream.flush();
        }
    }
}
