//! What the model does: to real files, with real commands.

use std::os::unix::fs::PermissionsExt;

use dispatch_core::agent::{AgentUpdate, Answer, EndedHow, OptionKind, ToolContent, ToolStatus};
use serde_json::{Value, json};

use crate::common::{Fixture, results};
use crate::server::{calls, says};
use crate::support::said::asked;

/// The results of these calls, each in a turn of its own request, all allowed.
async fn done(fixture: &Fixture) -> Vec<String> {
    let (_, end) = fixture.run().await;
    assert_eq!(end.how, EndedHow::Completed);
    results(&fixture.server)
}

async fn with(wanted: &[(&str, Value)]) -> Fixture {
    Fixture::new([calls(wanted), says("done")]).await
}

#[tokio::test]
async fn files_are_listed_searched_and_read() {
    let fixture = with(&[
        ("list_files", json!({})),
        ("list_files", json!({ "recursive": true })),
        ("search", json!({ "pattern": r"fn \w+\(", "files": "*.rs" })),
        ("search", json!({ "pattern": "HIDDEN", "ignore_case": true })),
        ("search", json!({ "pattern": "^three$" })),
        ("search", json!({ "pattern": "(" })),
        ("read_file", json!({ "path": "src/a.rs", "first_line": 2, "lines": 1 })),
        ("read_file", json!({ "path": "missing" })),
        ("read_file", json!({ "path": "src" })),
        ("read_file", json!({ "path": "binary" })),
    ])
    .await;
    fixture.write("src/a.rs", "one\nfn two() {}\nthree\n");
    fixture.write("src/b.txt", "fn no()\n");
    fixture.write("out/x.rs", "fn hidden()\n");
    fixture.write(".gitignore", "/out\n*.log\n!keep.log\n");
    fixture.write("src/x.log", "");
    fixture.write("src/keep.log", "");
    fixture.write(".git/config", "fn hidden()\n");
    std::fs::write(fixture.worktree().join("binary"), [0xff, 0, 1]).unwrap();
    std::os::unix::fs::symlink("/etc", fixture.worktree().join("etc")).unwrap();
    let told = done(&fixture).await;
    assert_eq!(told[0], ".gitignore\nbinary\netc@\nout/\nsrc/\n");
    assert_eq!(told[1], ".gitignore\nbinary\netc@\nsrc/\nsrc/a.rs\nsrc/b.txt\nsrc/keep.log\n");
    assert_eq!(told[2], "src/a.rs:2: fn two() {}\n");
    assert_eq!(told[3], "(nothing found)\n");
    assert_eq!(told[4], "src/a.rs:3: three\n");
    assert!(told[5].contains("cannot be used"), "{}", told[5]);
    assert_eq!(told[6], "fn two() {}\n\n(there is more after line 2)\n");
    assert!(told[7].contains("does not exist") && told[8].contains("not a regular file"), "{told:?}");
    assert!(told[9].contains("not a text file"), "{}", told[9]);
}

#[tokio::test]
async fn looking_asks_nobody_and_shows_what_and_where() {
    let fixture = with(&[("read_file", json!({ "path": "a" })), ("search", json!({ "pattern": "x" }))]).await;
    fixture.write("a", "x\n");
    let (said, _) = fixture.run_answering(Answer::Deny).await;
    assert!(said.permissions().is_empty());
    let tools = said.tools();
    assert_eq!((tools[0].kind.as_str(), tools[0].title.as_str()), ("read", "Read a"));
    assert_eq!((&tools[0].locations[..], tools[0].status), (&["a".to_owned()][..], ToolStatus::Completed));
    assert_eq!(tools[0].content, [ToolContent::Text { text: "x\n".into() }]);
    assert_eq!(tools[1].kind, "search");
}

