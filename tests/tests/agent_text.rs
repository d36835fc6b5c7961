//! What is no text to most programs, from the agent to the record and back: U+0000, halves of surrogate pairs, bytes
//! that are not UTF-8, characters that end lines elsewhere.

use boocoder_tests::product::{Finished, Machine, text};
use serde_json::{Value, json};

/// Runs a prompt; returns the whole text that was streamed, the same as the record keeps it, and the task.
fn run(machine: &Machine, prompt: &str) -> (String, String, Value) {
    let run = machine.run(["run", "--agent", "demo", "--json", prompt]).expect(0);
    run.assert_orderly();
    assert_eq!(run.result()["state"], "completed", "{}", run.result());
    let task = run.result()["task"].clone();
    let shown = machine.json(["task", "show", text(&task), "--json"]).remove(0);
    let parts = shown["messages"][1]["parts"].as_array().expect("parts");
    let kept = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    (run.text(), kept, shown)
}

#[test]
fn every_text_is_kept_or_marked() {
    let machine = Machine::new();
    // (JSON as the agent sends it, what is kept)
    let cases = [
        (r"a\u0000b", "a\0b"),
        (r"\u0000", "\0"),
        (r"half \ud800.", "half \u{fffd}."),
        (r"other half \udc00.", "other half \u{fffd}."),
        (r"turned \udc00\ud800.", "turned \u{fffd}\u{fffd}."),
        (r"whole \ud83d\ude00.", "whole 😀."),
        (r"\u001b[31m\u0007\u007f", "\u{1b}[31m\u{7}\u{7f}"),
        ("line\u{2028}paragraph\u{2029}next\u{85}", "line\u{2028}paragraph\u{2029}next\u{85}"),
        (r"\ufffe\uffff\ufeff", "\u{fffe}\u{ffff}\u{feff}"),
    ];
    for (sent, kept) in cases {
        let chunk = format!(
            r#"/update {{"sessionUpdate":"agent_message_chunk","content":{{"type":"text","text":"{sent}"}}}}"#
        );
        let (streamed, stored, _) = run(&machine, &chunk);
        assert_eq!((streamed.as_str(), stored.as_str()), (kept, kept), "{sent}");
    }
    let (streamed, stored, _) = run(&machine, "/nul\n/bad-utf8");
    assert_eq!(streamed, stored);
    assert!(streamed.starts_with("a nul: \0.half a pair: \u{fffd}.bad \u{fffd}\u{fffd}"), "{streamed:?}");
    machine.assert_nothing_left();
}

#[test]
fn so_is_whatever_else_an_agent_names() {
    let machine = Machine::new();
    let odd = r"x\u0000y\ud800z";
    let kept = "x\0y\u{fffd}z";
    let prompt = [
        format!(r#"/update {{"sessionUpdate":"agent_thought_chunk","content":{{"type":"text","text":"{odd}"}}}}"#),
        format!(
            r#"/update {{"sessionUpdate":"tool_call","toolCallId":"{odd}","title":"{odd}","kind":"{odd}","status":"in_progress","rawInput":{{"{odd}":"{odd}"}},"locations":[{{"path":"/{odd}"}}],"content":[{{"type":"content","content":{{"type":"text","text":"{odd}"}}}},{{"type":"diff","path":"/{odd}","oldText":"{odd}","newText":"{odd}"}}]}}"#
        ),
        format!(r#"/update {{"sessionUpdate":"tool_call_update","toolCallId":"{odd}","status":"completed"}}"#),
        format!(r#"/update {{"sessionUpdate":"plan","entries":[{{"content":"{odd}","priority":"{odd}","status":"{odd}"}}]}}"#),
        format!(
            r#"/update {{"sessionUpdate":"available_commands_update","availableCommands":[{{"name":"{odd}","description":"{odd}","input":{{"hint":"{odd}"}}}}]}}"#
        ),
        format!(r#"/update {{"sessionUpdate":"{odd}"}}"#),
        format!(r#"/notify {odd}"#),
    ]
    .join("\n");
    let (_, _, shown) = run(&machine, &prompt);
    let parts = shown["messages"][1]["parts"].as_array().expect("parts");
    let tool = parts.iter().find(|part| part["type"] == "tool_call").expect("a tool call");
    assert_eq!(tool["tool_call"]["title"], json!(kept), "{tool}");
    assert_eq!(tool["tool_call"]["id"], json!(kept), "{tool}");
    machine.assert_nothing_left();
}

#[test]
fn a_line_of_json_moves_no_terminal() {
    // CSI as one character, DEL, NEL, and what reorders the text around it.
    let odd = "a\u{9b}2Jb\u{7f}c\u{85}d\u{202e}e\u{2066}f\u{200f}g\u{61c}h ö 漢 😀";
    let mut machine = Machine::with_repository_named(odd);
    machine.configure(&Machine::demo_agent("odd", &[]));
    let prompt = format!("/say {odd}\n/think {odd}\n/tool {odd}\n/commands x{odd}\n/write \"{odd}\" x");
    let run = machine.run(["run", "--agent", "odd", "--json", &prompt]).expect(0);
    assert_plain(&run);
    assert_eq!(run.text(), odd, "what it says is the same");
    let task = run.result()["task"].clone();
    let task = text(&task);
    let told = [
        machine.run(["task", "show", task, "--json"]),
        machine.run(["task", "list", "--json"]),
        machine.run(["task", "watch", task, "--json"]),
        machine.run(["checkpoint", "list", task, "--json"]),
        machine.run(["session", "list", "--json"]),
        machine.run(["project", "list", "--json"]),
        machine.run(["change", "list", "--json"]),
        machine.run(["change", "show", text(&run.result()["change"]["id"]), "--format", "json"]),
        machine.run(["agents", "show", "odd", "--json"]),
    ];
    for told in told {
        assert_plain(&told.expect(0));
    }

    // The log names what was asked for.
    let mut serve = machine.serve(["--json-log"]);
    let task = machine.add_with(["--agent", "odd", "--model", odd, "/exit 3"]);
    let _ = machine.watch(&task);
    serve.signal(15);
    let log = serve.finish().expect(0).stderr;
    log.lines().for_each(assert_plain_line);
    machine.assert_nothing_left();
}

/// Checks that each line is one of JSON, and that none holds what a terminal obeys.
fn assert_plain(told: &Finished) {
    assert!(!told.stdout.is_empty());
    told.stdout.iter().map(String::as_str).for_each(assert_plain_line);
}

fn assert_plain_line(line: &str) {
    let _: Value = serde_json::from_str(line).expect("a line of JSON");
    let is_obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
    };
    assert!(!line.contains(is_obeyed), "{line:?}");
}
