//! What is no text to most programs, from the agent to the record and back: U+0000, halves of surrogate pairs, bytes
//! that are not UTF-8, characters that end lines elsewhere.

use boocoder_tests::product::{Machine, text};
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
