//! What a program is started with for one turn.

use std::ffi::OsString;

use dispatch_core::agent::{Notice, NoticeCode};
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::{Name, PermissionPolicy};

use super::options::{Options, Resume, Values};
use crate::registry::AgentEntry;

/// What a program is started with for a turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    /// What the user should know.
    pub(super) notices: Vec<Notice>,
}

/// Which conversation a program is started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conversation {
    /// One of its own, without a name of ours.
    Fresh,
    /// One that begins under this id.
    Begin(String),
    /// One that is there already.
    Resume(String),
}

/// The arguments of a program for a turn, its own first.
pub(super) fn asked(
    entry: &AgentEntry,
    own: &[OsString],
    options: &Options,
    spec: &SessionSpec,
    conversation: &Conversation,
) -> Asked {
    let mut asked = Asked { args: own.to_vec(), ..Asked::default() };
    match (&spec.model, options.model) {
        (Some(model), Some(flag)) => asked.push(flag, &entry.quirks.full_model(model)),
        (Some(model), None) => asked.ignored(entry, "model", model, None),
        (None, _) => {}
    }
    asked.value(
        entry,
        "thinking option",
        spec.thinking.as_ref(),
        options.thinking.as_ref(),
        spec.permissions,
    );
    let has_mode = asked.value(entry, "mode", spec.mode.as_ref(), options.mode.as_ref(), spec.permissions);
    asked.policy(entry, options, spec.permissions, has_mode);
    // Last, since it may end the flags.
    asked.conversation(options, conversation);
    asked
}

impl Asked {
    fn push(&mut self, flag: &str, value: &str) {
        self.args.push(format!("{flag}{value}").into());
    }

    fn conversation(&mut self, options: &Options, conversation: &Conversation) {
        match (conversation, &options.resume, options.begin) {
            (Conversation::Begin(id), _, Some(flag)) => self.push(flag, id),
            (Conversation::Resume(id), Some(Resume::Flag(flag)), _) => self.push(flag, id),
            (Conversation::Resume(id), Some(Resume::Beside(flag)), Some(begin)) => {
                self.args.push((*flag).into());
                self.push(begin, id);
            }
            (Conversation::Resume(id), Some(Resume::Subcommand(word)), _) => {
                self.args.extend([(*word).into(), "--".into(), id.into(), "-".into()]);
            }
            _ => {}
        }
    }

