//! A dispatcher whose database is in trouble: notifications that do not come, connections that are dead, a
//! server that restarts, stays away, or is not there yet (SPEC D1, D4, D5, D6).

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use boocoder_tests::{
    product::{Live, Machine, Serve},
    queue::{AGENT, DATABASE_URL, Kind, Load, Proxy, Site, assert_no_prompt_twice, prompts},
    serve::Gate,
};
use dispatch_core::{
    conversation::Role,
    ids::TaskId,
    task::{Task, TaskState, TerminalReason},
};
use serde_json::Value;
use test_postgres::{Cluster, Shutdown};

/// How long what is noticed "at once" may take while the machine is busy.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The default poll's interval, at its longest.
const POLL: Duration = Duration::from_millis(2200);

/// A poll that comes in no test.
const NEVER: &str = "3600";

/// A server of the test's own, and a machine whose record is in it. The server stops after all else.
struct Bench {
    site: Site,
    cluster: Cluster,
}

impl Bench {
    fn new() -> Self {
        let cluster = Cluster::start().expect("a server");
        let mut site = Site::in_database(cluster.server().database().expect("a database"));
        Load::prepare(&mut site.machine);
        Self { site, cluster }
    }

    fn stop(&self, how: Shutdown) {
        self.cluster.stop(how).expect("it stops");
    }

    fn boot(&self) {
        self.cluster.boot().expect("it starts");
    }
}

/// Ends the dispatcher in order.
fn end(site: &Site, serve: Serve) {
    let _ = serve.stop().expect(0);
    site.assert_nothing_left();
}

/// A machine whose record is in a database of the test run's server, and a proxy before that.
fn behind_a_proxy() -> (Site, Proxy) {
    let site = Site::new(Kind::Postgres);
    let proxy = Proxy::before(site.database().url());
    (site, proxy)
}

/// Serves through the proxy, while everybody else goes past it.
fn serve(site: &Site, proxy: &Proxy, poll: &str) -> Serve {
    let mut command = site.machine.boocoder(["serve"]);
    command.env(DATABASE_URL, proxy.url()).env("BOOCODER_SERVE__POLL_S", poll);
    Serve::start(command)
}

/// Adds a task and waits until it has completed; returns how long it waited to be claimed.
fn delay(site: &Site) -> Duration {
    let task = site.add("demo", "/say done", None);
    delay_of(&site.wait_for_end(task.id))
}

fn delay_of(task: &Task) -> Duration {
    assert_eq!(task.state, TaskState::Completed, "{task:?}");
    let begun = task.started_at.expect("it has begun").0 - task.created_at.0;
    Duration::from_millis(begun.try_into().expect("it began after it was made"))
}

#[test]
fn a_lost_notification_costs_one_poll() {
    let (site, proxy) = behind_a_proxy();
    let serve = serve(&site, &proxy, "2");
    Machine::wait_until("a listener", || (proxy.listeners() == 1).then_some(()));
    proxy.lose_notifications();
    let delay = delay(&site);
    assert!(proxy.lost() > 0, "nothing was lost");
    assert!(delay < POLL + AT_ONCE, "{delay:?}");
    end(&site, serve);
}

#[test]
fn a_listener_that_is_silently_dead_is_replaced_within_ten_seconds() {
    let (site, proxy) = behind_a_proxy();
    let mut serve = serve(&site, &proxy, NEVER);
    Machine::wait_until("a listener", || (proxy.listeners() == 1).then_some(()));
    assert!(delay(&site) < AT_ONCE, "woken");
    proxy.freeze_listeners();
    let frozen = Instant::now();
    let unheard = site.add("demo", "/say caught up with", None);
    Machine::wait_until("another listener", || (proxy.listeners() == 2).then_some(()));
    assert!(frozen.elapsed() < Duration::from_secs(10) + AT_ONCE, "{:?}", frozen.elapsed());
    serve.live().wait_for_complaint("notifications are not heard for now: the connection is dead");
    serve.live().wait_for_complaint("notifications are heard again");
    assert_eq!(site.wait_for_end(unheard.id).state, TaskState::Completed);
    assert!(delay(&site) < AT_ONCE, "woken again");
    end(&site, serve);
}

