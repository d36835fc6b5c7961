//! A model of the store: it promises what the port's documentation says, and keeps account of every write.

use dispatch_core::{
    conversation::{MessageState, Transcript},
    frame::FrameBody,
    ids::{ChangeId, ChatId, Epoch, MessageId, SessionId, TaskId},
    ports::{ChangeVerdict, Settlement, StopAnswer, WriteAnswer},
    profile::TurnLimits,
    routing::Route,
    task::{TaskState, TurnKey},
    turn::{Outcome, SettledWith, settlement},
};

use super::{Violation, check};

/// What may be broken in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreBug {
    /// Writes of an old epoch are made.
    NoFencing,
    /// A session's next task is claimed while one runs.
    NoUniqueRunning,
    /// The newest waiting task is claimed first.
    NewestFirst,
    /// A `seq` is left out.
    SeqGap,
    /// A `seq` is given twice.
    SeqTwice,
    /// An end that is not `cancelled` is recorded over an accepted Stop.
    SettleIgnoresStop,
    /// A prompt is cleared to go out after a Stop was accepted.
    PromptIgnoresStop,
    /// An end is recorded over an end.
    SettleOverwrites,
    /// The frames of an end are not stored.
    SettleForgetsFrames,
    /// The message of an end stays open.
    SettleKeepsMessageOpen,
    /// Recovery runs a task again whose prompt had gone out.
    RecoverReruns,
    /// Recovery calls a stopped task interrupted.
    RecoverForgetsStop,
    /// Recovery takes the turns of living nodes.
    RecoverTakesTheLiving,
    /// Recovery leaves the message open.
    RecoverKeepsMessageOpen,
    /// A second attempt gets a new message.
    FreshMessages,
    /// A Stop of a waiting task is answered, but not made.
    StopForgetsWaiting,
    /// An end's change is not recorded.
    SettleForgetsChange,
}

impl StoreBug {
    /// All of them.
    pub const ALL: [Self; 17] = {
        use StoreBug::*;
        [
            NoFencing,
            NoUniqueRunning,
            NewestFirst,
            SeqGap,
            SeqTwice,
            SettleIgnoresStop,
            PromptIgnoresStop,
            SettleOverwrites,
            SettleForgetsFrames,
            SettleKeepsMessageOpen,
            RecoverReruns,
            RecoverForgetsStop,
            RecoverTakesTheLiving,
            RecoverKeepsMessageOpen,
            FreshMessages,
            StopForgetsWaiting,
            SettleForgetsChange,
        ]
    };
}

pub(super) struct TaskRow {
    pub(super) session: usize,
    pub(super) state: TaskState,
    pub(super) epoch: Epoch,
    pub(super) node: usize,
    stop_requested: bool,
    /// The same, whatever is broken.
    pub(super) stop_accepted: bool,
    prompt_sent: Option<Epoch>,
    pub(super) message: Option<usize>,
    pub(super) route: Option<Route>,
    pub(super) prompts: u32,
    pub(super) settled: Option<Settlement>,
    /// Whether its turn's last node could not clean up after it.
    pub(super) left_behind: bool,
}

pub(super) struct MessageRow {
    pub(super) task: usize,
    pub(super) state: MessageState,
}

pub(super) struct StoredFrame {
    pub(super) seq: u64,
    pub(super) task: usize,
    message: Option<usize>,
    pub(super) body: FrameBody,
}

#[derive(Default)]
pub(super) struct SessionRow {
    pub(super) frames: Vec<StoredFrame>,
    seq: u64,
}

#[derive(Default)]
pub(super) struct ModelStore {
    pub(super) tasks: Vec<TaskRow>,
    pub(super) messages: Vec<MessageRow>,
    pub(super) sessions: Vec<SessionRow>,
    /// The changes that were recorded, by task.
    pub(super) changes: Vec<usize>,
    /// Whether a node's lease holds.
    pub(super) leases: Vec<bool>,
    epoch: i64,
    pub(super) bug: Option<StoreBug>,
}

type Checked<T> = Result<T, Violation>;

pub(super) fn id(n: usize) -> [u8; 16] {
    (n as u128 + 1).to_be_bytes()
}

impl ModelStore {
    pub(super) fn create_task(&mut self, session: usize) {
        self.tasks.push(TaskRow {
            session,
            state: TaskState::Pending,
            epoch: Epoch(0),
            node: 0,
            stop_requested: false,
            stop_accepted: false,
            prompt_sent: None,
            message: None,
            route: None,
            prompts: 0,
            settled: None,
            left_behind: false,
        });
    }

    pub(super) fn key(&self, task: usize) -> TurnKey {
        let row = &self.tasks[task];
        TurnKey {
            task: TaskId::from_random(id(task)),
            session: SessionId::from_random(id(row.session)),
            chat: ChatId::from_random(id(row.session)),
            epoch: row.epoch,
        }
    }

    fn is(&self, bug: StoreBug) -> bool {
        self.bug == Some(bug)
    }

