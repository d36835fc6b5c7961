//! `boocoder trust`.

use std::fs;

use crate::{
    cli::Globals,
    config,
    exit::{Code, Error},
    trust,
    wire::App,
};

/// Trusts the repository's own configuration as it stands now.
pub async fn run(globals: &Globals) -> Result<Code, Error> {
    let app = App::open(globals).await?;
    let repository = app.require_repository()?;
    let path = repository.join(trust::FILE);
    let content = fs::read_to_string(&path).map_err(|error| {
        Error::usage(format!("{} cannot be read: {error}; there is nothing to trust", path.display()))
    })?;
    config::check_own(&path, &content)?;
    trust::trust(&app.data_dir, &repository, content.as_bytes())
        .map_err(|error| Error::start(format!("the data directory {}: {error}", app.data_dir.display())))?;
    say!("trusted as it stands now: {}", path.display());
    Ok(Code::Completed)
}
