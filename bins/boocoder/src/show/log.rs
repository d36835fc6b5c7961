//! The log on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::{json_lines::Escaping, text::Style};
use crate::cli::{Cli, Command};

/// Starts logging: warnings, for a service what it does, and more with `-v`; `BOOCODER_LOG` takes tracing's own
/// filters.
pub fn start(cli: &Cli) {
    let (is_service, json) = match &cli.command {
        Command::Serve(serve) => (true, serve.json_log),
        _ => (false, false),
    };
    let level = match cli.globals.verbose + u8::from(is_service) {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("BOOCODER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let coloured = Style::for_terminal(io::stderr().is_terminal()).is_coloured();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(coloured);
    let log = log.with_target(false);
    if json {
        log.json().flatten_event(true).with_writer(|| Escaping(io::stderr())).init();
    } else {
        log.init();
    }
}