#[tokio::test]
async fn an_edit_must_fit_exactly_once() {
    let edit = |old: &str, new: &str| ("edit_file", json!({ "path": "a", "old_text": old, "new_text": new }));
    let fixture = with(&[
        edit("two", "TWO"),
        edit("none", "x"),
        edit("one", "x"),
        edit("aa", "x"),
        edit("", "x"),
        edit("three", "three"),
        ("edit_file", json!({ "path": "dos", "old_text": "1\n2", "new_text": "1\n3" })),
    ])
    .await;
    fixture.write("a", "one\ntwo\none\nthree aaa\n");
    fixture.write("dos", "1\r\n2\r\n");
    std::fs::set_permissions(fixture.worktree().join("a"), PermissionsExt::from_mode(0o755)).unwrap();
    let told = done(&fixture).await;
    assert_eq!(fixture.read("a"), "one\nTWO\none\nthree aaa\n");
    assert_eq!(fixture.read("dos"), "1\r\n3\r\n");
    let mode = std::fs::metadata(fixture.worktree().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755, "an edit keeps the mode");
    assert!(told[1].contains("does not stand") && told[2].contains("more than once"), "{told:?}");
    assert!(told[3].contains("more than once"), "also where the places overlap: {}", told[3]);
    assert!(told[4].contains("empty") && told[5].contains("the same"), "{told:?}");
}

#[tokio::test]
async fn changes_and_commands_ask_for_leave_and_nothing_happens_without() {
    let wanted = [
        ("write_file", json!({ "path": "new/file", "content": "text\n" })),
        ("edit_file", json!({ "path": "a", "old_text": "old", "new_text": "new" })),
        ("run_command", json!({ "command": "touch ran" })),
    ];
    for (answer, why) in
        [(Answer::Allow, ""), (Answer::Deny, "user refused"), (Answer::Lapsed, "nobody answered")]
    {
        let fixture = with(&wanted).await;
        fixture.write("a", "old\n");
        let (said, end) = fixture.run_answering(answer).await;
        assert_eq!(end.how, EndedHow::Completed, "a refusal ends no turn");
        let asked = said.permissions();
        let kinds: Vec<&str> = asked.iter().map(|request| request.tool_call.kind.as_str()).collect();
        assert_eq!(kinds, ["edit", "edit", "execute"]);
        let options: Vec<OptionKind> = asked[0].options.iter().map(|option| option.kind).collect();
        assert_eq!(options, [OptionKind::AllowOnce, OptionKind::RejectOnce]);
        assert_eq!(asked[0].tool_call.locations, ["new/file"]);
        let shown =
            ToolContent::Diff { path: "a".into(), old_text: Some("old".into()), new_text: "new".into() };
        assert_eq!(asked[1].tool_call.content, [shown]);
        assert_eq!(asked[2].tool_call.title, "touch ran");
        let is_allowed = answer == Answer::Allow;
        assert_eq!(fixture.worktree().join("ran").exists(), is_allowed);
        assert_eq!(fixture.worktree().join("new/file").exists(), is_allowed);
        assert_eq!(fixture.read("a"), if is_allowed { "new\n" } else { "old\n" });
        let told = results(&fixture.server);
        assert!(told.iter().all(|told| told.contains(why)), "{told:?}");
        let ended = if is_allowed { ToolStatus::Completed } else { ToolStatus::Failed };
        assert!(said.tools().iter().all(|call| call.status == ended));
    }
}

#[tokio::test]
async fn a_file_that_changed_while_leave_was_asked_is_left_alone() {
    let edit = json!({ "path": "a", "old_text": "old", "new_text": "new" });
    let fixture = with(&[("edit_file", edit)]).await;
    fixture.write("a", "old\n");
    let mut turn = fixture.prompt("do it").await;
    turn.until(asked).await;
    fixture.write("a", "old, and more\n");
    turn.control.answer("permission-1", Answer::Allow).await;
    turn.finish().await;
    assert_eq!(fixture.read("a"), "old, and more\n");
    assert!(results(&fixture.server)[0].contains("has changed"));
}

