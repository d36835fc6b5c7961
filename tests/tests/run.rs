//! The whole path with the demo agent: from a prompt to a reviewed change.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use boocoder_tests::{
    product::{Finished, Machine, text},
    terminal::Terminal,
};
use serde_json::Value;

const EDIT: &str = "/say I write a file\n/write new.txt hello\n/delete README.md";

/// Runs a prompt with the demo agent and further arguments, as JSON lines.
fn run(machine: &Machine, prompt: &str, args: &[&str]) -> Finished {
    machine.run(["run", "--agent", "demo", "--json", prompt].iter().chain(args))
}

fn states(machine: &Machine) -> Vec<String> {
    let changes = machine.json(["change", "list", "--state", "all", "--json"]);
    changes.iter().map(|change| text(&change["state"]).to_owned()).collect()
}

#[test]
fn apply_changes_the_checkout() {
    let machine = Machine::new();
    let run = run(&machine, EDIT, &["--apply"]).expect(0);
    run.assert_orderly();
    let result = run.result();
    assert_eq!((text(&result["state"]), text(&result["change"]["state"])), ("completed", "applied"));
    assert_eq!(
        (result["change"]["additions"].as_u64(), result["change"]["deletions"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(machine.read("new.txt").as_deref(), Some("hello"));
    assert_eq!(machine.read("README.md"), None);
    assert_eq!(machine.git(["status", "--porcelain"]), " D README.md\n?? new.txt\n");
    assert_eq!(states(&machine), ["applied"]);
    machine.assert_nothing_left();
}

#[test]
fn without_apply_the_checkout_stays_as_it_is_until_the_change_is_applied() {
    let machine = Machine::new();
    let before = machine.fingerprint();
    let result = run(&machine, EDIT, &[]).expect(0).result();
    let id = text(&result["change"]["id"]).to_owned();

    let summary = machine.run(["change", "show", &id[..8]]).expect(0).stdout.join("\n");
    for part in ["pending", "2 files changed, +1 -1", "new.txt", "README.md", "+hello", "-# A repository"] {
        assert!(summary.contains(part), "{part} is missing in {summary}");
    }
    let shown = machine.json(["change", "show", &id, "--format", "json"]);
    assert_eq!((&shown[0]["id"], &shown[0]["state"]), (&result["change"]["id"], &result["change"]["state"]));
    let listed = machine.run(["change", "list"]).expect(0).stdout;
    assert!(listed.len() == 2 && listed[1].starts_with(&id[..8]), "{listed:?}");
    assert!(machine.fingerprint() == before, "the user's repository was touched");

    machine.run(["change", "apply", &id[..8]]).expect(0);
    assert_eq!(machine.read("new.txt").as_deref(), Some("hello"));
    assert_eq!(machine.read("README.md"), None);
    assert_eq!(states(&machine), ["applied"]);
    // Once more changes nothing, and an applied change cannot be refused.
    machine.write("new.txt", "mine now");
    machine.run(["change", "apply", &id]).expect(0);
    assert_eq!(machine.read("new.txt").as_deref(), Some("mine now"));
    let refused = machine.run(["change", "reject", &id]).expect(2);
    assert!(refused.stderr.contains("applied"), "{}", refused.stderr);
    machine.assert_nothing_left();
}

#[test]
fn a_rejected_change_is_never_applied() {
    let machine = Machine::new();
    let before = machine.fingerprint();
    let result = run(&machine, EDIT, &[]).expect(0).result();
    let id = text(&result["change"]["id"]);
    machine.run(["change", "reject", id]).expect(0);
    let refused = machine.run(["change", "apply", id]).expect(2);
    assert!(refused.stderr.contains("rejected"), "{}", refused.stderr);
    assert_eq!(states(&machine), ["rejected"]);
    assert_eq!(machine.run(["change", "list"]).expect(0).stdout.len(), 1, "only the pending ones are listed");
    assert!(machine.fingerprint() == before, "the user's repository was touched");
}

#[test]
fn git_takes_the_patch() {
    let machine = Machine::new();
    machine.write("old name.txt", "one\ntwo\nthree\nfour\n");
    machine.write("bytes", b"\0\x01\x02");
    machine.git(["add", "--all"]);
    machine.git(["commit", "--quiet", "--message", "more"]);
    let script = "/rename \"old name.txt\" \"new name.txt\"\n/chmod 755 src/lib.rs\n/symlink src/lib.rs link\n\
                  /shell printf '\\000\\377' > bytes\n/write \"ümläut\" text\\n\n/delete README.md";
    let result = run(&machine, script, &[]).expect(0).result();
    let show = ["change", "show", text(&result["change"]["id"]), "--format", "patch"];
    let patch = machine.boocoder(show).output().unwrap();
    assert!(patch.status.success() && patch.stderr.is_empty(), "{patch:?}");

    let mut git = Command::new("git");
    git.args(["apply", "--binary", "--index", "-"]).current_dir(machine.repository()).stdin(Stdio::piped());
    let mut git = git.spawn().unwrap();
    git.stdin.take().unwrap().write_all(&patch.stdout).unwrap();
    assert!(git.wait().unwrap().success());
    let by_patch = (machine.git(["write-tree"]), machine.git(["status", "--short"]));
    machine.git(["reset", "--quiet", "--hard"]);
    machine.run(["change", "apply", text(&result["change"]["id"])]).expect(0);
    machine.git(["add", "--all"]);
    assert_eq!((machine.git(["write-tree"]), machine.git(["status", "--short"])), by_patch);
}

#[test]
fn frames_come_in_the_order_of_a_turn() {
    let machine = Machine::new();
    let script =
        "/think hm\n/say one \n/plan look; write\n/say two\n/write a.txt x\n/commands foo\n/usage 3 4 0.5";
    let run = run(&machine, script, &["--model", "demo-2", "--mode", "dream"]).expect(0);
    run.assert_orderly();
    let kinds = run.kinds();
    let expected = [
        "message_started",
        "agent_status",
        "notice",
        "agent_commands",
        "agent_settings",
        "reasoning_delta",
        "delta",
        "plan",
        "delta",
        "tool_call",
        "agent_commands",
        "usage",
        "pending_change",
        "message_complete",
        "task_state",
        "agent_status",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(run.text(), "one two");
    let frames = run.frames();
    let find = |kind: &str| frames.iter().find(|frame| frame["type"] == kind).unwrap();
    assert_eq!(find("notice")["code"], "option_ignored");
    assert!(text(&find("notice")["text"]).contains("dream"), "{}", find("notice"));
    assert_eq!(find("pending_change")["files"], 1);
    let complete = find("message_complete");
    assert_eq!((text(&complete["status"]), text(&complete["model"])), ("complete", "demo-2"));
    assert_eq!(
        (&complete["usage"]["input_tokens"], &complete["usage"]["output_tokens"]),
        (&3.into(), &4.into())
    );
    assert_eq!(frames.last().unwrap()["reason"], "turn_complete");
    assert_eq!(run.stderr, "");
}

#[test]
fn a_turn_that_changes_nothing_queues_nothing() {
    let machine = Machine::new();
    let run = run(&machine, "/say hello", &["--apply"]).expect(0);
    run.assert_orderly();
    assert_eq!(run.result()["change"], Value::Null);
    assert!(states(&machine).is_empty());
    machine.assert_nothing_left();
}

#[test]
fn a_failed_turn_exits_with_1_and_its_change_waits() {
    let machine = Machine::new();
    let before = machine.fingerprint();
    for (script, reason, word, status) in [
        ("/write a.txt x\n/say so far\n/error -32603 out of ideas", "agent_failed", "out of ideas", "failed"),
        ("/write b.txt x\n/say so far\n/crash", "agent_crashed", "SIGSEGV", "crashed"),
    ] {
        let run = run(&machine, script, &["--apply"]).expect(1);
        run.assert_orderly();
        let result = run.result();
        assert_eq!((text(&result["state"]), text(&result["reason"])), ("failed", reason), "{result}");
        assert!(text(&result["summary"]).contains(word), "{result}");
        assert_eq!(result["change"]["state"], "pending", "only what completed is applied without a question");
        assert_eq!(result["change"]["from_failed_turn"], true);
        assert_eq!(run.text(), "so far");
        let last = run.frames().pop().unwrap();
        assert_eq!((text(&last["status"]), text(&last["reason"])), ("error", status));
    }
    assert!(machine.fingerprint() == before, "the user's repository was touched");
    machine.assert_nothing_left();
}

#[test]
fn a_conflict_with_the_users_own_edit_exits_with_4_and_touches_nothing() {
    let machine = Machine::new();
    let gate = machine.root().join("gate");
    let script = format!(
        "/write README.md theirs\n/write new.txt x\n/shell until [ -e {} ]; do sleep 0.01; done",
        gate.display()
    );
    let mut live = machine.start(["run", "--agent", "demo", "--json", "--apply", "--allow", &script]);
    live.wait_for_frame("tool_call", |frame| frame["tool_call"]["kind"] == "execute");
    machine.write("README.md", "mine\n");
    let before = machine.fingerprint();
    fs::write(&gate, "").unwrap();
    let run = live.finish().expect(4);
    run.assert_orderly();
    let result = run.result();
    assert_eq!((text(&result["state"]), text(&result["change"]["state"])), ("completed", "pending"));
    assert!(text(&result["problem"]).contains("README.md"), "{result}");
    assert!(machine.fingerprint() == before, "the user's repository was touched");

    // The same later, in words; and it can be applied when the conflict is gone.
    let id = text(&result["change"]["id"]);
    let refused = machine.run(["change", "apply", id]).expect(4);
    assert!(refused.stderr.contains("README.md"), "{}", refused.stderr);
    assert!(machine.fingerprint() == before, "the user's repository was touched");
    machine.git(["checkout", "--quiet", "README.md"]);
    machine.run(["change", "apply", id]).expect(0);
    assert_eq!(machine.read("README.md").as_deref(), Some("theirs"));
    machine.assert_nothing_left();
}

#[test]
fn usage_errors_exit_with_2_and_say_what_to_do() {
    let machine = Machine::new();
    for (args, word) in [
        (&["run", "--no-such-flag", "x"][..], "--no-such-flag"),
        (&["run", "--allow", "--deny", "x"], "--deny"),
        (&["run", "--file", "x", "prompt"], "--file"),
        (&["nonsense"], "nonsense"),
        (&["task", "show", "zz"], "zz"),
        (&["task", "show", "0123456789"], "0123456789"),
        (&["task", "list", "--all", "--state", "nonsense"], "there are pending, running, completed"),
        (&["change", "list", "--all", "--state", "nonsense"], "withdrawn, all"),
        (&["change", "apply", "0123456789"], "0123456789"),
        (&["checkpoint", "restore", "0123456789"], "0123456789"),
    ] {
        let run = machine.run(args).expect(2);
        assert!(run.stderr.contains(word), "{args:?}: {}", run.stderr);
        assert_eq!(run.stdout, Vec::<String>::new(), "{args:?}");
    }
}

#[test]
fn permissions_are_answered_as_the_command_line_says() {
    let machine = Machine::new();
    let script = "/ask May I?\n/write asked.txt x";
    for (args, answer, says) in [
        (&["--allow"][..], "allow", true),
        (&["--deny"], "deny", false),
        // Nobody is there to be asked.
        (&[], "deny", false),
    ] {
        let run = run(&machine, script, args).expect(0);
        run.assert_orderly();
        let frames = run.frames();
        let request = frames.iter().find(|frame| frame["type"] == "permission_request").unwrap();
        let resolved = frames.iter().find(|frame| frame["type"] == "permission_resolved").unwrap();
        assert_eq!(request["request"]["tool_call"]["title"], "May I?");
        assert_eq!((&resolved["id"], text(&resolved["answer"])), (&request["request"]["id"], answer));
        assert_eq!(run.result()["change"] != Value::Null, says, "{args:?}");
    }
    machine.assert_nothing_left();
}

#[test]
fn permissions_and_decisions_are_asked_at_a_terminal() {
    let machine = Machine::new();
    let script = "/ask May I?\n/write asked.txt x";
    let start = || Terminal::start(machine.boocoder(["run", "--agent", "demo", script]));

    let mut no = start();
    no.wait_for("May I?? [y/n] ");
    no.type_line("what");
    no.wait_for("May I?? [y/n] ");
    no.type_line("n");
    let (code, shown) = no.finish();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("nothing was changed"), "{shown}");

    for (typed, state) in [("k", "pending"), ("REJECT", "rejected"), ("a", "applied")] {
        let mut yes = start();
        yes.wait_for("May I?? [y/n] ");
        yes.type_line("yes");
        yes.wait_for("1 file changed");
        yes.wait_for("asked.txt");
        yes.wait_for("[a]pply, [k]eep for later, [r]eject? ");
        yes.type_line(typed);
        let (code, shown) = yes.finish();
        assert_eq!(code, 0, "{shown}");
        assert_eq!(states(&machine)[0], state);
        assert_eq!(machine.read("asked.txt").is_some(), state == "applied");
    }
    machine.assert_nothing_left();
}

#[test]
fn a_terminal_shows_what_an_agent_does_and_obeys_nothing_of_it() {
    let mut machine = Machine::new();
    machine.set("NO_COLOR", "");
    let script = "/think hm\n/say one\\n\n/raw \
        {\"jsonrpc\":\"2.0\",\"method\":\"nonsense\"}\n/say bad \u{1b}[2J\u{1b}]52;c;eA==\u{7} end\\n\n/tool look\u{1b}[31m x\n/write a.txt \u{1b}[2Jx";
    let mut terminal = Terminal::start(machine.boocoder(["run", "--agent", "demo", script]));
    terminal.wait_for("[a]pply");
    terminal.type_line("k");
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    for part in [
        "demo works",
        "hm",
        "one",
        "bad \u{fffd}[2J\u{fffd}]52;c;eA==\u{fffd} end",
        "look",
        "+\u{fffd}[2Jx",
        "kept: ",
    ] {
        assert!(shown.contains(part), "{part:?} is missing in {shown:?}");
    }
    // What is left are colours of ours.
    let ours = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m"];
    let without = ours.iter().fold(shown.clone(), |shown, ours| shown.replace(ours, ""));
    assert!(!without.contains(['\u{1b}', '\u{7}']), "{without:?}");
    assert!(!shown.contains("look\u{1b}[31m"), "{shown:?}");
}

#[test]
fn text_for_a_pipe_is_plain_and_complete() {
    let machine = Machine::new();
    let run = machine
        .run(["run", "--agent", "demo", "--allow", "/think hm\n/say one\n/ask May I?\n/write a.txt x"])
        .expect(0);
    let shown = run.stdout.join("\n");
    let mut at = 0;
    for part in [
        "demo works",
        "hm",
        "one",
        "May I?",
        "answered: allow",
        "a.txt",
        "task completed",
        "1 file changed, +1 -0",
        "+x",
        "kept: `boocoder change apply ",
    ] {
        let found = shown[at..]
            .find(part)
            .unwrap_or_else(|| panic!("{part:?} is missing after byte {at} of {shown}"));
        at += found + part.len();
    }
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(run.stderr, "");
}

#[test]
fn the_log_is_plain_where_nobody_sees_colours() {
    let mut machine = Machine::new();
    machine.set("NO_COLOR", "").set("BOOCODER_MODEL", "");
    let run = machine.run(["-v", "run", "--agent", "demo", "/say hello"]).expect(0);
    assert!(run.stderr.contains("turn ended") && !run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
    assert!(!run.stdout.join("").contains("model"), "an empty variable sets nothing: {:?}", run.stdout);
}

#[test]
fn readers_that_are_gone_leave_no_work_undone() {
    let machine = Machine::new();
    for args in [
        &["run", "--agent", "demo", "--apply", EDIT][..],
        &["doctor"],
        &["task", "list"],
        &["change", "show"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = machine.boocoder(args);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let code = command.status().unwrap().code();
        assert_eq!(code, Some(if args[0] == "change" { 2 } else { 0 }), "{args:?}");
    }
    assert_eq!(machine.read("new.txt").as_deref(), Some("hello"));
    assert_eq!(states(&machine), ["applied"]);
    machine.assert_nothing_left();
}

#[test]
fn tasks_are_listed_and_shown_with_their_conversation() {
    let machine = Machine::new();
    let done = run(&machine, "/think hm\n/say done", &[]).expect(0).result();
    run(&machine, "/error 1 no", &[]).expect(1);
    let listed = machine.run(["task", "list"]).expect(0).stdout;
    assert_eq!(listed.len(), 3);
    assert!(listed[1].contains("failed (agent_failed)") && listed[2].contains("completed"), "{listed:?}");
    let failed = machine.json(["task", "list", "--state", "failed", "--json"]);
    assert_eq!(failed.len(), 1);
    assert_eq!(machine.json(["task", "list", "--limit", "1", "--json"]).len(), 1);

    let shown = machine.json(["task", "show", text(&done["task"]), "--json"]).remove(0);
    assert_eq!(shown["task"]["summary"], "done");
    let messages = shown["messages"].as_array().unwrap();
    let roles: Vec<_> =
        messages.iter().map(|message| (text(&message["role"]), text(&message["state"]))).collect();
    assert_eq!(roles, [("user", "complete"), ("assistant", "complete")]);
    let words = machine.run(["task", "show", &text(&done["task"])[..8]]).expect(0).stdout.join("\n");
    for part in [
        "state    completed",
        "route    one_shot_acp",
        "user (complete)",
        "/say done",
        "(reasoning) hm",
        "done",
    ] {
        assert!(words.contains(part), "{part} is missing in {words}");
    }
}

#[test]
fn a_checkpoint_of_a_worktree_that_is_gone_becomes_a_pending_change() {
    let machine = Machine::new();
    let result = run(&machine, EDIT, &[]).expect(0).result();
    machine.run(["change", "reject", text(&result["change"]["id"])]).expect(0);
    let checkpoints = machine.json(["checkpoint", "list", text(&result["task"]), "--json"]);
    let of = |kind: &str| {
        checkpoints.iter().find(|checkpoint| checkpoint["kind"] == kind).map(|found| text(&found["id"]))
    };
    let listed = machine.run(["checkpoint", "list", &text(&result["task"])[..8]]).expect(0).stdout;
    assert_eq!(listed.len(), checkpoints.len() + 1);

    let nothing = machine.run(["checkpoint", "restore", of("before").unwrap()]).expect(0);
    assert!(nothing.stdout.join("\n").contains("nothing to do"), "{nothing:?}");
    machine.run(["checkpoint", "restore", &of("after").unwrap()[..8]]).expect(0);
    assert_eq!(states(&machine), ["pending", "rejected"]);
    let change = machine.json(["change", "list", "--json"]).remove(0);
    machine.run(["change", "apply", text(&change["id"])]).expect(0);
    assert_eq!(machine.read("new.txt").as_deref(), Some("hello"));
    assert_eq!(machine.read("README.md"), None);
    machine.assert_nothing_left();
}

#[test]
fn the_demo_agent_is_used_where_no_other_is_installed_and_that_is_said() {
    let mut machine = Machine::new();
    machine.set("PATH", "/usr/bin:/bin");
    let run = machine.run(["run", "--json", "/say hello"]).expect(0);
    assert!(run.stderr.contains("using demo"), "{}", run.stderr);
    assert_eq!(run.frames()[1]["agent"], "demo");

    let agents = machine.run(["agents"]).expect(0).stdout;
    assert!(
        agents.iter().any(|line| line.starts_with("demo ") && line.contains("one_shot_acp")),
        "{agents:#?}"
    );
    let opencode = agents.iter().find(|line| line.starts_with("opencode ")).unwrap();
    assert!(opencode.contains("not installed") && opencode.contains("npm install"), "{opencode}");
    let doctor = machine.run(["doctor"]).expect(0).stdout.join("\n");
    for part in [machine.repository().to_str().unwrap(), "missing: npm install", "left over\n  nothing"] {
        assert!(doctor.contains(part), "{part} is missing in {doctor}");
    }
}
