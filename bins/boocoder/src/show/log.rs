//! The log on stderr.

use std::io;

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings, more with `-v`; `BOOCODER_LOG` takes tracing's own filters.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("BOOCODER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).init();
}
