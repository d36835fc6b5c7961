//! A way to the server that can be broken: frozen, or cut in the middle of an answer.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use store::PostgresConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};
use tokio_postgres::config::Host;

use crate::PostgresSubject;

pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Connections with a smaller number move nothing any more.
    frozen: AtomicUsize,
    accepted: AtomicUsize,
    /// The answer that ends the connection which it comes by, in the place of being delivered.
    cut_at: Mutex<Option<&'static [u8]>>,
}

impl Proxy {
    /// A proxy, and the settings of a store that goes through it, with one connection.
    pub async fn before(subject: &PostgresSubject) -> (Self, PostgresConfig) {
        let config = subject.config();
        let upstream: tokio_postgres::Config = config.url.parse().unwrap();
        let Host::Tcp(host) = &upstream.get_hosts()[0] else { panic!("the tests' server is reached by TCP") };
        let server = format!("{host}:{}", upstream.get_ports()[0]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = config.url.replace(&server, &format!("127.0.0.1:{port}"));
        let state = Arc::new(State::default());
        tokio::spawn(accept(listener, server, state.clone()));
        (Self { port, state }, PostgresConfig { url, connections: 1, ..config })
    }

    /// Freezes every connection that there is; later ones work.
    pub fn freeze(&self) {
        self.state.frozen.store(self.accepted(), Ordering::SeqCst);
    }

    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Cuts the next connection by which the server's answer `answer` comes, once.
    pub fn cut_at(&self, answer: &'static [u8]) {
        *self.state.cut_at.lock().unwrap() = Some(answer);
    }

    /// Whether the cut is still to come.
    pub fn will_cut(&self) -> bool {
        self.state.cut_at.lock().unwrap().is_some()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "proxy at port {}", self.port)
    }
}

async fn accept(listener: TcpListener, server: String, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = state.accepted.fetch_add(1, Ordering::SeqCst);
        let (server, state) = (server.clone(), state.clone());
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&server).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = pump(from_client, to_server, &state, number, false) => {}
                () = pump(from_server, to_client, &state, number, true) => {}
            }
        });
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, number: usize, answers: bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let bytes = &buffer[..length];
        if number < state.frozen.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let cut = answers && {
            let mut cut_at = state.cut_at.lock().unwrap();
            cut_at.take_if(|answer| bytes.windows(answer.len()).any(|window| window == *answer)).is_some()
        };
        if cut || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
