//! Agents that say more than anybody could want, on every route at once, below one `boocoder serve`: each such turn ends
//! at the limit of what a turn stores, the service stays as small as it was, and others are served meanwhile.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use std::{
    fs,
    time::{Duration, Instant},
};

use boocoder_tests::{
    model_server::{Reply, Script},
    queue::{Kind, Site},
    serve::{assert_completed, serve},
    stand_ins::{STAND_INS, install},
};
use dispatch_core::{
    ids::TaskId,
    task::{TaskState, TerminalReason},
};

/// What a turn may store, in bytes.
const LIMIT: usize = 1 << 20;

/// What a service may take more for it, at its peak, than for quiet turns on the same routes, in KiB.
const MORE: u64 = 64 << 10;

/// How long a turn that says one word may take beside them, on a machine that is busy with other tests, too.
const PATIENCE: Duration = Duration::from_secs(45);

#[test]
fn a_flood_on_every_route_neither_fills_the_service_nor_delays_others() {
    let mut site = Site::new(Kind::Sqlite);
    let config = format!(
        "[serve]\nslots = 16\n\n[pool]\nmost = 16\n\n[limits]\noutput_bytes = {LIMIT}\nstop_grace_s = 1\n"
    );
    let model = install(&mut site, &config);
    let deltas = std::iter::repeat_n("flood flood flood ".repeat(50), 2 * LIMIT / 900);
    model.when("flood without end", Script::new().then(Reply::new().and_text(deltas)));
    let mut serve = serve(&site);
    let sessions = STAND_INS.map(|_| site.begin_session());
    let quiet =
        STAND_INS.iter().zip(sessions).map(|(route, session)| route.queue(&site, "/say quiet", session));
    for task in quiet.collect::<Vec<_>>() {
        site.wait_for_end(task.id);
        assert_completed(&site, task.id);
    }
    let before = peak(serve.pid());

    let prompt = "flood without end\n/stream 100000000 1000";
    let floods = STAND_INS
        .iter()
        .zip(sessions)
        .map(|(route, session)| (route, route.queue(&site, prompt, session).id));
    let floods: Vec<_> = floods.collect();
    let has_ended = |id: TaskId| site.task(id).state.is_terminal();
    let mut slowest = Duration::ZERO;
    loop {
        let begun = Instant::now();
        let calm = site.queue("demo", "/say calm", None);
        site.wait_for_end(calm.id);
        slowest = slowest.max(begun.elapsed());
        assert_completed(&site, calm.id);
        if floods.iter().all(|(_, flood)| has_ended(*flood)) {
            break;
        }
    }
    let after = peak(serve.pid());
    println!("peak {before} KiB, then {after} KiB; the slowest calm turn took {slowest:?}");

    for (route, flood) in floods {
        let flood = site.task(flood);
        assert_eq!(
            (flood.state, flood.reason),
            (TaskState::Failed, Some(TerminalReason::OutputLimit)),
            "{}: {flood:?}",
            route.name
        );
    }
    assert!(after <= before + MORE, "{before} KiB, then {after} KiB");
    assert!(slowest < PATIENCE, "{slowest:?}");
    let _ = serve.stop().expect(0);
    site.machine.wait_for_no_process(Duration::from_secs(5)).unwrap();
}

/// The most memory that a process has had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
