//! The agents that everybody has heard of.
//!
//! Sources: each agent's documentation for its variables, and recordings of the versions named in the fixtures of
//! `acp-proto` for commands and quirks.

use acp_proto::host::MissingFile;
use dispatch_core::task::Name;

use super::entry::{AgentEntry, Cli, Output, Quirks, Ways};

/// An entry with what most have in common.
fn agent(name: &str, title: &str, program: &str, ways: Ways, install: &str) -> AgentEntry {
    AgentEntry {
        name: Name::new(name).expect("because the shipped names are not empty"),
        title: title.to_owned(),
        program: program.into(),
        ways,
        env: [].into(),
        pass: Vec::new(),
        install: install.to_owned(),
        version_args: vec!["--version".into()],
        quirks: Quirks::default(),
    }
}

/// Makes standard input Claude's control protocol.
const CONTROL_INPUT: [&str; 2] = ["--input-format", "stream-json"];

fn args(args: &[&str]) -> Vec<std::ffi::OsString> {
    args.iter().map(Into::into).collect()
}

fn acp(arguments: &[&str]) -> Ways {
    Ways { acp: Some(args(arguments)), ..Ways::default() }
}

fn cli(arguments: &[&str], output: Output) -> Option<Cli> {
    Some(Cli { args: args(arguments), output, control_input: false, terminal: false })
}

/// A program that takes its prompt by Claude's control protocol, after these arguments.
fn controlled_cli(arguments: &[&str], output: Output) -> Option<Cli> {
    let args = args(&[arguments, &CONTROL_INPUT].concat());
    Some(Cli { args, output, control_input: true, terminal: false })
}

