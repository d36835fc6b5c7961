//! One agent on one route.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Instant,
};

use super::{Chat, Route, SCENARIOS, Scenario, Worker, expected};
use crate::desk::Desk;

/// How much is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// What every change is held to.
    Core,
    /// Everything.
    Whole,
}

/// The variable that asks for an extent; `cargo xtask soak` sets it to `whole`.
const EXTENT: &str = "BOOCODER_MATRIX";

impl Extent {
    /// What the environment asks for.
    ///
    /// # Panics
    /// When it says something else than `core` or `whole`.
    #[must_use]
    pub fn asked() -> Option<Self> {
        match env::var(EXTENT).as_deref() {
            Err(_) | Ok("") => None,
            Ok("core") => Some(Self::Core),
            Ok("whole") => Some(Self::Whole),
            Ok(other) => panic!("{EXTENT} is `core` or `whole`, not {other:?}"),
        }
    }
}

/// The variable that names the only scenario to be played.
const ONLY: &str = "BOOCODER_SCENARIO";

/// A turn without a word from the agent ends after so many seconds: longer than any start of an agent's tool or
/// answer, on a busy machine too, and than the 80 s that agents spend on retries in silence.
const LIMITS: &str = "[limits]\nsilence_s = 240\nstart_s = 240\n";

/// One agent on one route.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The route.
    pub route: &'static Route,
    /// Who works.
    pub worker: Worker,
}

impl Column {
    /// Plays its scenarios, says how long each took, and compares what came of them.
    ///
    /// # Panics
    /// When something else came of one than the table says, or the user's repository was touched.
    pub fn play(self, extent: Extent) {
        let desk = self.desk();
        let untouched = desk.repository();
        let only = env::var(ONLY).ok();
        let played: Vec<_> = SCENARIOS
            .iter()
            .filter(|scenario| only.as_ref().map_or(scenario.extent <= extent, |only| scenario.name == only))
            .map(|scenario| self.play_one(&desk, scenario))
            .collect();
        println!("{}", self.summary(&played));
        desk.assert_untouched(&untouched);
        let differ: Vec<_> = played.iter().filter_map(|played| played.difference.clone()).collect();
        assert!(differ.is_empty(), "{}", differ.join("\n"));
    }

    fn desk(self) -> Desk {
        let config = format!("{}{LIMITS}", self.route.config());
        let called = (self.route.called)(self.worker);
        let called =
            called.unwrap_or_else(|why| panic!("{} on {}: {why}", self.worker.name(), self.route.name));
        match self.worker {
            Worker::Agent(agent) => Desk::new(agent, called, &config),
            Worker::Native => Desk::native(&config),
        }
    }

    fn play_one(self, desk: &Desk, scenario: &'static Scenario) -> Played {
        let since = Instant::now();
        let (observed, story) = self.observe(desk, scenario);
        let seconds = since.elapsed().as_secs_f32();
        let expected = expected(self.route, self.worker, scenario);
        let line = format!("{self}: {:46} {seconds:5.1} s  {observed}", scenario.name);
        println!("{line}");
        let is_expected = expected.contains(&observed.as_str());
        let difference = (!is_expected).then(|| format!("{line}, not {}\n{story}", expected.join(", or ")));
        Played { scenario, seconds, difference }
    }

    /// What came of a scenario, and what its turns were.
    fn observe(self, desk: &Desk, scenario: &Scenario) -> (String, String) {
        let mut story = String::new();
        let played = catch_unwind(AssertUnwindSafe(|| {
            let chat = Chat::begin(desk, self.route);
            let observed = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&chat)));
            story = chat.story();
            let observed = observed.unwrap_or_else(|panic| resume_unwind(panic));
            let left = chat.end();
            if left.is_empty() {
                observed
            } else {
                format!("{observed}, but there are {}", left.join(" and "))
            }
        }));
        let observed = played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            format!("panicked: {}", text.unwrap_or_default())
        });
        (observed, story)
    }

    /// How many seconds the column took, and which of its cells were the slowest.
    fn summary(self, played: &[Played]) -> String {
        let mut slowest: Vec<_> = played.iter().collect();
        slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let slowest = slowest.iter().take(3).map(|one| format!("{} {:.1} s", one.scenario.name, one.seconds));
        let total: f32 = played.iter().map(|one| one.seconds).sum();
        let slowest = slowest.collect::<Vec<_>>().join(", ");
        format!("{self}: {} scenarios in {total:.1} s; the slowest: {slowest}", played.len())
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over {}", self.worker.name(), self.route.name)
    }
}

/// What came of one scenario.
struct Played {
    scenario: &'static Scenario,
    seconds: f32,
    /// In a sentence, where it is not what the table says.
    difference: Option<String>,
}