#[test]
fn where_listening_is_impossible_it_polls_says_so_and_tries_on() {
    let (site, proxy) = behind_a_proxy();
    proxy.refuse_to_listen(true);
    let mut serve = serve(&site, &proxy, "1");
    serve.live().wait_for_complaint("notifications are not heard for now");
    assert!(delay(&site) < Duration::from_millis(1100) + AT_ONCE, "by the poll");
    assert_eq!(proxy.listeners(), 0);
    proxy.refuse_to_listen(false);
    serve.live().wait_for_complaint("notifications are heard again");
    end(&site, serve);
}

#[test]
fn a_burst_of_notifications_causes_a_handful_of_passes() {
    const BURST: usize = 1000;
    let (site, proxy) = behind_a_proxy();
    let serve = serve(&site, &proxy, NEVER);
    let gate = Gate::new(&site.machine, "gate");
    // While a turn runs, a wake-up may be about a Stop of it, too.
    let running = site.queue("demo", &gate.wait(), None);
    let is_at_work = |frame: &Value| frame["type"] == "tool_call";
    site.wait_for("a shell", |site| site.frames(running.session).iter().any(is_at_work).then_some(()));
    let (before, heard) = (proxy.round_trips(), proxy.delivered());
    site.sql(&format!(
        "DO $$ BEGIN FOR i IN 1..{BURST} LOOP PERFORM pg_notify('tasks_new', i::text); COMMIT; END LOOP; END $$"
    ));
    Machine::wait_until("the burst", || (proxy.delivered() >= heard + BURST).then_some(()));
    // A task that is claimed after the burst shows that what the burst caused is over.
    let waited = delay(&site);
    let caused = proxy.round_trips() - before;
    assert!(caused < BURST / 5, "{caused} round trips");
    assert!(waited < AT_ONCE, "{waited:?}");
    gate.open();
    assert_eq!(site.wait_for_end(running.id).state, TaskState::Completed);
    end(&site, serve);
}

/// Chunks of text in each half of a turn under load.
const CHUNKS: usize = 150;

/// Adds tasks as a user does who does not give up, until told to stop; returns those that were acknowledged.
fn keep_adding(site: &Site, user: char, enough: &AtomicBool) -> Vec<TaskId> {
    const LINES: usize = 2;
    /// A user's pace, not to have more work than the machine can do.
    const PACE: Duration = Duration::from_millis(200);
    let mut sessions = [None; LINES];
    let mut added = Vec::new();
    for number in 0.. {
        if enough.load(Ordering::SeqCst) {
            break;
        }
        // Each third has no session.
        let line = number % (LINES + 1);
        let prompt = format!("task {user}{number:03}\n/stream {CHUNKS}\n/sleep 300\n/stream {CHUNKS}");
        let mut command = site.machine.boocoder(["task", "add", "--agent", AGENT, "--json", &prompt]);
        if let Some(session) = sessions.get(line).copied().flatten() {
            command.arg("--session").arg(format!("{session}"));
        }
        let run = Live::start(command).finish();
        if run.code() == 0 {
            let task: Task = serde_json::from_str(&run.stdout.concat()).expect("a task");
            added.push(task.id);
            if let Some(session) = sessions.get_mut(line) {
                *session = Some(task.session);
            }
        }
        thread::sleep(PACE);
    }
    added
}

