//! Two hundred turns with each real agent that is kept, and what service and agent hold before and after them.
//!
//! `cargo bench -p boocoder-tests --bench soak [-- [AGENT] [TURNS]]`, with `cargo build --release --bins` and the agents
//! of `cargo xtask tools`. The model is the scripted one. `serve_soak` is the same with the demo agent in their place.

use boocoder_tests::{
    desk::Desk,
    queue::Site,
    real_agents::{CLAUDE, OPENCODE, QWEN, RealAgent},
    serve::serve,
    soak::{Soaked, soak},
};
use dispatch_core::routing::Route;

/// The agents, by the registry's names, on the routes that keep them.
static ROWS: [(&RealAgent, &str, Route); 4] = [
    (&OPENCODE, "opencode", Route::OpencodeServer),
    (&OPENCODE, "opencode", Route::WarmAcp),
    (&CLAUDE, "claude", Route::ClaudeSdk),
    (&QWEN, "qwen", Route::WarmAcp),
];

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    // cargo passes `--bench`; `cargo test` runs benches with nothing, which is not the place for real agents.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    args.retain(|arg| !arg.starts_with('-'));
    let turns = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(200);
    let named = args.iter().find(|arg| arg.parse::<usize>().is_err());
    println!("| agent | route | who | before | after {} turns | after {turns} |", turns / 2);
    println!("|---|---|---|---|---|---|");
    for (agent, name, route) in ROWS.iter().filter(|(_, name, _)| named.is_none_or(|named| named == name)) {
        let config = match route {
            Route::OpencodeServer => "",
            _ => "[routes]\nopencode_server = false\nclaude_sdk = true\n",
        };
        let Desk { machine, server: _model, .. } = Desk::new(agent, name, config);
        let mut site = Site::on(machine);
        site.machine.set("BOOCODER_ROUTES__WARM_ACP", "true");
        let mut serve = serve(&site);
        let prompt = "say three words";
        let Soaked { service, agent } =
            soak(&site, serve.pid(), *route, turns, |session| site.queue(name, prompt, Some(session)));
        for (who, [before, halfway, after]) in [("service", service), ("agent", agent)] {
            println!("| {name} | {} | {who} | {before} | {halfway} | {after} |", route.as_str());
        }
        let _ = serve.stop();
    }
}
