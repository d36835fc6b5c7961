//! A server as tests use it: where it is, and databases in it.

use std::{
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Cluster, Failure, Programs, programs};

/// The environment variable that names the server of a test run: the URL of a database in which databases
/// may be made.
pub const URL_VARIABLE: &str = "BOOCODER_TEST_POSTGRES";

/// A running server.
#[derive(Debug, Clone)]
pub struct Server {
    programs: Programs,
    url: String,
}

impl Server {
    pub(crate) fn new(programs: Programs, url: String) -> Self {
        Self { programs, url }
    }

    /// The server of this test run: the one that [`URL_VARIABLE`] names, else one that this process starts
    /// once and that goes with it.
    ///
    /// # Errors
    /// [`Failure`] when there is none and none can be started; its text says what to do.
    pub fn of_this_run() -> Result<Self, Failure> {
        static OWN: OnceLock<Cluster> = OnceLock::new();
        if let Ok(url) = std::env::var(URL_VARIABLE) {
            return Ok(Self::new(Programs::find()?, url));
        }
        if let Some(own) = OWN.get() {
            return Ok(own.server().clone());
        }
        // Two threads may both get here; the server of the one that comes second stops at once.
        let cluster = Cluster::start()?;
        Ok(OWN.get_or_init(|| cluster).server().clone())
    }

    /// The URL of the server's maintenance database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// [`Failure`] with the server's words.
    pub fn database(&self) -> Result<Database, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Never the name of an earlier process with the same id, whose test was killed.
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let name = format!("test_{}_{count}_{since}", std::process::id());
        self.sql(&format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))?;
        let url = in_database(&self.url, &name);
        Ok(Database { server: self.clone(), name, url })
    }

    /// Runs statements in the maintenance database; returns what they printed, one row a line.
    ///
    /// # Errors
    /// [`Failure::Program`] with the server's words.
    pub fn sql(&self, sql: &str) -> Result<String, Failure> {
        self.psql(&self.url, sql)
    }

    fn psql(&self, url: &str, sql: &str) -> Result<String, Failure> {
        let mut psql = Command::new(self.programs.path("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
        psql.args(["--dbname", url, "--command", sql]).env("PGCONNECT_TIMEOUT", "20");
        programs::run(&mut psql, None)
    }
}

/// An empty database for one test, dropped with the value.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    url: String,
}

impl Database {
    /// Makes one on the server of this test run.
    ///
    /// # Errors
    /// [`Failure`], as [`Server::of_this_run`] and [`Server::database`].
    pub fn create() -> Result<Self, Failure> {
        Server::of_this_run()?.database()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements in it as a client that knows nothing of the program under test; returns what they
    /// printed, one row a line.
    ///
    /// # Errors
    /// [`Failure::Program`] with the server's words.
    pub fn sql(&self, sql: &str) -> Result<String, Failure> {
        self.server.psql(&self.url, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that is gone meanwhile has taken the database with it.
        let _ = self.server.sql(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// The URL with another database in it.
fn in_database(url: &str, name: &str) -> String {
    let (address, options) = url.split_once('?').map_or((url, None), |(url, rest)| (url, Some(rest)));
    let begin = address.find("://").map_or(0, |at| at + 3);
    let end = address[begin..].find('/').map_or(address.len(), |at| begin + at);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{}/{name}{options}", &address[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_given_another_database() {
        for (url, wanted) in [
            ("postgres://me@localhost:1/main", "postgres://me@localhost:1/new"),
            ("postgres://me@localhost:1", "postgres://me@localhost:1/new"),
            ("postgres://me@localhost/main?a=/b", "postgres://me@localhost/new?a=/b"),
        ] {
            assert_eq!(in_database(url, "new"), wanted);
        }
    }
}
