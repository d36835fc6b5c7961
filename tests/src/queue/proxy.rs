//! Between a dispatcher and its database: what a network, or a server in trouble, does to the connection
//! that listens.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

/// A connection's first message has no type; its length is in its first four bytes.
const STARTUP: u8 = 0;
/// A simple statement, from the client.
const QUERY: u8 = b'Q';
/// What ends a batch of prepared statements, from the client.
const SYNC: u8 = b'S';
/// A notification, from the server.
const NOTIFICATION: u8 = b'A';

/// A proxy in front of a PostgreSQL server, which reads along. It goes with the test's process.
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    refuses_to_listen: AtomicBool,
    loses_notifications: AtomicBool,
    listening: Mutex<Vec<Arc<Frozen>>>,
    round_trips: AtomicUsize,
    delivered: AtomicUsize,
    lost: AtomicUsize,
}

/// Whether a connection still passes anything on.
#[derive(Default)]
struct Frozen(AtomicBool);

impl Proxy {
    /// A proxy for the server of this URL, `postgres://user@host:port/name`; without a port it is
    /// PostgreSQL's own.
    ///
    /// # Panics
    /// When the URL is another one, or no port is free.
    #[must_use]
    pub fn before(url: &str) -> Self {
        let (user, rest) = url.split_once('@').expect("a user");
        let (server, name) = rest.split_once('/').expect("a database");
        let server = if server.contains(':') { server.to_owned() } else { format!("{server}:5432") };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let own = listener.local_addr().expect("its port");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is not there is what it is for the client, too: a connection that ends.
                let Ok(server) = TcpStream::connect(&server) else { continue };
                serving.connect(client, server).expect("a socket has a second handle");
            }
        });
        Self { url: format!("{user}@{own}/{name}"), shared }
    }

    /// The URL of the same database through the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, a connection that wants to listen is closed, or not any more.
    pub fn refuse_to_listen(&self, refuse: bool) {
        self.shared.refuses_to_listen.store(refuse, SeqCst);
    }

    /// From now on, notifications are lost, and everything else is passed on.
    pub fn lose_notifications(&self) {
        self.shared.loses_notifications.store(true, SeqCst);
    }

    /// Passes nothing on any more in the connections that listen, and leaves them open.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn freeze_listeners(&self) {
        for frozen in self.shared.listening.lock().expect("nobody panicked").iter() {
            frozen.0.store(true, SeqCst);
        }
    }

    /// How many connections have asked to listen.
    ///
    /// # Panics
    /// When a connection has panicked.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.shared.listening.lock().expect("nobody panicked").len()
    }

    /// How many times a client has sent something that it waits for the answer to.
    #[must_use]
    pub fn round_trips(&self) -> usize {
        self.shared.round_trips.load(SeqCst)
    }

    /// How many notifications were passed on.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.shared.delivered.load(SeqCst)
    }

    /// How many notifications were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost.load(SeqCst)
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream, server: TcpStream) -> io::Result<()> {
        let frozen = Arc::new(Frozen::default());
        for is_client in [true, false] {
            let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
            if !is_client {
                std::mem::swap(&mut from, &mut to);
            }
            let (shared, frozen) = (Arc::clone(self), Arc::clone(&frozen));
            thread::spawn(move || {
                // Whichever side ends, the other one learns of it as it would without us.
                let _ = shared.pass_on(&mut from, &mut to, is_client, &frozen);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }

    fn pass_on(
        &self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        is_client: bool,
        frozen: &Arc<Frozen>,
    ) -> io::Result<()> {
        let mut is_first = is_client;
        loop {
            let (kind, message) = read_message(from, is_first)?;
            is_first = false;
            if is_client {
                self.hear(kind, &message, frozen)?;
            }
            let is_lost = !is_client && kind == NOTIFICATION && self.counts_as_lost();
            if !is_lost && !frozen.0.load(SeqCst) {
                to.write_all(&message)?;
            }
        }
    }

    /// What a client says.
    fn hear(&self, kind: u8, message: &[u8], frozen: &Arc<Frozen>) -> io::Result<()> {
        if kind == QUERY || kind == SYNC {
            self.round_trips.fetch_add(1, SeqCst);
        }
        if kind == QUERY && message.windows(7).any(|word| word == b"LISTEN ") {
            if self.refuses_to_listen.load(SeqCst) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            self.listening.lock().expect("nobody panicked").push(Arc::clone(frozen));
        }
        Ok(())
    }

    fn counts_as_lost(&self) -> bool {
        let is_lost = self.loses_notifications.load(SeqCst);
        let count = if is_lost { &self.lost } else { &self.delivered };
        count.fetch_add(1, SeqCst);
        is_lost
    }
}

/// The next message of either side, whole, and its type.
fn read_message(from: &mut TcpStream, is_first: bool) -> io::Result<(u8, Vec<u8>)> {
    let mut message = vec![0; if is_first { 4 } else { 5 }];
    from.read_exact(&mut message)?;
    let (kind, length) = if is_first { (STARTUP, &message[..]) } else { (message[0], &message[1..]) };
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    // The length counts itself.
    let rest = message.len() + length as usize - 4;
    let read = message.len();
    message.resize(rest, 0);
    from.read_exact(&mut message[read..])?;
    Ok((kind, message))
}
