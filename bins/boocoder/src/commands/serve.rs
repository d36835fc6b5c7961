//! `boocoder serve`: runs queued tasks until it is stopped.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dispatch_core::task::Name;
use dispatch_driver::{Dispatcher, DispatcherConfig, FanOut, FanOutConfig, Shutdown, Summary};
use tokio::sync::{Notify, mpsc};

use crate::{
    cli::{Globals, Serve},
    config,
    exit::{Code, Error},
    signals::{Ask, Signals},
    systemd,
    tidy::{self, Tidying},
    wire::{App, SERVES},
};

/// Serves until a signal ends it.
pub async fn run(globals: &Globals, args: Serve) -> Result<Code, Error> {
    let mut signals = Signals::take()?;
    let started = async {
        let app = App::open_service(globals, Duration::from_secs(args.wait)).await?;
        let config = dispatcher_config(&args, &app.config.serve)?;
        // Nobody watches in this process; others read the record.
        let publisher = Arc::new(FanOut::new(Arc::clone(&app.records), FanOutConfig::default()));
        let (node, tidying) = app.node(publisher, SERVES).await?;
        Ok::<_, Error>((app, config, node, tidying))
    };
    let (app, config, node, tidying) = tokio::select! {
        started = started => started?,
        // Nothing was begun that the next start does not find.
        _ = signals.next() => return Ok(Code::Completed),
    };
    let ready = format!("node {}, store {}, {} slots", node.id(), app.about_store, config.slots);
    let recovered = node.recovered();
    let (shutdown, told) = mpsc::channel(2);
    let dispatcher = Dispatcher::run(node, config, told);
    say!("serving: {ready}");
    systemd::notify(&format!("READY=1\nSTATUS=serving: {ready}"));

    let mut tidiness = Tidiness { app: &app, tidying: Some(tidying), recovered };
    let mut ends = Ends { shutdown, asked: Vec::new() };
    tokio::pin!(dispatcher);
    let summary = loop {
        tokio::select! {
            biased;
            ask = signals.next() => ends.begin(ask),
            summary = &mut dispatcher => break summary,
            () = tidiness.keep() => {}
        }
    };
    let summary = summary.map_err(|error| Error::failed(format!("the record was lost: {error}")))?;
    log(&summary);
    match ends.asked.as_slice() {
        [_] => {
            tidiness.end().await;
            Ok(Code::Completed)
        }
        [.., last] => Ok(last.code()),
        [] => Ok(Code::Failed),
    }
}

/// What is configured, with what the command line says over it.
fn dispatcher_config(args: &Serve, configured: &config::Serve) -> Result<DispatcherConfig, Error> {
    let defaults = DispatcherConfig::default();
    let seconds = |given: Option<u64>, default| given.map_or(default, Duration::from_secs);
    let mut per_agent = BTreeMap::new();
    for (agent, limit) in &configured.agents {
        let name = Name::new(agent).ok_or_else(|| Error::usage("[serve.agents]: an agent needs a name"))?;
        per_agent.insert(Some(name), *limit);
    }
    per_agent.extend(args.agent_limit.iter().map(|(name, limit)| (Some(name.clone()), *limit)));
    let slots = args.slots.or(configured.slots).unwrap_or(defaults.slots);
    if slots == 0 {
        return Err(Error::usage("0 slots run nothing: say at least 1 (--slots, or slots in [serve])"));
    }
    let poll = seconds(configured.poll_s, defaults.poll);
    if poll.is_zero() {
        return Err(Error::usage("poll_s in [serve]: say at least 1"));
    }
    let grace = seconds(args.grace.or(configured.grace_s), defaults.grace);
    Ok(DispatcherConfig { slots, per_agent, poll, grace })
}

/// The signals that came, and what they began.
struct Ends {
    shutdown: mpsc::Sender<Shutdown>,
    asked: Vec<Ask>,
}

impl Ends {
    /// The first signal ends the service in order, every later one at once (SPEC D7).
    fn begin(&mut self, ask: Ask) {
        let how = if self.asked.is_empty() { Shutdown::Graceful } else { Shutdown::Now };
        if self.asked.is_empty() {
            tracing::info!("stopping; a second signal ends at once");
            systemd::notify("STOPPING=1");
        }
        self.asked.push(ask);
        // A full channel holds the same words already.
        let _ = self.shutdown.try_send(how);
    }
}

/// Tidies up after dead nodes: at the start, and each time when recovery has found some.
struct Tidiness<'a> {
    app: &'a App,
    tidying: Option<Tidying>,
    recovered: Arc<Notify>,
}

impl Tidiness<'_> {
    /// Waits until something began or ended. Cancel-safe.
    async fn keep(&mut self) {
        match &mut self.tidying {
            Some(tidying) => {
                tidying.end().await;
                self.tidying = None;
            }
            None => {
                self.recovered.notified().await;
                match tidy::data_tag(&self.app.data_dir) {
                    Ok(tag) => self.tidying = Some(self.app.tidy(tag)),
                    Err(error) => tracing::warn!(%error, "nothing was tidied up"),
                }
            }
        }
    }

    async fn end(mut self) {
        if let Some(tidying) = &mut self.tidying {
            tidying.end().await;
        }
    }
}

fn log(summary: &Summary) {
    let Summary { completed, failed, cancelled, requeued, abandoned, .. } = summary;
    tracing::info!(completed, failed, cancelled, requeued, abandoned, "stopped");
}
