//! `boocoder agents`.

use clap::Subcommand;

/// Which agents there are
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// One agent: how it is reached, and the models, modes, thinking options and slash commands that it was last
    /// known to offer
    Show {
        /// Its name
        agent: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}