    /// Puts a setting in; whether it did.
    fn value(
        &mut self,
        entry: &AgentEntry,
        word: &str,
        wanted: Option<&Name>,
        values: Option<&Values>,
        policy: PermissionPolicy,
    ) -> bool {
        let Some(wanted) = wanted else { return false };
        let Some(values) = values else {
            self.ignored(entry, word, wanted, None);
            return false;
        };
        let name = wanted.as_str();
        let known = values.known.iter().copied().find(|known| known.eq_ignore_ascii_case(name));
        let Some(value) = known.or(values.known.is_empty().then_some(name)) else {
            self.ignored(entry, word, wanted, Some(format!("it has {}", values.known.join(", "))));
            return false;
        };
        let is_among = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(value));
        let is_too_much = match policy {
            PermissionPolicy::Allow => false,
            PermissionPolicy::Deny => is_among(values.bold) || is_among(values.forward),
            PermissionPolicy::Ask | PermissionPolicy::Auto => is_among(values.bold),
        };
        if is_too_much {
            let why = "it lets the agent act without asking, which nobody allowed".to_owned();
            self.ignored(entry, word, wanted, Some(why));
            return false;
        }
        self.push(values.flag, value);
        true
    }

    /// What the policy means to a program that cannot ask. A mode that was asked for says it already.
    fn policy(&mut self, entry: &AgentEntry, options: &Options, policy: PermissionPolicy, has_mode: bool) {
        let agent = &entry.name;
        let told = if policy == PermissionPolicy::Allow { &options.allow } else { &options.refuse };
        if !has_mode {
            self.args.extend(told.args.iter().map(Into::into));
        }
        self.env.extend(told.env.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        if policy != PermissionPolicy::Allow {
            let text =
                format!("agent {agent} cannot ask on this route: its own defaults decide what it may do");
            self.notices.push(Notice { code: NoticeCode::PermissionByPolicy, text });
        }
    }

    fn ignored(&mut self, entry: &AgentEntry, word: &str, wanted: &Name, why: Option<String>) {
        let why = why.unwrap_or_else(|| format!("its {word} cannot be chosen on this route"));
        let text = format!("agent {} goes on without the {word} `{wanted}`: {why}", entry.name);
        self.notices.push(Notice { code: NoticeCode::OptionIgnored, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use dispatch_core::agent::OwnSettings;
    use dispatch_core::ids::{ChatId, Epoch, SessionId, TaskId};

    fn spec(model: &str, mode: &str, thinking: &str, permissions: PermissionPolicy) -> SessionSpec {
        SessionSpec {
            task: TaskId::from_random([1; 16]),
            epoch: Epoch(1),
            session: SessionId::from_random([1; 16]),
            chat: ChatId::from_random([1; 16]),
            run_tag: "run".into(),
            agent: None,
            cwd: "/w".into(),
            model: Name::new(model),
            mode: Name::new(mode),
            thinking: Name::new(thinking),
            permissions,
            resume: None,
            resume_epoch: None,
            own: OwnSettings::default(),
            history: vec![],
        }
    }

    /// All that each shipped program is started with.
    #[test]
    fn each_program_is_told_in_its_own_words() {
        let registry = Registry::new([]).unwrap();
        let (mut lines, id) = (String::new(), "0-1".to_owned());
        for agent in ["claude", "qwen", "gemini", "codex", "goose", "opencode", "vibe"] {
            let entry = registry.get(agent).unwrap();
            let cli = entry.ways.cli.as_ref().unwrap();
            let options = Options::of(cli.output);
            let begin =
                if options.chooses_id() { Conversation::Begin(id.clone()) } else { Conversation::Fresh };
            for (conversation, model, mode, thinking, policy) in [
                (begin, "m", "", "high", PermissionPolicy::Ask),
                (Conversation::Resume(id.clone()), "", "", "", PermissionPolicy::Allow),
                (Conversation::Fresh, "--x", "PLAN", "nonsense", PermissionPolicy::Deny),
                (Conversation::Fresh, "", "yolo", "", PermissionPolicy::Auto),
            ] {
                let spec = spec(model, mode, thinking, policy);
                let Asked { args, env, notices } = asked(entry, &cli.args, options, &spec, &conversation);
                let words: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
                lines += &format!("{agent} {} {env:?}\n", words.join(" "));
                for notice in notices {
                    lines += &format!("    {:?} {}\n", notice.code, notice.text);
                }
            }
        }
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn what_lets_it_act_without_asking_needs_leave() {
        use PermissionPolicy::{Allow, Ask, Auto, Deny};
        let registry = Registry::new([]).unwrap();
        for (agent, mode, takes) in [
            ("claude", "bypassPermissions", &[Allow][..]),
            ("claude", "acceptEdits", &[Allow, Ask, Auto]),
            ("claude", "auto", &[Allow, Ask, Auto]),
            ("claude", "plan", &[Allow, Ask, Auto, Deny]),
            ("qwen", "yolo", &[Allow]),
            ("qwen", "AUTO-EDIT", &[Allow, Ask, Auto]),
            ("gemini", "auto_edit", &[Allow, Ask, Auto]),
            ("codex", "danger-full-access", &[Allow]),
            ("codex", "workspace-write", &[Allow, Ask, Auto]),
            ("codex", "read-only", &[Allow, Ask, Auto, Deny]),
            ("vibe", "Auto-Approve", &[Allow]),
            ("vibe", "accept-edits", &[Allow, Ask, Auto]),
        ] {
            let entry = registry.get(agent).unwrap();
            let options = Options::of(entry.ways.cli.as_ref().unwrap().output);
            for policy in [Allow, Ask, Auto, Deny] {
                let asked = asked(entry, &[], options, &spec("", mode, "", policy), &Conversation::Fresh);
                let is_taken = asked.args.iter().any(|arg| {
                    let value = arg.to_str().unwrap().rsplit('=').next().unwrap();
                    value.eq_ignore_ascii_case(mode)
                });
                let is_ignored = asked.notices.iter().any(|notice| notice.code == NoticeCode::OptionIgnored);
                assert_eq!(
                    (is_taken, is_ignored),
                    (takes.contains(&policy), !takes.contains(&policy)),
                    "{agent} {mode} {policy:?}"
                );
            }
        }
    }
}
