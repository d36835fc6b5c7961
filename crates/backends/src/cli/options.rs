//! How each program is told what is asked for, as data.
//!
//! After the programs' own help: Claude Code 2.1.197, qwen 0.24.4, gemini 0.61.0, codex 0.169.0, goose 1.34.0,
//! opencode 1.18.33; vibe after its sources. Values go into the same argument as their flag (`--flag=value`), so that
//! none can be taken for a flag.

use dispatch_core::agent::{AgentSettings, Choice as Offer, Setting};

use crate::registry::Output;

/// How a program is told things. What it cannot be told is absent.
pub(super) struct Options {
    /// The model: what stands before its name.
    pub(super) model: Option<&'static str>,
    pub(super) mode: Option<Values>,
    pub(super) thinking: Option<Values>,
    /// Begins a conversation under an id that we choose.
    pub(super) begin: Option<&'static str>,
    pub(super) resume: Option<Resume>,
    /// Lets it act in its worktree without asking.
    pub(super) allow: Told,
    /// Says that it may not, where that is not its default.
    pub(super) refuse: Told,
    /// What stands before the prompt where that must be an argument; others read it from standard input.
    pub(super) prompt: Option<&'static str>,
    /// What lines begin with that say of a conversation that it is not there; `{id}` stands for its id.
    unknown_conversation: &'static [&'static str],
}

/// A setting with a closed set of values.
pub(super) struct Values {
    pub(super) flag: &'static str,
    /// Empty where any may exist.
    pub(super) known: &'static [&'static str],
    /// Those that let it do some things without asking: not where the policy is to refuse all.
    pub(super) forward: &'static [&'static str],
    /// Those that let it do all without asking: only where the policy allows that.
    pub(super) bold: &'static [&'static str],
}

/// Values that let it do nothing.
const fn values(flag: &'static str, known: &'static [&'static str]) -> Option<Values> {
    Some(Values { flag, known, forward: &[], bold: &[] })
}

/// How a conversation is gone on with.
pub(super) enum Resume {
    /// A flag with its id.
    Flag(&'static str),
    /// A subcommand, behind all flags, whose arguments are the id and the prompt, which `-` has it read.
    Subcommand(&'static str),
    /// A flag of its own, beside the one that `begin` names.
    Beside(&'static str),
}

/// Arguments and variables.
#[derive(Default)]
pub(super) struct Told {
    pub(super) args: &'static [&'static str],
    pub(super) env: &'static [(&'static str, &'static str)],
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
