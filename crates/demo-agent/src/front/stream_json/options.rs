//! Claude Code's arguments.

use std::ffi::OsString;

/// What of Claude Code's arguments changes something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub resume: Option<String>,
    pub session: Option<String>,
    pub model: Option<String>,
    pub mode: Option<String>,
    /// Prompts come as JSON on stdin, one after another; otherwise stdin is the one prompt.
    pub is_streaming: bool,
    /// Text is told as it comes, besides the whole blocks.
    pub has_partials: bool,
}

impl Options {
    /// Reads Claude Code's arguments, `--name value` and `--name=value` alike, and passes over what it does not know.
    pub fn parse(args: impl Iterator<Item = OsString>) -> Self {
        let mut options = Self::default();
        let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let slot = match name {
                "--resume" => &mut options.resume,
                "--session-id" => &mut options.session,
                "--model" => &mut options.model,
                "--permission-mode" => &mut options.mode,
                "--input-format" => {
                    options.is_streaming = value.or_else(|| args.next()).as_deref() == Some("stream-json");
                    continue;
                }
                "--include-partial-messages" => {
                    options.has_partials = true;
                    continue;
                }
                _ => continue,
            };
            *slot = value.or_else(|| args.next());
        }
        options
    }
}
