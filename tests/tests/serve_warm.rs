//! Agents that are kept between the turns of a chat (SPEC 7), below `boocoder serve`, on both stores.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use boocoder_tests::{
    product::{Machine, text},
    queue::{Kind, Site},
    serve::{
        Answer, assert_cancelled, assert_completed, changes, deltas, freeze_service, is_running, on_both,
        pids, serve, stop_and_wait, thaw, turn_frames,
    },
};
use dispatch_core::{
    change::ChangeState,
    ids::SessionId,
    routing::Route,
    task::{Task, TerminalReason::Stopped},
};

/// The agent, which remembers its conversations.
const AGENT: &str = "keeper";

/// The agent, which remembers nothing but what it is told in its process.
const FORGETFUL: &str = "forgetful";

/// A machine whose agents are kept, with this configuration besides.
fn site(kind: Kind, more: &str) -> Site {
    let mut site = Site::new(kind);
    let state = site.machine.root().join("state");
    let agent = Machine::demo_agent(AGENT, &["--state", state.to_str().unwrap()]);
    let forgetful = Machine::demo_agent(FORGETFUL, &[]);
    site.machine.configure(&format!("{more}\n{agent}{forgetful}"));
    site.machine.set("BOOCODER_ROUTES__WARM_ACP", "true");
    site
}

/// A session with a chat, in which nothing was said to the agent yet.
fn begin(site: &Site) -> SessionId {
    let first = site.queue("demo", "/say hello", None);
    site.wait_for_end(first.id).session
}

/// Runs a turn in a session's chat.
fn turn(site: &Site, session: SessionId, prompt: &str) -> Task {
    turn_of(AGENT, site, session, prompt)
}

fn turn_of(agent: &str, site: &Site, session: SessionId, prompt: &str) -> Task {
    let task = site.wait_for_end(site.queue(agent, prompt, Some(session)).id);
    assert_eq!(task.route, Some(Route::WarmAcp));
    task
}

/// What a task's agent said.
fn said(site: &Site, task: &Task) -> String {
    deltas(&turn_frames(site, task))
}

/// The codes of a task's notices.
fn notices(site: &Site, task: &Task) -> Vec<String> {
    let frames = turn_frames(site, task);
    let notices = frames.iter().filter(|frame| frame["type"] == "notice");
    notices.map(|frame| text(&frame["code"]).to_owned()).collect()
}

/// The agent's process, by its own word.
fn pid(site: &Site, session: SessionId) -> u32 {
    pids(&said(site, &turn(site, session, "/pid")))[0]
}

/// Kills an agent.
fn kill(pid: u32) {
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    Machine::wait_until("its end", || (!is_running(pid)).then_some(()));
}

#[test]
fn a_chat_goes_on_with_one_process_one_worktree_and_one_change() {
    on_both(|kind| {
        let site = site(kind, "");
        let serve = serve(&site);
        let session = begin(&site);
        let first = turn(&site, session, "/pid\n/write a.txt one");
        let second = turn(&site, session, "/pid\n/history\n/write b.txt two");
        let pids = [&first, &second].map(|task| pids(&said(&site, task))[0]);
        assert_eq!(pids[0], pids[1], "the process was kept");
        assert!(said(&site, &second).contains("prompts: 2"), "{}", said(&site, &second));

        let [old, new] = [&first, &second].map(|task| changes(&site, task.id).remove(0));
        assert_eq!((old.state, new.state), (ChangeState::Superseded, ChangeState::Pending));
        let files = |change: &dispatch_core::change::Change| {
            change.draft.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (files(&old), files(&new)),
            (vec!["a.txt".to_owned()], vec!["a.txt".to_owned(), "b.txt".to_owned()])
        );
        let third = turn(&site, session, "/say nothing to do");
        assert!(
            changes(&site, third.id).is_empty(),
            "a turn that changed nothing leaves the change as it was"
        );

        // What was applied is what the next change is compared with (SPEC R3).
        let _ = site.machine.run(["change", "apply", &new.id.to_string()]).expect(0);
        let fourth = turn(&site, session, "/write c.txt three");
        assert_eq!(files(&changes(&site, fourth.id).remove(0)), ["c.txt"]);

        let kept = site.wait_for("what is kept", |site| {
            let listed = site.machine.run(["agents"]).expect(0).stdout.join("\n");
            listed.contains("WARM").then_some(listed)
        });
        assert!(kept.contains(&pids[0].to_string()) && kept.contains("warm_acp"), "{kept}");
        assert!(is_running(pids[0]));
        let _ = site.machine.run(["session", "close", &session.to_string()]).expect(0);
        assert!(!is_running(pids[0]), "what was kept for a closed session is gone");
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
        let _ = site.machine.run(["change", "apply", &changes(&site, fourth.id)[0].id.to_string()]).expect(0);
        assert_eq!(site.machine.read("c.txt").as_deref(), Some("three"), "its changes stay appliable");
    });
}