    pub(super) fn claim(&mut self, node: usize) -> Checked<Option<usize>> {
        if !self.leases[node] {
            return Ok(None);
        }
        let state = |task: usize| self.tasks[task].state;
        let claimable = |task: &usize| {
            let session = self.tasks[*task].session;
            let in_session = |other: &usize| self.tasks[*other].session == session;
            state(*task) == TaskState::Pending
                && (self.is(StoreBug::NoUniqueRunning)
                    || !(0..self.tasks.len()).filter(in_session).any(|t| state(t) == TaskState::Running))
        };
        let mut all = (0..self.tasks.len()).filter(claimable);
        let Some(task) = (if self.is(StoreBug::NewestFirst) { all.next_back() } else { all.next() }) else {
            return Ok(None);
        };
        let session = self.tasks[task].session;
        let older = (0..task).find(|t| self.tasks[*t].session == session && state(*t) == TaskState::Pending);
        check("oldest_first", older.is_none(), || format!("task {task} was claimed before {older:?}"))?;
        self.epoch += 1;
        let row = &mut self.tasks[task];
        (row.state, row.epoch, row.node) = (TaskState::Running, Epoch(self.epoch), node);
        self.one_turn_per_session(session)?;
        Ok(Some(task))
    }

    fn one_turn_per_session(&self, session: usize) -> Checked<()> {
        let running =
            self.tasks.iter().filter(|row| row.session == session && row.state == TaskState::Running).count();
        check("one_turn_per_session", running <= 1, || format!("session {session} runs {running} turns"))
    }

    /// Whether a write under `key` may be made, with its account.
    fn fence(&self, key: &TurnKey, task: usize) -> Checked<bool> {
        let row = &self.tasks[task];
        let holds = row.epoch == key.epoch && row.state == TaskState::Running;
        let made = holds || self.is(StoreBug::NoFencing);
        check("stale_epoch_never_writes", holds || !made, || {
            format!("task {task} is {} in {:?}, written to under {:?}", row.state, row.epoch, key.epoch)
        })?;
        Ok(made)
    }

    pub(super) fn begin_message(&mut self, key: &TurnKey, task: usize) -> Checked<WriteAnswer> {
        if !self.fence(key, task)? {
            return Ok(WriteAnswer::Fenced);
        }
        if self.tasks[task].stop_requested {
            return Ok(WriteAnswer::StopFirst);
        }
        if self.tasks[task].message.is_none() || self.is(StoreBug::FreshMessages) {
            self.tasks[task].message = Some(self.messages.len());
            self.messages.push(MessageRow { task, state: MessageState::Streaming });
        }
        Ok(WriteAnswer::Done)
    }

    pub(super) fn record_prompt_sent(&mut self, key: &TurnKey, task: usize) -> Checked<WriteAnswer> {
        if !self.fence(key, task)? {
            return Ok(WriteAnswer::Fenced);
        }
        let ignores = self.is(StoreBug::PromptIgnoresStop);
        let row = &mut self.tasks[task];
        if row.stop_requested && !ignores {
            return Ok(WriteAnswer::StopFirst);
        }
        row.prompt_sent = Some(key.epoch);
        check("stop_wins", !row.stop_accepted, || format!("task {task} was cleared to run after its Stop"))?;
        Ok(WriteAnswer::Done)
    }

    /// The prompt goes out: a ledger of what no store can take back.
    pub(super) fn prompt_goes_out(&mut self, key: &TurnKey, task: usize) -> Checked<()> {
        let row = &mut self.tasks[task];
        row.prompts += 1;
        let recorded = row.prompt_sent == Some(key.epoch) || row.epoch != key.epoch;
        check("prompt_recorded_first", recorded, || format!("task {task} was prompted without a record"))?;
        check("prompt_at_most_once", row.prompts == 1, || format!("task {task} was prompted again"))
    }

    pub(super) fn append(&mut self, key: &TurnKey, task: usize, frames: &[FrameBody]) -> Checked<bool> {
        if !self.fence(key, task)? {
            return Ok(false);
        }
        self.store_frames(task, frames);
        Ok(true)
    }

    fn store_frames(&mut self, task: usize, frames: &[FrameBody]) {
        let (message, bug) = (self.tasks[task].message, self.bug);
        let session = &mut self.sessions[self.tasks[task].session];
        for body in frames {
            session.seq += match bug {
                Some(StoreBug::SeqGap) if session.seq == 7 => 2,
                Some(StoreBug::SeqTwice) if session.seq == 7 && session.frames.len() == 7 => 0,
                _ => 1,
            };
            session.frames.push(StoredFrame { seq: session.seq, task, message, body: body.clone() });
        }
    }

    pub(super) fn settle(
        &mut self,
        key: &TurnKey,
        task: usize,
        settlement: Settlement,
    ) -> Checked<WriteAnswer> {
        let overwrites = self.is(StoreBug::SettleOverwrites) && self.tasks[task].state.is_terminal();
        if !overwrites && !self.fence(key, task)? {
            return Ok(WriteAnswer::Fenced);
        }
        let stopped = self.tasks[task].stop_requested && !self.is(StoreBug::SettleIgnoresStop);
        if stopped && settlement.state != TaskState::Cancelled {
            return Ok(WriteAnswer::StopFirst);
        }
        let keeps_open = self.is(StoreBug::SettleKeepsMessageOpen);
        self.end(task, settlement, keeps_open)?;
        Ok(WriteAnswer::Done)
    }

