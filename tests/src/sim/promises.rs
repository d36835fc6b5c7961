//! What must hold when a turn ends, and when everything is quiet.

use dispatch_core::{
    agent::EndedHow,
    conversation::{MessageState, Part},
    frame::FrameBody,
    ids::{ChangeId, MessageId, TaskId},
    ports::{ChangeVerdict, Settlement, WorkspaceOwner, WriteAnswer},
    profile::TurnLimits,
    task::{TaskState, TerminalReason},
    turn::{Outcome, SettledWith, settlement},
};

use super::{
    agent::Life,
    check,
    run::Run,
    store::id,
    world::{Checked, World},
};

impl World {
    pub(super) fn settle(&mut self, at: usize, outcome: Outcome) -> Checked<WriteAnswer> {
        let run = &self.runs[at];
        let (task, key) = (run.task, run.key);
        let message = self.store.tasks[task].message;
        let settled = settlement(
            outcome,
            &SettledWith {
                agent: "agent",
                model: None,
                route: self.store.tasks[task].route,
                limits: &TurnLimits::default(),
                message: message.map(|message| MessageId::from_random(id(message))),
                transcript: &run.transcript,
                change: ChangeId::from_random(id(task)),
            },
        );
        let answer = self.store.settle(&key, task, settled.clone())?;
        if answer == WriteAnswer::Done && self.store.tasks[task].epoch == key.epoch {
            self.runs[at].facts.settled = true;
            self.outcome_explained(at, &settled)?;
            self.change_policy(at, &settled)?;
            self.message_whole(at, &settled)?;
        }
        Ok(answer)
    }

    /// Every end has its cause, and nothing that failed is called completed.
    fn outcome_explained(&self, at: usize, settled: &Settlement) -> Checked {
        let run = &self.runs[at];
        let facts = &run.facts;
        let explained = match settled.state {
            TaskState::Completed => facts.ended == Some(EndedHow::Completed) && !facts.diff_failed,
            TaskState::Failed => {
                facts.could_not_start
                    || facts.stalled
                    || facts.over_limit
                    || facts.diff_failed
                    || facts.ended.as_ref().is_some_and(|how| *how != EndedHow::Completed)
            }
            TaskState::Cancelled => {
                self.store.tasks[run.task].stop_accepted
                    || (facts.shutdown_told && settled.reason == TerminalReason::Shutdown)
            }
            _ => false,
        };
        check("outcome_explained", explained, || {
            format!("task {} is {} ({}) after {:?}", run.task, settled.state, settled.reason, facts.ended)
        })
    }

    /// A change is queued if and only if the turn may queue it and made one (SPEC T12, R1).
    fn change_policy(&self, at: usize, settled: &Settlement) -> Checked {
        let run = &self.runs[at];
        let facts = &run.facts;
        let tree = run.owner.and_then(|owner| self.workspace.tree(owner)).map(|tree| tree.to_string());
        let ended = matches!(settled.state, TaskState::Completed | TaskState::Failed);
        let moved = tree.is_some() && tree != facts.tree_before && tree.as_deref() != Some("0");
        let knows = facts.checkpoint_tried && !facts.diff_failed;
        let expected = ended && moved && knows;
        match &settled.change {
            ChangeVerdict::Queue(change) => {
                check("change_policy", expected && Some(&change.draft.result_tree) == tree.as_ref(), || {
                    format!(
                        "task {} ({}) queued {:?} of {tree:?}",
                        run.task, settled.state, change.draft.result_tree
                    )
                })?;
                let marked = change.from_failed_turn == (settled.state == TaskState::Failed);
                check("change_policy", marked, || "a failed turn's change is not marked".into())?;
                check("change_policy", self.store.changes.contains(&run.task), || {
                    format!("the change of task {} was not recorded", run.task)
                })
            }
            _ => check("change_policy", !expected, || {
                format!("task {} ({}) changed {tree:?} and queued nothing", run.task, settled.state)
            }),
        }
    }

    /// The message holds what was told, what was streamed is what was stored, nothing in it is left open.
    fn message_whole(&self, at: usize, settled: &Settlement) -> Checked {
        let run = &self.runs[at];
        let stored = self.store.transcript(run.task);
        check("one_durable_copy", stored == run.transcript, || {
            format!("stored {:?}, in memory {:?}", stored.parts(), run.transcript.parts())
        })?;
        if let Some(used) = &run.facts.used {
            let cost = used.cost.is_none() || settled.cost == used.cost;
            let tokens = used.total_tokens.is_none()
                || settled.message.as_ref().is_none_or(|m| m.usage.total_tokens == used.total_tokens);
            check("usage_kept", cost && tokens, || format!("{used:?} became {:?}", settled.cost))?;
        }
        let Some(message) = &settled.message else { return Ok(()) };
        let told = |part: &Part| match part {
            Part::Text { text, placeholder: false } => Some(text.clone()),
            _ => None,
        };
        let text: String = message.parts.iter().filter_map(told).collect();
        let kept = text == run.facts.text || (run.tight && run.facts.text.starts_with(&text));
        check("text_kept", kept, || format!("{:?} became {text:?}", run.facts.text))?;
        let open = message
            .parts
            .iter()
            .any(|part| matches!(part, Part::ToolCall { tool_call } if !tool_call.status.is_terminal()));
        check("tools_closed", !open, || format!("{:?}", message.parts))
    }

