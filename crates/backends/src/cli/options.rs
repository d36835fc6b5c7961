//! How each program is told what is asked for, as data.
//!
//! After the programs' own help: Claude Code 2.1.197, qwen 0.24.4, gemini 0.61.0, codex 0.169.0, goose 1.34.0,
//! opencode 1.18.33; vibe after its sources. Values go into the same argument as their flag (`--flag=value`), so that
//! none can be taken for a flag.

use std::ffi::OsString;

use dispatch_core::agent::{AgentSettings, Choice as Offer, Notice, NoticeCode, Setting};
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::{Name, PermissionPolicy};

use crate::registry::{AgentEntry, Output};

/// How a program is told things. What it cannot be told is absent.
pub(super) struct Options {
    /// The model: what stands before its name.
    model: Option<&'static str>,
    mode: Option<Values>,
    thinking: Option<Values>,
    /// Begins a conversation under an id that we choose.
    begin: Option<&'static str>,
    resume: Option<Resume>,
    /// Lets it act in its worktree without asking.
    allow: Told,
    /// Says that it may not, where that is not its default.
    refuse: Told,
    /// What stands before the prompt where that must be an argument; others read it from standard input.
    pub(super) prompt: Option<&'static str>,
    /// What lines begin with that say of a conversation that it is not there; `{id}` stands for its id.
    unknown_conversation: &'static [&'static str],
}

/// A setting with a closed set of values.
struct Values {
    flag: &'static str,
    /// Empty where any may exist.
    known: &'static [&'static str],
    /// Those that let it do some things without asking: not where the policy is to refuse all.
    forward: &'static [&'static str],
    /// Those that let it do all without asking: only where the policy allows that.
    bold: &'static [&'static str],
}

