//! A record in a temporary folder. Every view is a store of its own, as another process's would be: they
//! share nothing but the files.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use conformance::store::{Damage, StoreSubject, View};
use dispatch_core::ids::ChatId;
use rusqlite::Connection;
use store::SqliteStore;

pub struct SqliteSubject {
    folder: tempfile::TempDir,
}

impl SqliteSubject {
    pub fn fresh() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A connection that knows nothing of the store.
    pub fn raw(&self) -> Connection {
        let connection = Connection::open(self.data_dir().join("boocoder.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection
    }

    fn change_one(&self, sql: &str, id: String) {
        assert_eq!(self.raw().execute(sql, [id]).unwrap(), 1, "{sql}");
    }
}

#[async_trait]
impl StoreSubject for SqliteSubject {
    async fn open(&self) -> View {
        let store = Arc::new(SqliteStore::open(&self.data_dir()).unwrap());
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
                self.change_one("UPDATE task SET state = 'dreaming' WHERE id = ?1", id.to_string());
            }
            Damage::TaskOptions(id) => self.change_one(
                "UPDATE task_input SET options = '{' WHERE task = (SELECT num FROM task WHERE id = ?1)",
                id.to_string(),
            ),
            Damage::FrameBody(session, seq) => self.change_one(
                &format!(
                    "UPDATE frame SET body = '{{\"type\":\"from the future\"}}'
                     WHERE seq = {} AND session = (SELECT num FROM session WHERE id = ?1)",
                    seq.0
                ),
                session.to_string(),
            ),
            Damage::MessageParts(id) => self.change_one(
                "UPDATE message_parts SET parts = '[{]'
                 WHERE message = (SELECT num FROM message WHERE id = ?1)",
                id.to_string(),
            ),
            Damage::ChangeDraft(id) => {
                self.change_one("UPDATE change SET draft = '' WHERE id = ?1", id.to_string());
            }
        }
    }

    async fn close_chat(&self, chat: ChatId) {
        self.change_one("UPDATE chat SET open = 0 WHERE id = ?1", chat.to_string());
    }
}
