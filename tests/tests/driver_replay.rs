//! An agent that cannot go on with its chat's conversation is told what was said in it (SPEC W2).
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::sync::Arc;

use boocoder_tests::faults::{AGENT, Bench, FORGETFUL, Fault, Record, Step, When};
use dispatch_core::{
    agent::{EndedHow, NoticeCode},
    conversation::{Message, Role},
    ids::{ChatId, SessionId},
    ports::{Close, Records},
    replay,
    task::{Task, TaskState, TerminalReason},
};
use dispatch_driver::{Node, TurnReport};

const NOTED: &str = "note the word apricot";
const ASKED: &str = "which word was it";

/// A chat with an agent that forgets it between the turns.
struct Chat {
    bench: Bench,
    node: Arc<Node>,
    session: SessionId,
    id: ChatId,
}

impl Chat {
    /// A chat in which the agent was told a word. The conversation in which it was is not there any more.
    async fn begin() -> Self {
        let bench = Bench::with(&FORGETFUL).await;
        for prompt in ["begin", NOTED, ASKED] {
            bench.agent.script(prompt, &[Step::text("I see"), Step::End(EndedHow::Completed)]);
        }
        let (node, first) = (bench.node().await, bench.task("begin").await);
        bench.run(&node, first.id).await;
        let chat = Self { bench, node, session: first.session, id: first.chat };
        assert_completed(&chat.ask(NOTED).await);
        assert_eq!(chat.bench.agent.seen().prompts, ["begin", NOTED], "there was nothing to go on with");
        assert_eq!(chat.bench.faults.made("history"), 0, "what nobody needs is not looked up");
        chat
    }

    async fn task(&self, prompt: &str) -> Task {
        self.bench.task_in(Some(self.session), AGENT, prompt).await
    }

    async fn ask(&self, prompt: &str) -> Record {
        let task = self.task(prompt).await;
        self.bench.run(&self.node, task.id).await;
        self.bench.record(task.id).await
    }

    /// What was said so far.
    async fn history(&self) -> Vec<Message> {
        self.bench.store.messages(self.id).await.unwrap()
    }

    fn last_prompt(&self) -> String {
        self.bench.agent.seen().prompts.pop().unwrap()
    }
}

fn assert_ended(record: &Record, state: TaskState, reason: TerminalReason) {
    assert_eq!((record.task.state, record.task.reason), (state, Some(reason)), "{record:#?}");
}

fn assert_completed(record: &Record) {
    assert_ended(record, TaskState::Completed, TerminalReason::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_goes_before_the_prompt_and_is_no_part_of_it() {
    let chat = Chat::begin().await;
    for _ in 0..2 {
        let record = replay::record(&chat.history().await).unwrap();
        let asked = chat.ask(ASKED).await;
        assert_completed(&asked);
        assert!(asked.has_notice(NoticeCode::SessionReplayed) && !asked.has_notice(NoticeCode::SessionNew));
        assert_eq!(chat.last_prompt(), record + ASKED);
    }
    let told = chat.history().await;
    let asked: Vec<_> = told.iter().filter(|message| message.role == Role::User).collect();
    let asked: Vec<_> = asked.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(asked, ["begin", NOTED, ASKED, ASKED], "the record has each word once");
    assert_eq!(chat.bench.faults.made("history"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_cannot_be_read_is_not_forgotten() {
    let chat = Chat::begin().await;
    chat.bench.faults.plant("history", 1..=1, When::Before, Fault::Failed);
    let failed = chat.ask(ASKED).await;
    assert_ended(&failed, TaskState::Failed, TerminalReason::Internal);
    assert_eq!(chat.bench.agent.seen().prompts.len(), 2, "the prompt does not go out without it");
    chat.bench.faults.plant("history", 2..=3, When::Before, Fault::Unavailable);
    assert_completed(&chat.ask(ASKED).await);
    assert!(chat.last_prompt().contains(&format!("\n> {NOTED}\n")), "{}", chat.last_prompt());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_the_history() {
    let chat = Chat::begin().await;
    let Chat { bench, node, .. } = &chat;
    let held = bench.faults.hold("history", 1, When::Before);
    let task = chat.task(ASKED).await;
    let turn = bench.start(node, task.id);
    held.reached().await;
    node.stop(task.id).await.unwrap();
    bench.ended(turn).await;
    assert_ended(&bench.record(task.id).await, TaskState::Cancelled, TerminalReason::Stopped);
    assert_eq!(bench.agent.seen().closes.last(), Some(&Close::Kill), "it may not be kept: it was not told");
    assert_eq!(bench.agent.seen().prompts.len(), 2);
}

/// Its new conversation may be recorded by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_not_told_in_the_end_is_not_kept() {
    let chat = Chat::begin().await;
    let Chat { bench, node, .. } = &chat;
    let held = bench.faults.hold("record_prompt_sent", 3, When::Before);
    let task = chat.task(ASKED).await;
    let turn = bench.start(node, task.id);
    held.reached().await;
    node.stop(task.id).await.unwrap();
    held.open();
    bench.ended(turn).await;
    assert_ended(&bench.record(task.id).await, TaskState::Cancelled, TerminalReason::Stopped);
    assert_eq!(bench.agent.seen().closes.last(), Some(&Close::Kill));
    assert_eq!(bench.agent.seen().prompts.len(), 2);
}

/// On routes where each task has a conversation of its own, the chat was never part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_task_with_a_conversation_of_its_own_is_told_nothing() {
    let bench = Bench::new().await;
    bench.agent.script(ASKED, &[Step::text("I see"), Step::End(EndedHow::Completed)]);
    let (node, first) = (bench.node().await, bench.task(ASKED).await);
    bench.run(&node, first.id).await;
    let task = bench.task_in(Some(first.session), AGENT, ASKED).await;
    bench.faults.plant("settle", 2..=2, When::Before, Fault::Failed);
    assert_eq!(bench.run(&node, task.id).await, Some(TurnReport::Abandoned));
    bench.kill_nodes().await;
    let node = bench.node().await;
    node.recover().await.unwrap();
    bench.store.resume_task(task.id).await.unwrap();
    bench.run(&node, task.id).await;
    let record = bench.record(task.id).await;
    assert_completed(&record);
    assert!(record.has_notice(NoticeCode::SessionNew) && !record.has_notice(NoticeCode::SessionReplayed));
    assert_eq!(bench.agent.seen().prompts, [ASKED; 3]);
}
