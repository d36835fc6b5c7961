//! Ctrl-C in every phase of a turn, against agents that obey and agents that do anything but (SPEC 5).
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use boocoder_tests::{
    product::{Finished, Live, Machine, text},
    serve::grow,
    terminal::Terminal,
};
use rusqlite::Connection;
use serde_json::Value;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// How many files make a repository big: making its worktree takes long enough for a signal to come between.
const MANY: usize = 4000;

fn start(machine: &Machine, prompt: &str) -> Live {
    machine.start(["run", "--agent", "demo", "--json", "--apply", "--allow", prompt])
}

/// The process ids that `/fork` and `/pid` tell.
fn pids(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Checks what holds after a Stop that came before the turn's end: what is recorded, told and left.
fn assert_stopped(machine: &Machine, run: Finished, code: i32) -> Finished {
    let run = run.expect(code);
    run.assert_orderly();
    let result = run.result();
    assert_eq!((text(&result["state"]), text(&result["reason"])), ("cancelled", "stopped"), "{result}");
    assert_eq!(result["change"], Value::Null);
    let frames = run.frames();
    let last = frames.last().expect("frames");
    assert_eq!((text(&last["status"]), text(&last["reason"])), ("idle", "cancelled"));
    if let Some(complete) = frames.iter().find(|frame| frame["type"] == "message_complete") {
        assert_eq!(complete["status"], "cancelled");
    }
    assert_record(machine, text(&result["task"]));
    run
}

/// Checks the record of a stopped task, and that nothing else is left.
fn assert_record(machine: &Machine, task: &str) {
    machine.assert_nothing_left();
    assert_eq!(machine.json(["change", "list", "--state", "all", "--json"]), Vec::<Value>::new());
    let shown = machine.json(["task", "show", task, "--json"]).remove(0);
    assert_eq!(shown["task"]["state"], "cancelled");
    for message in shown["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter(|message| message["role"] == "assistant")
    {
        assert_eq!(message["state"], "cancelled");
    }
}

/// The kinds of a task's checkpoints, oldest first.
fn checkpoints(machine: &Machine, run: &Finished) -> Vec<String> {
    let task = run.result()["task"].clone();
    let listed = machine.json(["checkpoint", "list", text(&task), "--json"]);
    listed.iter().map(|checkpoint| text(&checkpoint["kind"]).to_owned()).collect()
}

#[test]
fn while_the_worktree_is_made() {
    let machine = Machine::new();
    grow(&machine, MANY);
    let before = machine.fingerprint();
    let live = start(&machine, "/say never");
    Machine::wait_until("a worktree", || (!machine.worktrees().is_empty()).then_some(()));
    live.signal(SIGINT);
    let run = assert_stopped(&machine, live.finish(), 130);
    // The agent was not begun, so the worktree was still being made.
    assert_eq!(run.kinds(), ["task_state", "agent_status"]);
    assert!(machine.fingerprint() == before, "the user's repository was touched");
}

#[test]
fn while_the_agent_gets_ready() {
    let mut machine = Machine::new();
    for fault in ["silent", "slow=600000"] {
        machine.configure(&Machine::demo_agent("lazy", &["--fault", fault]));
        let mut live = machine.start(["run", "--agent", "lazy", "--json", "/say never"]);
        live.wait_for_frame("agent_status", |frame| frame["status"] == "working");
        let cmdline = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let agent = Machine::wait_until("the agent", || {
            machine.processes().into_iter().find(|pid| cmdline(pid).contains("demo-agent\0--fault"))
        });
        live.signal(SIGINT);
        let run = assert_stopped(&machine, live.finish(), 130);
        assert!(!is_running(agent));
        assert_eq!(
            run.kinds(),
            ["message_started", "agent_status", "message_complete", "task_state", "agent_status"]
        );
        assert_eq!(checkpoints(&machine, &run)[0], "before");
    }
}

#[test]
fn while_text_is_streamed() {
    let machine = Machine::new();
    let before = machine.fingerprint();
    let mut live = start(&machine, "/write a.txt x\n/pid\n/stream 100000000 200");
    let first = live.wait_for_frame("delta", |_| true);
    live.wait_for_frame("delta", |_| true);
    live.signal(SIGINT);
    let run = assert_stopped(&machine, live.finish(), 130);
    assert!(!is_running(pids(text(&first["content"]))[0]));
    assert_eq!(checkpoints(&machine, &run), ["before", "final"]);
    // What was streamed is kept, and what was done can be had from the last checkpoint.
    let shown = machine.json(["task", "show", text(&run.result()["task"]), "--json"]).remove(0);
    let parts = shown["messages"][1]["parts"].as_array().unwrap();
    let kept: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    assert_eq!(kept, run.text());
    assert!(machine.fingerprint() == before, "the user's repository was touched");
    let listed = machine.json(["checkpoint", "list", text(&run.result()["task"]), "--json"]);
    machine.run(["checkpoint", "restore", text(&listed[1]["id"])]).expect(0);
    let change = machine.json(["change", "list", "--json"]).remove(0);
    machine.run(["change", "apply", text(&change["id"])]).expect(0);
    assert_eq!(machine.read("a.txt").as_deref(), Some("x"));
}

#[test]
fn while_the_agent_says_nothing_and_by_sigterm_and_sighup() {
    let machine = Machine::new();
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 143), (SIGHUP, 143)] {
        let mut live = start(&machine, "/say waiting\n/stall");
        live.wait_for_frame("delta", |_| true);
        live.signal(signal);
        let run = assert_stopped(&machine, live.finish(), code);
        assert_eq!(run.text(), "waiting");
        assert_eq!(checkpoints(&machine, &run), ["before", "final"]);
    }
}

