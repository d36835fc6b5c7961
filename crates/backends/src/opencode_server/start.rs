//! From a server to a conversation that is ready for its prompt.

use std::path::Path;
use std::time::Duration;

use dispatch_core::agent::{Failure, Notice, NoticeCode};
use dispatch_core::ports::{SessionInfo, SessionSpec};
use dispatch_core::task::TerminalReason;
use tokio::time::timeout;

use super::api::Api;
use super::feed::Listening;
use super::http::HttpError;
use super::offers::{Chosen, Offers};
use super::server::Server;
use crate::common::words;
use crate::registry::AgentEntry;

/// How long the stream of events may take to be there.
const STREAM: Duration = Duration::from_secs(30);
/// Requests of earlier turns that are remembered, so that they are not taken for this one's.
const STALE: usize = 4096;

/// A conversation that is ready for its prompt.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) session: String,
    pub(super) listening: Listening,
    pub(super) offers: Offers,
    pub(super) chosen: Chosen,
    /// Permission requests and questions that were open before the prompt: nobody waits for their answers.
    pub(super) stale: Vec<String>,
    pub(super) info: SessionInfo,
}

/// A conversation, before anybody listens to it.
struct Conversation {
    id: String,
    stale: Vec<String>,
    notice: Option<Notice>,
}

/// Gets a conversation ready.
pub(super) async fn run(
    entry: &AgentEntry,
    spec: &SessionSpec,
    server: &Server,
    api: &Api,
) -> Result<Ready, Failure> {
    let agent = &entry.name;
    let could_not = |text: String| Failure::new(TerminalReason::CouldNotStart, text);
    // At once: a turn on a warm server consists of little but these calls until its prompt.
    let asking = async { tokio::try_join!(Offers::ask(api), conversation(entry, spec, api)) };
    let (offers, conversation) = tokio::select! {
        asked = asking => asked.map_err(|error| could_not(format!("agent {agent}: {error}")))?,
        gone = server.gone() => {
            let text = format!("agent {agent} {} before the turn began", gone.how);
            return Err(could_not(words::with_output(text, "", &gone.stderr)));
        }
    };
    let Conversation { id: session, stale, notice } = conversation;
    let listening = server.feed.listen(&session).ok_or_else(|| {
        let text = format!("agent {agent}: another turn uses the conversation {session}");
        Failure::new(TerminalReason::Internal, text)
    })?;
    timeout(STREAM, server.feed.connected()).await.map_err(|_| {
        could_not(format!("agent {agent}: its server sent no events within {}", words::time(STREAM)))
    })?;
    let chosen = offers.choose(agent, spec, &entry.quirks);
    let info = SessionInfo {
        agent_session: Some(session.clone()),
        commands: offers.commands(),
        settings: offers.settings(&chosen),
        notices: notice.into_iter().chain(chosen.notices.iter().cloned()).collect(),
        ..SessionInfo::default()
    };
    Ok(Ready { session, listening, offers, chosen, stale, info })
}

/// The conversation to go on with, or a new one, and which of the two it is.
async fn conversation(entry: &AgentEntry, spec: &SessionSpec, api: &Api) -> Result<Conversation, HttpError> {
    let agent = &entry.name;
    // With a title of ours opencode does not have a model make one up, which would be no part of any turn's usage.
    let begin =
        || async { api.new_session(&format!("boocoder {}", spec.chat)).await.map(|session| session.id) };
    let Some(earlier) = &spec.resume else {
        return Ok(Conversation { id: begin().await?, stale: Vec::new(), notice: None });
    };
    let notice = |code, text| Some(Notice { code, text });
    let why = match api.session(earlier).await? {
        Some(session) if is_same_folder(&session.directory, &spec.cwd) => {
            let stale = settle(api, &session.id).await?;
            let text = format!("agent {agent} goes on with its conversation");
            return Ok(Conversation {
                id: session.id,
                stale,
                notice: notice(NoticeCode::SessionLoaded, text),
            });
        }
        // It would go on working there.
        Some(session) => format!("the earlier one belongs to {}", session.directory),
        None => "it does not know the earlier one any more".to_owned(),
    };
    let text = format!("agent {agent} begins a new conversation: {why}");
    Ok(Conversation { id: begin().await?, stale: Vec::new(), notice: notice(NoticeCode::SessionNew, text) })
}

/// Ends what a conversation may still do; returns the requests that are open all the same in its folder.
async fn settle(api: &Api, session: &str) -> Result<Vec<String>, HttpError> {
    if api.status(session).await?.is_some() {
        api.abort(session).await?;
    }
    // Whoever asked for it: agents that earlier turns began have conversations of their own, and ask in them.
    let (permissions, questions) = tokio::join!(api.permissions(), api.questions());
    let permissions = permissions?.rows.into_iter().map(|asked| asked.id);
    // One that is declined twice does no harm.
    let questions = questions.unwrap_or_default().rows.into_iter().map(|question| question.id);
    Ok(permissions.chain(questions).take(STALE).collect())
}

fn is_same_folder(theirs: &str, ours: &Path) -> bool {
    let theirs = Path::new(theirs);
    let same =
        |a: &Path, b: &Path| a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b);
    theirs == ours || same(theirs, ours)
}
