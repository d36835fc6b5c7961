//! Many turns with each agent that is kept leave service and agent as they were. `BOOCODER_SOAK_TURNS=200` asks for so
//! many instead of 40; `cargo bench -p boocoder-tests --bench soak` is the same with real agents.

use std::{thread, time::Duration};

use boocoder_tests::{
    queue::{Kind, Site},
    serve::serve,
    soak::{Holds, Soaked, soak},
    stand_ins::{StandIn, install},
};

#[test]
fn many_turns_leave_service_and_agent_as_they_were() {
    let turns = std::env::var("BOOCODER_SOAK_TURNS").map_or(40, |turns| turns.parse().expect("a number"));
    thread::scope(|scope| {
        for route in StandIn::warm() {
            scope.spawn(move || {
                let mut site = Site::new(Kind::Sqlite);
                let _model = install(&mut site, "");
                let mut serve = serve(&site);
                let Soaked { service, agent } = soak(&site, serve.pid(), route.route, turns, |session| {
                    route.queue(&site, "/say one more\n/write a.txt x\n/shell true", session)
                });
                for (who, [before, halfway, after]) in [("service", service), ("agent", agent)] {
                    println!(
                        "{}, {who}: {before}; halfway {halfway}; after {turns} turns {after}",
                        route.name
                    );
                    assert_flat(&format!("{}, {who}", route.name), before, after);
                }
                let _ = serve.stop().expect(0);
                site.machine.wait_for_no_process(Duration::from_secs(5)).expect("no process is left");
            });
        }
    });
}

fn assert_flat(who: &str, before: Holds, after: Holds) {
    let told = format!("{who}: {before}, then {after}");
    // Connections, and threads of the pool for blocking calls, come and go.
    assert!(after.files <= before.files + 4 && after.threads <= before.threads + 8, "{told}");
    assert_eq!(after.zombies, 0, "{told}");
    assert!(after.memory <= before.memory + 8 * 1024, "{told}");
}
