//! Connecting: the address, checks of the server, and migrations.

use std::{io, path::PathBuf, time::Duration};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use dispatch_core::ports::Class;
use tokio_postgres::{Client, Config, NoTls, config::SslMode};

use super::db::{CALL, SESSION, may_pass, said};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The schema that this build reads and writes: the number of its last migration.
pub const SCHEMA: i32 = 1;

/// The oldest server whose SQL is what we write (`MATERIALIZED`).
const OLDEST: i32 = 12;

/// Who migrates holds this advisory lock: any number, but always the same.
const MIGRATING: i64 = 0x626f_6f63_6f64_6572;

/// How long another process's migration is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a connection may take to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// Where the shared record is, and how it is used.
#[derive(Clone)]
pub struct PostgresConfig {
    /// The database, `postgres://user:password@host:port/name` or `host=… dbname=…`. It is to be the record's
    /// own: its tables go into the first schema of the search path.
    pub url: String,
    /// The folder of this machine's processes: their lock files tell who is alive without waiting.
    pub data_dir: PathBuf,
    /// How long a node's right to claim and write lasts from each renewal.
    pub lease: Duration,
    /// The most connections at once, besides one that listens and one that notifies.
    pub connections: usize,
}

impl PostgresConfig {
    /// The default settings: a lease of 10 s (SPEC D5), ten connections.
    #[must_use]
    pub fn new(url: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        let lease = Duration::from_secs(10);
        Self { url: url.into(), data_dir: data_dir.into(), lease, connections: 10 }
    }
}

impl std::fmt::Debug for PostgresConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("data_dir", &self.data_dir)
            .field("lease", &self.lease)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// Why the shared record could not be opened: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The database's address cannot be understood.
    #[error("the database's address is wrong: {}; write postgres://user@host:port/name", said(.0))]
    Address(#[source] tokio_postgres::Error),
    /// The address asks for TLS.
    #[error(
        "the database's address asks for TLS, which is not built in: use a private network or a tunnel, and \
         leave sslmode out"
    )]
    Tls,
    /// The server does not answer, or not as it should.
    #[error("cannot use the database {at}: {}", said(.source))]
    Server {
        /// Which.
        at: String,
        /// What went wrong.
        source: tokio_postgres::Error,
    },
    /// The server does not answer in time.
    #[error("the database {at} did not answer within {} s", waited.as_secs())]
    Silent {
        /// Which.
        at: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The server is too old.
    #[error("the database {at} is of PostgreSQL {found}, and {OLDEST} or newer is needed")]
    TooOld {
        /// Which.
        at: String,
        /// Its version.
        found: i32,
    },
    /// The database cannot hold every text.
    #[error("the database {at} has encoding {found}: make one with ENCODING 'UTF8' TEMPLATE template0")]
    Encoding {
        /// Which.
        at: String,
        /// Its encoding.
        found: String,
    },
    /// Nothing can be written.
    #[error("the database {at} is read-only: name the primary server, or one that may be written")]
    ReadOnly {
        /// Which.
        at: String,
    },
    /// A newer build has written it.
    #[error(
        "the database {at} has schema {found}, and this build knows schemas up to {SCHEMA}: use a newer boocoder, \
         or another database"
    )]
    Newer {
        /// Which.
        at: String,
        /// Its schema.
        found: i32,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database {at} up to date: {source}")]
    Migration {
        /// Which.
        at: String,
        /// What went wrong.
        source: Box<refinery::Error>,
    },
    /// The data folder cannot be used.
    #[error(
        "cannot use the data folder {}: {source}; make it writable for this user, or choose another one",
        path.display()
    )]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pool refuses its settings.
    #[error("cannot pool connections: {0}")]
    Pool(#[source] deadpool_postgres::BuildError),
}

impl ConnectError {
    /// Whether trying again may help: the server is not there yet, starts, or is full.
    #[must_use]
    pub fn class(&self) -> Class {
        let retry = match self {
            Self::Server { source, .. } => may_pass(source),
            Self::Silent { .. } => true,
            _ => false,
        };
        if retry { Class::Retry } else { Class::GiveUp }
    }
}

/// A database's address, as a connection is made with, and as it may be shown.
#[derive(Clone)]
pub(super) struct Address {
    pub config: Config,
    pub shown: String,
}

