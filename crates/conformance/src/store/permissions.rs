//! Permission requests that wait for a user, who may answer from any process.

use dispatch_core::{
    agent::{Answer, ToolCall},
    frame::FrameBody,
    ids::TaskId,
    ports::{OpenPermission, Orders, PermissionAnswer, RecordsError, WriteAnswer},
};

use super::{
    kit::{Ears, Kit, Running, a_request, cancelled, completed, random},
    subject::StoreSubject,
};

/// The frame of a request that waits a minute.
fn ask(id: &str) -> FrameBody {
    FrameBody::PermissionRequest { request: a_request(id, ToolCall::default()), waits_s: Some(60) }
}

fn resolve(id: &str, answer: Answer) -> FrameBody {
    FrameBody::PermissionResolved { id: id.into(), answer }
}

async fn open(kit: &Kit) -> Vec<OpenPermission> {
    kit.view.records.permissions(None).await.unwrap()
}

async fn open_ids(kit: &Kit) -> Vec<String> {
    open(kit).await.into_iter().map(|open| open.request.id).collect()
}

async fn answers(kit: &Kit) -> Vec<PermissionAnswer> {
    kit.view.store.renew(&kit.lease).await.unwrap().unwrap().answers
}

/// A turn that asks for leave.
async fn asking(kit: &Kit, id: &str) -> Running {
    let turn = kit.prompted().await;
    kit.append_all(&turn, Some(turn.message), &[ask(id)]).await;
    turn
}

async fn not_open(kit: &Kit, task: TaskId, id: &str) {
    let missing = kit.view.records.answer_permission(task, id, Answer::Allow).await.unwrap_err();
    assert!(matches!(missing, RecordsError::NotFound { .. }), "{missing}");
}

/// A request that waits for a user is seen by every process, until its turn resolves it; one that was answered
/// by policy never waits.
pub async fn a_permission_request_is_open_until_it_is_resolved(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = kit.prompted().await;
    let call = ToolCall { id: "t".into(), title: "rm -rf".into(), ..ToolCall::default() };
    let request = a_request("1", call);
    let asked = FrameBody::PermissionRequest { request: request.clone(), waits_s: Some(60) };
    let by_policy =
        FrameBody::PermissionRequest { request: a_request("2", ToolCall::default()), waits_s: None };
    let frames = [FrameBody::delta("text"), asked, by_policy, resolve("2", Answer::Deny)];
    let ts = kit.append_all(&turn, Some(turn.message), &frames).await.ts;
    let wanted = OpenPermission {
        task: turn.key.task,
        session: turn.key.session,
        agent: turn.claim.task.options.agent.clone(),
        request,
        asked_at: ts,
        lapses_at: dispatch_core::ids::Timestamp(ts.0 + 60_000),
        answer: None,
    };
    assert_eq!(open(&other).await, [wanted]);
    kit.append_all(&turn, Some(turn.message), &[resolve("1", Answer::Lapsed)]).await;
    assert_eq!(open(&other).await, []);
    let at_once = [ask("3"), resolve("3", Answer::Allow), ask("4"), ask("5")];
    kit.append_all(&turn, Some(turn.message), &at_once).await;
    assert_eq!(open_ids(&other).await, ["4", "5"]);
}

/// They are listed oldest first, of all tasks or of one.
pub async fn permission_requests_are_listed_oldest_first(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (one, two) = (asking(&kit, "a").await, asking(&kit, "b").await);
    kit.append_all(&one, Some(one.message), &[ask("c")]).await;
    assert_eq!(open_ids(&kit).await, ["a", "b", "c"]);
    let of = async |task| {
        let open = kit.view.records.permissions(Some(task)).await.unwrap();
        open.into_iter().map(|open| open.request.id).collect::<Vec<_>>()
    };
    assert_eq!(of(one.key.task).await, ["a", "c"]);
    assert_eq!(of(two.key.task).await, ["b"]);
    assert!(of(kit.task().await.id).await.is_empty());
}

/// An answer wakes the turn's node, wherever it was given, and is told to it alone, until the turn has resolved
/// the request.
pub async fn an_answer_from_another_process_reaches_the_turns_node(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = asking(&kit, "1").await;
    let task = turn.key.task;
    let mut ears = Ears::new([&kit, &other]);
    other.view.records.answer_permission(task, "1", Answer::Allow).await.unwrap();
    ears.hear("an answer").await;
    let answer = PermissionAnswer { task, id: "1".into(), answer: Answer::Allow };
    for _ in 0..2 {
        assert_eq!(answers(&kit).await, std::slice::from_ref(&answer));
    }
    assert_eq!(answers(&other).await, []);
    assert_eq!(open(&kit).await[0].answer, Some(Answer::Allow));
    kit.append_all(&turn, Some(turn.message), &[resolve("1", Answer::Allow)]).await;
    assert_eq!(kit.view.store.renew(&kit.lease).await.unwrap(), Some(Orders::default()));
    not_open(&other, task, "1").await;
}

/// The same answer again changes nothing, another one is refused.
pub async fn a_permission_request_is_answered_once(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    let turn = asking(&kit, "1").await;
    let answer =
        async |kit: &Kit, answer| kit.view.records.answer_permission(turn.key.task, "1", answer).await;
    for not_a_users in [Answer::Lapsed, Answer::Cancelled] {
        let refused = answer(&kit, not_a_users).await.unwrap_err();
        assert!(matches!(refused, RecordsError::Refused(_)), "{refused}");
    }
    assert_eq!(open(&kit).await[0].answer, None);
    answer(&kit, Answer::Deny).await.unwrap();
    let before = kit.dump().await;
    answer(&other, Answer::Deny).await.unwrap();
    let refused = answer(&other, Answer::Allow).await.unwrap_err();
    assert!(matches!(refused, RecordsError::Refused(_)), "{refused}");
    assert_eq!(kit.dump().await, before);
}

