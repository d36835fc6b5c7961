//! `boocoder agents`.

use backends::{
    process::RunTag,
    registry::{AgentEntry, Registry},
};
use dispatch_core::{
    ports::Agents,
    routing::{AgentFacts, RoutingFacts, choose},
};

use crate::{
    cli::Globals,
    exit::{Code, Error},
    show::{table::table, text::safe_line},
    tidy,
    wire::App,
};

/// Lists the agents: whether they are installed, their version and the route that a task would take.
pub async fn run(globals: &Globals) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    app.remark();
    let tag = RunTag::new(format!("{}/version", tidy::data_tag(&app.data_dir)?))
        .map_err(|error| Error::start(error.to_string()))?;
    let mut rows = Vec::new();
    for entry in app.registry.entries() {
        rows.push(row(&app, entry, &tag).await);
    }
    put!("{}", table(&["AGENT", "VERSION", "ROUTE", ""], &rows));
    Ok(Code::Completed)
}

async fn row(app: &App, entry: &AgentEntry, tag: &RunTag) -> Vec<String> {
    let agents = app.agents();
    let facts = agents.facts(&entry.name);
    let asked = RoutingFacts {
        agent: Some((&entry.name, facts)),
        from_chat: false,
        available: agents.available(),
        may_fall_back: false,
    };
    let route = choose(&asked).map_or("-", |chosen| chosen.route.as_str()).to_owned();
    let (version, about) = match asked.agent {
        Some((_, AgentFacts::Installed { .. })) => (version(app, entry, tag).await, entry.title.clone()),
        _ => ("not installed".to_owned(), entry.install.clone()),
    };
    vec![entry.name.to_string(), version, route, about]
}

async fn version(app: &App, entry: &AgentEntry, tag: &RunTag) -> String {
    let path = app.launcher.variable("PATH").map(AsRef::as_ref);
    let Some(program) = Registry::installed(entry, path) else { return "not installed".to_owned() };
    match entry.version(program, &app.launcher, tag.clone()).await {
        Ok(line) => safe_line(&line),
        Err(error) => format!("? ({error})"),
    }
}