fn env<const N: usize>(pairs: [(&str, &str); N]) -> std::collections::BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn pass(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

/// The shipped entries, in the order in which "the first one installed" is looked for. Those that are another
/// program's way to speak ACP come after it.
pub(super) fn entries() -> Vec<AgentEntry> {
    vec![
        opencode(),
        claude(),
        goose(),
        qwen(),
        gemini(),
        codex(),
        vibe(),
        claude_acp(),
        codex_acp(),
        vibe_acp(),
    ]
}

fn opencode() -> AgentEntry {
    AgentEntry {
        // It reaches the provider that the user has configured, by that provider's own key.
        pass: pass(&[
            "OPENCODE_*",
            "ANTHROPIC_API_KEY",
            "OPENAI_API_KEY",
            "OPENROUTER_API_KEY",
            "GEMINI_API_KEY",
            "GOOGLE_GENERATIVE_AI_API_KEY",
            "GROQ_API_KEY",
            "MISTRAL_API_KEY",
            "DEEPSEEK_API_KEY",
            "XAI_API_KEY",
        ]),
        quirks: Quirks {
            context_tags: true,
            model_prefix: Some("llama-swap/".to_owned()),
            port_password: Some("OPENCODE_SERVER_PASSWORD".to_owned()),
            ..Quirks::default()
        },
        ..agent(
            "opencode",
            "opencode",
            "opencode",
            Ways {
                opencode_server: Some(args(&["serve", "--hostname", "127.0.0.1", "--port", "0"])),
                // Its prompt comes on standard input: as an argument it would be wrapped in quotes.
                cli: cli(&["run", "--format", "json", "--thinking"], Output::Opencode),
                ..acp(&["acp"])
            },
            "npm install -g opencode-ai",
        )
    }
}

fn goose() -> AgentEntry {
    AgentEntry {
        // Its own default acts without asking.
        env: env([("GOOSE_MODE", "approve"), ("GOOSE_TELEMETRY_ENABLED", "false")]),
        pass: pass(&[
            "GOOSE_*",
            "OPENAI_*",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_HOST",
            "GOOGLE_API_KEY",
            "OPENROUTER_API_KEY",
            "GROQ_API_KEY",
            "DATABRICKS_*",
            "OLLAMA_HOST",
        ]),
        quirks: Quirks {
            error_text: Some("Ran into this error".to_owned()),
            ignores_eof: true,
            ..Quirks::default()
        },
        ..agent(
            "goose",
            "goose",
            "goose",
            Ways {
                cli: cli(&["run", "-q", "--output-format", "stream-json", "-i", "-"], Output::Goose),
                ..acp(&["acp"])
            },
            "see https://block.github.io/goose/docs/getting-started/installation",
        )
    }
}

fn qwen() -> AgentEntry {
    AgentEntry {
        // Without it, qwen runs as three processes that outlive each other.
        env: env([("QWEN_CODE_NO_RELAUNCH", "true")]),
        pass: pass(&["QWEN_*", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "DASHSCOPE_API_KEY"]),
        quirks: Quirks { start_mode: Some("default".to_owned()), ..Quirks::default() },
        ..agent(
            "qwen",
            "Qwen Code",
            "qwen",
            Ways {
                cli: cli(&["--output-format", "stream-json", "--include-partial-messages"], Output::Qwen),
                // Its own default mode lets a model decide what is asked for.
                ..acp(&["--acp", "--approval-mode", "default"])
            },
            "npm install -g @qwen-code/qwen-code",
        )
    }
}

fn gemini() -> AgentEntry {
    AgentEntry {
        // Without the first, gemini's child outlives it; worktrees are nobody's trusted folders.
        env: env([("GEMINI_CLI_NO_RELAUNCH", "true"), ("GEMINI_CLI_TRUST_WORKSPACE", "true")]),
        pass: pass(&["GEMINI_*", "GOOGLE_*"]),
        quirks: Quirks { missing_file: MissingFile::Empty, ..Quirks::default() },
        ..agent(
            "gemini",
            "Gemini CLI",
            "gemini",
            Ways {
                cli: cli(&["--output-format", "stream-json", "--skip-trust"], Output::Gemini),
                ..acp(&["--acp"])
            },
            "npm install -g @google/gemini-cli",
        )
    }
}

const CLAUDE_VARIABLES: &[&str] = &[
    "ANTHROPIC_*",
    "CLAUDE_*",
    "IS_SANDBOX",
    "DISABLE_TELEMETRY",
    "DISABLE_AUTOUPDATER",
    "DISABLE_ERROR_REPORTING",
];

fn claude() -> AgentEntry {
    let print = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"];
    AgentEntry {
        pass: pass(CLAUDE_VARIABLES),
        ..agent(
            "claude",
            "Claude Code",
            "claude",
            Ways {
                claude_control: Some(args(
                    &[&print[..], &CONTROL_INPUT, &["--permission-prompt-tool", "stdio"]].concat(),
                )),
                cli: controlled_cli(&print, Output::Claude),
                ..Ways::default()
            },
            "npm install -g @anthropic-ai/claude-code",
        )
    }
}

fn claude_acp() -> AgentEntry {
    AgentEntry {
        pass: pass(CLAUDE_VARIABLES),
        ..agent(
            "claude-agent-acp",
            "Claude Code (ACP)",
            "claude-agent-acp",
            acp(&[]),
            "npm install -g @agentclientprotocol/claude-agent-acp",
        )
    }
}

const CODEX_VARIABLES: &[&str] = &["CODEX_*", "OPENAI_API_KEY", "OPENAI_BASE_URL"];

fn codex() -> AgentEntry {
    AgentEntry {
        pass: pass(CODEX_VARIABLES),
        ..agent(
            "codex",
            "Codex",
            "codex",
            Ways { cli: cli(&["exec", "--json"], Output::Codex), ..Ways::default() },
            "npm install -g @openai/codex",
        )
    }
}

fn codex_acp() -> AgentEntry {
    AgentEntry {
        pass: pass(CODEX_VARIABLES),
        quirks: Quirks { ignores_eof: true, cancel_leaves_commands: true, ..Quirks::default() },
        ..agent("codex-acp", "Codex (ACP)", "codex-acp", acp(&[]), "npm install -g @zed-industries/codex-acp")
    }
}

const VIBE_VARIABLES: &[&str] = &["MISTRAL_*", "VIBE_*"];

fn vibe() -> AgentEntry {
    AgentEntry {
        pass: pass(VIBE_VARIABLES),
        ..agent(
            "vibe",
            "Mistral Vibe",
            "vibe",
            Ways { cli: cli(&["--output", "streaming"], Output::Vibe), ..Ways::default() },
            "uv tool install mistral-vibe",
        )
    }
}

fn vibe_acp() -> AgentEntry {
    AgentEntry {
        pass: pass(VIBE_VARIABLES),
        // Its own default edits without asking.
        quirks: Quirks { start_mode: Some("ask".to_owned()), usage_adds_up: true, ..Quirks::default() },
        ..agent("vibe-acp", "Mistral Vibe (ACP)", "vibe-acp", acp(&[]), "uv tool install mistral-vibe")
    }
}

/// The agent that comes with this program, started by `command`.
pub(super) fn demo(command: Vec<std::ffi::OsString>) -> AgentEntry {
    let mut command = command.into_iter();
    let program = command.next().unwrap_or_default();
    let ways = Ways { acp: Some(command.collect()), ..Ways::default() };
    // Its version is this program's.
    AgentEntry {
        program,
        version_args: Vec::new(),
        ..agent("demo", "Demo agent", "", ways, "it comes with boocoder")
    }
}
