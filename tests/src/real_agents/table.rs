//! The agents: how each is told to be offline, to keep to its folder, and to give up soon.

use super::agent::{Approval, RealAgent, text, write};
use serde_json::json;

/// All of them.
pub static AGENTS: [&RealAgent; 6] = [&OPENCODE, &GOOSE, &CLAUDE, &QWEN, &GEMINI, &CODEX];

/// A native program. It retries 5xx without an end.
pub static OPENCODE: RealAgent = RealAgent {
    name: "opencode",
    acp_program: "opencode",
    acp_args: |_| vec!["acp"],
    // A prompt among the arguments would reach the model in double quotes.
    once: |_, prompt| (owned(&["run", "--format", "json", "-m", "mock/mock-1"]), prompt.to_owned()),
    stream_args: |_| Vec::new(),
    configure: |site, home| {
        let ask = if site.approval == Approval::Ask { "ask" } else { "allow" };
        let model = |name: &str| {
            let limit = json!({"context": 100_000, "output": 8000});
            json!({"name": name, "reasoning": true, "tool_call": true, "limit": limit})
        };
        let options = json!({"baseURL": format!("{}/v1", site.model_url), "apiKey": KEY});
        let provider = json!({"npm": "@ai-sdk/openai-compatible", "name": "Mock", "options": options,
                              "models": {"mock-1": model("Mock One"), "mock-2": model("Mock Two")}});
        let config = json!({
            "autoupdate": false, "share": "disabled", "model": "mock/mock-1", "small_model": "mock/mock-1",
            "enabled_providers": ["mock"], "provider": {"mock": provider},
            "permission": {"edit": ask, "bash": ask, "webfetch": "deny"},
        });
        let file = write(&home.join("opencode.json"), &config.to_string());
        vec![
            ("OPENCODE_CONFIG", file),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1".into()),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1".into()),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1".into()),
            ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1".into()),
        ]
    },
};

/// A native program.
///
/// goose 1.34 hears `session/cancel` only with the model's next word: while the model is silent, nothing
/// but a signal stops it.
pub static GOOSE: RealAgent = RealAgent {
    name: "goose",
    acp_program: "goose",
    acp_args: |_| vec!["acp"],
    once: |_, prompt| {
        let args = ["run", "-q", "--output-format", "stream-json", "--no-session", "-t", prompt];
        (owned(&args), String::new())
    },
    stream_args: |_| Vec::new(),
    configure: |site, _| {
        let mode = if site.approval == Approval::Ask { "approve" } else { "auto" };
        vec![
            ("GOOSE_PROVIDER", "openai".into()),
            ("GOOSE_MODEL", "mock-1".into()),
            ("GOOSE_MODE", mode.into()),
            ("GOOSE_DISABLE_KEYRING", "1".into()),
            ("GOOSE_TELEMETRY_ENABLED", "false".into()),
            ("OPENAI_HOST", site.model_url.to_owned()),
            ("OPENAI_API_KEY", KEY.into()),
        ]
    },
};