#[test]
fn restarts_of_the_server_under_load_lose_nothing() {
    const RESTARTS: usize = 5;
    let bench = Bench::new();
    let site = &bench.site;
    let serve = site.machine.serve(["--slots", "4"]);
    let enough = AtomicBool::new(false);
    let mut longest = Duration::ZERO;
    let added = thread::scope(|scope| {
        let adding = ['a', 'b'].map(|user| {
            scope.spawn({
                let enough = &enough;
                move || keep_adding(site, user, enough)
            })
        });
        for number in 0..RESTARTS {
            // In the middle of the work.
            let count = |state| site.tasks().iter().filter(|task| task.state == state).count();
            let done = count(TaskState::Completed);
            site.wait_for("progress", |_| {
                (count(TaskState::Completed) > done + 1 && count(TaskState::Running) > 1).then_some(())
            });
            let begun = Instant::now();
            let how = if number % 2 == 0 { Shutdown::Fast } else { Shutdown::Immediate };
            bench.cluster.restart(how).expect("it restarts");
            longest = longest.max(begun.elapsed());
        }
        enough.store(true, Ordering::SeqCst);
        adding.into_iter().flat_map(|user| user.join().expect("it adds")).collect::<Vec<_>>()
    });
    let tasks = site.wait_for_all();
    for id in &added {
        assert!(tasks.iter().any(|task| task.id == *id), "{id} was acknowledged, and is lost");
    }
    println!("{} tasks, {} acknowledged; the longest outage {longest:?}", tasks.len(), added.len());
    assert!(added.len() > RESTARTS);
    for task in &tasks {
        assert_streamed_whole(site, task, longest);
    }
    assert_no_prompt_twice(&site.machine);
    assert_eq!(prompts(&site.machine).len(), tasks.len());
    end(&bench.site, serve);
}

/// A turn that completed has all its text, once and in order. Any other end needs an outage as long as a
/// node relies on its lease since its last renewal, 4 s at least.
fn assert_streamed_whole(site: &Site, task: &Task, longest: Duration) {
    let frames = site.frames(task.session);
    let own = |frame: &&Value| frame["task_id"] == task.id.to_string();
    let streamed: String = frames.iter().filter(own).filter_map(|frame| frame["content"].as_str()).collect();
    let numbers: Vec<usize> =
        streamed.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let wanted: Vec<_> = (0..CHUNKS).chain(0..CHUNKS).collect();
    match task.state {
        TaskState::Completed => assert_eq!(numbers, wanted, "{task:?}"),
        TaskState::Interrupted if longest > Duration::from_secs(4) => {
            assert!(wanted.starts_with(&numbers), "{task:?}");
            assert_eq!(task.reason, Some(TerminalReason::NodeLost));
        }
        _ => panic!("{task:?}"),
    }
    let messages = site.ask(|records| {
        let chat = task.chat;
        async move { records.messages(chat).await }
    });
    let mut own =
        messages.iter().filter(|message| message.task == task.id && message.role == Role::Assistant);
    let (message, none) = (own.next().expect("a message"), own.next());
    assert!(message.content == streamed && none.is_none(), "{messages:#?}");
}

/// A turn that says something, says more while the database is away, and ends when it is told to.
struct Talk {
    task: Task,
    away: Gate,
    said: PathBuf,
    back: Gate,
}

impl Talk {
    fn begin(site: &Site, name: &str) -> Self {
        let gate = |moment| Gate::new(&site.machine, &format!("{name} {moment}"));
        let (away, back, said) =
            (gate("away"), gate("back"), site.machine.root().join(format!("{name} said")));
        let prompt = format!(
            "{name}\n/say before \n{}\n/stream 300\n/shell touch '{}'\n{}\n/say after",
            away.wait(),
            said.display(),
            back.wait()
        );
        let task = site.queue(AGENT, &prompt, None);
        site.wait_for("the first word", |site| site.text(task.session).contains("before").then_some(()));
        Self { task, away, said, back }
    }

    fn wait_until_said(&self) {
        Machine::wait_until("more words", || self.said.exists().then_some(()));
    }
}