impl Address {
    /// Reads the address, and fills in what makes a lost server noticed.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let mut config: Config = url.parse().map_err(ConnectError::Address)?;
        if matches!(config.get_ssl_mode(), SslMode::Require) {
            return Err(ConnectError::Tls);
        }
        config.connect_timeout(*config.get_connect_timeout().unwrap_or(&CONNECT));
        config.tcp_user_timeout(*config.get_tcp_user_timeout().unwrap_or(&CALL));
        config.keepalives_idle(config.get_keepalives_idle().min(Duration::from_secs(30)));
        config.keepalives_interval(config.get_keepalives_interval().unwrap_or(Duration::from_secs(5)));
        if config.get_application_name().is_none() {
            config.application_name("boocoder");
        }
        let shown = format!("`{}`", config.get_dbname().or(config.get_user()).unwrap_or("of this user"));
        Ok(Self { config, shown })
    }

    fn server(&self, source: tokio_postgres::Error) -> ConnectError {
        ConnectError::Server { at: self.shown.clone(), source }
    }

    /// A connection for one purpose; it lives until its client is dropped.
    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        // Its errors are those of the client's calls.
        tokio::spawn(connection);
        Ok(client)
    }

    /// A pool of at most `most` connections.
    pub fn pool(&self, most: usize) -> Result<Pool, ConnectError> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), NoTls, config);
        let settings = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
        });
        Pool::builder(manager)
            .max_size(most.max(1))
            .create_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .post_create(settings)
            .build()
            .map_err(ConnectError::Pool)
    }

    /// Checks the server, and brings the schema up to date.
    pub async fn prepare(&self) -> Result<(), ConnectError> {
        let silent = |waited| ConnectError::Silent { at: self.shown.clone(), waited };
        let connected = tokio::time::timeout(CONNECT, self.connect()).await;
        let mut client = connected.map_err(|_| silent(CONNECT))?.map_err(|source| self.server(source))?;
        let known = tokio::time::timeout(CALL, self.check(&client)).await.map_err(|_| silent(CALL))??;
        if known < SCHEMA {
            let migrated = tokio::time::timeout(PATIENCE, self.migrate(&mut client)).await;
            migrated.map_err(|_| silent(PATIENCE))??;
        }
        Ok(())
    }

    /// The schema's number, 0 when there is none.
    async fn check(&self, client: &Client) -> Result<i32, ConnectError> {
        let at = || self.shown.clone();
        let server = |source| self.server(source);
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'),
                   current_setting('transaction_read_only')::bool",
                &[],
            )
            .await
            .map_err(server)?;
        let (version, encoding, read_only) = (row.get(0), row.get::<_, String>(1), row.get(2));
        if version < OLDEST {
            return Err(ConnectError::TooOld { at: at(), found: version });
        }
        if encoding != "UTF8" {
            return Err(ConnectError::Encoding { at: at(), found: encoding });
        }
        let found = self.schema(client).await?;
        if read_only {
            return Err(ConnectError::ReadOnly { at: at() });
        }
        Ok(found)
    }

    async fn schema(&self, client: &Client) -> Result<i32, ConnectError> {
        let server = |source| self.server(source);
        let there = client.query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]).await;
        if !there.map_err(server)?.get::<_, bool>(0) {
            return Ok(0);
        }
        let row =
            client.query_one("SELECT coalesce(max(version), 0)::int FROM refinery_schema_history", &[]).await;
        let found = row.map_err(server)?.get(0);
        if found > SCHEMA {
            return Err(ConnectError::Newer { at: self.shown.clone(), found });
        }
        Ok(found)
    }

    /// Several processes may find the same old schema: the first brings it up to date. The lock goes with
    /// the connection.
    async fn migrate(&self, client: &mut Client) -> Result<(), ConnectError> {
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATING]).await.map_err(|e| self.server(e))?;
        if self.schema(client).await? < SCHEMA {
            let runner = embedded::migrations::runner();
            runner.run_async(client).await.map_err(|source| ConnectError::Migration {
                at: self.shown.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_with_what_to_do() {
        let refused = Address::parse("nonsense").err().unwrap().to_string();
        assert!(refused.contains("postgres://user@host"), "{refused}");
        let refused = Address::parse("postgres://me@localhost/x?sslmode=require").err().unwrap();
        assert!(matches!(refused, ConnectError::Tls));
        assert_eq!(refused.class(), Class::GiveUp);
    }

    #[test]
    fn nothing_shown_holds_the_password() {
        let url = "postgres://me:secret@localhost/x";
        assert!(!Address::parse(url).unwrap().shown.contains("secret"));
        assert!(!format!("{:?}", PostgresConfig::new(url, "/data")).contains("secret"));
    }
}
