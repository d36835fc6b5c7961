//! The queue, on both stores: many tasks and one or two dispatchers, `run` beside them, limits, and what waits
//! for what (SPEC D1, D2, D3, D8, D9).

use boocoder_tests::{
    product::Machine,
    queue::{Kind, Load, Site, assert_in_order},
    serve::Gate,
};
use dispatch_core::{
    ids::TaskId,
    ports::NodeView,
    task::{Task, TaskState},
};
use serde_json::Value;

fn work(kind: Kind, load: Load, dispatchers: usize) {
    let mut site = Site::new(kind);
    Load::prepare(&mut site.machine);
    let slots = (4 / dispatchers).to_string();
    let serves: Vec<_> = (0..dispatchers).map(|_| site.machine.serve(["--slots", &slots])).collect();
    let tasks = load.add_to(&site);
    assert_eq!(site.wait_for_all().len(), load.count());
    assert_in_order(&site, &tasks);
    assert_eq!(site.sql("SELECT count(DISTINCT node) FROM task"), dispatchers.to_string(), "who did it");
    assert_eq!(most_at_once(&site.tasks()).min(4), 4, "side by side");
    for serve in serves {
        let _ = serve.stop().expect(0);
    }
    site.assert_nothing_left();
    site.machine.git(["fsck", "--strict", "--no-dangling"]);
}

/// How many turns ran at once at most, by the record's clock.
fn most_at_once<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> usize {
    let mut events = Vec::new();
    for task in tasks {
        let (Some(start), Some(end)) = (task.started_at, task.finished_at) else { continue };
        events.extend([(end, -1), (start, 1)]);
    }
    // Of the same millisecond, ends first: they made room.
    events.sort();
    let (mut now, mut most) = (0_i32, 0);
    for (_, change) in events {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or_default()
}

const MANY: Load = Load { sessions: 10, each: 5, alone: 20 };
const SOME: Load = Load { sessions: 5, each: 5, alone: 8 };

#[test]
fn many_tasks_while_it_serves_on_sqlite() {
    work(Kind::Sqlite, MANY, 1);
}

#[test]
fn many_tasks_while_it_serves_on_postgres() {
    work(Kind::Postgres, MANY, 1);
}

#[test]
fn two_dispatchers_share_one_data_directory_on_sqlite() {
    work(Kind::Sqlite, SOME, 2);
}

#[test]
fn two_dispatchers_share_one_data_directory_on_postgres() {
    work(Kind::Postgres, SOME, 2);
}

fn nodes(site: &Site) -> Vec<NodeView> {
    site.ask(|records| async move { records.nodes().await })
}

fn wait_for_running(site: &Site, id: TaskId) {
    site.wait_for("a running task", |site| (site.task(id).state == TaskState::Running).then_some(()));
}

fn why(site: &Site, id: TaskId) -> String {
    site.machine.run(["task", "why", &id.to_string()]).expect(0).stdout.join("\n")
}

#[test]
fn a_task_of_run_is_never_taken_by_a_dispatcher() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let site = Site::new(kind);
        let gate = Gate::new(&site.machine, "gate");
        let serve = site.machine.serve(["--slots", "4"]);
        // Queued for the dispatcher, which has room for more.
        let queued = site.queue("demo", &gate.wait(), None);
        wait_for_running(&site, queued.id);
        let prompt = gate.wait();
        let args = ["run", "--agent", "demo", "--json", "--allow", &prompt];
        let runs: Vec<_> = (0..2).map(|_| site.machine.start(args)).collect();
        let is_busy =
            |site: &Site| Some(nodes(site)).filter(|nodes| nodes.iter().all(|node| node.running == 1));
        let busy =
            site.wait_for("three nodes at work", |site| is_busy(site).filter(|nodes| nodes.len() == 3));
        let labels: Vec<_> =
            busy.iter().map(|node| node.label.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(labels, ["serve", "run", "run"]);
        assert_eq!(site.tasks().iter().filter(|task| task.attended).count(), 2);
        gate.open();
        for run in runs {
            let run = run.finish().expect(0);
            run.assert_orderly();
        }
        assert_eq!(site.wait_for_end(queued.id).state, TaskState::Completed);
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    }
}

