//! Wake-ups between the processes on a data folder, and within one: a file whose times are touched, and
//! inotify on it (SPEC D1, D8).
//!
//! The system merges equal events that nobody has read yet, so a burst is one wake-up.

use std::{
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use dispatch_core::ports::Wakeups;
use rustix::{
    fs::{
        AtFlags, CWD, Timespec, Timestamps, UTIME_NOW,
        inotify::{self, ReadFlags, WatchFlags},
    },
    io::Errno,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

use super::{folder::private_file, open_error::OpenError};

/// How long in-process wake-ups alone have to do before inotify is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The bell of one data folder.
#[derive(Clone)]
pub(super) struct Bell {
    path: Arc<PathBuf>,
    /// For whoever waits in this process and could not set up inotify.
    within: watch::Sender<()>,
}

impl Bell {
    /// The bell at `path`, made where there is none.
    pub fn new(path: PathBuf) -> Result<Self, OpenError> {
        private_file(&path)?;
        Ok(Self { path: Arc::new(path), within: watch::Sender::new(()) })
    }

    /// Wakes everybody who waits, in any process.
    pub fn ring(&self) {
        self.within.send_replace(());
        if let Err(error) = touch(&self.path).or_else(|_| self.remake()) {
            tracing::warn!(bell = %self.path.display(), %error, "other processes are not woken");
        }
    }

    /// Makes the file again, which somebody removed; making it touches it.
    fn remake(&self) -> io::Result<()> {
        private_file(&self.path).map_err(io::Error::other)?;
        Ok(touch(&self.path)?)
    }

    /// Wake-ups from now on.
    pub fn listen(&self) -> Listener {
        let within = self.within.subscribe();
        let ear = Ear::new(&self.path).inspect_err(|error| deaf(&self.path, error)).ok();
        Listener { bell: self.clone(), within, ear }
    }
}

fn deaf(bell: &Path, error: &io::Error) {
    tracing::warn!(bell = %bell.display(), %error, "other processes' wake-ups are not heard for now");
}

fn touch(path: &Path) -> Result<(), Errno> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// A watch on the bell's file. It is registered with the runtime when it is first waited for.
struct Ear {
    inotify: Registered,
    /// Which file is watched.
    inode: u64,
}

enum Registered {
    NotYet(OwnedFd),
    Now(AsyncFd<OwnedFd>),
    /// The runtime refused it.
    Lost,
}

impl Ear {
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let file = private_file(path).map_err(io::Error::other)?;
        let what = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        inotify::add_watch(&inotify, path, what | WatchFlags::DONT_FOLLOW)?;
        // Should the path lead elsewhere by now, the first look finds out.
        Ok(Self { inotify: Registered::NotYet(inotify), inode: file.metadata()?.ino() })
    }

    /// Waits until the file is touched, moved or removed.
    async fn heard(&mut self) -> io::Result<Heard> {
        let inotify = self.inotify.get()?;
        loop {
            let mut ready = inotify.readable().await?;
            // From here to the return nothing waits, so nothing that was read is lost.
            match ready.try_io(|inotify| drain(inotify.get_ref())) {
                Ok(drained) => return drained,
                Err(_would_block) => {}
            }
        }
    }

    /// Whether the watched file is still the one that others touch.
    fn is_at(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|there| there.ino() == self.inode)
    }
}