/// Nobody can answer what nobody asks.
pub async fn what_is_not_asked_is_not_answered(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let (turn, other) = (asking(&kit, "1").await, kit.prompted().await);
    not_open(&kit, turn.key.task, "2").await;
    not_open(&kit, other.key.task, "1").await;
    not_open(&kit, kit.task().await.id, "1").await;
    not_open(&kit, TaskId::from_random(random()), "1").await;
    assert_eq!(answers(&kit).await, []);
}

/// Whatever a turn still asks is closed with it, and none of its answers reaches the next one, whose requests
/// may have the same ids.
pub async fn a_turns_end_closes_its_permission_requests(subject: &dyn StoreSubject) {
    let (kit, dying) = (Kit::new(subject).await, Kit::new(subject).await);
    let answer = async |turn: &Running| {
        kit.view.records.answer_permission(turn.key.task, "1", Answer::Allow).await.unwrap();
        turn.key.task
    };
    let settled = asking(&kit, "1").await;
    answer(&settled).await;
    kit.view.store.settle(&settled.key, &completed(&settled)).await.unwrap();

    let stopped = asking(&kit, "1").await;
    kit.view.store.request_stop(stopped.key.task).await.unwrap();
    kit.view.store.settle(&stopped.key, &cancelled(&stopped)).await.unwrap();

    let requeued = kit.running().await;
    kit.append_all(&requeued, Some(requeued.message), &[ask("1")]).await;
    answer(&requeued).await;
    assert_eq!(kit.view.store.requeue(&requeued.key, &[]).await.unwrap().0, WriteAnswer::Done);

    let unsent = dying.running().await;
    dying.append_all(&unsent, Some(unsent.message), &[ask("1")]).await;
    answer(&unsent).await;
    let sent = asking(&dying, "1").await;
    answer(&sent).await;
    subject.die(dying.view).await;
    kit.view.store.recover().await.unwrap();

    assert_eq!(open(&kit).await, []);
    for turn in [&settled, &stopped, &requeued, &unsent, &sent] {
        not_open(&kit, turn.key.task, "1").await;
    }
    kit.view.records.resume_task(sent.key.task).await.unwrap();
    for old in [requeued, unsent, sent] {
        let turn = kit.begin(old.key.task).await;
        assert_eq!((open(&kit).await, answers(&kit).await), (vec![], vec![]));
        kit.append_all(&turn, Some(turn.message), &[ask("1")]).await;
        assert_eq!(open(&kit).await[0].answer, None);
        assert_eq!(answers(&kit).await, []);
        kit.view.store.settle(&turn.key, &completed(&turn)).await.unwrap();
    }
}

/// A batch that is appended again, or that is fenced off, opens and closes nothing.
pub async fn permission_requests_are_opened_once(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.running().await;
    let store = &kit.view.store;
    let append = async |batch, frames: &[FrameBody]| {
        store.append(&turn.key, batch, Some(turn.message), frames).await.unwrap()
    };
    let first = append(2, &[ask("1")]).await;
    kit.view.records.answer_permission(turn.key.task, "1", Answer::Allow).await.unwrap();
    let before = open(&kit).await;
    assert_eq!(append(2, &[ask("1")]).await, first);
    assert_eq!(append(1, &[resolve("1", Answer::Allow), ask("2")]).await, None, "it was overtaken");
    assert_eq!(open(&kit).await, before);
    let last = append(3, &[ask("1"), ask("2")]).await;
    assert_eq!(open(&kit).await[0], before[0], "an id that is asked twice stays the first one's");
    store.settle(&turn.key, &completed(&turn)).await.unwrap();
    assert_eq!(append(3, &[ask("1"), ask("2")]).await, last);
    assert_eq!(append(4, &[ask("3")]).await, None);
    assert_eq!(open(&kit).await, []);
}

/// Whatever an agent says is asked as it was said.
pub async fn a_permission_request_is_kept_as_it_was(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    let turn = kit.prompted().await;
    let nasty = "nul \0, quote ' \" \\, \u{feff}\u{2028}\u{10ffff} e\u{301}, \u{1b}[31m\r\n";
    let id = nasty.repeat(1000);
    let call = ToolCall { id: nasty.into(), title: nasty.into(), ..ToolCall::default() };
    let request = a_request(&id, call);
    let frame = FrameBody::PermissionRequest { request: request.clone(), waits_s: Some(u64::MAX) };
    kit.append_all(&turn, Some(turn.message), &[frame]).await;
    let found = open(&kit).await.remove(0);
    assert_eq!(found.request, request);
    assert!(found.lapses_at > found.asked_at);
    kit.view.records.answer_permission(turn.key.task, &id, Answer::Deny).await.unwrap();
    assert_eq!(
        answers(&kit).await,
        [PermissionAnswer { task: turn.key.task, id: id.clone(), answer: Answer::Deny }]
    );
    kit.append_all(&turn, Some(turn.message), &[resolve(&id, Answer::Deny)]).await;
    assert_eq!(open(&kit).await, []);
}
