//! The commands around the queue, over the real binary and both stores: add, watch, stop, resume, why, close.

use std::path::PathBuf;

use boocoder_tests::product::{Finished, Live, Machine, text};
use serde_json::{Value, json};
use test_postgres::Database;

/// A machine, and the database that its record is in, where that is not SQLite's.
struct Ground {
    machine: Machine,
    _database: Option<Database>,
}

/// Each turn has an agent and a worktree of its own, so that everything that it leaves behind can be seen.
fn machine() -> Machine {
    let mut machine = Machine::new();
    machine.set("BOOCODER_ROUTES__WARM_ACP", "false");
    machine
}

fn sqlite() -> Ground {
    Ground { machine: machine(), _database: None }
}

fn postgres() -> Ground {
    let database = Database::create().expect("a database");
    let mut machine = machine();
    machine.set("BOOCODER_DATABASE_URL", database.url());
    Ground { machine, _database: Some(database) }
}

/// Each test once for each store.
macro_rules! on_both_stores {
    ($($test:ident)+) => {
        mod on_sqlite { $(#[test] fn $test() { super::$test(&super::sqlite().machine); })+ }
        mod on_postgres { $(#[test] fn $test() { super::$test(&super::postgres().machine); })+ }
    };
}

on_both_stores! {
    a_queued_task_is_run_and_watched
    the_tasks_of_a_session_follow_each_other
    a_stop_is_answered_by_what_it_found
    what_a_shutdown_stopped_is_resumed
    a_session_is_closed_with_its_turn_and_worktree
    a_watcher_comes_back_where_it_stopped
    a_run_is_nobody_elses
    what_an_agent_offered_in_a_turn_is_shown_later
    two_dispatchers_serve_side_by_side
}

/// What a command prints, on both streams.
fn told(run: &Finished) -> String {
    format!("{}\n{}", run.stdout.join("\n"), run.stderr)
}

/// Checks that everything of this is said.
fn assert_says(run: &Finished, words: &[&str]) {
    let told = told(run);
    words.iter().for_each(|word| assert!(told.contains(word), "{word:?} is missing in: {told}"));
}

/// Starts to watch a task, and waits until its agent has said something.
fn watch_until_it_speaks(machine: &Machine, task: &str) -> Live {
    let mut watcher = machine.start(["task", "watch", task, "--json"]);
    watcher.wait_for_frame("delta", |frame| frame["task_id"] == task);
    watcher
}

fn a_queued_task_is_run_and_watched(machine: &Machine) {
    let added = machine.run(["task", "add", "--agent", "demo", "/write a.txt x\n/say done"]).expect(0);
    assert_says(&added, &["start `boocoder serve`"]);
    let task = added.stdout[0].clone();
    assert_says(&machine.run(["task", "list"]).expect(0), &["pending (for a slot)"]);
    assert_says(&machine.run(["task", "why", &task]).expect(0), &["next of its session", "boocoder serve"]);
    assert_eq!(machine.json(["task", "list", "--json"])[0]["waits_for"]["kind"], "slot");

    let serve = machine.serve(["--slots", "3"]);
    assert!(serve.ready().contains("3 slots"), "{}", serve.ready());
    let watched = machine.watch(&task).expect(0);
    assert_eq!(watched.text(), "done");
    for (frame, seq) in watched.frames().iter().zip(1..) {
        assert_eq!(frame["seq"], seq, "{frame}");
    }
    assert_eq!(watched.kinds().last().map(String::as_str), Some("agent_status"));
    let shown = machine.run(["task", "watch", &task[..6]]).expect(0);
    assert_says(&shown, &["demo works", "done", "task completed"]);
    assert_says(&machine.run(["task", "why", &task]).expect(0), &["completed", "said that it is done"]);
    assert_says(&machine.run(["doctor"]).expect(0), &["serve on", "record", "nothing"]);
    let stopped = serve.stop().expect(0);
    for word in ["turn begins", "worktree ready", "turn ended", &task, "one_shot_acp", "completed"] {
        assert!(stopped.stderr.contains(word), "{word} is missing in {}", stopped.stderr);
    }
    machine.assert_nothing_left();
    let change = machine.json(["change", "list", "--json"]).remove(0);
    let _ = machine.run(["change", "apply", text(&change["id"])]).expect(0);
    assert_eq!(machine.read("a.txt").as_deref(), Some("x"));
}

fn the_tasks_of_a_session_follow_each_other(machine: &Machine) {
    let serve = machine.serve(["--agent-limit", "demo=2"]);
    let first = machine.add("/say first\n/stall");
    let watcher = watch_until_it_speaks(machine, &first);
    let session = text(&machine.task(&first)["session"]).to_owned();
    let chat = text(&machine.task(&first)["chat"]).to_owned();
    let second = machine.add_with(["--agent", "demo", "--session", &session, "/say second"]);
    let third =
        machine.add_with(["--agent", "demo", "--session", &session[..8], "--chat", &chat[..8], "/say third"]);
    assert_eq!(text(&machine.task(&third)["chat"]), chat);
    let behind = format!("pending (behind {})", &first[..8]);
    assert_says(&machine.run(["task", "list"]).expect(0), &[&behind]);
    assert_says(
        &machine.run(["task", "why", &third]).expect(0),
        &["waits behind", &first[..8], "running", "1 more before it"],
    );
    assert_says(&machine.run(["session", "list"]).expect(0), &["open, runs", "2"]);

    assert_says(&machine.run(["task", "stop", "--wait", &first]).expect(0), &["stopped"]);
    // Its watcher sees its end, and nothing of the next one.
    let watched = watcher.finish().expect(130);
    assert_eq!(watched.text(), "first");
    let _ = machine.watch(&third).expect(0);
    assert_eq!(machine.task(&second)["state"], "completed");
    let finished = |id: &str| machine.task(id)["finished_at"].as_i64().expect("a time");
    assert!(finished(&second) <= machine.task(&third)["started_at"].as_i64().expect("a time"));
    let _ = serve.stop().expect(0);
    machine.assert_nothing_left();
}

fn a_stop_is_answered_by_what_it_found(machine: &Machine) {
    let waiting = machine.add("/say never");
    for _ in 0..2 {
        assert_says(&machine.run(["task", "stop", &waiting]).expect(0), &["cancelled"]);
    }
    let ended = machine.watch(&waiting).expect(130);
    assert_eq!(ended.kinds(), ["task_state"]);

    let serve = machine.serve([] as [&str; 0]);
    let done = machine.add("/say done");
    let _ = machine.watch(&done).expect(0);
    assert_says(&machine.run(["task", "stop", "--wait", &done]).expect(0), &["already ended: completed"]);
    let both = machine.run(["task", "stop", "ffffffff", &done]).expect(2);
    assert_says(&both, &["ffffffff not found", "already ended"]);

    let running = machine.add("/ignore-cancel\n/say working\n/stall");
    let watcher = watch_until_it_speaks(machine, &running);
    for _ in 0..2 {
        assert_says(&machine.run(["task", "stop", &running]).expect(0), &["stopping"]);
    }
    let _ = watcher.finish().expect(130);
    assert_says(
        &machine.run(["task", "why", &running]).expect(0),
        &["cancelled (stopped)", "somebody stopped it"],
    );
    let _ = serve.stop().expect(0);
    machine.assert_nothing_left();
}

fn what_a_shutdown_stopped_is_resumed(machine: &Machine) {
    let serve = machine.serve(["--grace", "0"]);
    let task = machine.add("/say working\n/stall");
    let watcher = watch_until_it_speaks(machine, &task);
    let _ = serve.stop().expect(0);
    let watched = watcher.finish().expect(130);
    let last = watched.frames().pop().expect("frames");
    assert_eq!((text(&last["status"]), text(&last["reason"])), ("idle", "shutdown"));
    let why = machine.run(["task", "why", &task]).expect(0);
    assert_says(&why, &["cancelled (shutdown)", "its dispatcher was stopped", "task resume"]);

    let resumed = machine.run(["task", "resume", &task]).expect(0);
    assert_says(&resumed, &["pending", "start `boocoder serve`"]);
    let serve = machine.serve([] as [&str; 0]);
    let last = watched.frames().len().to_string();
    let mut watcher = machine.start(["task", "watch", &task, "--json", "--since", &last]);
    watcher.wait_for_frame("delta", |_| true);
    assert_eq!(machine.task(&task)["attempt"], 2);
    assert_says(&machine.run(["task", "resume", &task]).expect(0), &["running"]);
    let _ = machine.run(["task", "stop", "--wait", &task]).expect(0);
    let _ = watcher.finish().expect(130);
    let refused = machine.run(["task", "resume", &task]).expect(2);
    assert!(!refused.stderr.is_empty());
    let _ = serve.stop().expect(0);
    machine.assert_nothing_left();
}

fn a_session_is_closed_with_its_turn_and_worktree(machine: &Machine) {
    let serve = machine.serve([] as [&str; 0]);
    let done = machine.add("/write a.txt x");
    let _ = machine.watch(&done).expect(0);
    let session = text(&machine.task(&done)["session"]).to_owned();
    let running = machine.add_with(["--agent", "demo", "--session", &session, "/say working\n/stall"]);
    let watcher = watch_until_it_speaks(machine, &running);
    let waiting = machine.add_with(["--agent", "demo", "--session", &session, "/say never"]);
    assert_ne!(machine.worktrees(), Vec::<PathBuf>::new());

    assert_says(&machine.run(["session", "close", &session]).expect(0), &["closed"]);
    assert_eq!(machine.worktrees(), Vec::<PathBuf>::new());
    let _ = watcher.finish().expect(130);
    let state = |id: &str| text(&machine.task(id)["state"]).to_owned();
    assert_eq!([state(&done), state(&running), state(&waiting)], ["completed", "cancelled", "cancelled"]);
    assert_says(&machine.run(["session", "close", &session[..8]]).expect(0), &["closed"]);
    let refused =
        machine.run(["task", "add", "--agent", "demo", "--session", &session, "/say more"]).expect(2);
    assert_says(&refused, &["closed"]);
    let listed = machine.json(["session", "list", "--closed", "--json"]);
    assert_eq!((&listed[0]["open"], &listed[0]["waiting"]), (&Value::from(false), &Value::from(0)));
    assert!(machine.json(["session", "list", "--json"]).is_empty());
    let change = machine.json(["change", "list", "--json"]).remove(0);
    let _ = machine.run(["change", "apply", text(&change["id"])]).expect(0);
    let _ = serve.stop().expect(0);
    machine.assert_nothing_left();
}

fn a_watcher_comes_back_where_it_stopped(machine: &Machine) {
    let serve = machine.serve([] as [&str; 0]);
    let task = machine.add("/stream 500\n/error -32000 no more");
    let whole = machine.watch(&task).expect(1);
    let frames = whole.frames();
    for since in [0, 1, frames.len() / 2, frames.len()] {
        let rest = machine.run(["task", "watch", &task, "--json", "--since", &since.to_string()]);
        assert_eq!(rest.code(), whole.code());
        assert_eq!(rest.frames(), frames[since..]);
    }
    let anew = machine.run(["task", "watch", &task, "--json", "--since", "100000"]);
    let (reset, rest) = (anew.frames().remove(0), anew.frames().split_off(1));
    assert_eq!((text(&reset["type"]), rest), ("reset", frames));
    let _ = serve.stop().expect(0);
}

/// A run beside a dispatcher is its own, from its beginning to its end.
fn a_run_is_nobody_elses(machine: &Machine) {
    let serve = machine.serve([] as [&str; 0]);
    // Killed while its task waits for nobody but itself.
    let mut command = machine.boocoder(["run", "--agent", "demo", "--json", "/say never"]);
    command.env("BOOCODER_HALT_AT", "claim:before");
    let mut halted = Live::start(command);
    halted.wait_for_complaint("halted at claim:before");
    let task = machine.json(["task", "list", "--json"]).remove(0);
    assert_eq!(task["waits_for"]["kind"], "its_process");
    let id = text(&task["id"]).to_owned();
    assert_says(&machine.run(["task", "why", &id]).expect(0), &["the `boocoder run` that it was made by"]);
    // The dispatcher has looked for work since.
    let other = machine.add("/say other");
    let _ = machine.watch(&other).expect(0);
    assert_eq!(machine.task(&id)["state"], "pending");
    halted.signal(9);
    let _ = halted.finish();
    let ended = machine.watch(&id).expect(130);
    assert_eq!(ended.kinds(), ["task_state"]);
    assert_eq!(machine.task(&id)["reason"], "node_lost");

    let run = machine.run(["run", "--agent", "demo", "--json", "/say mine"]).expect(0);
    run.assert_orderly();
    let stopped = serve.stop().expect(0);
    assert!(!stopped.stderr.contains(text(&run.result()["task"])), "{}", stopped.stderr);
    machine.assert_nothing_left();
}

fn two_dispatchers_serve_side_by_side(machine: &Machine) {
    let serves = [machine.serve(["--slots", "1"]), machine.serve(["--slots", "1"])];
    let tasks = [machine.add("/say one\n/stall"), machine.add("/say two\n/stall")];
    // Each has one slot: both run only if each of them took one.
    let watchers = tasks.each_ref().map(|task| watch_until_it_speaks(machine, task));
    let third = machine.add("/say three");
    assert_says(
        &machine.run(["task", "why", &third]).expect(0),
        &["waits for a free slot", "runs 1; serve on"],
    );
    let _ = machine.run(["task", "stop", &tasks[0], &tasks[1]]).expect(0);
    for watcher in watchers {
        let _ = watcher.finish().expect(130);
    }
    let _ = machine.watch(&third).expect(0);
    for serve in serves {
        let _ = serve.stop().expect(0);
    }
    machine.assert_nothing_left();
}

fn what_an_agent_offered_in_a_turn_is_shown_later(machine: &Machine) {
    let show = ["agents", "show", "demo"];
    let first = machine.run(show).expect(0);
    assert_says(&first, &["demo (", "route one_shot_acp", "known once a task has run"]);
    let none = machine.json(["agents", "show", "demo", "--json"]).remove(0);
    assert_eq!((&none["commands"], &none["settings"]), (&json!([]), &json!({})));

    let serve = machine.serve([] as [&str; 0]);
    let _ = machine.watch(&machine.add("/commands build te\u{9b}st\n/say done")).expect(0);
    let _ = serve.stop().expect(0);

    let shown = machine.run(show).expect(0);
    assert!(!told(&shown).contains("known once"), "{shown:?}");
    // Each with its name, and a mark where it is the one that holds.
    let rows: Vec<_> = shown.stdout.iter().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    for row in [
        &["MODEL"][..],
        &["demo-1", "*", "Demo", "One"],
        &["demo-2", "Demo", "Two"],
        &["MODE"],
        &["default", "*", "Does", "what", "the", "prompt", "says"],
        &["plan", "Changes", "nothing", "of", "its", "own", "accord"],
        &["THINKING"],
        &["low", "*", "Low"],
        &["high", "High"],
        &["COMMAND"],
    ] {
        assert!(rows.iter().any(|shown| shown == row), "{row:?} is missing in: {rows:?}");
    }
    let commands: Vec<_> = rows.iter().filter_map(|row| row.first()?.strip_prefix('/')).collect();
    assert_eq!(commands, ["build", "te\u{fffd}st"]);

    let object = machine.json(["agents", "show", "demo", "--json"]).remove(0);
    assert_eq!((text(&object["agent"]), text(&object["routes"])), ("demo", "one_shot_acp"));
    let names = |list: &Value, key: &str| {
        let list = list.as_array().expect("a list").iter();
        list.map(|entry| text(&entry[key]).to_owned()).collect::<Vec<_>>()
    };
    let settings = &object["settings"];
    for (what, current, choices) in [
        ("model", "demo-1", &["demo-1", "demo-2"][..]),
        ("mode", "default", &["default", "plan"]),
        ("thinking", "low", &["low", "medium", "high"]),
    ] {
        assert_eq!(settings[what]["current"], current);
        assert_eq!(names(&settings[what]["choices"], "id"), choices);
    }
    assert_eq!(names(&object["commands"], "name"), ["build", "te\u{9b}st"]);

    let unknown = machine.run(["agents", "show", "nobody"]).expect(2);
    assert_says(&unknown, &["agent nobody is not known", "known are", "demo", "[agents.NAME]"]);
}

#[test]
fn what_is_wrong_is_said() {
    let machine = Machine::new();
    let _ = machine.run(["run", "--agent", "demo", "--json", "/say hello"]).expect(0);
    let task = text(&machine.json(["task", "list", "--json"])[0]["id"]).to_owned();
    for (args, words) in [
        (&["task", "add", "--agent", "demo"][..], &["the prompt is empty"][..]),
        (&["task", "add", "--agent", "", "x"], &["agent's name is empty"]),
        (&["task", "add", "--agent", "demo", "--session", "ffff", "x"], &["no session ffff"]),
        (&["task", "add", "--agent", "demo", "--chat", "ffff", "x"], &["--chat ffff", "--session"]),
        (&["task", "add", "--agent", "demo", "--project", "/nowhere", "x"], &["/nowhere", "does not exist"]),
        (&["task", "watch", "ffff"], &["no task ffff"]),
        (&["task", "watch", "f"], &["at least four"]),
        (&["task", "watch", &task, "--since", "-1"], &["--since"]),
        (&["task", "stop"], &["<TASK>"]),
        (&["task", "resume", &task], &["completed"]),
        (&["task", "why", "ffff"], &["no task ffff"]),
        (&["session", "close", "ffff"], &["no session ffff"]),
        (&["project", "add", "/nowhere"], &["/nowhere", "does not exist"]),
        (&["serve", "--slots", "0"], &["0 slots"]),
        (&["serve", "--agent-limit", "goose"], &["goose=2"]),
        (&["serve", "--slots", "many"], &["many"]),
    ] {
        assert_says(&machine.run(args).expect(2), words);
    }
    assert_eq!(machine.node_locks(), Vec::<PathBuf>::new());
}

#[test]
fn projects_are_added_and_listed() {
    let machine = Machine::new();
    let added = machine.run(["project", "add", "--name", "mine"]).expect(0);
    assert_eq!(machine.run(["project", "add"]).expect(0).stdout, added.stdout, "added once");
    assert_says(
        &machine.run(["project", "list"]).expect(0),
        &["mine", machine.repository().to_str().unwrap()],
    );
    assert_eq!(machine.json(["project", "list", "--json"])[0]["id"], added.stdout[0].as_str());
    // Its first task finds it.
    let task = machine.add("/say hello");
    assert_eq!(machine.task(&task)["project"], added.stdout[0].as_str());
}

#[test]
fn the_help_says_what_to_type() {
    let mut machine = Machine::new();
    machine.set("BOOCODER_DATABASE_URL", "postgres://boo:s3cret@localhost/boo");
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["task", "add", "--help"],
        &["task", "watch", "--help"],
        &["task", "stop", "--help"],
        &["task", "resume", "--help"],
        &["session", "close", "--help"],
    ] {
        let help = machine.run(args).expect(0);
        assert_says(&help, &["Usage:", "Example", "boocoder "]);
        assert!(!told(&help).contains("s3cret"), "{args:?}");
        assert!(!told(&help).contains("HALT"), "{args:?}");
    }
    for command in ["task", "session", "project", "change", "checkpoint"] {
        let _ = machine.run([command, "--help"]).expect(0);
    }
}

#[test]
fn a_database_that_cannot_be_used_is_named_without_its_password() {
    let mut machine = Machine::new();
    // Nobody listens on port 1.
    machine.set("BOOCODER_DATABASE_URL", "postgres://boo:s3cret@127.0.0.1:1/boo");
    for args in
        [&["task", "list"][..], &["run", "--agent", "demo", "x"], &["doctor"], &["serve", "--wait", "0"]]
    {
        let refused = machine.run(args).expect(3);
        assert_says(&refused, &["127.0.0.1:1/boo", "start the database", "--database-url"]);
        assert!(!told(&refused).contains("s3cret"), "{refused:?}");
    }
    let tried = machine.run(["serve", "--wait", "1"]).expect(3);
    assert_says(&tried, &["trying for"]);
    assert!(!told(&tried).contains("s3cret"), "{tried:?}");
    for url in
        ["nonsense", "postgres://boo:s3cret@127.0.0.1:port/boo", "postgres://boo:s3cret@h/b?sslmode=require"]
    {
        machine.set("BOOCODER_DATABASE_URL", url);
        let refused = machine.run(["task", "list"]).expect(2);
        assert_says(&refused, &["database", "BOOCODER_DATABASE_URL"]);
        assert!(!told(&refused).contains("s3cret"), "{refused:?}");
    }
    // Where the command line names it, everybody can read it.
    machine.set("BOOCODER_DATABASE_URL", "");
    let given = ["task", "list", "--database-url", "postgres://boo:s3cret@127.0.0.1:1/boo"];
    let refused = machine.run(given).expect(3);
    assert_says(&refused, &["others can see the password"]);
    assert!(!told(&refused).contains("s3cret"), "{refused:?}");
    // In the configuration, also where that is wrong.
    machine.configure("database_url = \"postgres://boo:s3cret@127.0.0.1:1/boo\"");
    assert!(!told(&machine.run(["task", "list"]).expect(3)).contains("s3cret"));
    machine.configure("agent = \"demo\"\ndatabase_url = \"postgres://boo:s3cret@127.0.0.1:1/boo");
    let refused = machine.run(["task", "list"]).expect(2);
    assert_says(&refused, &["line 2", "database_url"]);
    assert!(!told(&refused).contains("s3cret"), "{refused:?}");
}

#[test]
fn agents_do_not_learn_where_the_record_is() {
    let Ground { mut machine, _database } = postgres();
    let url = _database.as_ref().expect("a database").url().to_owned();
    machine.set("DATABASE_URL", &url);
    let serve = machine.serve([] as [&str; 0]);
    let task = machine.add("/shell env; tr '\\0' '\\n' </proc/$PPID/environ");
    let watched = machine.watch(&task).expect(0);
    let seen = watched.stdout.join("\n");
    assert!(seen.contains("PATH="), "{seen}");
    assert!(!seen.contains("DATABASE_URL") && !seen.contains(&url), "{seen}");
    let _ = serve.stop().expect(0);
}

#[test]
fn a_repository_does_not_choose_the_record() {
    let machine = Machine::new();
    machine
        .write("boocoder.toml", "database_url = \"postgres://127.0.0.1:1/theirs\"\n[serve]\nslots = 999\n");
    let _ = machine.run(["trust"]).expect(0);
    let listed = machine.run(["run", "--agent", "demo", "--json", "/say hello"]).expect(0);
    assert_says(&listed, &["database_url is ignored"]);
    let serve = machine.serve([] as [&str; 0]);
    assert!(!serve.ready().contains("999"), "{}", serve.ready());
    let _ = serve.stop().expect(0);
}