impl Registered {
    fn get(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Self::NotYet(_) = self
            && let Self::NotYet(fd) = std::mem::replace(self, Self::Lost)
        {
            // SAFETY: the descriptor is owned, so it stays open and the same for as long as it is registered.
            *self = Self::Now(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?);
        }
        match self {
            Self::Now(fd) => Ok(fd),
            Self::NotYet(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// What happened to the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Touched,
    /// It is not at its path any more.
    Gone,
}

/// Reads every event that is there; `WouldBlock` when there is none.
fn drain(inotify: &OwnedFd) -> io::Result<Heard> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut events = inotify::Reader::new(inotify, &mut buffer);
    let mut heard = None;
    loop {
        match events.next() {
            // A number of the file's own tells nothing: the next one may get the same.
            Ok(event) if event.events() != ReadFlags::ATTRIB => heard = Some(Heard::Gone),
            Ok(_) => heard = heard.or(Some(Heard::Touched)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return heard.ok_or_else(|| io::ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whoever waits for the bell.
pub(super) struct Listener {
    bell: Bell,
    within: watch::Receiver<()>,
    /// `None` while inotify cannot be set up.
    ear: Option<Ear>,
}

#[async_trait]
impl Wakeups for Listener {
    async fn next(&mut self) {
        let Some(ear) = &mut self.ear else { return self.next_within().await };
        let heard = ear.heard().await;
        if matches!(heard, Ok(Heard::Touched)) && ear.is_at(&self.bell.path) {
            return;
        }
        // What was touched meanwhile is unknown; this wake-up makes good for it.
        self.ear = match heard.and_then(|_| Ear::new(&self.bell.path)) {
            Ok(ear) => Some(ear),
            Err(error) => {
                deaf(&self.bell.path, &error);
                None
            }
        };
    }
}

impl Listener {
    /// Waits without inotify, but tries it again now and then.
    async fn next_within(&mut self) {
        loop {
            tokio::select! {
                // The sender lives in `bell`, so there is no end to it.
                _ = self.within.changed() => return,
                () = tokio::time::sleep(RETRY) => {
                    if let Ok(ear) = Ear::new(&self.bell.path) {
                        tracing::info!(bell = %self.bell.path.display(), "other processes' wake-ups are heard again");
                        self.ear = Some(ear);
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    fn bell(folder: &tempfile::TempDir) -> Bell {
        Bell::new(folder.path().join("bell")).unwrap()
    }

    async fn woken(listener: &mut Listener) {
        tokio::time::timeout(SOON, listener.next()).await.expect("a wake-up");
    }

    /// Whether nothing is there that would wake the listener, straight from the system.
    fn is_quiet(listener: &Listener) -> bool {
        let inotify = match &listener.ear.as_ref().unwrap().inotify {
            Registered::NotYet(fd) => fd,
            Registered::Now(fd) => fd.get_ref(),
            Registered::Lost => panic!("it is there"),
        };
        drain(inotify).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[tokio::test]
    async fn a_burst_is_one_wake_up() {
        let folder = tempfile::tempdir().unwrap();
        // Two bells on one file are what two processes have.
        let (ours, theirs) = (bell(&folder), bell(&folder));
        let (mut own, mut other) = (ours.listen(), theirs.listen());
        assert!(is_quiet(&own));
        for _ in 0..1000 {
            ours.ring();
        }
        for listener in [&mut own, &mut other] {
            woken(listener).await;
            assert!(is_quiet(listener));
        }
        theirs.ring();
        woken(&mut own).await;
    }

    #[tokio::test]
    async fn a_removed_file_is_made_and_heard_again() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (bell(&folder), bell(&folder));
        let mut listener = ours.listen();
        std::fs::remove_file(folder.path().join("bell")).unwrap();
        woken(&mut listener).await;
        theirs.ring();
        woken(&mut listener).await;
        // Replaced while nobody looks: the old file's last event tells.
        std::fs::remove_file(folder.path().join("bell")).unwrap();
        theirs.ring();
        woken(&mut listener).await;
        theirs.ring();
        woken(&mut listener).await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_inotify_this_process_is_heard_until_it_works_again() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (bell(&folder), bell(&folder));
        let mut listener = ours.listen();
        listener.ear = None;
        ours.ring();
        woken(&mut listener).await;
        let began = tokio::time::Instant::now();
        listener.next().await;
        assert!(began.elapsed() >= RETRY, "it is tried again, which wakes to catch up");
        theirs.ring();
        woken(&mut listener).await;
    }
}