#[tokio::test]
async fn commands_have_no_input_no_key_and_an_end() {
    let run = |command: &str| ("run_command", json!({ "command": command }));
    let mut fixture = with(&[
        run("pwd; echo err >&2; exit 3"),
        run("cat; env"),
        run("seq 1 100000"),
        run("sleep 600 & echo started"),
        ("run_command", json!({ "command": "echo before; sleep 600", "seconds": 1 })),
        ("run_command", json!({ "command": "pwd", "folder": "sub" })),
        ("run_command", json!({ "command": "pwd", "folder": ".." })),
        run("kill -9 $$"),
    ])
    .await;
    fixture.write("sub/x", "");
    fixture.settings.api_key = Some(backends::native::ApiKey::new("sk-very-secret").unwrap());
    let inherited = [("OPENAI_API_KEY", "sk-very-secret"), ("PATH", &std::env::var("PATH").unwrap())];
    fixture.settings.launcher.inherited =
        inherited.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let told = done(&fixture).await;
    let tree = fixture.worktree().canonicalize().unwrap();
    assert_eq!(told[0], format!("{}\nerr\n(exit code 3)\n", tree.display()));
    assert!(told[1].contains("PATH=") && !told[1].contains("very-secret"), "{}", told[1]);
    assert!(
        told[2].starts_with("(its beginning is left out)\n") && told[2].ends_with("100000\n(exit code 0)\n")
    );
    assert!(told[2].len() <= fixture.settings.limits.result_bytes + 300);
    assert_eq!(told[3], "started\n(exit code 0)\n");
    assert_eq!(told[4], "before\n(killed after 1 s)\n");
    assert_eq!(told[5], format!("{}/sub\n(exit code 0)\n", tree.display()));
    assert!(told[6].contains("not a folder of the session"), "{}", told[6]);
    assert_eq!(told[7], "(ended by SIGKILL)\n");
}

#[tokio::test]
async fn what_a_command_prints_is_seen_while_it_runs() {
    let fixture = with(&[(
        "run_command",
        json!({ "command": "echo early; while [ ! -e seen ]; do sleep 0.05; done; echo late" }),
    )])
    .await;
    let mut turn = fixture.prompt("do it").await;
    turn.until(asked).await;
    turn.control.answer("permission-1", Answer::Allow).await;
    let early = [ToolContent::Text { text: "early\n".into() }];
    turn.until(|update| match update {
        AgentUpdate::ToolCall(patch) if patch.content.as_deref() == Some(&early[..]) => Some(()),
        _ => None,
    })
    .await;
    fixture.write("seen", "");
    let (said, _) = turn.finish().await;
    assert_eq!(said.tools()[0].content, [ToolContent::Text { text: "early\nlate\n(exit code 0)\n".into() }]);
}

#[tokio::test]
async fn the_next_turn_is_told_what_this_one_did() {
    use dispatch_core::conversation::{Message, MessageState, Role, Transcript};
    use dispatch_core::frame::FrameBody;
    let fixture = with(&[
        ("read_file", json!({ "path": "a" })),
        ("write_file", json!({ "path": "b", "content": "x" })),
    ])
    .await;
    fixture.write("a", "inside\n");
    let (said, _) = fixture.run().await;
    let told = fixture.server.chats().pop().unwrap().body["messages"].clone();

    // As the dispatcher records it.
    let mut transcript = Transcript::default();
    for tool_call in said.tools() {
        transcript.push(&FrameBody::ToolCall { tool_call });
    }
    transcript.push(&FrameBody::delta(said.text()));
    let message = |role, content: &str, parts| Message {
        id: dispatch_core::ids::MessageId::from_random([1; 16]),
        chat: fixture.spec.chat,
        task: fixture.spec.task,
        role,
        state: MessageState::Complete,
        model: None,
        content: content.into(),
        content_truncated: false,
        reasoning: String::new(),
        reasoning_truncated: false,
        parts,
        usage: dispatch_core::agent::Usage::default(),
        created_at: dispatch_core::ids::Timestamp(0),
        finished_at: None,
    };
    let mut next = Fixture::new([says("again")]).await;
    next.spec.history = vec![
        message(Role::User, "do it", vec![]),
        message(Role::Assistant, "done", transcript.parts().to_vec()),
    ];
    next.run().await;
    let again = next.server.chats()[0].body["messages"].clone();
    let plain = |messages: &Value| {
        let mut messages = messages.as_array().unwrap().clone();
        for message in &mut messages {
            message.as_object_mut().unwrap().remove("tool_call_id");
            for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
                call.as_object_mut().unwrap().remove("id");
            }
        }
        messages.remove(0);
        messages
    };
    let (told, again) = (plain(&told), plain(&again));
    assert_eq!(again[..told.len()], told[..], "what was said and done is said as it was");
    assert_eq!(
        again[told.len()..],
        [json!({ "role": "assistant", "content": "done" }), json!({ "role": "user", "content": "do it" })]
    );
}