    /// A turn is done: its worktree is where SPEC 4's table says.
    pub(super) fn turn_done(&mut self, run: &Run) -> Checked {
        self.say(|| format!("the turn of task {} is done", run.task));
        let facts = &run.facts;
        let per_task = run.per_task();
        if (!facts.settled && per_task) || facts.left_behind || run.lost {
            self.store.tasks[run.task].left_behind = true;
        }
        let there = run.owner.is_some_and(|owner| self.workspace.tree(owner).is_some());
        let failed = self.store.tasks[run.task].state == TaskState::Failed;
        let undiffed = facts.diff_failed && failed;
        let removed = facts.settled && per_task && !undiffed && !facts.left_behind && !run.lost;
        check("worktree_policy", !(removed && there), || {
            format!("the worktree of task {} was not removed", run.task)
        })?;
        let kept = per_task && undiffed && facts.settled;
        check("worktree_policy", !kept || there, || format!("the worktree of task {} is lost", run.task))
    }

    // When everything is quiet.

    pub(super) fn all_settled(&mut self) -> Checked {
        self.seq_gapless()?;
        for task in 0..self.store.tasks.len() {
            self.message_closed(task)?;
            self.worktree_left(task)?;
        }
        for agent in &self.agents {
            let idle = matches!(agent.life, Life::Gone | Life::Pooled);
            check("no_orphans", idle, || format!("an agent is still {:?}", agent.life))?;
        }
        check("acked_not_lost", self.store.tasks.len() == self.asked.len(), || "a task is lost".into())
    }

    fn seq_gapless(&self) -> Checked {
        for session in &self.store.sessions {
            for (frame, seq) in session.frames.iter().zip(1..) {
                check("seq_gapless", frame.seq == seq, || format!("frame {seq} has seq {}", frame.seq))?;
            }
        }
        Ok(())
    }

    /// The last frames of a task are those of its end, in SPEC T13's order, and its messages are closed.
    fn message_closed(&self, task: usize) -> Checked {
        let row = &self.store.tasks[task];
        let mut frames: Vec<_> =
            self.store.sessions[row.session].frames.iter().filter(|frame| frame.task == task).collect();
        let mut expected = vec![];
        let settled = row.settled.as_ref();
        if settled.is_some_and(|settled| matches!(settled.change, ChangeVerdict::Queue(_))) {
            expected.push("pending_change");
        }
        if row.message.is_some() {
            expected.push("message_complete");
        }
        expected.extend(["task_state", "agent_status"]);
        let last = frames.split_off(frames.len().saturating_sub(expected.len()));
        let names: Vec<_> = last.iter().map(|frame| frame.body.name()).collect();
        check("message_closed", names == expected, || format!("task {task} ends with {names:?}"))?;
        let ends_early = |frame: &&&super::store::StoredFrame| {
            matches!(
                frame.body,
                FrameBody::MessageComplete { .. }
                    | FrameBody::TaskState { .. }
                    | FrameBody::PendingChange { .. }
            )
        };
        let early = frames.iter().find(ends_early);
        check("message_closed", early.is_none(), || format!("task {task} ended before its end"))?;
        let expected = match row.state {
            TaskState::Completed => MessageState::Complete,
            TaskState::Cancelled => MessageState::Cancelled,
            _ => MessageState::Failed,
        };
        for message in self.store.messages.iter().filter(|message| message.task == task) {
            check("message_closed", message.state == expected, || {
                format!("task {task} is {}, its message {}", row.state, message.state)
            })?;
        }
        Ok(())
    }

    /// A worktree of one task is left only where its turn could not say what becomes of it.
    fn worktree_left(&self, task: usize) -> Checked {
        let row = &self.store.tasks[task];
        let owner = WorkspaceOwner::Task(TaskId::from_random(id(task)));
        let failed = row.settled.as_ref().and_then(|settled| settled.summary.as_deref());
        let kept = failed.is_some_and(|words| words.contains("could not compute the changes"));
        let why = row.left_behind || kept || row.state == TaskState::Interrupted;
        check("worktree_policy", why || self.workspace.tree(owner).is_none(), || {
            format!("the worktree of task {task} ({}) is left", row.state)
        })
    }
}