/// A native program, and an adapter for Node.js that speaks ACP and starts it for each session.
pub static CLAUDE: RealAgent = RealAgent {
    name: "claude",
    acp_program: "claude-agent-acp",
    acp_args: |_| Vec::new(),
    once: |_, prompt| (owned(&["-p", prompt, "--output-format", "stream-json", "--verbose"]), String::new()),
    stream_args: |_| {
        vec![
            "-p",
            "--output-format",
            "stream-json",
            "--verbose",
            "--input-format",
            "stream-json",
            "--permission-prompt-tool",
            "stdio",
        ]
    },
    configure: |site, home| {
        let mode = if site.approval == Approval::Ask { "default" } else { "bypassPermissions" };
        let settings = json!({"permissions": {"defaultMode": mode}});
        write(&home.join(".claude/settings.json"), &settings.to_string());
        vec![
            ("ANTHROPIC_BASE_URL", site.model_url.to_owned()),
            ("ANTHROPIC_API_KEY", KEY.into()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
            ("DISABLE_TELEMETRY", "1".into()),
            ("DISABLE_AUTOUPDATER", "1".into()),
            ("DISABLE_ERROR_REPORTING", "1".into()),
            // By default ten, three minutes in all, of a refused key, too.
            ("CLAUDE_CODE_MAX_RETRIES", "1".into()),
            // Without it, root may not do without permissions.
            ("IS_SANDBOX", "1".into()),
        ]
    },
};

/// For Node.js; in three processes, if it may start itself anew.
pub static QWEN: RealAgent = RealAgent {
    name: "qwen",
    acp_program: "qwen",
    acp_args: |_| vec!["--acp"],
    once: |_, prompt| (owned(&["-p", prompt, "--output-format", "stream-json"]), String::new()),
    stream_args: |_| vec!["--input-format", "stream-json", "--output-format", "stream-json"],
    configure: |site, home| {
        let mode = if site.approval == Approval::Ask { "default" } else { "yolo" };
        let settings = json!({
            "security": {"auth": {"selectedType": "openai"}}, "telemetry": {"enabled": false},
            "privacy": {"usageStatisticsEnabled": false}, "general": {"enableAutoUpdate": false},
            "tools": {"approvalMode": mode}, "model": {"generationConfig": {"maxRetries": 1}},
        });
        write(&home.join(".qwen/settings.json"), &settings.to_string());
        vec![
            ("OPENAI_BASE_URL", format!("{}/v1", site.model_url)),
            ("OPENAI_API_KEY", KEY.into()),
            ("OPENAI_MODEL", "mock-1".into()),
            ("QWEN_CODE_NO_RELAUNCH", "true".into()),
        ]
    },
};

/// For Node.js; in two processes, if it may start itself anew.
pub static GEMINI: RealAgent = RealAgent {
    name: "gemini",
    acp_program: "gemini",
    acp_args: |approval| [&["--acp", "--skip-trust"], gemini_mode(approval)].concat(),
    once: |approval, prompt| {
        let args = ["-p", prompt, "--output-format", "stream-json", "--skip-trust"];
        ([owned(&args), owned(gemini_mode(approval))].concat(), String::new())
    },
    stream_args: |_| Vec::new(),
    configure: |site, home| {
        let settings = json!({
            "security": {"auth": {"selectedType": "gemini-api-key"}}, "telemetry": {"enabled": false},
            // By default ten attempts, minutes of silence.
            "general": {"enableAutoUpdate": false, "maxAttempts": 2},
            "privacy": {"usageStatisticsEnabled": false},
        });
        write(&home.join(".gemini/settings.json"), &settings.to_string());
        vec![
            ("GOOGLE_GEMINI_BASE_URL", site.model_url.to_owned()),
            ("GEMINI_API_KEY", KEY.into()),
            ("GEMINI_MODEL", "mock-1".into()),
            ("GEMINI_CLI_NO_RELAUNCH", "true".into()),
        ]
    },
};

fn gemini_mode(approval: Approval) -> &'static [&'static str] {
    if approval == Approval::Ask { &[] } else { &["--approval-mode", "yolo"] }
}

/// Both programs are native behind a small one for Node.js. The adapter has a codex of its own inside.
pub static CODEX: RealAgent = RealAgent {
    name: "codex",
    acp_program: "codex-acp",
    acp_args: |_| Vec::new(),
    once: |_, prompt| (owned(&["exec", "--json", prompt]), String::new()),
    stream_args: |_| Vec::new(),
    configure: |site, home| {
        let policy = if site.approval == Approval::Ask { "untrusted" } else { "never" };
        let codex = home.join(".codex");
        // With a model that neither codex knows there would be no tool for edits.
        let config = format!(
            "model = \"gpt-5.5\"\nmodel_provider = \"mock\"\napproval_policy = \"{policy}\"\n\
             sandbox_mode = \"danger-full-access\"\ncheck_for_update_on_startup = false\n\
             [analytics]\nenabled = false\n[model_providers.mock]\nname = \"Mock\"\n\
             base_url = \"{}/v1\"\nwire_api = \"responses\"\nenv_key = \"MOCK_KEY\"\n\
             request_max_retries = 1\nstream_max_retries = 1\n",
            site.model_url
        );
        write(&codex.join("config.toml"), &config);
        vec![("CODEX_HOME", text(&codex)), ("MOCK_KEY", KEY.into())]
    },
};

const KEY: &str = "scripted";

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}