#[test]
fn slots_and_the_limit_of_an_agent_hold_and_what_waits_says_why() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut site = Site::new(kind);
        let limits = "[serve]\nslots = 3\n[serve.agents]\nnarrow = 1\n";
        let agents = ["narrow", "wide"].map(|name| Machine::demo_agent(name, &[]));
        site.machine.configure(&[limits, &agents[0], &agents[1]].concat());
        let gate = Gate::new(&site.machine, "gate");
        // The oldest are all of the agent with a limit: they must not keep the others from the other slots.
        let narrow: Vec<_> = (0..4).map(|_| site.queue("narrow", &gate.wait(), None)).collect();
        let wide: Vec<_> = (0..4).map(|_| site.queue("wide", &gate.wait(), None)).collect();
        let behind = site.queue("wide", &gate.wait(), Some(wide[0].session));
        let nobody = why(&site, narrow[3].id);
        assert!(nobody.contains("no dispatcher takes tasks now"), "{nobody}");

        let serve = site.machine.serve([] as [&str; 0]);
        assert!(serve.ready().contains("3 slots"), "{}", serve.ready());
        for first in [&narrow[0], &wide[0], &wide[1]] {
            wait_for_running(&site, first.id);
        }
        assert_eq!(nodes(&site)[0].running, 3);
        let waits = why(&site, narrow[1].id);
        assert!(waits.contains("waits for a free slot (serve on") && waits.contains("runs 3"), "{waits}");
        assert!(waits.contains("at most 1 of narrow at once"), "{waits}");
        let waits = why(&site, wide[2].id);
        assert!(waits.contains("waits for a free slot") && !waits.contains("at most"), "{waits}");
        let waits = why(&site, behind.id);
        let head = &wide[0].id.to_string()[..8];
        assert!(waits.contains(&format!("waits behind task {head} (running: ")), "{waits}");
        let listed = site.machine.json(["task", "list", "--limit", "0", "--json"]);
        let kinds: Vec<_> = listed.iter().rev().map(|task| task["waits_for"]["kind"].clone()).collect();
        let (runs, slot) = (Value::Null, Value::from("slot"));
        let wanted = [&runs, &slot, &slot, &slot, &runs, &runs, &slot, &slot, &Value::from("behind")];
        assert_eq!(kinds.iter().collect::<Vec<_>>(), wanted);

        gate.open();
        let ended = site.wait_for_all();
        assert!(ended.iter().all(|task| task.state == TaskState::Completed), "{ended:#?}");
        assert_eq!(most_at_once(&ended), 3);
        assert_eq!(most_at_once(ended.iter().filter(|task| narrow.iter().any(|each| each.id == task.id))), 1);
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    }
}

#[test]
fn a_session_with_many_waiting_tasks_holds_up_no_other() {
    const WAITING: usize = 200;
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let site = Site::new(kind);
        let gate = Gate::new(&site.machine, "gate");
        let hot = site.queue("demo", &gate.wait(), None);
        for _ in 1..WAITING {
            let _ = site.queue("demo", "/say never", Some(hot.session));
        }
        let before = site.queue("demo", "/say added before it serves", None);
        // Of two slots the hot session takes one, as only one of its tasks can run at a time.
        let serve = site.machine.serve(["--slots", "2"]);
        let ids = [before.id, site.queue("demo", "/say added while it serves", None).id];
        for id in ids {
            assert_eq!(site.wait_for_end(id).state, TaskState::Completed);
        }
        assert_eq!(site.task(hot.id).state, TaskState::Running);
        let last = site.tasks().into_iter().rfind(|task| task.session == hot.session).expect("a task");
        let waits = why(&site, last.id);
        assert!(waits.contains(&format!("with {} more before it", WAITING - 2)), "{waits}");

        // Nobody waits for two hundred turns: closing the session cancels them.
        let _ = site.machine.run(["session", "close", &hot.session.to_string()]).expect(0);
        let ended = site.wait_for_all();
        assert_eq!(ended.iter().filter(|task| task.state == TaskState::Cancelled).count(), WAITING);
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    }
}