#[test]
fn turns_go_on_while_the_database_is_away_for_a_moment() {
    let bench = Bench::new();
    let serve = bench.site.machine.serve(["--slots", "4"]);
    // An outage that a node outlives in any case: it relies on a renewal for 7 s, and renews every 3 s. A machine
    // that is too busy for that may try again.
    for attempt in ["first", "second", "last"] {
        let talk = Talk::begin(&bench.site, attempt);
        let begun = Instant::now();
        bench.stop(Shutdown::Immediate);
        talk.away.open();
        talk.wait_until_said();
        bench.boot();
        let outage = begun.elapsed();
        talk.back.open();
        let task = bench.site.wait_for_end(talk.task.id);
        if outage > Duration::from_secs(4) && attempt != "last" {
            // The worktree of an interrupted turn is kept until then (SPEC 4).
            let _ = bench.site.machine.run(["session", "close", &task.session.to_string()]).expect(0);
            continue;
        }
        assert_eq!(task.state, TaskState::Completed, "{task:?} after {outage:?}");
        let text = bench.site.text(task.session);
        let numbers = text.strip_prefix("before ").and_then(|text| text.strip_suffix("after"));
        let numbers = numbers.unwrap_or_else(|| panic!("{text}")).split_whitespace();
        assert!(numbers.map(|word| word.parse::<usize>().expect("a number")).eq(0..300), "{text}");
        break;
    }
    end(&bench.site, serve);
}

#[test]
fn a_database_that_stays_away_ends_the_turns_before_the_lease_and_the_dispatcher_comes_back() {
    let bench = Bench::new();
    let mut serve = bench.site.machine.serve(["--slots", "4"]);
    let talk = Talk::begin(&bench.site, "talk");
    bench.stop(Shutdown::Immediate);
    let begun = Instant::now();
    talk.away.open();
    talk.wait_until_said();
    serve.live().wait_for_complaint("the lease could not be renewed in time; its turns end");
    let own = serve.pid();
    Machine::wait_until("the end of the agent", || (bench.site.machine.processes() == [own]).then_some(()));
    // The lease began 10 s after a renewal that came before the outage.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    bench.boot();
    serve.live().wait_for_complaint("joined again, as another node");
    let task = bench.site.wait_for_end(talk.task.id);
    assert_eq!((task.state, task.reason), (TaskState::Interrupted, Some(TerminalReason::NodeLost)));
    let why = bench.site.machine.run(["task", "why", &task.id.to_string()]).expect(0).stdout.join("\n");
    assert!(why.contains("its dispatcher was lost") && why.contains("task resume"), "{why}");
    assert!(bench.site.text(task.session).starts_with("before "));
    // The listener may still be waiting for its next try.
    assert!(delay(&bench.site) < POLL + AT_ONCE, "it works as before");
    assert_no_prompt_twice(&bench.site.machine);
    let _ = serve.stop().expect(0);
    bench.site.machine.wait_for_no_process(Duration::from_secs(5)).expect("no process is left");
    // An interrupted turn's worktree is kept until it is resumed (SPEC 4).
    assert_eq!(bench.site.machine.worktrees().len(), 2);
}

#[test]
fn a_database_that_is_not_there_yet_is_waited_for() {
    let bench = Bench::new();
    let site = &bench.site;
    bench.stop(Shutdown::Fast);
    let begun = Instant::now();
    let gave_up = site.machine.run(["serve", "--wait", "1"]).expect(3);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    for word in ["cannot use the database", "Connection refused", "start the database"] {
        assert!(gave_up.stderr.contains(word), "{word}: {}", gave_up.stderr);
    }
    // Others do not wait.
    for args in [&["task", "add", "--agent", "demo", "hello"][..], &["task", "list", "--all"]] {
        let refused = site.machine.run(args).expect(3);
        assert!(refused.stdout.is_empty() && refused.stderr.contains("start the database"), "{refused:?}");
    }
    let mut waiting = site.machine.start(["serve", "--wait", "60"]);
    waiting.wait_for_complaint("the record cannot be reached; trying for");
    waiting.wait_for_complaint("the record cannot be reached; trying for");
    // One that waits obeys at once.
    let mut impatient = site.machine.start(["serve", "--wait", "3600"]);
    impatient.wait_for_complaint("the record cannot be reached; trying for");
    impatient.signal(15);
    let _ = impatient.finish().expect(0);
    bench.boot();
    waiting.wait_for_line(|line| line.starts_with("serving: "));
    assert!(delay(site) < AT_ONCE);
    waiting.signal(15);
    let _ = waiting.finish().expect(0);
}
