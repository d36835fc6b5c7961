//! A server of our own: it answers, restarts, and leaves nothing.

#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use test_postgres::{Cluster, Shutdown};

fn gone(folder: &Path) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while folder.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    !folder.exists()
}

#[test]
fn what_is_committed_survives_each_way_to_stop() {
    let cluster = Cluster::start().unwrap();
    let database = cluster.server().database().unwrap();
    database.sql("CREATE TABLE kept (n int)").unwrap();
    for how in [Shutdown::Fast, Shutdown::Immediate] {
        database.sql("INSERT INTO kept VALUES (1)").unwrap();
        cluster.restart(how).unwrap();
    }
    assert_eq!(database.sql("SELECT count(*) FROM kept").unwrap(), "2");
    let folder = cluster.socket().to_owned();
    assert!(folder.exists());
    drop(database);
    drop(cluster);
    assert!(gone(&folder));
}

#[test]
fn a_database_goes_with_its_value() {
    let cluster = Cluster::start().unwrap();
    let database = cluster.server().database().unwrap();
    let known = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", database.name());
    assert_eq!(cluster.server().sql(&known).unwrap(), "1");
    drop(database);
    assert_eq!(cluster.server().sql(&known).unwrap(), "0");
}

/// The test runs itself again as a child, and kills that.
#[test]
fn a_server_of_a_killed_process_goes() {
    const CHILD: &str = "TEST_POSTGRES_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let cluster = Cluster::start().unwrap();
        println!("folder {}", cluster.socket().display());
        loop {
            std::thread::park();
        }
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_of_a_killed_process_goes", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let folder = std::io::BufRead::lines(output)
        .find_map(|line| line.unwrap().strip_prefix("folder ").map(str::to_owned))
        .expect("because the child says where its server is");
    assert!(Path::new(&folder).join("data/postmaster.pid").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(gone(Path::new(&folder)));
}