#[test]
fn while_a_tool_runs() {
    let machine = Machine::new();
    for (script, kind) in
        [("/sleep 600000", "other"), ("/shell sleep 600", "execute"), ("/terminal sleep 600", "execute")]
    {
        let mut live = start(&machine, script);
        let call = live.wait_for_frame("tool_call", |frame| frame["tool_call"]["status"] == "in_progress");
        assert_eq!(call["tool_call"]["kind"], kind);
        live.signal(SIGINT);
        let run = assert_stopped(&machine, live.finish(), 130);
        let last = run.frames().into_iter().rfind(|frame| frame["type"] == "tool_call").unwrap();
        let status = text(&last["tool_call"]["status"]);
        assert!(["cancelled", "failed"].contains(&status), "a tool call is still {status}");
    }
}

#[test]
fn while_a_permission_is_open() {
    let machine = Machine::new();
    let mut terminal =
        Terminal::start(machine.boocoder(["run", "--agent", "demo", "/ask May I?\n/write a.txt x"]));
    terminal.wait_for("May I?? [y/n] ");
    terminal.signal(SIGINT);
    let (code, shown) = terminal.finish();
    assert_eq!(code, 130, "{shown}");
    let task = machine.json(["task", "list", "--json"]).remove(0);
    assert_record(&machine, text(&task["id"]));
    assert!(shown.contains("answered: cancelled") && shown.contains("task cancelled (stopped)"), "{shown}");
}

/// The record, as another process sees it: it waits for nobody's lock.
struct Record(Connection);

impl Record {
    fn open(machine: &Machine) -> Self {
        let connection = Connection::open(machine.data_dir().join("boocoder.db")).unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        Self(connection)
    }

    /// Takes the lock of whoever writes.
    fn lock(&self) {
        Machine::wait_until("the write lock", || self.0.execute_batch("BEGIN IMMEDIATE").ok());
    }

    fn unlock(&self) {
        self.0.execute_batch("COMMIT").unwrap();
    }

    /// Whether somebody writes right now.
    fn is_written(&self) -> bool {
        let taken = self.0.execute_batch("BEGIN IMMEDIATE");
        if taken.is_ok() {
            self.unlock();
        }
        taken.is_err()
    }

    fn count(&self, query: &str) -> i64 {
        self.0.query_row(query, (), |row| row.get(0)).unwrap()
    }

