//! Where cells differ, and why.

/// A cell where something else comes of a scenario than is expected.
#[derive(Debug)]
pub struct Difference {
    /// The routes, all when empty.
    pub routes: &'static [&'static str],
    /// Who works, all when empty.
    pub workers: &'static [&'static str],
    /// The scenarios.
    pub scenarios: &'static [&'static str],
    /// What comes of it: one of these.
    pub observed: &'static [&'static str],
    /// Why.
    pub why: &'static str,
}

/// All of them. The first that fits counts.
pub static DIFFERENCES: &[Difference] = &[
    Difference {
        routes: &["one-shot CLI"],
        workers: &["gemini"],
        scenarios: &["reasoning"],
        observed: &["completed, but the reasoning is not shown"],
        why: "it does not print it",
    },
    Difference {
        routes: &["native inference"],
        workers: &[],
        scenarios: &["connection cut once"],
        observed: &["failed: agent_crashed, but the answer is not asked for again"],
        why: "what was shown already would be shown twice",
    },
    Difference {
        routes: &["one-shot ACP", "one-shot CLI"],
        workers: &[],
        scenarios: &["follow-up", "follow-up after a Stop", "follow-up after a kill -9 of the agent"],
        observed: &["completed, but the model is not told of the first turn"],
        why: "each task has a conversation of its own on this route",
    },
    Difference {
        routes: &[],
        workers: &["goose"],
        scenarios: &["context too long"],
        observed: &["completed"],
        why: "it compacts the conversation and goes on",
    },
    Difference {
        routes: &["opencode server", "warm ACP", "one-shot ACP"],
        workers: &["opencode"],
        scenarios: &["context too long"],
        observed: &["completed"],
        why: "it compacts the conversation and goes on",
    },
    Difference {
        routes: &[],
        workers: &["goose", "qwen", "gemini", "codex"],
        scenarios: &["content filter"],
        observed: &["completed"],
        why: "it takes that for an ordinary end",
    },
    Difference {
        routes: &[],
        workers: &["goose", "qwen", "gemini"],
        scenarios: &["output limit"],
        observed: &["completed"],
        why: "it takes that for an ordinary end",
    },
    Difference {
        routes: &["warm ACP", "one-shot ACP"],
        workers: &["opencode", "codex"],
        scenarios: &["output limit"],
        observed: &["completed"],
        why: "it takes that for an ordinary end",
    },
    Difference {
        routes: &[],
        workers: &["claude"],
        scenarios: &["output limit"],
        observed: &["completed"],
        why: "it asks the model for the rest",
    },
    Difference {
        routes: &["warm ACP"],
        workers: &["codex"],
        scenarios: &["Stop in text", "Stop in a tool", "Stop at a permission"],
        observed: &["cancelled, but its process is not kept"],
        why: "a command that it had running would go on, so it is replaced",
    },
    Difference {
        routes: &["one-shot CLI"],
        workers: &[],
        scenarios: &["permission allowed"],
        observed: &["completed, but not both are asked for"],
        why: "a program that takes one prompt cannot ask: it is told what it may do",
    },
    Difference {
        routes: &["one-shot CLI"],
        workers: &[],
        scenarios: &["permission asked, allowed by another process", "Stop at a permission"],
        observed: &["completed, but nothing is asked"],
        why: "a program that takes one prompt cannot ask: it is told what it may do",
    },
    Difference {
        routes: &["one-shot CLI"],
        workers: &[],
        scenarios: &["permission refused"],
        observed: &["completed, but the request is not shown"],
        why: "a program that takes one prompt cannot ask: it is told what it may do",
    },
    Difference {
        routes: &["Claude SDK", "one-shot CLI"],
        workers: &[],
        scenarios: &["model of an unknown name"],
        observed: &["failed: agent_failed, but the user is not told that it is unknown"],
        why: "it takes any name, which its model's host then refuses",
    },
    Difference {
        routes: &[],
        workers: &["goose"],
        scenarios: &["connection cut once"],
        observed: &["failed: agent_failed, but the answer is not asked for again"],
        why: "it tells the error as text and ends the turn",
    },
    Difference {
        routes: &["one-shot ACP", "warm ACP"],
        workers: &["gemini"],
        scenarios: &["connection cut once"],
        observed: &["failed: model_overloaded, but the answer is not asked for again"],
        why: "it gives up once text has come",
    },
    Difference {
        routes: &["one-shot CLI"],
        workers: &["gemini"],
        scenarios: &["connection cut once"],
        observed: &["failed: agent_failed, but the answer is not asked for again"],
        why: "it gives up once text has come",
    },
    Difference {
        routes: &["Claude SDK", "one-shot CLI"],
        workers: &["claude"],
        scenarios: &["connection cut once"],
        observed: &["completed, but the answer is not asked for again"],
        why: "it takes the half of the answer for all of it",
    },
    Difference {
        routes: &[],
        workers: &["qwen"],
        scenarios: &["connection cut once"],
        observed: &["completed, but the answer is not asked for again"],
        why: "it takes the half of the answer for all of it",
    },
    Difference {
        routes: &["one-shot CLI"],
        workers: &["qwen"],
        scenarios: &["empty answer"],
        observed: &["failed: agent_failed, but it says something"],
        why: "it tells the error as text, after having asked again for 20 s",
    },
    Difference {
        routes: &["one-shot CLI"],
        workers: &["gemini"],
        scenarios: &["empty answer"],
        observed: &["failed: agent_failed"],
        why: "it calls that an error",
    },
    Difference {
        routes: &["one-shot CLI"],
        workers: &["gemini", "qwen"],
        scenarios: &["2 MiB of text", "one delta of 2 MiB"],
        observed: &["completed", "failed: agent_crashed", "failed: agent_crashed, but some of it is missing"],
        why: "it ends before all that it printed is read, and the rest is lost",
    },
    Difference {
        routes: &[],
        workers: &["qwen"],
        scenarios: &["empty answer"],
        observed: &["failed: agent_failed"],
        why: "it calls that an error, after having asked again for 20 s",
    },
];
