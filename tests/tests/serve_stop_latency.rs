//! From an accepted Stop to the end of the last process of the turn, on every route, with an agent that hears neither a
//! cancel nor a signal that it can ignore, and whose children have gone into sessions of their own.
//!
//! `BOOCODER_STOPS=100` asks for so many Stops on each route instead of 20.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{collections::BTreeSet, fs, path::PathBuf, thread, time::Duration};

use boocoder_tests::{
    figures::Times,
    product::PATIENCE,
    queue::{Kind, Site},
    serve::{assert_cancelled, deltas, escape, is_running, pids, serve, turn_frames},
    stand_ins::{STAND_INS, StandIn, install, when_told},
    stopwatch::Stopwatch,
};
use dispatch_core::{
    ids::SessionId,
    routing::Route,
    task::{Task, TerminalReason::Stopped},
};

/// How long an agent is given to obey.
const GRACE: Duration = Duration::from_secs(2);

/// How long a Stop may take: of a hundred all but one, of fewer all but one in twenty, which the machine may hold up.
const LIMIT: Duration = Duration::from_millis(2500);

#[test]
fn a_stop_ends_the_whole_tree_of_an_agent_that_does_not_obey() {
    let count = std::env::var("BOOCODER_STOPS").map_or(20, |count| count.parse::<usize>().expect("a number"));
    let mut site = Site::new(Kind::Sqlite);
    let told = site.machine.root().join("told");
    fs::create_dir(&told).unwrap();
    let model =
        install(&mut site, &format!("[limits]\nstop_grace_s = {}\n[serve]\nslots = 16\n", GRACE.as_secs()));
    when_told(&model, "deaf native", &format!("{}; sleep 600", escape(&told.join("native"), "")));
    let serve = serve(&site);
    // Side by side: most of the time is grace.
    let rows = thread::scope(|scope| {
        let rows = STAND_INS.map(|route| {
            let (site, told) = (&site, told.join(route.name));
            scope.spawn(move || {
                (route, Stops { site, route, session: site.begin_session(), told }.times(count))
            })
        });
        rows.map(|row| row.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    println!("| route | Stop to whole tree dead, p50, s | p99, s |\n|---|---|---|");
    for (route, times) in &rows {
        println!(
            "| {} | {:.2} | {:.2} |",
            route.name,
            times.at(0.5).as_secs_f64(),
            times.at(0.99).as_secs_f64()
        );
    }
    let most = if count < 100 { 0.95 } else { 0.99 };
    for (route, times) in &rows {
        assert!(times.at(most) <= LIMIT, "{}: {times:?}", route.name);
    }
    let _ = serve.stop().expect(0);
    site.machine.wait_for_no_process(Duration::from_secs(5)).unwrap();
}

/// Turns of one route, one after another in one chat.
struct Stops<'a> {
    site: &'a Site,
    route: StandIn,
    session: SessionId,
    /// Where escaped children write their process ids.
    told: PathBuf,
}

impl Stops<'_> {
    fn times(&self, count: usize) -> Times {
        Times::new((0..count).map(|_| self.time()).collect())
    }

    fn time(&self) -> Duration {
        let prompt = format!(
            "deaf {}\n/ignore-signals\n/ignore-cancel\n/ignore-eof\n/pid\n/fork 5\n/shell {}\n/stall",
            self.route.name,
            escape(&self.told, "")
        );
        let _ = fs::remove_file(&self.told);
        let task = self.route.queue(self.site, &prompt, self.session);
        let tree = self.tree(&task);
        let mut since = Stopwatch::start();
        self.site.stop(task.id);
        while tree.iter().any(|pid| is_running(*pid)) {
            let left: Vec<_> = tree.iter().filter(|pid| is_running(**pid)).collect();
            assert!(since.look() < PATIENCE, "{}: {left:?} of {tree:?} are left", self.route.name);
            thread::sleep(Duration::from_millis(2));
        }
        let took = since.look();
        self.site.wait_for_end(task.id);
        assert_cancelled(self.site, task.id, Stopped);
        took
    }

    /// The turn's processes, once all of them are there: the agent, what it forked, what escaped, and the supervisor
    /// above them.
    fn tree(&self, task: &Task) -> BTreeSet<u32> {
        // The agent itself and its five children tell their own in the text.
        let in_text = if self.route.route == Route::Native { 0 } else { 6 };
        self.site.wait_for("the whole tree", |site| {
            let told = fs::read_to_string(&self.told).unwrap_or_default();
            let escaped = pids(&told);
            let task = site.task(task.id);
            let text = pids(&deltas(&turn_frames(site, &task)));
            let is_whole = escaped.len() == 2 && text.len() == in_text;
            is_whole.then(|| {
                let all: BTreeSet<u32> = escaped.into_iter().chain(text).collect();
                let parents: BTreeSet<u32> = all.iter().filter_map(|pid| supervisor_of(*pid)).collect();
                assert!(!parents.is_empty(), "{all:?} have no supervisor");
                all.into_iter().chain(parents).collect()
            })
        })
    }
}

/// The supervisor that has adopted a process.
fn supervisor_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent: u32 = stat.rsplit(") ").next()?.split_whitespace().nth(1)?.parse().ok()?;
    let line = fs::read_to_string(format!("/proc/{parent}/cmdline")).ok()?;
    line.starts_with("boocoder-supervisor\0").then_some(parent)
}
