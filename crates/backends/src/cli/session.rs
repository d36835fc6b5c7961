//! One turn of one program.

use std::sync::Arc;

use async_trait::async_trait;
use dispatch_core::agent::{AgentUpdate, End, EndedHow, Failure, Notice, NoticeCode, Printed};
use dispatch_core::ports::{AgentSession, Close, Prompt, SessionInfo, SessionSpec};

use super::asked::{Asked, Conversation, asked};
use super::control::Link;
use super::ending::LastSeen;
use super::options::Options;
use super::run::{Run, Start};
use super::translate::Translator;
use crate::common::drivel::Drivel;
use crate::common::plain::plain_text;
use crate::common::random_id::random_id;
use crate::launch::Launcher;
use crate::registry::{AgentEntry, Cli};

/// See [`AgentSession`] for the order of the calls.
pub(super) struct CliSession {
    launcher: Launcher,
    entry: AgentEntry,
    cli: Cli,
    spec: SessionSpec,
    link: Arc<Link>,
    conversation: Conversation,
    /// The id of the conversation that was told.
    known: Option<String>,
    translator: Translator,
    run: Option<Run>,
    drivel: Drivel,
    /// The prompt, for as long as a conversation that is to be gone on with may turn out not to be there.
    prompt: Option<String>,
}

impl CliSession {
    pub(super) fn new(
        launcher: Launcher,
        entry: AgentEntry,
        cli: Cli,
        spec: SessionSpec,
        link: Arc<Link>,
    ) -> Self {
        let options = Options::of(cli.output);
        let conversation = match &spec.resume {
            Some(id) if options.can_resume() => Conversation::Resume(id.clone()),
            _ if options.chooses_id() => Conversation::Begin(random_id()),
            _ => Conversation::Fresh,
        };
        let known = match &conversation {
            Conversation::Begin(id) | Conversation::Resume(id) => Some(id.clone()),
            Conversation::Fresh => None,
        };
        let translator = Translator::new(cli.output, &entry.quirks);
        Self {
            launcher: launcher.apart(),
            entry,
            cli,
            spec,
            link,
            conversation,
            known,
            translator,
            run: None,
            drivel: Drivel::default(),
            prompt: None,
        }
    }

    fn options(&self) -> &'static Options {
        Options::of(self.cli.output)
    }

    fn asked(&self) -> Asked {
        asked(&self.entry, &self.cli.args, self.options(), &self.spec, &self.conversation)
    }

    async fn run(&mut self, prompt: &str) -> Result<(), Failure> {
        let asked = self.asked();
        let start = Start {
            launcher: &self.launcher,
            entry: &self.entry,
            cli: &self.cli,
            spec: &self.spec,
            asked: &asked,
            prompt_flag: self.options().prompt,
        };
        self.run = Some(Run::start(start, prompt, &self.link).await?);
        Ok(())
    }

    /// How the turn ended, now that nothing more comes, or that no more is listened to because of this failure.
    async fn conclude(&mut self, failure: Option<Failure>, into: &mut Vec<AgentUpdate>) -> End {
        let exit = match &mut self.run {
            Some(run) if failure.is_none() => run.exit().await,
            _ => None,
        };
        // Colours and the like are for a terminal of theirs, not for ours.
        let stderr = self.run.as_ref().map(|run| plain_text(&run.stderr())).unwrap_or_default();
        self.translator.finish(into);
        let stdout = self.translator.stray().to_owned();
        let how = if self.link.is_stopped() {
            EndedHow::Cancelled
        } else if let Some(failure) = failure {
            EndedHow::Failed(failure)
        } else {
            let last = LastSeen {
                agent: &self.entry.name,
                said: self.translator.ended_if_over(),
                says_when_done: self.translator.says_when_done(),
                exit,
                stdout: &stdout,
                stderr: &stderr,
            };
            last.how()
        };
        End { how, usage: self.translator.usage(), printed: Printed { stdout, stderr } }
    }

    /// Whether the turn failed because the conversation that was to be gone on with is not there. Nothing has been asked
    /// of a model then.
    fn is_unknown_conversation(&self, end: &End) -> bool {
        match (&self.conversation, &end.how) {
            (Conversation::Resume(id), EndedHow::Failed(failure) | EndedHow::Crashed(failure)) => {
                self.prompt.is_some() && self.options().says_unknown(&failure.text, id)
            }
            _ => false,
        }
    }

    /// Starts anew, in a conversation that begins under the id of the one that is not there: it is the one that is
    /// recorded.
    async fn begin_anew(&mut self) -> Result<(), Failure> {
        if let Some(run) = &self.run {
            run.kill(self.entry.name.as_str()).await;
        }
        self.run = None;
        let prompt = self.prompt.take().unwrap_or_default();
        self.conversation = match std::mem::replace(&mut self.conversation, Conversation::Fresh) {
            Conversation::Resume(id) if self.options().chooses_id() => Conversation::Begin(id),
            _ => {
                self.known = None;
                Conversation::Fresh
            }
        };
        self.translator = Translator::new(self.cli.output, &self.entry.quirks);
        self.run(&prompt).await
    }

    /// The id that the program tells only now, or that is another than it was to be.
    fn learn_conversation(&mut self) -> Option<AgentUpdate> {
        let told = self.translator.conversation()?;
        if self.known.as_deref() == Some(told) {
            return None;
        }
        self.known = Some(told.to_owned());
        Some(AgentUpdate::Conversation(told.to_owned()))
    }

    fn notice(&self, code: NoticeCode) -> Notice {
        let what = match code {
            NoticeCode::SessionLoaded => "goes on with its conversation",
            _ => "begins a new conversation: it cannot go on with the earlier one",
        };
        Notice { code, text: format!("agent {} {what}", self.entry.name) }
    }
}

