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
    /// What it says, in lower case, of a conversation that is not there.
    pub(super) unknown_conversation: &'static [&'static str],
}

/// A setting with a closed set of values.
struct Values {
    flag: &'static str,
    /// Empty where any may exist.
    known: &'static [&'static str],
    /// Those that let it act without asking: only where the policy allows that.
    bold: &'static [&'static str],
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
        bold: &["bypassPermissions"],
    }),
    thinking: Some(Values {
        flag: "--effort=",
        known: &["low", "medium", "high", "xhigh", "max"],
        bold: &[],
    }),
    begin: Some("--session-id="),
    resume: Some(Resume::Flag("--resume=")),
    // Not its mode that bypasses everything: that one refuses to run as root.
    allow: args(&[
        "--permission-mode=acceptEdits",
        "--allowed-tools=Bash,WebFetch,WebSearch,NotebookEdit,Skill",
    ]),
    refuse: args(&["--permission-mode=default"]),
    unknown_conversation: &["no conversation found"],
    ..PLAIN
};

static QWEN: Options = Options {
    model: Some("--model="),
    mode: Some(Values {
        flag: "--approval-mode=",
        known: &["plan", "default", "auto-edit", "auto", "yolo"],
        bold: &["yolo"],
    }),
    begin: Some("--session-id="),
    resume: Some(Resume::Flag("--resume=")),
    allow: args(&["--approval-mode=yolo"]),
    refuse: args(&["--approval-mode=default"]),
    unknown_conversation: &["no saved session found"],
    ..PLAIN
};

static GEMINI: Options = Options {
    model: Some("--model="),
    mode: Some(Values {
        flag: "--approval-mode=",
        known: &["default", "auto_edit", "yolo", "plan"],
        bold: &["yolo"],
    }),
    begin: Some("--session-id="),
    resume: Some(Resume::Flag("--resume=")),
    allow: args(&["--approval-mode=yolo"]),
    refuse: args(&["--approval-mode=default"]),
    unknown_conversation: &["invalid session identifier", "no previous sessions found"],
    ..PLAIN
};

static CODEX: Options = Options {
    model: Some("--model="),
    // By its configuration, since the subcommand that resumes has no flag for it.
    mode: Some(Values {
        flag: "--config=sandbox_mode=",
        known: &["read-only", "workspace-write", "danger-full-access"],
        bold: &["danger-full-access"],
    }),
    thinking: Some(Values {
        flag: "--config=model_reasoning_effort=",
        known: &["none", "minimal", "low", "medium", "high", "xhigh"],
        bold: &[],
    }),
    resume: Some(Resume::Subcommand("resume")),
    allow: args(&["--config=sandbox_mode=workspace-write"]),
    refuse: args(&["--config=sandbox_mode=read-only"]),
    unknown_conversation: &["no rollout found", "no saved session found"],
    ..PLAIN
};

static GOOSE: Options = Options {
    model: Some("--model="),
    begin: Some("--name="),
    resume: Some(Resume::Beside("--resume")),
    allow: Told { args: &[], env: &[("GOOSE_MODE", "auto")] },
    // Those of its modes that ask need a terminal to ask on.
    refuse: Told { args: &[], env: &[("GOOSE_MODE", "chat")] },
    unknown_conversation: &["no session", "session not found"],
    ..PLAIN
};

static OPENCODE: Options = Options {
    model: Some("--model="),
    mode: Some(Values { flag: "--agent=", known: &[], bold: &[] }),
    thinking: Some(Values { flag: "--variant=", known: &[], bold: &[] }),
    resume: Some(Resume::Flag("--session=")),
    allow: args(&["--auto"]),
    unknown_conversation: &["session not found"],
    ..PLAIN
};

static VIBE: Options = Options {
    mode: Some(Values { flag: "--agent=", known: &[], bold: &["auto-approve"] }),
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
        if values.bold.contains(&value) && policy != PermissionPolicy::Allow {
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
    use dispatch_core::ids::{ChatId, SessionId, TaskId};

    fn spec(model: &str, mode: &str, thinking: &str, permissions: PermissionPolicy) -> SessionSpec {
        SessionSpec {
            task: TaskId::from_random([1; 16]),
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
        let registry = Registry::new([]).unwrap();
        let entry = registry.get("claude").unwrap();
        let asked = |policy| {
            asked(entry, &[], &CLAUDE, &spec("", "bypassPermissions", "", policy), &Conversation::Fresh)
        };
        assert!(asked(PermissionPolicy::Allow).args.contains(&"--permission-mode=bypassPermissions".into()));
        for policy in [PermissionPolicy::Ask, PermissionPolicy::Deny, PermissionPolicy::Auto] {
            let asked = asked(policy);
            assert_eq!(asked.args, ["--permission-mode=default"]);
            assert_eq!(asked.notices[0].code, NoticeCode::OptionIgnored);
        }
    }
}
