//! A server of our own.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{DirBuilderExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    Failure, Programs, Server,
    programs::{self, SERVER_USER, is_root},
};

/// What differs from PostgreSQL's defaults. Without `fsync` a commit is in the system's memory when it is
/// answered, so it survives every death of the server, though not a power cut.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 500
shared_buffers = '64MB'
fsync = off
full_page_writes = off
max_wal_size = '256MB'
timezone = 'UTC'
log_lock_waits = on
";

/// How often another port is tried when somebody took ours before the server could.
const PORTS: u32 = 10;

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Connections are ended, what is committed is written down.
    Fast,
    /// As in a crash: the next start recovers.
    Immediate,
}

/// A server in a folder of its own below `/tmp`, where the path of its socket stays short. It listens to
/// this machine only, and asks nobody for a password.
///
/// Below root it runs as the user `postgres`, as PostgreSQL refuses to run as root.
///
/// A *keeper*, a small shell process, holds the reading end of a pipe whose writing end is in this process
/// alone. When the value is dropped, or this process ends in whatever way, the keeper reads the pipe's end,
/// stops the server and removes the folder. Only somebody who kills the keeper as well leaves something
/// behind: `/tmp/boocoder-pg-*`.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    server: Server,
    folder: PathBuf,
    keeper: Child,
}

impl Cluster {
    /// Makes and starts a server.
    ///
    /// # Errors
    /// [`Failure`] when PostgreSQL is not installed or its server does not start; nothing is left then.
    pub fn start() -> Result<Self, Failure> {
        let programs = Programs::find()?;
        let folder = make_folder()?;
        let keeper = keeper(&programs, &folder)?;
        let server = Server::new(programs.clone(), String::new());
        let mut cluster = Self { programs, server, folder, keeper };
        cluster.initialise()?;
        let mut tries = 1;
        loop {
            let port = free_port()?;
            let settings = format!(
                "{SETTINGS}port = {port}\nunix_socket_directories = '{}'\n",
                cluster.socket().display()
            );
            cluster.write("data/postgresql.auto.conf", &settings)?;
            match cluster.boot() {
                Ok(()) => {
                    let url = format!("postgres://{SERVER_USER}@127.0.0.1:{port}/postgres");
                    cluster.server = Server::new(cluster.programs.clone(), url);
                    return Ok(cluster);
                }
                Err(failure) if tries == PORTS => return Err(failure),
                Err(_) => tries += 1,
            }
        }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The URL of its maintenance database.
    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The folder of its unix socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.folder
    }

    /// Stops it, and waits until it has.
    ///
    /// # Errors
    /// [`Failure::Program`] with what `pg_ctl` said.
    pub fn stop(&self, how: Shutdown) -> Result<(), Failure> {
        let mode = match how {
            Shutdown::Fast => "fast",
            Shutdown::Immediate => "immediate",
        };
        self.control(&["stop", "-m", mode])
    }

    /// Starts it again on the same port, and waits until it answers.
    ///
    /// # Errors
    /// [`Failure::Program`] with what `pg_ctl` said and the end of the server's log.
    pub fn boot(&self) -> Result<(), Failure> {
        let log = self.log();
        self.control(&["start", "-l", &log.to_string_lossy()])
    }

    /// Stops it and starts it again.
    ///
    /// # Errors
    /// As [`Cluster::stop`] and [`Cluster::boot`].
    pub fn restart(&self, how: Shutdown) -> Result<(), Failure> {
        self.stop(how)?;
        self.boot()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn initialise(&self) -> Result<(), Failure> {
        let mut initdb = self.programs.as_server("initdb");
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.args(["--username", SERVER_USER, "--pgdata"]).arg(self.data());
        programs::run(&mut initdb, None).map(|_| ())
    }

    fn control(&self, args: &[&str]) -> Result<(), Failure> {
        let mut control = self.programs.as_server("pg_ctl");
        control.args(["--wait", "--timeout=120", "--silent", "--pgdata"]).arg(self.data()).args(args);
        programs::run(&mut control, Some(&self.log())).map(|_| ())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.folder.join(name);
        // Opened, not made: it stays the server's user's file.
        let file = fs::OpenOptions::new().write(true).truncate(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| Failure::File { path, source })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The keeper sees the end of its input, and cleans up.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A folder that only the server's user enters.
fn make_folder() -> Result<PathBuf, Failure> {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let path = PathBuf::from(format!("/tmp/boocoder-pg-{}-{:x}", std::process::id(), since));
    let failed = |source| Failure::File { path: path.clone(), source };
    fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
    if is_root() {
        let ids = |flag| -> Result<u32, Failure> {
            let id = programs::run(Command::new("id").args([flag, SERVER_USER]), None)?;
            id.parse().map_err(|_| Failure::Program { command: format!("id {flag} {SERVER_USER}"), said: id })
        };
        let owned = ids("-u").and_then(|user| Ok((user, ids("-g")?)));
        let owned = owned.and_then(|(user, group)| chown(&path, Some(user), Some(group)).map_err(failed));
        if let Err(failure) = owned {
            let _ = fs::remove_dir(&path);
            return Err(failure);
        }
    }
    Ok(path)
}

/// Starts the process that outlives us just long enough to clean up. Its group is its own, so that what
/// ends ours (Ctrl-C, a test runner) passes it by.
fn keeper(programs: &Programs, folder: &Path) -> Result<Child, Failure> {
    const SCRIPT: &str = r#"
        folder=$1; shift
        read -r _ || :
        [ ! -f "$folder/data/postmaster.pid" ] || "$@" stop -m immediate -w -s -D "$folder/data"
        rm -rf "$folder"
    "#;
    let stop = programs.as_server("pg_ctl");
    let mut keeper = Command::new("sh");
    keeper.args(["-c", SCRIPT, "keeper"]).arg(folder).arg(stop.get_program()).args(stop.get_args());
    keeper
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    keeper.spawn().map_err(|source| {
        let _ = fs::remove_dir(folder);
        Failure::NotStarted { command: "sh".to_owned(), source }
    })
}

/// A port below those that are given to whoever asks for any (from 32768, ip(7)): a server that is started again finds
/// its port free.
fn free_port() -> Result<u16, Failure> {
    let mut tries = 1;
    loop {
        let port = 15_000 + (RandomState::new().build_hasher().finish() % 17_000) as u16;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(failure) if tries == PORTS => return Err(Failure::Port(failure)),
            Err(_) => tries += 1,
        }
    }
}
