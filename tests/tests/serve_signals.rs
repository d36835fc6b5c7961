//! How `boocoder serve` ends, and whom it tells (SPEC D7).

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

use boocoder_tests::product::{Live, Machine, PATIENCE, Serve, text};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Waits until a task's agent has said something.
fn wait_until_it_speaks(machine: &Machine, task: &str) {
    let mut watcher = machine.start(["task", "watch", task, "--json"]);
    watcher.wait_for_frame("delta", |_| true);
    watcher.signal(SIGINT);
    let _ = watcher.finish();
}

#[test]
fn one_signal_ends_it_in_order() {
    let machine = Machine::new();
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        let mut idle = machine.serve([] as [&str; 0]);
        idle.signal(signal);
        let _ = idle.finish().expect(0);

        let mut serve = machine.serve([] as [&str; 0]);
        let done = machine.add("/say working\n/sleep 1000\n/write a.txt x\n/say done");
        wait_until_it_speaks(&machine, &done);
        serve.signal(signal);
        serve.live().wait_for_complaint("a second signal ends at once");
        let waiting = machine.add("/say never");
        let _ = serve.finish().expect(0);
        assert_eq!(machine.task(&done)["state"], "completed", "the grace period was enough");
        assert_eq!(machine.task(&waiting)["state"], "pending", "nothing was claimed any more");
        let _ = machine.run(["task", "stop", &waiting]).expect(0);
        machine.assert_nothing_left();
    }
}

#[test]
fn after_the_grace_turns_are_stopped() {
    let mut machine = Machine::new();
    machine.configure("serve.grace_s = 1\nlimits.stop_grace_s = 1");
    let mut serve = machine.serve([] as [&str; 0]);
    let task =
        machine.add("/ignore-cancel\n/ignore-signals\n/fork 3 plain group session\n/say working\n/stall");
    wait_until_it_speaks(&machine, &task);
    serve.signal(SIGTERM);
    let _ = serve.finish().expect(0);
    let task = machine.task(&task);
    assert_eq!((text(&task["state"]), text(&task["reason"])), ("cancelled", "shutdown"));
    machine.assert_nothing_left();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let machine = Machine::new();
    for (signal, code) in [(SIGTERM, 143), (SIGINT, 130)] {
        let mut serve = machine.serve(["--grace", "600"]);
        let task =
            machine.add("/ignore-cancel\n/ignore-signals\n/fork 3 plain group session\n/say working\n/stall");
        wait_until_it_speaks(&machine, &task);
        serve.signal(signal);
        serve.live().wait_for_complaint("a second signal ends at once");
        let begun = Instant::now();
        serve.signal(signal);
        let _ = serve.finish().expect(code);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        machine.wait_for_no_process(Duration::from_secs(5)).expect("no process is left");
        // Whatever it had no time for, the next one does.
        let _ = machine.serve([] as [&str; 0]).stop().expect(0);
        assert_eq!(machine.task(&task)["state"], "cancelled");
        machine.assert_nothing_left();
    }
}

#[test]
fn below_nohup_it_outlives_its_terminal() {
    let machine = Machine::new();
    let mut command = machine.command("nohup");
    command.arg(boocoder_tests::product::binary()).arg("serve");
    let mut serve = Serve::start(command);
    serve.signal(SIGHUP);
    let task = machine.add("/say still here");
    let _ = machine.watch(&task).expect(0);
    let _ = serve.stop().expect(0);
}

#[test]
fn systemd_is_told() {
    let machine = Machine::new();
    let path = machine.root().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let heard = || {
        let mut words = [0; 1000];
        let length = socket.recv(&mut words).expect("a word");
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let mut command = machine.boocoder(["serve"]);
    command.env("NOTIFY_SOCKET", &path);
    let serve = Serve::start(command);
    assert!(heard().starts_with("READY=1\nSTATUS=serving: node "));
    // Agents are not told of it.
    let task = machine.add("/shell env");
    let watched = machine.watch(&task).expect(0);
    assert!(!watched.stdout.join("\n").contains("NOTIFY_SOCKET"));
    let _ = serve.stop().expect(0);
    assert_eq!(heard(), "STOPPING=1");
}

#[test]
fn the_log_may_be_json() {
    let machine = Machine::new();
    let serve = machine.serve(["--json-log"]);
    let task = machine.add("/say hello");
    let _ = machine.watch(&task).expect(0);
    let stopped = serve.stop().expect(0);
    let lines: Vec<serde_json::Value> =
        stopped.stderr.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let ended = lines.iter().find(|line| line["message"] == "turn ended").expect("its end is logged");
    assert_eq!((text(&ended["task"]), text(&ended["route"])), (task.as_str(), "one_shot_acp"));
}

#[test]
fn what_it_cannot_start_with_is_said() {
    let machine = Machine::new();
    let mut command = machine.boocoder(["serve"]);
    command.arg("--data-dir").arg(Path::new("/proc/boocoder"));
    let refused = Live::start(command).finish().expect(3);
    assert!(refused.stderr.contains("/proc/boocoder"), "{}", refused.stderr);
}