/// Before that, it might still write into a worktree that is saved and removed.
#[test]
fn a_close_right_after_a_turn_waits_for_the_end_of_its_agent() {
    on_both(|kind| {
        let site = site(kind, "");
        let serve = serve(&site);
        let session = begin(&site);
        let slow = turn(&site, session, "/pid\n/ignore-eof\n/ignore-signals");
        let kept = pids(&said(&site, &slow))[0];
        assert!(is_running(kept));
        let _ = site.machine.run(["session", "close", &session.to_string()]).expect(0);
        assert!(!is_running(kept), "its worktree is gone, and it is not");
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    });
}

#[test]
fn a_closed_session_comes_back_with_its_worktree() {
    on_both(|kind| {
        let site = site(kind, "");
        let serve = serve(&site);
        let session = begin(&site);
        turn(&site, session, "/write a.txt one");
        for command in ["close", "reopen", "reopen"] {
            let _ = site.machine.run(["session", command, &session.to_string()]).expect(0);
        }
        let task = turn(&site, session, "/write b.txt two");
        let change = changes(&site, task.id).remove(0);
        let files: Vec<_> = change.draft.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["a.txt", "b.txt"], "what was there before it was closed is there again");
        let _ = serve.stop().expect(0);
        assert_eq!(site.machine.processes(), Vec::<u32>::new());
    });
}

#[test]
fn a_restart_loads_the_conversation() {
    on_both(|kind| {
        let site = site(kind, "");
        let first = serve(&site);
        let session = begin(&site);
        let before = pid(&site, session);
        let _ = first.stop().expect(0);
        assert!(!is_running(before), "nothing outlives its dispatcher");
        let second = serve(&site);
        let task = turn(&site, session, "/history\n/pid");
        assert!(said(&site, &task).contains("prompts: 2"), "{}", said(&site, &task));
        assert_eq!(notices(&site, &task), ["session_loaded"]);
        let _ = second.stop().expect(0);
        assert_eq!(site.machine.processes(), Vec::<u32>::new());
    });
}

/// A dispatcher stands still while another one on its record runs a turn of the chat.
#[test]
fn an_agent_that_missed_a_turn_elsewhere_is_not_asked_to_go_on() {
    on_both(|kind| {
        let site = site(kind, "");
        let mut first = serve(&site);
        let session = begin(&site);
        let kept = pid(&site, session);
        freeze_service(&site, first.pid());
        let second = serve(&site);
        assert_ne!(pid(&site, session), kept);
        let _ = second.stop().expect(0);
        thaw(first.pid());
        let task = turn(&site, session, "/pid\n/history");
        let said = said(&site, &task);
        assert!(!said.starts_with(&kept.to_string()) && said.contains("prompts: 3"), "{said}");
        assert!(notices(&site, &task).contains(&"session_loaded".to_owned()));
        let _ = first.stop().expect(0);
        assert_eq!(site.machine.processes(), Vec::<u32>::new());
    });
}

#[test]
fn a_stop_ends_the_turn_and_not_the_process() {
    on_both(|kind| {
        let site = site(kind, "[limits]\nstop_grace_s = 3\n");
        let serve = serve(&site);
        let session = begin(&site);
        let kept = pid(&site, session);
        for prompt in ["/say working\n/stall", "/say working\n/end-turn-when-cancelled\n/stall"] {
            let task = site.queue(AGENT, prompt, Some(session));
            site.wait_for("its text", |site| said(site, &task).contains("working").then_some(()));
            assert_eq!(stop_and_wait(&site, task.id), Answer::Stopped);
            assert_cancelled(&site, task.id, Stopped);
            assert_eq!(pid(&site, session), kept, "{prompt}");
        }
        let deaf = site.queue(AGENT, "/say working\n/ignore-cancel\n/ignore-signals\n/stall", Some(session));
        site.wait_for("its text", |site| said(site, &deaf).contains("working").then_some(()));
        assert_eq!(stop_and_wait(&site, deaf.id), Answer::Stopped);
        assert!(!is_running(kept), "nothing of the turn runs any more");
        assert!(notices(&site, &site.task(deaf.id)).contains(&"backend_recycled".to_owned()));
        let next = turn(&site, session, "/say again");
        assert_completed(&site, next.id);
        let _ = serve.stop().expect(0);
        assert_eq!(site.machine.processes(), Vec::<u32>::new());
    });
}

