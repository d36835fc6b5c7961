//! The log on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::text::Style;

/// Starts logging: warnings, more with `-v`; `BOOCODER_LOG` takes tracing's own filters.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("BOOCODER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let coloured = Style::for_terminal(io::stderr().is_terminal()).is_coloured();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(coloured);
    log.with_target(false).init();
}