#[async_trait]
impl AgentSession for CliSession {
    async fn start(&mut self) -> Result<SessionInfo, Failure> {
        let mut notices = self.asked().notices;
        if self.spec.resume.is_some() && !self.options().can_resume() {
            notices.push(self.notice(NoticeCode::SessionNew));
        }
        let agent_session = self.known.clone();
        let settings = self.options().settings();
        Ok(SessionInfo { agent_session, settings, notices, ..SessionInfo::default() })
    }

    async fn prompt(&mut self, prompt: Prompt) -> Result<(), Failure> {
        if matches!(self.conversation, Conversation::Resume(_)) {
            self.prompt = Some(prompt.text.clone());
        }
        self.run(&prompt.text).await
    }

    async fn next(&mut self, into: &mut Vec<AgentUpdate>) -> Option<End> {
        let before = into.len();
        loop {
            let heard = match &mut self.run {
                Some(run) => run.listen(&mut self.translator, into).await,
                None => None,
            };
            let news = self.learn_conversation();
            if into.len() > before || news.is_some() {
                self.drivel.end();
                if self.prompt.take().is_some() {
                    // It works: the conversation is there, unless it says that it is in another.
                    let code =
                        if news.is_some() { NoticeCode::SessionNew } else { NoticeCode::SessionLoaded };
                    into.insert(before, AgentUpdate::Notice(self.notice(code)));
                }
                into.extend(news);
                return None;
            }
            self.drivel.add(heard.unwrap_or(0));
            let drivel = self.drivel.failure(self.entry.name.as_str());
            if heard.is_some() && drivel.is_none() {
                continue;
            }
            let end = self.conclude(drivel, into).await;
            if !self.is_unknown_conversation(&end) {
                return Some(end);
            }
            into.truncate(before);
            if let Err(failure) = self.begin_anew().await {
                return Some(End::new(EndedHow::Crashed(failure)));
            }
            into.push(AgentUpdate::Notice(self.notice(NoticeCode::SessionNew)));
            return None;
        }
    }

    async fn close(self: Box<Self>, _: Close) {
        if let Some(run) = &self.run {
            run.kill(self.entry.name.as_str()).await;
        }
        // One that was being started when its turn was given up.
        self.launcher.undone().await;
    }
}