#[test]
fn an_agent_that_dies_between_turns_is_started_again() {
    on_both(|kind| {
        let site = site(kind, "");
        let serve = serve(&site);
        let session = begin(&site);
        kill(pid(&site, session));
        let task = turn(&site, session, "/history");
        let told = notices(&site, &task);
        assert!(
            told.contains(&"backend_restarted".to_owned()) && told.contains(&"session_loaded".to_owned()),
            "{told:?}"
        );
        assert!(said(&site, &task).contains("prompts: 2"), "{}", said(&site, &task));
        let _ = serve.stop().expect(0);
        assert_eq!(site.machine.processes(), Vec::<u32>::new());
    });
}

/// It cannot load its conversation, and is told it.
#[test]
fn an_agent_that_dies_with_its_conversation_is_told_what_was_said() {
    on_both(|kind| {
        let site = site(kind, "");
        let serve = serve(&site);
        let session = begin(&site);
        let first =
            turn_of(FORGETFUL, &site, session, "the word is apricot\n/pid\n/tool look\n/say quince, too");
        let warm = turn_of(FORGETFUL, &site, session, "/pid\n/prompt");
        let [before, kept] = [&first, &warm].map(|task| said(&site, task));
        assert!(kept.ends_with("\n/pid\n/prompt"), "who remembers is told nothing: {kept}");
        assert_eq!(pids(&before), pids(&kept));
        kill(pids(&kept)[0]);
        for _ in 0..2 {
            let told = turn_of(FORGETFUL, &site, session, "/pid\n/prompt\n/history");
            assert_eq!(notices(&site, &told), ["backend_restarted", "session_replayed"]);
            let prompt = said(&site, &told);
            for line in ["> the word is apricot", "> [tool call: look]", "> quince, too", "> /pid"] {
                assert!(prompt.lines().any(|told| told == line), "{line:?} is not in {prompt}");
            }
            assert!(
                prompt.contains("\n\n/pid\n/prompt\n/history"),
                "what is asked is asked as it is: {prompt}"
            );
            assert!(prompt.contains("prompts: 1\n"), "{prompt}");
            kill(pids(&prompt)[0]);
        }
        let _ = serve.stop().expect(0);
        assert_eq!(site.machine.processes(), Vec::<u32>::new());
    });
}

#[test]
fn what_is_idle_is_let_go_and_what_is_too_much_makes_room() {
    on_both(|kind| {
        let site = site(kind, "[pool]\nidle_s = 1\nmost = 1\n");
        let serve = serve(&site);
        let sessions = [begin(&site), begin(&site)];
        let first = pid(&site, sessions[0]);
        let second = pid(&site, sessions[1]);
        Machine::wait_until("room", || (!is_running(first)).then_some(()));
        Machine::wait_until("the end of what is idle", || (!is_running(second)).then_some(()));
        let task = turn(&site, sessions[0], "/history");
        assert!(said(&site, &task).contains("prompts: 2"), "{}", said(&site, &task));
        let _ = serve.stop().expect(0);
        assert_eq!(site.machine.processes(), Vec::<u32>::new());
    });
}

#[test]
fn a_frozen_dispatcher_has_no_agents_left_before_its_lease_lapses() {
    let site = site(Kind::Postgres, "");
    let mut serve = serve(&site);
    let session = begin(&site);
    let task = site.queue(AGENT, "/pid\n/stall", Some(session));
    let agent = site.wait_for("its process", |site| pids(&said(site, &task)).first().copied());
    freeze_service(&site, serve.pid());
    Machine::wait_until("the end of its agent", || {
        // The lease first: whoever is gone when it has lapsed may have gone before.
        let holds = site.sql("SELECT count(*) FROM node WHERE expires_at > now()") == "1";
        let is_gone = !is_running(agent);
        assert!(holds || is_gone, "somebody may take over, and the agent runs");
        is_gone.then_some(())
    });
    thaw(serve.pid());
    site.wait_for_end(task.id);
    let _ = serve.stop().expect(0);
    assert_eq!(site.machine.processes(), Vec::<u32>::new());
}
