//! The hearing half of wake-ups: `LISTEN` on a connection of its own (SPEC D1).

use std::{future::poll_fn, pin::pin, time::Duration};

use async_trait::async_trait;
use dispatch_core::ports::Wakeups;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket, tls::NoTlsStream};

use super::{
    connect::{Address, CONNECT},
    db::said,
};

/// How often the connection is asked whether it is alive, and how long it may take to answer: together less
/// than the 10 s within which a dead one is to be replaced.
const PING: Duration = Duration::from_secs(4);
const PONG: Duration = Duration::from_secs(3);

/// How long to wait before the connection is tried again: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Wake-ups for one who waits.
pub(super) struct Listener(watch::Receiver<()>);

impl Listener {
    pub fn new(wakes: &watch::Sender<()>) -> Self {
        Self(wakes.subscribe())
    }
}

#[async_trait]
impl Wakeups for Listener {
    async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone; nothing is recorded through it any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Starts to listen, for as long as the task lives. Each (re)subscription is a wake-up, so that what was
/// missed meanwhile is found.
pub(super) fn listen(address: Address, sender: String, wakes: watch::Sender<()>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut pause, mut deaf) = (FIRST_PAUSE, false);
        loop {
            let lost = match timeout(CONNECT, subscribe(&address)).await {
                Ok(Ok((client, connection))) => {
                    if deaf {
                        tracing::info!("the database's notifications are heard again");
                    }
                    (pause, deaf) = (FIRST_PAUSE, false);
                    wakes.send_replace(());
                    hear(client, connection, &sender, &wakes).await
                }
                Ok(Err(error)) => said(&error),
                Err(_) => "the database does not answer".to_owned(),
            };
            if !deaf {
                tracing::warn!("the database's notifications are not heard for now: {lost}");
                deaf = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    })
}

type Line = Connection<Socket, NoTlsStream>;

/// Connects and subscribes. A notification that arrives meanwhile is made good for by the wake-up that
/// follows.
async fn subscribe(address: &Address) -> Result<(Client, Line), tokio_postgres::Error> {
    let (client, mut line) = address.config.connect(NoTls).await?;
    {
        let mut listening = pin!(client.batch_execute("LISTEN tasks_new"));
        loop {
            tokio::select! {
                subscribed = &mut listening => break subscribed?,
                // The line moves nothing unless it is polled; at its end `listening` fails.
                message = message(&mut line) => drop(message.transpose()?),
            }
        }
    }
    Ok((client, line))
}

async fn message(line: &mut Line) -> Option<Result<AsyncMessage, tokio_postgres::Error>> {
    poll_fn(|cx| line.poll_message(cx)).await
}

/// Hears notifications until the connection is lost, or no ping comes back; tells why.
async fn hear(client: Client, mut line: Line, sender: &str, wakes: &watch::Sender<()>) -> String {
    let pinging = async {
        loop {
            tokio::time::sleep(PING).await;
            match timeout(PONG, client.check_connection()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return said(&error),
                Err(_) => return "the connection is dead".to_owned(),
            }
        }
    };
    let hearing = async {
        loop {
            match message(&mut line).await {
                // What this process said itself it was told at once.
                Some(Ok(AsyncMessage::Notification(heard))) if heard.payload() == sender => {}
                Some(Ok(AsyncMessage::Notification(_))) => {
                    wakes.send_replace(());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return said(&error),
                None => return "the connection was closed".to_owned(),
            }
        }
    };
    tokio::select! {
        lost = pinging => lost,
        lost = hearing => lost,
    }
}
