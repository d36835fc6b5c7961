//! Which call fails, and how.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dispatch_core::ids::NodeId;
use tokio::sync::{Notify, Semaphore};

/// How long a test waits for a call that must come. Generous, as two busy cores are slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Before or after a call's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The effect does not happen.
    Before,
    /// The effect has happened, and the caller is told otherwise.
    After,
}

/// What a planted fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails in a way that may go away.
    Unavailable,
    /// The call fails for good.
    Failed,
    /// The call panics.
    Panic,
}

/// A planted fault, as the source of a port's error.
#[derive(Debug)]
pub(super) struct Planted(pub(super) &'static str);

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a fault was planted in {}", self.0)
    }
}

impl std::error::Error for Planted {}

/// The faults of one bench. Calls are known by the name of their port's method and counted from 1.
pub struct Faults {
    plan: Mutex<Plan>,
    /// A call was made.
    call: Notify,
    /// Wake-ups that nothing in the record caused.
    rings: Semaphore,
}

impl Default for Faults {
    fn default() -> Self {
        Self { plan: Mutex::default(), call: Notify::new(), rings: Semaphore::new(0) }
    }
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    made: HashMap<&'static str, usize>,
    is_deaf: bool,
    ttl: Option<Duration>,
    lapsed: Vec<NodeId>,
    observer: Option<Observer>,
}

type Observer = Arc<dyn Fn(&'static str, Instant, Instant) + Send + Sync>;

struct Rule {
    call: &'static str,
    nth: RangeInclusive<usize>,
    when: When,
    what: What,
}

#[derive(Clone)]
enum What {
    Fail(Fault),
    Hold(Arc<Hold>),
}

struct Hold {
    reached: Semaphore,
    opened: Semaphore,
}

/// A call that is held until the test lets it go on.
pub struct Gate(Arc<Hold>, &'static str);

impl Gate {
    /// Waits until the call is made.
    ///
    /// # Panics
    /// When it is not.
    pub async fn reached(&self) {
        let reached = tokio::time::timeout(PATIENCE, self.0.reached.acquire()).await;
        reached.unwrap_or_else(|_| panic!("{} was not called", self.1)).expect("never closed").forget();
    }

    /// Lets the call go on.
    pub fn open(&self) {
        self.0.opened.close();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Faults {
    /// Plants a fault in these calls of a method.
    pub fn plant(&self, call: &'static str, nth: RangeInclusive<usize>, when: When, fault: Fault) {
        self.plan().rules.push(Rule { call, nth, when, what: What::Fail(fault) });
    }

    /// Plants a fault in all calls of a method from the `nth` on.
    pub fn plant_from(&self, call: &'static str, nth: usize, fault: Fault) {
        self.plant(call, nth..=usize::MAX, When::Before, fault);
    }

    /// Holds the `nth` call of a method.
    pub fn hold(&self, call: &'static str, nth: usize, when: When) -> Gate {
        let hold = Arc::new(Hold { reached: Semaphore::new(0), opened: Semaphore::new(0) });
        self.plan().rules.push(Rule { call, nth: nth..=nth, when, what: What::Hold(Arc::clone(&hold)) });
        Gate(hold, call)
    }

    /// How often a method was called.
    pub fn made(&self, call: &str) -> usize {
        self.plan().made.get(call).copied().unwrap_or(0)
    }

    /// Waits until a method was called so often.
    ///
    /// # Panics
    /// When it is not.
    pub async fn until_made(&self, call: &str, times: usize) {
        let made = async {
            loop {
                let mut next = std::pin::pin!(self.call.notified());
                next.as_mut().enable();
                if self.made(call) >= times {
                    return;
                }
                next.await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, made).await;
        came.unwrap_or_else(|_| panic!("{call} was called {} times, not {times}", self.made(call)));
    }

    /// Swallows the record's wake-ups from now on.
    pub fn deafen(&self) {
        self.plan().is_deaf = true;
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.plan().is_deaf
    }

    /// Tells of every call that ends: its name, its beginning and its end.
    pub fn observe(&self, observer: impl Fn(&'static str, Instant, Instant) + Send + Sync + 'static) {
        self.plan().observer = Some(Arc::new(observer));
    }

    /// Wakes whoever listens so often.
    pub fn ring(&self, times: usize) {
        self.rings.add_permits(times);
    }

    /// Waits until all of those were heard.
    ///
    /// # Panics
    /// When they are not.
    pub async fn until_rung(&self) {
        let heard = async {
            while self.rings.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("somebody listens");
    }

    /// Waits for one of those.
    pub(super) async fn rung(&self) {
        if let Ok(ring) = self.rings.acquire().await {
            ring.forget();
        }
    }

    /// Gives the leases of nodes that join from now on an end.
    pub fn set_ttl(&self, ttl: Duration) {
        self.plan().ttl = Some(ttl);
    }

    pub(super) fn ttl(&self) -> Option<Duration> {
        self.plan().ttl
    }

    /// Lets this node's lease be found lapsed.
    pub fn lapse(&self, node: NodeId) {
        self.plan().lapsed.push(node);
    }

    pub(super) fn has_lapsed(&self, node: NodeId) -> bool {
        self.plan().lapsed.contains(&node)
    }

    /// Forgets all faults.
    pub fn clear(&self) {
        self.plan().rules.clear();
    }

    /// Makes a call with what was planted around it.
    pub(super) async fn around<T, E>(
        &self,
        call: &'static str,
        effect: impl Future<Output = Result<T, E>>,
        error: impl Fn(Fault, Planted) -> E,
    ) -> Result<T, E> {
        let nth = self.count(call);
        if let Some(fault) = self.meet(call, nth, When::Before).await {
            return Err(error(fault, Planted(call)));
        }
        let begin = Instant::now();
        let result = effect.await?;
        let observer = self.plan().observer.clone();
        if let Some(observer) = observer {
            observer(call, begin, Instant::now());
        }
        match self.meet(call, nth, When::After).await {
            Some(fault) => Err(error(fault, Planted(call))),
            None => Ok(result),
        }
    }

    /// The same for a call that cannot fail: only a hold or a panic can be met.
    pub(super) async fn before(&self, call: &'static str) {
        let nth = self.count(call);
        self.meet(call, nth, When::Before).await;
    }

    /// The same for a call that cannot wait: only a panic can be met.
    pub(super) fn at_once(&self, call: &'static str) {
        let nth = self.count(call);
        let panics = |what: &What| matches!(what, What::Fail(Fault::Panic));
        assert!(!self.find(call, nth, When::Before).iter().any(panics), "{}", Planted(call));
    }

    fn count(&self, call: &'static str) -> usize {
        let nth = {
            let mut plan = self.plan();
            let made = plan.made.entry(call).or_default();
            *made += 1;
            *made
        };
        self.call.notify_waiters();
        nth
    }

    async fn meet(&self, call: &'static str, nth: usize, when: When) -> Option<Fault> {
        let mut met = None;
        for what in self.find(call, nth, when) {
            match what {
                What::Fail(fault) => met = Some(fault),
                What::Hold(hold) => {
                    hold.reached.add_permits(1);
                    // Closing the semaphore is what opens the gate.
                    let _ = hold.opened.acquire().await;
                }
            }
        }
        assert_ne!(met, Some(Fault::Panic), "{}", Planted(call));
        met
    }

    fn find(&self, call: &str, nth: usize, when: When) -> Vec<What> {
        let plan = self.plan();
        let meant = |rule: &&Rule| rule.call == call && rule.when == when && rule.nth.contains(&nth);
        plan.rules.iter().filter(meant).map(|rule| rule.what.clone()).collect()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
