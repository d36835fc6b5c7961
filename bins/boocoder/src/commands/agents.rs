//! `boocoder agents`.

use backends::{
    process::RunTag,
    registry::{AgentEntry, Registry},
};
use dispatch_core::{
    agent::{AgentOffer, Setting},
    ports::{Agents, WarmView},
    routing::{AgentFacts, RoutingFacts, choose},
};
use serde_json::json;

use crate::{
    cli::{AgentsCommand, Globals},
    exit::{Code, Error},
    show::{
        json_lines,
        table::{short, table},
        text::safe_line,
    },
    tidy,
    wire::App,
};

/// Looks at agents.
pub async fn run(globals: &Globals, command: Option<AgentsCommand>) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    app.remark();
    match command {
        None => list(&app).await?,
        Some(AgentsCommand::Show { agent, json }) => show(&app, &agent, json).await?,
    }
    Ok(Code::Completed)
}

/// Lists the agents: whether they are installed, their version, the routes that tasks would take, and those that
/// are kept warm.
async fn list(app: &App) -> Result<(), Error> {
    let tag = RunTag::new(format!("{}/version", tidy::data_tag(&app.data_dir)?))
        .map_err(|error| Error::start(error.to_string()))?;
    let agents = app.agents()?;
    let mut rows = Vec::new();
    for entry in app.registry.entries() {
        let facts = agents.facts(&entry.name);
        let (version, about) = match &facts {
            AgentFacts::Installed { .. } => (version(app, entry, &tag).await, entry.title.clone()),
            AgentFacts::Unknown { hint } | AgentFacts::NotInstalled { hint } => {
                ("not installed".to_owned(), hint.clone())
            }
        };
        rows.push(vec![entry.name.to_string(), version, routes(&agents, entry, &facts), about]);
    }
    put!("{}", table(&["AGENT", "VERSION", "ROUTE", ""], &rows));
    let warm = app.records.warm().await?;
    if !warm.is_empty() {
        put!(
            "\n{}",
            table(
                &["WARM", "ROUTE", "CHAT", "PROCESS", "TURNS", "NODE"],
                &warm.iter().map(warm_row).collect::<Vec<_>>()
            )
        );
    }
    Ok(())
}

/// The route of a task by itself, and that of one from a chat where it is another.
fn routes(agents: &impl Agents, entry: &AgentEntry, facts: &AgentFacts) -> String {
    let route = |from_chat| {
        let agent = Some((&entry.name, facts.clone()));
        let asked = RoutingFacts { agent, from_chat, available: agents.available(), may_fall_back: false };
        choose(&asked).map_or("-", |chosen| chosen.route.as_str())
    };
    let (alone, in_chat) = (route(false), route(true));
    if alone == in_chat { alone.to_owned() } else { format!("{alone}, in a chat {in_chat}") }
}

fn warm_row(WarmView { label, agent, .. }: &WarmView) -> Vec<String> {
    vec![
        safe_line(agent.agent.as_str()),
        agent.route.to_string(),
        agent.chat.map_or_else(|| "all".to_owned(), short),
        agent.pid.to_string(),
        if agent.turns == 0 { "idle".to_owned() } else { agent.turns.to_string() },
        safe_line(label),
    ]
}

async fn version(app: &App, entry: &AgentEntry, tag: &RunTag) -> String {
    let path = app.launcher.variable("PATH").map(AsRef::as_ref);
    let Some(program) = Registry::installed(entry, path) else { return "not installed".to_owned() };
    match entry.version(program, &app.launcher, tag.clone()).await {
        Ok(line) => safe_line(&line),
        Err(error) => format!("? ({error})"),
    }
}

/// Shows what an agent was last known to offer.
async fn show(app: &App, name: &str, as_json: bool) -> Result<(), Error> {
    let Some(entry) = app.registry.get(name) else {
        return Err(Error::usage(format!("agent {name} is not known: {}", app.registry.unknown_hint())));
    };
    let agents = app.agents()?;
    let routes = routes(&agents, entry, &agents.facts(&entry.name));
    let AgentOffer { commands, settings } = app.store.agent_offer(&entry.name).await?;
    if as_json {
        let object = json!({
            "agent": entry.name, "title": entry.title, "routes": routes, "settings": settings, "commands": commands,
        });
        return json_lines::print(&[object]);
    }
    put!("{} ({}), route {routes}\n", entry.name, entry.title);
    if commands.is_empty() && settings.is_empty() {
        put!("\nwhat it offers is known once a task has run with it\n");
        return Ok(());
    }
    for (what, setting) in
        [("MODEL", &settings.model), ("MODE", &settings.mode), ("THINKING", &settings.thinking)]
    {
        put_setting(what, setting);
    }
    let command = |command: &dispatch_core::agent::AgentCommand| {
        vec![format!("/{}", safe_line(&command.name)), safe_line(&command.description)]
    };
    if !commands.is_empty() {
        put!("\n{}", table(&["COMMAND", ""], &commands.iter().map(command).collect::<Vec<_>>()));
    }
    Ok(())
}

fn put_setting(what: &str, Setting { current, choices }: &Setting) {
    let row = |choice: &dispatch_core::agent::Choice| {
        let mark = if current.as_deref() == Some(&choice.id) { "*" } else { "" };
        vec![safe_line(&choice.id), mark.to_owned(), safe_line(&choice.name)]
    };
    if !choices.is_empty() {
        put!("\n{}", table(&[what, "", ""], &choices.iter().map(row).collect::<Vec<_>>()));
    }
}
