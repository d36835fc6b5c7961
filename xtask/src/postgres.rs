//! The PostgreSQL server that a test run shares.

use crate::{Failure, process::run_to_end, workspace::Workspace};
use test_postgres::{Cluster, Programs, URL_VARIABLE};

/// By hand, where we may not or cannot.
const INSTALL: &str = "install PostgreSQL's server: on Debian \
                       `apt-get install --no-install-recommends postgresql`";

/// A server for one run; one of our own goes with the value.
pub enum Server {
    Own(Cluster),
    /// Whoever runs this named one.
    Given(String),
}

impl Server {
    pub fn url(&self) -> &str {
        match self {
            Self::Own(cluster) => cluster.url(),
            Self::Given(url) => url,
        }
    }
}

/// The server that the environment names, else one that is started here; the programs are installed first
/// where they are missing.
pub fn for_tests(workspace: &Workspace) -> Result<Server, Failure> {
    if Programs::find().is_err() {
        install(workspace)?;
    }
    let server = match std::env::var(URL_VARIABLE) {
        Ok(url) => Server::Given(url),
        Err(_) => {
            Server::Own(Cluster::start().map_err(|failure| Failure::new(failure.to_string(), INSTALL))?)
        }
    };
    println!("{:14} {}", "postgres", server.url());
    Ok(server)
}

/// As root on Debian, whose lists of packages may be old or missing.
fn install(workspace: &Workspace) -> Result<(), Failure> {
    let apt = |args: &[&str]| {
        let mut command = workspace.command("apt-get");
        run_to_end(command.args(args).env("DEBIAN_FRONTEND", "noninteractive"), INSTALL)
    };
    let server = ["install", "--yes", "--no-install-recommends", "postgresql"];
    apt(&server).or_else(|_| apt(&["update"]).and_then(|()| apt(&server)))
}