/// Values that let it do nothing.
const fn values(flag: &'static str, known: &'static [&'static str]) -> Option<Values> {
    Some(Values { flag, known, forward: &[], bold: &[] })
}

/// How a conversation is gone on with.
enum Resume {
    /// A flag with its id.
    Flag(&'static str),
    /// A subcommand, behind all flags, whose arguments are the id and the prompt, which `-` has it read.
    Subcommand(&'static str),
    /// A flag of its own, beside the one that `begin` names.
    Beside(&'static str),
}

/// Arguments and variables.
#[derive(Default)]
struct Told {
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

const fn args(args: &'static [&'static str]) -> Told {
    Told { args, env: &[] }
}

const NOTHING: Told = args(&[]);

const PLAIN: Options = Options {
    model: None,
    mode: None,
    thinking: None,
    begin: None,
    resume: None,
    allow: NOTHING,
    refuse: NOTHING,
    prompt: None,
    unknown_conversation: &[],
};

static TEXT: Options = PLAIN;

static CLAUDE: Options = Options {
    model: Some("--model="),
    mode: Some(Values {
        flag: "--permission-mode=",
        known: &["default", "plan", "acceptEdits", "auto", "dontAsk", "bypassPermissions"],
        forward: &["acceptEdits", "auto"],
        bold: &["bypassPermissions"],
    }),
    thinking: values("--effort=", &["low", "medium", "high", "xhigh", "max"]),
    begin: Some("--session-id="),
    resume: Some(Resume::Flag("--resume=")),
    // Not its mode that bypasses everything: that one refuses to run as root.
    allow: args(&[
        "--permission-mode=acceptEdits",
        "--allowed-tools=Bash,WebFetch,WebSearch,NotebookEdit,Skill",
    ]),
    refuse: args(&["--permission-mode=default"]),
    unknown_conversation: &["No conversation found with session ID: {id}"],
    ..PLAIN
};

static QWEN: Options = Options {
    model: Some("--model="),
    mode: Some(Values {
        flag: "--approval-mode=",
        known: &["plan", "default", "auto-edit", "auto", "yolo"],
        forward: &["auto-edit", "auto"],
        bold: &["yolo"],
    }),
    begin: Some("--session-id="),
    resume: Some(Resume::Flag("--resume=")),
    allow: args(&["--approval-mode=yolo"]),
    refuse: args(&["--approval-mode=default"]),
    unknown_conversation: &["No saved session found with ID {id}."],
    ..PLAIN
};

static GEMINI: Options = Options {
    model: Some("--model="),
    mode: Some(Values {
        flag: "--approval-mode=",
        known: &["default", "auto_edit", "yolo", "plan"],
        forward: &["auto_edit"],
        bold: &["yolo"],
    }),
    begin: Some("--session-id="),
    resume: Some(Resume::Flag("--resume=")),
    allow: args(&["--approval-mode=yolo"]),
    refuse: args(&["--approval-mode=default"]),
    unknown_conversation: &[
        "Error resuming session: Invalid session identifier \"{id}\".",
        "Error resuming session: No previous sessions found for this project.",
    ],
    ..PLAIN
};

static CODEX: Options = Options {
    model: Some("--model="),
    // By its configuration, since the subcommand that resumes has no flag for it.
    mode: Some(Values {
        flag: "--config=sandbox_mode=",
        known: &["read-only", "workspace-write", "danger-full-access"],
        forward: &["workspace-write"],
        bold: &["danger-full-access"],
    }),
    thinking: values(
        "--config=model_reasoning_effort=",
        &["none", "minimal", "low", "medium", "high", "xhigh"],
    ),
    resume: Some(Resume::Subcommand("resume")),
    allow: args(&["--config=sandbox_mode=workspace-write"]),
    refuse: args(&["--config=sandbox_mode=read-only"]),
    unknown_conversation: &["thread/resume: thread/resume failed: no rollout found for thread id {id}"],
    ..PLAIN
};

static GOOSE: Options = Options {
    model: Some("--model="),
    begin: Some("--name="),
    resume: Some(Resume::Beside("--resume")),
    allow: Told { args: &[], env: &[("GOOSE_MODE", "auto")] },
    // Those of its modes that ask need a terminal to ask on.
    refuse: Told { args: &[], env: &[("GOOSE_MODE", "chat")] },
    unknown_conversation: &["No session found with name '{id}'"],
    ..PLAIN
};

static OPENCODE: Options = Options {
    model: Some("--model="),
    mode: values("--agent=", &[]),
    thinking: values("--variant=", &[]),
    resume: Some(Resume::Flag("--session=")),
    allow: args(&["--auto"]),
    unknown_conversation: &["Session not found"],
    ..PLAIN
};

static VIBE: Options = Options {
    mode: Some(Values { flag: "--agent=", known: &[], forward: &["accept-edits"], bold: &["auto-approve"] }),
    resume: Some(Resume::Flag("--resume=")),
    allow: args(&["--auto-approve"]),
    // What it reads from standard input it takes for the prompt only where it finds a terminal besides.
    prompt: Some("--prompt="),
    // Its words for a conversation that is not there, "not found in", it has for other failures, too: beginning anew
    // after one of those could send the prompt twice.
    ..PLAIN
};

impl Options {
    /// Those of a program that prints this.
    pub(super) fn of(output: Output) -> &'static Self {
        match output {
            Output::Claude => &CLAUDE,
            Output::Qwen => &QWEN,
            Output::Gemini => &GEMINI,
            Output::Codex => &CODEX,
            Output::Goose => &GOOSE,
            Output::Opencode => &OPENCODE,
            Output::Vibe => &VIBE,
            Output::Text => &TEXT,
        }
    }

    /// Whether the id of a conversation can be chosen before it begins.
    pub(super) fn chooses_id(&self) -> bool {
        self.begin.is_some()
    }

    /// Whether this is what the program says where it does not have the conversation of this id. Its own sentence, at the
    /// beginning of a line: other failures may quote anything, and what follows is that the prompt goes out again.
    pub(super) fn says_unknown(&self, text: &str, id: &str) -> bool {
        let sentences: Vec<String> =
            self.unknown_conversation.iter().map(|sentence| sentence.replace("{id}", id)).collect();
        text.lines().any(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("Error: ").unwrap_or(line);
            sentences.iter().any(|sentence| line.starts_with(sentence))
        })
    }

    /// Whether an earlier conversation can be gone on with.
    pub(super) fn can_resume(&self) -> bool {
        self.resume.is_some()
    }

    /// What there is to choose from, as far as it is known beforehand.
    pub(super) fn settings(&self) -> AgentSettings {
        let known = |values: &Option<Values>| {
            let known = values.as_ref().map(|values| values.known).unwrap_or_default();
            let offer = |id: &&str| Offer {
                id: (*id).to_owned(),
                name: (*id).to_owned(),
                description: String::new(),
            };
            Setting { current: None, choices: known.iter().map(offer).collect() }
        };
        AgentSettings { model: Setting::default(), mode: known(&self.mode), thinking: known(&self.thinking) }
    }
}

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
        (Some(model), Some(flag)) => asked.push(flag, &full_model(entry, model)),
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

fn full_model(entry: &AgentEntry, model: &Name) -> String {
    match &entry.quirks.model_prefix {
        Some(prefix) if !model.as_str().contains('/') => format!("{prefix}{model}"),
        _ => model.as_str().to_owned(),
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

    /// As seen of each program.
    #[test]
    fn a_conversation_that_is_not_there_is_known_by_what_is_said_of_it() {
        let id = "0-1";
        for (options, said) in [
            (&CLAUDE, "No conversation found with session ID: 0-1"),
            (
                &QWEN,
                "No saved session found with ID 0-1. Run `qwen --resume` without an ID to choose from existing sessions.",
            ),
            (
                &GEMINI,
                "Error resuming session: Invalid session identifier \"0-1\".\n  Searched for sessions in /x.",
            ),
            (&GEMINI, "Error resuming session: No previous sessions found for this project."),
            (
                &CODEX,
                "Error: thread/resume: thread/resume failed: no rollout found for thread id 0-1 (code -32600)",
            ),
            (&GOOSE, "Error: No session found with name '0-1'"),
            (&OPENCODE, "Error: Session not found"),
        ] {
            let text = format!("agent x ended with exit code 1\n\nstandard error:\nchatter\n{said}");
            assert!(options.says_unknown(&text, id), "{said}");
            assert!(!options.says_unknown(&format!("API error: {said}"), id), "{said}");
            assert!(!VIBE.says_unknown(&text, id), "{said}");
        }
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