    /// Makes the transaction in which a task completes take that long, roughly.
    fn slow_down_completion(&self, time: Duration) {
        let rows = |count: u32| {
            format!(
                "DROP TABLE IF EXISTS slow; CREATE TABLE slow (n INTEGER);
                 WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < {count})
                 INSERT INTO slow SELECT n FROM k;"
            )
        };
        const WORK: &str = "SELECT count(*) FROM slow a, slow b WHERE a.n + b.n < 0";
        const TRIED: u32 = 500;
        self.0.execute_batch(&rows(TRIED)).unwrap();
        let begun = Instant::now();
        self.count(WORK);
        let factor = (time.as_secs_f64() / begun.elapsed().as_secs_f64()).sqrt();
        self.0.execute_batch(&rows((f64::from(TRIED) * factor) as u32)).unwrap();
        let trigger = format!(
            "CREATE TRIGGER slow_completion BEFORE UPDATE OF state ON task WHEN new.state = 'completed'
             BEGIN {WORK}; END"
        );
        self.0.execute_batch(&trigger).unwrap();
    }
}

/// Whether no thread of a process has anything to do: what it waits for does not come by itself.
fn is_asleep(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('S'))
    })
}

/// Whichever commits first has decided (SPEC S2). Here the turn's last frames wait for the record, and so does
/// its settlement behind them, when the Stop is asked for.
#[test]
fn while_the_turn_is_settled_a_stop_that_comes_first_decides() {
    let machine = Machine::new();
    let before = machine.fingerprint();
    let go = machine.root().join("go");
    let wait = format!("/shell until [ -e {} ]; do sleep 0.01; done", go.display());
    let mut live = start(&machine, &format!("/write a.txt x\n/pid\n{wait}\n/say done"));
    let pid = pids(text(&live.wait_for_frame("delta", |_| true)["content"]))[0];
    live.wait_for_frame("tool_call", |frame| {
        frame["tool_call"]["kind"] == "execute" && frame["tool_call"]["status"] == "in_progress"
    });
    let record = Record::open(&machine);
    record.lock();
    let since = Instant::now();
    std::fs::write(go, "").unwrap();
    Machine::wait_until("the agent's end", || (!is_running(pid)).then_some(()));
    live.signal(SIGINT);
    live.wait_for_complaint("once more ends it at once");
    Machine::wait_until("the Stop's turn", || is_asleep(live.pid()).then_some(()));
    record.unlock();
    // Later, what waits for the record begins to wait anew, in any order.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?} is too slow for this test", since.elapsed());
    assert_stopped(&machine, live.finish(), 130);
    assert!(machine.fingerprint() == before, "the user's repository was touched");
}

/// And here the settlement is being written when the Stop is asked for.
#[test]
fn while_the_turn_is_settled_a_stop_that_comes_second_leaves_the_change() {
    let machine = Machine::new();
    // So that there is a record.
    machine.run(["task", "list", "--all"]).expect(0);
    let record = Record::open(&machine);
    record.slow_down_completion(Duration::from_secs(3));
    let before = machine.fingerprint();
    let mut live = start(&machine, "/write a.txt x\n/pid\n/say done");
    let pid = pids(text(&live.wait_for_frame("delta", |_| true)["content"]))[0];
    let is_settled_now = || {
        // The change was collected: what is written after that is the end.
        record.count("SELECT count(*) FROM checkpoint WHERE kind = 'after'") == 1 && record.is_written()
    };
    Machine::wait_until("the settlement", || is_settled_now().then_some(()));
    live.signal(SIGINT);
    live.wait_for_complaint("once more ends it at once");
    assert!(is_settled_now() && record.count("SELECT count(*) FROM task WHERE state = 'running'") == 1);
    let run = live.finish().expect(130);
    run.assert_orderly();
    machine.assert_nothing_left();
    assert!(!is_running(pid));
    // Nothing is applied of what its user has stopped.
    let result = run.result();
    assert_eq!((&result["state"], &result["change"]["state"]), (&"completed".into(), &"pending".into()));
    let shown = machine.json(["task", "show", text(&result["task"]), "--json"]).remove(0);
    assert_eq!(
        (&shown["task"]["state"], &shown["messages"][1]["state"]),
        (&"completed".into(), &"complete".into())
    );
    assert!(machine.fingerprint() == before, "the user's repository was touched");
}

