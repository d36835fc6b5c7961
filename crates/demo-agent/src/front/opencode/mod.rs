//! opencode's server: HTTP and server-sent events on loopback, a thread for each connection.
//!
//! Any number of conversations in any number of folders, each with an agent of its own on a thread of this process.

mod conversation;
mod http;
mod server;
mod stream;

use crate::{args::Args, wire::Halt};
use server::Server;
use std::{io::Write as _, net::TcpListener, sync::Arc, thread};

/// Serves until the process is ended.
pub(crate) fn run(args: Args) -> Result<(), Halt> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut out = std::io::stdout();
    writeln!(out, "opencode server listening on http://{}", listener.local_addr()?)?;
    let server = Arc::new(Server::new(args));
    for connection in listener.incoming() {
        let (connection, server) = (connection?, Arc::clone(&server));
        // A connection that breaks is the host's affair.
        thread::spawn(move || drop(server.converse(connection)));
    }
    Ok(())
}
