//! What statements cost, as the server counts it.

use dispatch_core::{
    frame::FrameBody,
    ids::{MessageId, TaskId},
    ports::{ClaimRequest, Orders, Records, StopAnswer, Store},
    task::{Name, NewTask, TurnOptions},
};

use crate::{PostgresSubject, work};

/// Many more than any statement may read.
const MANY: usize = 10_000;

/// How often each call is made: the server settles for a plan after the fifth time.
const TIMES: usize = 12;

/// Rows and entries that one call may read, all tables and indexes together.
const FEW: usize = 600;

/// A session with many waiting tasks, many sessions whose agent has no room, and many that have ended.
fn fill(subject: &PostgresSubject) {
    let columns = "id, project, session, chat, from_chat, agent, state, created_at";
    let sql = format!(
        "INSERT INTO session (id, project, title, created_at)
           SELECT md5('s' || n), p.num, 'one of many', 0 FROM project p, generate_series(1, {MANY}) n;
         INSERT INTO chat (id, session, title, created_at) SELECT md5('c' || num), num, 'chat', 0 FROM session
           WHERE title = 'one of many';
         INSERT INTO task ({columns})
           SELECT md5('ended' || s.num), s.project, s.num, c.num, false, 'goose', 'completed', 0
           FROM session s JOIN chat c ON c.session = s.num WHERE s.title = 'one of many';
         INSERT INTO task ({columns})
           SELECT md5('ready' || s.num), s.project, s.num, c.num, false, 'full', 'ready', 0
           FROM session s JOIN chat c ON c.session = s.num WHERE s.title = 'one of many';
         INSERT INTO task ({columns})
           SELECT md5('queued' || n), t.project, t.session, t.chat, true, 'goose', 'queued', 0
           FROM (SELECT * FROM task WHERE state = 'ready' AND agent = 'goose' LIMIT 1) t,
             generate_series(1, {MANY}) n;
         INSERT INTO task_input (task, input, options, permissions) SELECT num, 'x', '{{}}', 'ask' FROM task
           ON CONFLICT DO NOTHING;
         INSERT INTO message (id, chat, task, role, state, created_at)
           SELECT md5('m' || num), chat, num, 'user', 'complete', 0 FROM task ON CONFLICT DO NOTHING;
         ANALYZE"
    );
    subject.database().sql(&sql).unwrap();
}

/// The tables of [`fill`] that were read from end to end, and how much was read from all of them.
fn counters(subject: &PostgresSubject) -> (String, usize) {
    const OF: &str = "FROM pg_stat_user_tables
      WHERE relname IN ('task', 'session', 'chat', 'message', 'task_input')";
    let scanned = format!("SELECT relname, seq_scan {OF} AND seq_scan > 0");
    let reads = format!("SELECT sum(seq_tup_read + idx_tup_fetch) {OF}");
    let reads = subject.database().sql(&reads).unwrap().parse().unwrap();
    (subject.database().sql(&scanned).unwrap(), reads)
}

/// The server counts for good when a connection ends.
async fn after_all_left(subject: &PostgresSubject) {
    let others = "SELECT count(*) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    work::until("all connections end", || async {
        (subject.database().sql(others).unwrap() == "0").then_some(())
    })
    .await;
}

/// SPEC D2, D9: a session with ten thousand waiting tasks, ten thousand that wait for an agent without room
/// and ten thousand that have ended cost the claims, ends, Stops and requests of others nothing.
#[tokio::test]
async fn no_statement_looks_at_what_it_does_not_need() {
    let subject = PostgresSubject::fresh();
    let store = subject.store().await;
    work::task(&store).await;
    fill(&subject);
    let new = work::new_task(&store).await;
    drop(store);
    after_all_left(&subject).await;
    subject.database().sql("SELECT pg_stat_reset()").unwrap();
    let store = subject.store().await;
    let lease = work::join(&store).await;
    for _ in 0..TIMES {
        let quick = |new: NewTask| NewTask {
            id: TaskId::from_random(work::random()),
            options: TurnOptions { agent: Name::new("quick"), ..new.options.clone() },
            ..new
        };
        let task = store.create_task(quick(new.clone())).await.unwrap();
        let limits = vec![(Name::new("full"), 0), (Name::new("goose"), 0)];
        let claims = store.claim(&lease, &ClaimRequest { limits, ..ClaimRequest::any(2) }).await.unwrap();
        assert_eq!(claims.iter().map(|claim| claim.task.id).collect::<Vec<_>>(), [task.id]);
        let turn = claims[0].key();
        let fresh = MessageId::from_random(work::random());
        let (_, message) = store.begin_message(&turn, fresh, None).await.unwrap();
        store.record_prompt_sent(&turn).await.unwrap();
        let frames = [FrameBody::delta("text")];
        store.append(&turn, 1, Some(message), &frames).await.unwrap();
        assert_eq!(store.renew(&lease).await.unwrap(), Some(Orders::default()));
        store.waits_for(task.id).await.unwrap();
        store.settle(&turn, &work::completed(message)).await.unwrap();
        let task = store.create_task(quick(new.clone())).await.unwrap();
        assert_eq!(store.request_stop(task.id).await.unwrap(), StopAnswer::Cancelled);
        assert!(store.recover().await.unwrap().is_empty());
    }
    drop(store);
    after_all_left(&subject).await;
    let (scans, reads) = counters(&subject);
    assert_eq!(scans, "", "no table that grows is read from end to end");
    assert!(reads > TIMES, "the counters count");
    assert!(reads < TIMES * FEW, "{reads} rows were read");
}

/// SPEC D3: the database itself refuses a second live head of a session.
#[tokio::test]
async fn the_database_refuses_a_second_head_of_a_session() {
    let subject = PostgresSubject::fresh();
    let store = subject.store().await;
    let first = work::task(&store).await;
    let second = NewTask { session: Some(first.session), ..work::new_task(&store).await };
    let second = store.create_task(second).await.unwrap();
    for state in ["ready", "running"] {
        let sql = format!("UPDATE task SET state = '{state}' WHERE id = '{}'", second.id);
        let error = subject.database().sql(&sql).unwrap_err().to_string();
        assert!(error.contains("task_one"), "{error}");
    }
}

/// What is kept of permission requests and agents' offers costs the text of a turn nothing.
#[tokio::test]
async fn ordinary_frames_touch_the_log_alone() {
    let subject = PostgresSubject::fresh();
    let store = subject.store().await;
    let lease = work::join(&store).await;
    let (claim, message) = work::turn(&store, &lease).await;
    let touched = || {
        let sql = "SELECT sum(seq_scan + idx_scan + n_tup_ins + n_tup_upd + n_tup_del)
          FROM pg_stat_user_tables WHERE relname IN ('permission', 'agent_offer')";
        subject.database().sql(sql).unwrap().parse::<u64>().unwrap()
    };
    let before = touched();
    for batch in 1..=5 {
        store.append(&claim.key(), batch, Some(message), &[FrameBody::delta("text")]).await.unwrap();
    }
    drop(store);
    after_all_left(&subject).await;
    assert_eq!(touched(), before);

    let store = subject.store().await;
    let commands = [FrameBody::AgentCommands { commands: vec![] }];
    store.append(&claim.key(), 6, Some(message), &commands).await.unwrap();
    drop(store);
    after_all_left(&subject).await;
    assert!(touched() > before, "the counters count");
}