#[test]
fn while_the_decision_is_asked_for() {
    let machine = Machine::new();
    let mut terminal = Terminal::start(machine.boocoder(["run", "--agent", "demo", "/write a.txt x"]));
    terminal.wait_for("[a]pply, [k]eep for later, [r]eject? ");
    terminal.signal(SIGINT);
    let (code, shown) = terminal.finish();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("kept: "), "{shown}");
    assert_eq!(machine.json(["change", "list", "--json"]).len(), 1);
    machine.assert_nothing_left();
}

#[test]
fn an_agent_that_hears_no_cancel_is_terminated() {
    let mut machine = Machine::new();
    machine.configure("limits.stop_grace_s = 1");
    for script in ["/ignore-cancel\n/pid\n/stall", "/end-turn-when-cancelled\n/pid\n/stall"] {
        let mut live = start(&machine, script);
        let pid = live.wait_for_frame("delta", |_| true);
        live.signal(SIGINT);
        let run = assert_stopped(&machine, live.finish(), 130);
        assert!(!is_running(pids(text(&pid["content"]))[0]));
        assert_eq!(checkpoints(&machine, &run), ["before", "final"]);
    }
}

const HOSTILE: &str = "/ignore-cancel\n/ignore-signals\n/ignore-eof\n/pid\n\
                       /fork 10 plain group session daemon cleared\n/write a.txt x\n/say ready\n/stall";

/// Waits until the hostile family is complete; returns its process ids.
fn family(live: &mut Live) -> Vec<u32> {
    let mut told = String::new();
    while !told.contains("ready") {
        told += text(&live.wait_for_frame("delta", |_| true)["content"]);
    }
    let pids = pids(&told);
    assert_eq!(pids.len(), 11, "{told}");
    assert!(pids.iter().all(|pid| is_running(*pid)), "{told}");
    pids
}

#[test]
fn a_hostile_family_is_killed() {
    let mut machine = Machine::new();
    machine.configure("limits.stop_grace_s = 1");
    let mut live = start(&machine, HOSTILE);
    let family = family(&mut live);
    live.signal(SIGINT);
    let run = assert_stopped(&machine, live.finish(), 130);
    assert!(!family.iter().any(|pid| is_running(*pid)), "{family:?}");
    assert_eq!(checkpoints(&machine, &run), ["before", "final"]);
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let mut machine = Machine::new();
    machine.set("BOOCODER_LIMITS__STOP_GRACE_S", "60");
    for (first, second, code) in [(SIGINT, SIGINT, 130), (SIGINT, SIGTERM, 143)] {
        let mut live = start(&machine, HOSTILE);
        let family = family(&mut live);
        live.signal(first);
        live.wait_for_complaint("once more ends it at once");
        live.signal(second);
        let since = Instant::now();
        let ended = live.finish();
        // The agent had a minute to obey.
        assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
        let run = assert_stopped(&machine, ended, code);
        assert!(!family.iter().any(|pid| is_running(*pid)), "{family:?}");
        assert_eq!(checkpoints(&machine, &run), ["before", "final"]);
    }
}

/// A record that does not answer any more, or an agent that cannot be ended.
#[test]
fn after_the_turn_while_something_cannot_end() {
    let machine = Machine::new();
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
        let mut command =
            machine.boocoder(["run", "--agent", "demo", "--json", "--apply", "--allow", "/write a.txt x"]);
        command.env("BOOCODER_HALT_AT", "leave:before");
        let mut live = Live::start(command);
        live.wait_for_complaint("halted at leave:before");
        live.signal(signal);
        let run = live.finish().expect(code);
        run.assert_orderly();
        assert_eq!(run.result()["state"], "completed");
        assert_eq!(run.result()["change"]["state"], "pending", "who has stopped it decides later");
        assert_eq!(machine.read("a.txt"), None);
        let begun = Instant::now();

        let mut command = machine.boocoder(["run", "--agent", "demo", "--json", "/say waiting\n/stall"]);
        command.env("BOOCODER_HALT_AT", "leave:before");
        let mut live = Live::start(command);
        live.wait_for_frame("delta", |_| true);
        live.signal(signal);
        live.wait_for_complaint("halted at leave:before");
        live.signal(signal);
        let run = live.finish().expect(code);
        assert_eq!(run.result()["state"], "cancelled");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    // What they had no time for, the next one does.
    let _ = machine.run(["run", "--agent", "demo", "/say done"]).expect(0);
    machine.assert_nothing_left();
}
