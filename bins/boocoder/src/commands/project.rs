//! `boocoder project`.

use std::path::Path;

use crate::{
    cli::{Globals, ProjectCommand},
    exit::{Code, Error},
    show::{
        json_lines,
        table::{short, table},
        text::safe_line,
    },
    wire::App,
};
use dispatch_core::task::Project;

/// Looks at projects and adds them.
pub async fn run(globals: &Globals, command: ProjectCommand) -> Result<Code, Error> {
    match command {
        ProjectCommand::Add { path, name, json } => {
            let globals = Globals { project: path.or_else(|| globals.project.clone()), ..globals.clone() };
            let app = App::open(&globals).await?;
            let project = app.ensure_project(&app.require_repository()?, name).await?;
            if json {
                json_lines::print(&[project])?;
            } else {
                say!("{}", project.id);
            }
        }
        ProjectCommand::List { json } => list(&App::open(globals).await?, json).await?,
    }
    Ok(Code::Completed)
}

async fn list(app: &App, json: bool) -> Result<(), Error> {
    let projects = app.records.projects().await?;
    if json {
        return json_lines::print(&projects);
    }
    let row = |project: &Project| {
        let path = project.path.as_deref().map_or("-".into(), Path::to_string_lossy);
        vec![short(project.id), safe_line(&project.name), safe_line(&path)]
    };
    let rows: Vec<_> = projects.iter().map(row).collect();
    put!("{}", table(&["PROJECT", "NAME", "PATH"], &rows));
    Ok(())
}
