//! A session as it stands.

use std::{collections::BTreeSet, sync::Arc};

use dispatch_core::{
    conversation::{Message, MessageState},
    frame::{Frame, FrameBody},
    ids::{MessageId, Seq, SessionId},
    ports::{Records, RecordsError, SessionView},
};

use super::frames::BATCH;

/// A session as it stood right after the frame at [`Self::seq`].
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSnapshot {
    /// Where it was taken: the frames after this tell the rest.
    pub seq: Seq,
    /// The session, as it stands now.
    pub session: SessionView,
    /// The messages of its chats that had ended by then, chat by chat, oldest first. One that was still
    /// streaming is not among them: its frames follow, from its `message_started` on.
    pub messages: Vec<Message>,
}

impl SessionSnapshot {
    /// Takes one; tells also where the session's frames ended by then.
    pub(super) async fn take(
        records: &Arc<dyn Records>,
        session: SessionId,
    ) -> Result<(Self, Seq), RecordsError> {
        let reader = Reader { records: &**records, session };
        let end = reader.end().await?;
        let view = records.session(session).await?;
        let mut messages = Vec::new();
        for chat in &view.chats {
            messages.extend(records.messages(*chat).await?);
        }
        // A message that ended meanwhile is told by the frames that follow, and must not be told twice.
        let ended_since = reader.ended_after(end).await?;
        let follows =
            |message: &Message| message.state == MessageState::Streaming || ended_since.contains(&message.id);
        let following =
            messages.iter().filter(|message| follows(message)).map(|message| message.id).collect();
        messages.retain(|message| !follows(message));
        let seq = reader.before_begin_of(&following, end).await?;
        Ok((Self { seq, session: view, messages }, end))
    }
}

struct Reader<'a> {
    records: &'a dyn Records,
    session: SessionId,
}

impl Reader<'_> {
    async fn after(&self, after: i64, limit: usize) -> Result<Vec<Frame>, RecordsError> {
        self.records.frames(self.session, Seq(after), limit).await
    }

    /// The last frame's place. As places are all but gapless, each look halves what is in
    /// question.
    async fn end(&self) -> Result<Seq, RecordsError> {
        let (mut there, mut beyond) = (0_i64, None::<i64>);
        let mut step = 1_i64;
        while beyond.is_none_or(|beyond| there + 1 < beyond) {
            let probe = beyond.map_or(there.saturating_add(step), |beyond| there + (beyond - there) / 2);
            let mut found = self.after(probe - 1, 1).await?;
            if found.is_empty() {
                // One that cannot be read is left out, and must not be taken for the end.
                found = self.after(probe - 1, BATCH).await?;
            }
            match found.first() {
                Some(frame) => there = frame.seq.0.max(probe),
                None => beyond = Some(probe),
            }
            step = step.saturating_mul(2);
        }
        Ok(Seq(there))
    }

    /// The messages that ended after a place.
    async fn ended_after(&self, Seq(mut after): Seq) -> Result<BTreeSet<MessageId>, RecordsError> {
        let mut ended = BTreeSet::new();
        loop {
            let frames = self.after(after, BATCH).await?;
            let Some(last) = frames.last() else { return Ok(ended) };
            after = last.seq.0;
            let ends = frames.iter().filter(|frame| matches!(frame.body, FrameBody::MessageComplete { .. }));
            ended.extend(ends.filter_map(|frame| frame.about.message_id));
        }
    }

    /// The place before the first of these messages begins, looking back from `end`. At most one turn of a
    /// session runs, so none of them began before another one's end.
    async fn before_begin_of(&self, messages: &BTreeSet<MessageId>, end: Seq) -> Result<Seq, RecordsError> {
        let mut upper = end.0;
        while upper > 0 && !messages.is_empty() {
            let lower = (upper - BATCH as i64).max(0);
            let frames = self.after(lower, BATCH).await?;
            for frame in frames.iter().rev().filter(|frame| frame.seq.0 <= upper) {
                match (&frame.body, frame.about.message_id) {
                    (FrameBody::MessageStarted { .. }, Some(id)) if messages.contains(&id) => {
                        return Ok(Seq(frame.seq.0 - 1));
                    }
                    (FrameBody::MessageComplete { .. }, _) => return Ok(end),
                    _ => {}
                }
            }
            upper = lower;
        }
        Ok(end)
    }
}
