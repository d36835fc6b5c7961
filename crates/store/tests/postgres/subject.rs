//! A record in a database of its own. Every view is a store of its own, as another process's would be: they
//! share nothing but the server and the data folder.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use conformance::store::{Damage, StoreSubject, View};
use dispatch_core::ids::ChatId;
use store::{PostgresConfig, PostgresStore};
use test_postgres::Database;

/// Longer than any test takes.
const LEASE: Duration = Duration::from_secs(600);

pub struct PostgresSubject {
    folder: tempfile::TempDir,
    database: Database,
}

impl PostgresSubject {
    pub fn fresh() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: Database::create().unwrap() }
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> PostgresConfig {
        let config = PostgresConfig::new(self.database.url(), self.data_dir());
        PostgresConfig { lease: LEASE, connections: 4, ..config }
    }

    pub async fn store(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::connect(self.config()).await.unwrap())
    }

    /// Changes one row as a client that knows nothing of the store; `ID` is the id in question.
    fn change_one(&self, sql: &str, id: String) {
        let sql = format!("{} RETURNING 'changed'", sql.replace("ID", &format!("'{id}'")));
        assert_eq!(self.database.sql(&sql).unwrap(), "changed", "{sql}");
    }
}

#[async_trait]
impl StoreSubject for PostgresSubject {
    async fn open(&self) -> View {
        let store = self.store().await;
        View { store: store.clone(), records: store }
    }

    async fn die(&self, view: View) {
        let View { store, records } = view;
        drop(records);
        assert_eq!(Arc::strong_count(&store), 1, "nobody else holds the view");
    }

    async fn damage(&self, what: Damage) {
        match what {
            Damage::TaskState(id) => {
                self.change_one("UPDATE task SET state = 'dreaming' WHERE id = ID", id.to_string());
            }
            Damage::TaskOptions(id) => self.change_one(
                "UPDATE task_input SET options = '{' WHERE task = (SELECT num FROM task WHERE id = ID)",
                id.to_string(),
            ),
            Damage::FrameBody(session, seq) => self.change_one(
                &format!(
                    "UPDATE frame SET body = '{{\"type\":\"from the future\"}}'
                     WHERE seq = {} AND session = (SELECT num FROM session WHERE id = ID)",
                    seq.0
                ),
                session.to_string(),
            ),
            Damage::MessageParts(id) => self.change_one(
                "UPDATE message_parts SET parts = '[{]' WHERE message = (SELECT num FROM message WHERE id = ID)",
                id.to_string(),
            ),
            Damage::ChangeDraft(id) => {
                self.change_one("UPDATE change SET draft = '' WHERE id = ID", id.to_string());
            }
        }
    }

    async fn close_chat(&self, chat: ChatId) {
        self.change_one("UPDATE chat SET open = false WHERE id = ID", chat.to_string());
    }
}
