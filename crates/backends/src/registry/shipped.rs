//! The agents that everybody has heard of.
//!
//! Sources: each agent's documentation for its variables, and recordings of the versions named in the fixtures of
//! `acp-proto` for commands and quirks.

use acp_proto::host::MissingFile;
use dispatch_core::routing::{Route, Routes};
use dispatch_core::task::Name;

use super::entry::{AgentEntry, Quirks, Transport};

/// An entry with what most have in common.
fn acp(name: &str, title: &str, command: &[&str], install: &str) -> AgentEntry {
    AgentEntry {
        name: Name::new(name).expect("because the shipped names are not empty"),
        title: title.to_owned(),
        command: command.iter().map(Into::into).collect(),
        transport: Transport::Acp,
        env: [].into(),
        pass: Vec::new(),
        install: install.to_owned(),
        version_args: vec!["--version".into()],
        routes: ROUTES,
        quirks: Quirks::default(),
    }
}

fn env<const N: usize>(pairs: [(&str, &str); N]) -> std::collections::BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn pass(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|&pattern| pattern.to_owned()).collect()
}

/// How all of them can be reached by what is built.
pub(super) const ROUTES: Routes = Routes::of(&[Route::OneShotAcp]);

/// The shipped entries, in the order in which "the first one installed" is looked for.
pub(super) fn entries() -> Vec<AgentEntry> {
    vec![opencode(), goose(), qwen(), gemini(), claude(), codex(), vibe()]
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
            ..Quirks::default()
        },
        ..acp("opencode", "opencode", &["opencode", "acp"], "npm install -g opencode-ai")
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
        quirks: Quirks { error_text: Some("Ran into this error"), ignores_eof: true, ..Quirks::default() },
        ..acp(
            "goose",
            "goose",
            &["goose", "acp"],
            "see https://block.github.io/goose/docs/getting-started/installation",
        )
    }
}

fn qwen() -> AgentEntry {
    AgentEntry {
        // Without it, qwen runs as three processes that outlive each other.
        env: env([("QWEN_CODE_NO_RELAUNCH", "true")]),
        pass: pass(&["QWEN_*", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "DASHSCOPE_API_KEY"]),
        ..acp(
            "qwen",
            "Qwen Code",
            // Its own default mode lets a model decide what is asked for.
            &["qwen", "--acp", "--approval-mode", "default"],
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
        ..acp("gemini", "Gemini CLI", &["gemini", "--acp"], "npm install -g @google/gemini-cli")
    }
}

fn claude() -> AgentEntry {
    AgentEntry {
        pass: pass(&["ANTHROPIC_*", "CLAUDE_*", "IS_SANDBOX", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"]),
        ..acp(
            "claude-agent-acp",
            "Claude Code",
            &["claude-agent-acp"],
            "npm install -g @zed-industries/claude-agent-acp",
        )
    }
}

fn codex() -> AgentEntry {
    AgentEntry {
        pass: pass(&["CODEX_*", "OPENAI_API_KEY", "OPENAI_BASE_URL"]),
        quirks: Quirks { ignores_eof: true, ..Quirks::default() },
        ..acp("codex-acp", "Codex", &["codex-acp"], "npm install -g @zed-industries/codex-acp")
    }
}

fn vibe() -> AgentEntry {
    AgentEntry {
        pass: pass(&["MISTRAL_*", "VIBE_*"]),
        ..acp("vibe-acp", "Mistral Vibe", &["vibe-acp"], "uv tool install mistral-vibe")
    }
}

/// The agent that comes with this program, started by `command`.
pub(super) fn demo(command: Vec<std::ffi::OsString>) -> AgentEntry {
    // Its version is this program's.
    AgentEntry {
        command,
        version_args: Vec::new(),
        ..acp("demo", "Demo agent", &["demo-agent"], "it comes with boocoder")
    }
}
