//! Signals from whoever started us.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::exit::{Code, Error};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or the terminal is gone.
    Terminate,
}

impl Ask {
    /// What a process that obeys it ends with.
    pub const fn code(self) -> Code {
        match self {
            Self::Interrupt => Code::Stopped,
            Self::Terminate => Code::Terminated,
        }
    }
}

/// The signals that end a run, from the moment this is made.
pub struct Signals(mpsc::UnboundedReceiver<Ask>);

impl Signals {
    /// Takes the signals over. A SIGHUP that whoever started us has ignored, as nohup does, stays ignored.
    pub fn take() -> Result<Self, Error> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let kinds = [
            (SignalKind::interrupt(), Ask::Interrupt),
            (SignalKind::terminate(), Ask::Terminate),
            (SignalKind::hangup(), Ask::Terminate),
        ];
        for (kind, ask) in kinds {
            if kind == SignalKind::hangup() && is_ignored(kind) {
                continue;
            }
            let stream =
                signal(kind).map_err(|error| Error::start(format!("signals cannot be handled: {error}")))?;
            tokio::spawn(forward(stream, ask, sender.clone()));
        }
        Ok(Self(receiver))
    }

    /// A signal that has come already.
    pub fn waiting(&mut self) -> Option<Ask> {
        self.0.try_recv().ok()
    }

    /// The next signal. Cancel-safe.
    pub async fn next(&mut self) -> Ask {
        match self.0.recv().await {
            Some(ask) => ask,
            None => std::future::pending().await,
        }
    }
}

/// Whether a signal is ignored, by the mask in proc_pid_status(5): its lowest bit is signal 1.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & 1 << (kind.as_raw_value() - 1) != 0
}

async fn forward(mut stream: Signal, ask: Ask, sender: mpsc::UnboundedSender<Ask>) {
    while stream.recv().await.is_some() {
        if sender.send(ask).is_err() {
            return;
        }
    }
}
