//! `boocoder task add`.

use dispatch_core::{
    ids::{ChatId, TaskId},
    ports::SessionView,
    task::{NewTask, PermissionPolicy, Project},
};
use dispatch_driver::random_bytes;

use super::why;
use crate::{
    cli::{Globals, TaskAdd},
    exit::{Code, Error},
    show::json_lines,
    wire::App,
};

/// Queues a task. Its agent may be installed on another machine, where it will run.
pub async fn add(globals: &Globals, args: &TaskAdd) -> Result<Code, Error> {
    let request = &args.request;
    let input = request.input()?;
    let app = App::open(globals).await?;
    app.remark();
    let agent = match app.wanted_agent(request.agent.as_deref())? {
        Some(agent) => agent,
        None => app.default_agent()?,
    };
    let session = match &args.session {
        Some(prefix) => Some(app.records.find_session(prefix).await?),
        None => None,
    };
    let chat = args.chat.as_deref().map(|chat| chat_of(session.as_ref(), chat)).transpose()?;
    let project = project(&app, globals, session.as_ref()).await?;
    let new = NewTask {
        options: request.options(&agent, &app.config),
        permissions: request.permissions(PermissionPolicy::Deny, &app.config),
        session: session.map(|session| session.id),
        chat,
        ..NewTask::new(TaskId::from_random(random_bytes()), project.id, input)
    };
    let task = app.records.create_task(new).await?;
    if args.json {
        json_lines::print(&[&task])?;
    } else {
        say!("{}", task.id);
    }
    if why::serving(&app).await?.is_empty() {
        complain!("boocoder: {}", why::NOBODY_SERVES);
    }
    if let Some((name, hint)) = agent.name().and_then(|name| Some((name, app.missing(name)?))) {
        complain!("boocoder: agent {name} is not installed on this machine: {hint}");
    }
    Ok(Code::Completed)
}

/// The session's project, or that of the repository where the command was given. Either way its path is a
/// repository now (SPEC T1).
async fn project(app: &App, globals: &Globals, session: Option<&SessionView>) -> Result<Project, Error> {
    match session {
        Some(session) if globals.project.is_none() => {
            app.git_project_of(session.project).await?;
            Ok(app.records.project(session.project).await?)
        }
        _ => app.ensure_project(&app.require_repository()?, None).await,
    }
}

fn chat_of(session: Option<&SessionView>, chat: &str) -> Result<ChatId, Error> {
    let Some(session) = session else {
        return chat.parse().map_err(|error| {
            Error::usage(format!("--chat {chat}: {error}; its first digits do together with --session"))
        });
    };
    let mut fitting = session.chats.iter().filter(|known| known.to_string().starts_with(chat));
    match (fitting.next(), fitting.next()) {
        (Some(chat), None) => Ok(*chat),
        (None, _) => Err(Error::usage(format!("--chat {chat}: session {} has no such chat", session.id))),
        _ => Err(Error::usage(format!("--chat {chat} is ambiguous: give more of its digits"))),
    }
}
