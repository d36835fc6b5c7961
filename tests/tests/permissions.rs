//! What agents ask leave for, answered from another process or by rules, on both stores.

use boocoder_tests::{
    product::{Finished, Machine, text},
    queue::Site,
    serve::{on_both, serve},
};
use serde_json::Value;

/// Queues a task that asks; returns its id.
fn ask(machine: &Machine, prompt: &str) -> String {
    machine.add_with(["--agent", "demo", "--ask", prompt])
}

/// Waits until a task's agent asks for leave.
fn wait_for_question(machine: &Machine, task: &str) -> Value {
    Machine::wait_until("a question", || machine.json(["permission", "list", task, "--json"]).pop())
}

fn assert_says(run: &Finished, words: &[&str]) {
    let told = format!("{}\n{}", run.stdout.join("\n"), run.stderr);
    words.iter().for_each(|word| assert!(told.contains(word), "{word:?} is missing in: {told}"));
}

#[test]
fn a_question_is_answered_from_another_process() {
    on_both(|kind| {
        let site = Site::new(kind);
        let machine = &site.machine;
        let serve = serve(&site);

        let allowed = ask(machine, "/ask may I\n/write a.txt x");
        let question = wait_for_question(machine, &allowed);
        assert_eq!((text(&question["task"]), text(&question["agent"])), (allowed.as_str(), "demo"));
        assert_eq!(question["request"]["tool_call"]["title"], "may I");
        let waits =
            question["lapses_at"].as_i64().expect("a time") - question["asked_at"].as_i64().expect("a time");
        assert_eq!(waits, 3_600_000, "an hour, unless configured");
        assert_says(&machine.run(["permission", "list"]).expect(0), &["may I", "waits", &allowed[..8]]);
        assert_says(&machine.run(["permission", "allow", &allowed[..8]]).expect(0), &["allowed"]);
        let watched = machine.watch(&allowed).expect(0);
        assert!(watched.text().contains("permission: allow_once"), "never an always: {}", watched.text());
        let kinds = watched.kinds();
        let place = |kind: &str| kinds.iter().position(|each| each == kind).expect(kind);
        assert!(place("permission_request") < place("permission_resolved"));
        assert!(
            machine.json(["permission", "list", "--json"]).is_empty(),
            "nothing is open once it is answered"
        );

        let refused = ask(machine, "/ask may I\n/write b.txt x");
        let question = wait_for_question(machine, &refused);
        let request = text(&question["request"]["id"]);
        assert_says(&machine.run(["permission", "deny", &refused, request]).expect(0), &["refused"]);
        let watched = machine.watch(&refused).expect(0);
        assert!(watched.text().contains("permission: refused"), "{}", watched.text());
        let late = machine.run(["permission", "allow", &refused, request]).expect(2);
        assert_says(&late, &["does not wait for an answer"]);
        assert_says(
            &machine.run(["permission", "allow", &refused]).expect(2),
            &["does not wait for an answer"],
        );
        let _ = serve.stop().expect(0);
        machine.assert_nothing_left();
    });
}

#[test]
fn a_stop_and_a_limit_answer_what_nobody_does() {
    on_both(|kind| {
        let mut site = Site::new(kind);
        site.machine.configure("[limits]\npermission_s = 1\n");
        let machine = &site.machine;
        let serve = serve(&site);
        let lapsed = machine.watch(&ask(machine, "/ask may I")).expect(0);
        let resolved = lapsed.frames().iter().find(|frame| frame["type"] == "permission_resolved").cloned();
        assert_eq!(resolved.expect("an answer")["answer"], "lapsed");
        assert!(lapsed.text().contains("permission: refused"), "{}", lapsed.text());
        let _ = serve.stop().expect(0);

        site.machine.configure("");
        let machine = &site.machine;
        let serve = boocoder_tests::serve::serve(&site);
        let stopped = ask(machine, "/ask may I");
        wait_for_question(machine, &stopped);
        assert_says(&machine.run(["task", "stop", "--wait", &stopped]).expect(0), &["stopped"]);
        assert!(machine.json(["permission", "list", "--json"]).is_empty());
        let _ = serve.stop().expect(0);
        machine.assert_nothing_left();
    });
}

#[test]
fn rules_answer_by_tool_and_path_and_the_rest_is_asked() {
    on_both(|kind| {
        let mut site = Site::new(kind);
        site.machine.configure(
            "permission_rules = [\n\
             { tool = \"edit\", path = \"src/**\", answer = \"allow\" },\n\
             { tool = \"edit\", path = \"secret/*\", answer = \"deny\" },\n]\n",
        );
        let machine = &site.machine;
        let serve = serve(&site);
        let auto = |prompt: &str| machine.add_with(["--agent", "demo", "--auto", prompt]);
        let said = |prompt: &str| machine.watch(&auto(prompt)).expect(0).text();
        assert!(said("/ask edit src/a/b.rs").contains("allow_once"));
        assert!(said("/ask edit secret/key").contains("refused"));
        for prompt in
            ["/ask edit README.md", "/ask edit src/../../outside", "/ask edit /etc/passwd", "/ask may I"]
        {
            let task = auto(prompt);
            wait_for_question(machine, &task);
            let _ = machine.run(["permission", "deny", &task]).expect(0);
            assert!(machine.watch(&task).expect(0).text().contains("refused"), "{prompt}");
        }
        let _ = serve.stop().expect(0);
        machine.assert_nothing_left();
    });
}

#[test]
fn what_a_dead_dispatcher_asked_is_not_open_any_more() {
    on_both(|kind| {
        let site = Site::new(kind);
        let machine = &site.machine;
        let first = serve(&site);
        let task = ask(machine, "/ask may I");
        wait_for_question(machine, &task);
        let _ = first.kill();
        let second = serve(&site);
        Machine::wait_until("its end", || (machine.task(&task)["state"] == "interrupted").then_some(()));
        assert!(machine.json(["permission", "list", "--json"]).is_empty());
        assert_says(&machine.run(["permission", "allow", &task]).expect(2), &["does not wait for an answer"]);
        let _ = second.stop().expect(0);
    });
}
