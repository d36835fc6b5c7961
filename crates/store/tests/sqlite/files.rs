//! The data folder and its files (SAFETY A38, F12, F23).

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use dispatch_core::{
    ids::NodeId,
    ports::{Class, NewProject, NodeInfo, Records, RecordsError, Store},
};
use store::{OpenError, SqliteStore};

use crate::subject::SqliteSubject;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn node(byte: u8) -> NodeInfo {
    NodeInfo { id: NodeId::from_random([byte; 16]), label: "test".into() }
}

#[tokio::test]
async fn nobody_else_can_read_the_record() {
    let subject = SqliteSubject::fresh();
    let dir = subject.data_dir();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let store = SqliteStore::open(&dir).unwrap();
    store.join(&node(1)).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("nodes")), 0o700);
    let lock = format!("nodes/{}.lock", node(1).id);
    for file in ["boocoder.db", "boocoder.db-wal", "boocoder.db-shm", "bell", &lock] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_newer_record_is_refused_and_left_alone() {
    let subject = SqliteSubject::fresh();
    drop(SqliteStore::open(&subject.data_dir()).unwrap());
    subject.raw().execute_batch("PRAGMA user_version = 7").unwrap();
    let before = fs::read(subject.data_dir().join("boocoder.db")).unwrap();
    let refused = SqliteStore::open(&subject.data_dir()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 7, .. }));
    let text = refused.to_string();
    assert!(text.contains("boocoder.db") && text.contains("use a newer boocoder"), "{text}");
    assert_eq!(fs::read(subject.data_dir().join("boocoder.db")).unwrap(), before);
}

#[test]
fn what_is_no_record_is_refused() {
    let subject = SqliteSubject::fresh();
    fs::create_dir(subject.data_dir()).unwrap();
    let text = "not a database, but somebody's notes. ".repeat(100);
    fs::write(subject.data_dir().join("boocoder.db"), &text).unwrap();
    let refused = SqliteStore::open(&subject.data_dir()).unwrap_err();
    assert!(matches!(refused, OpenError::Database { .. }), "{refused}");
    assert_eq!(fs::read_to_string(subject.data_dir().join("boocoder.db")).unwrap(), text);
}

#[test]
fn a_link_in_place_of_the_database_is_not_followed() {
    let subject = SqliteSubject::fresh();
    fs::create_dir(subject.data_dir()).unwrap();
    let elsewhere = subject.data_dir().with_extension("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, subject.data_dir().join("boocoder.db")).unwrap();
    let refused = SqliteStore::open(&subject.data_dir()).unwrap_err();
    assert!(matches!(refused, OpenError::Unwritable { .. }), "{refused}");
    assert!(!elsewhere.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let subject = SqliteSubject::fresh();
    fs::write(subject.data_dir(), "a file").unwrap();
    for dir in [subject.data_dir(), subject.data_dir().join("below")] {
        let refused = SqliteStore::open(&dir).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, OpenError::Unwritable { .. }), "{text}");
        assert!(text.contains(dir.to_str().unwrap()) && text.contains("choose another"), "{text}");
    }
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    // Root may give a folder away; anybody else has one at hand that is root's.
    let subject = SqliteSubject::fresh();
    let mut dir = subject.data_dir();
    fs::create_dir(&dir).unwrap();
    if std::os::unix::fs::chown(&dir, Some(65534), None).is_err() {
        dir = "/".into();
    }
    let refused = SqliteStore::open(&dir).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert!(!dir.join("boocoder.db").exists());
}

/// Permission bits do not bind root, so this runs as somebody else there: see `unwritable_helper`.
#[test]
fn an_unwritable_folder_is_refused() {
    let subject = SqliteSubject::fresh();
    let dir = subject.data_dir();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).unwrap();
    let us = fs::metadata(&dir).unwrap().uid();
    if us != 0 {
        assert_unwritable(&dir);
        return;
    }
    let nobody = 65534;
    std::os::unix::fs::chown(&dir, Some(nobody), None).unwrap();
    fs::set_permissions(dir.parent().unwrap(), fs::Permissions::from_mode(0o711)).unwrap();
    // The test program lies where `nobody` may not look.
    let program = dir.with_extension("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut helper = Command::new(&program);
    std::os::unix::process::CommandExt::uid(&mut helper, nobody);
    helper.args(["--exact", "files::unwritable_helper"]).current_dir("/").env("UNWRITABLE", &dir);
    let ran = helper.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn unwritable_helper() {
    if let Some(dir) = std::env::var_os("UNWRITABLE") {
        assert_unwritable(Path::new(&dir));
    }
}

fn assert_unwritable(dir: &Path) {
    let refused = SqliteStore::open(dir).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, OpenError::Unwritable { .. }), "{text}");
    assert!(text.contains("make it readable and writable"), "{text}");
}

#[test]
fn processes_may_open_a_new_record_at_once() {
    let subject = SqliteSubject::fresh();
    let dir = &subject.data_dir();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| SqliteStore::open(dir).unwrap());
        }
    });
    let applied: i64 = subject
        .raw()
        .query_row("SELECT count(*) FROM refinery_schema_history", [], |row| row.get(0))
        .unwrap();
    assert_eq!(applied, 1);
}

#[tokio::test]
async fn lock_files_go_with_their_nodes() {
    let subject = SqliteSubject::fresh();
    let nodes = subject.data_dir().join("nodes");
    let count = || fs::read_dir(&nodes).unwrap().count();
    let store = SqliteStore::open(&subject.data_dir()).unwrap();
    let lease = store.join(&node(1)).await.unwrap();
    let dying = SqliteStore::open(&subject.data_dir()).unwrap();
    dying.join(&node(2)).await.unwrap();
    assert_eq!(count(), 2);
    drop(dying);
    // One that died while it joined, and a file that is none of ours.
    fs::write(nodes.join(format!("{}.lock", node(3).id)), "").unwrap();
    fs::write(nodes.join("notes.txt"), "").unwrap();
    store.recover().await.unwrap();
    let mut left: Vec<_> =
        fs::read_dir(&nodes).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [format!("{}.lock", node(1).id), "notes.txt".into()]);
    store.leave(&lease).await.unwrap();
    assert_eq!(count(), 1);
}

/// Takes as long as a write waits for another process: five seconds.
#[tokio::test]
async fn a_process_that_keeps_the_write_lock_is_worth_another_try() {
    let subject = SqliteSubject::fresh();
    let store = SqliteStore::open(&subject.data_dir()).unwrap();
    let new = || NewProject { name: "p".into(), path: None };
    let raw = subject.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(store.projects().await.unwrap(), [], "nobody waits to read");
    let RecordsError::Store(busy) = store.ensure_project(new()).await.unwrap_err() else {
        panic!("it is the store's fault")
    };
    assert_eq!(busy.class(), Class::Retry, "{busy}");
    raw.execute_batch("COMMIT").unwrap();
    let made = store.ensure_project(new()).await.unwrap();
    assert_eq!(store.projects().await.unwrap(), [made]);
}