    fn end(&mut self, task: usize, settlement: Settlement, keeps_message_open: bool) -> Checked<()> {
        self.set_state(task, settlement.state)?;
        if let (Some(settled), Some(message), false) =
            (&settlement.message, self.tasks[task].message, keeps_message_open)
        {
            self.messages[message].state = settled.state;
        }
        let forgets = self.is(StoreBug::SettleForgetsChange);
        if matches!(settlement.change, ChangeVerdict::Queue(_)) && !forgets {
            self.changes.push(task);
        }
        if !self.is(StoreBug::SettleForgetsFrames) {
            self.store_frames(task, &settlement.frames);
        }
        self.tasks[task].settled = Some(settlement);
        Ok(())
    }

    fn set_state(&mut self, task: usize, state: TaskState) -> Checked<()> {
        let row = &mut self.tasks[task];
        check("terminal_once", !row.state.is_terminal(), || {
            format!("task {task} was {} and is now {state}", row.state)
        })?;
        let stands = !row.stop_accepted || !state.is_terminal() || state == TaskState::Cancelled;
        check("stop_wins", stands, || format!("task {task} was stopped and is {state}"))?;
        row.state = state;
        Ok(())
    }

    pub(super) fn requeue(
        &mut self,
        key: &TurnKey,
        task: usize,
        frames: &[FrameBody],
    ) -> Checked<WriteAnswer> {
        let sent = self.tasks[task].prompt_sent.is_some();
        if !self.fence(key, task)? || sent {
            return Ok(WriteAnswer::Fenced);
        }
        if self.tasks[task].stop_requested {
            return Ok(WriteAnswer::StopFirst);
        }
        self.set_state(task, TaskState::Pending)?;
        self.store_frames(task, frames);
        Ok(WriteAnswer::Done)
    }

    pub(super) fn request_stop(&mut self, task: usize) -> Checked<StopAnswer> {
        let forgets = self.is(StoreBug::StopForgetsWaiting);
        let row = &mut self.tasks[task];
        match row.state {
            TaskState::Pending => {
                row.stop_accepted = true;
                if !forgets {
                    self.end_without_node(task, Outcome::stopped(), false)?;
                }
                Ok(StopAnswer::Cancelled)
            }
            TaskState::Running => {
                (row.stop_requested, row.stop_accepted) = (true, true);
                Ok(StopAnswer::Stopping)
            }
            ended => Ok(StopAnswer::AlreadyEnded(ended)),
        }
    }

    /// Whether a turn is to be told of a Stop.
    pub(super) fn wants_stop(&self, key: &TurnKey, task: usize) -> bool {
        let row = &self.tasks[task];
        row.stop_requested && row.state == TaskState::Running && row.epoch == key.epoch
    }

    /// Settles the turns of nodes whose lease lapsed (SPEC D6).
    pub(super) fn recover(&mut self) -> Checked<()> {
        for task in 0..self.tasks.len() {
            let row = &self.tasks[task];
            let dead = !self.leases[row.node] || self.is(StoreBug::RecoverTakesTheLiving);
            if row.state != TaskState::Running || !dead {
                continue;
            }
            check("only_the_dead_are_recovered", !self.leases[row.node], || {
                format!("task {task} was taken from node {}", row.node)
            })?;
            let sent = row.prompt_sent == Some(row.epoch) && !self.is(StoreBug::RecoverReruns);
            let stopped = row.stop_requested && !(sent && self.is(StoreBug::RecoverForgetsStop));
            self.tasks[task].left_behind = true;
            let keeps_open = self.is(StoreBug::RecoverKeepsMessageOpen);
            if stopped {
                self.end_without_node(task, Outcome::stopped(), keeps_open)?;
            } else if sent {
                self.end_without_node(task, Outcome::interrupted(), keeps_open)?;
            } else {
                self.set_state(task, TaskState::Pending)?;
            }
        }
        Ok(())
    }

    /// Ends a task that no node runs, its message derived from the frames that were stored.
    fn end_without_node(&mut self, task: usize, outcome: Outcome, keeps_open: bool) -> Checked<()> {
        let transcript = self.transcript(task);
        let row = &self.tasks[task];
        let settled = settlement(
            outcome,
            &SettledWith {
                agent: "agent",
                model: None,
                route: row.route,
                limits: &TurnLimits::default(),
                message: row.message.map(|message| MessageId::from_random(id(message))),
                transcript: &transcript,
                change: ChangeId::from_random(id(task)),
            },
        );
        self.end(task, settled, keeps_open)
    }

    /// What was stored of a task's message.
    pub(super) fn transcript(&self, task: usize) -> Transcript {
        let mut transcript = Transcript::default();
        let row = &self.tasks[task];
        let of_message = |frame: &&StoredFrame| frame.message.is_some() && frame.message == row.message;
        for frame in self.sessions[row.session].frames.iter().filter(of_message) {
            transcript.push(&frame.body);
        }
        transcript
    }
}
