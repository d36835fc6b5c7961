//! What is written down before the first file of the user's checkout changes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fsio;
use crate::ids::{AppliedId, TreeId};
use crate::project::Project;

/// How far an application has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Each file is as before or as after.
    Writing,
    /// Taken back, because a file was changed meanwhile or could not be written.
    RolledBack,
    /// Complete.
    Done,
}

/// The two trees say all that has to be done; refs keep them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) id: AppliedId,
    pub(crate) state: State,
    /// Bytes, because a path need not be text.
    checkout: Vec<u8>,
    pub(crate) before: TreeId,
    pub(crate) after: TreeId,
}

impl Journal {
    pub(crate) fn new(id: AppliedId, checkout: &std::path::Path, before: TreeId, after: TreeId) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self { id, state: State::Writing, checkout: checkout.as_os_str().as_bytes().to_vec(), before, after }
    }

    pub(crate) fn checkout(&self) -> PathBuf {
        fsio::os_path(&self.checkout).to_owned()
    }

    /// A folder in the checkout, on its file system: new content waits there, and old content until the end.
    pub(crate) fn staging(&self) -> PathBuf {
        self.checkout().join(format!(".boocoder-apply-{}", self.id))
    }

    pub(crate) fn load(project: &Project, id: &AppliedId) -> Result<Option<Self>> {
        let path = project.layout().journal(id);
        let Some(json) = fsio::read_bounded(&path, 1 << 20)? else { return Ok(None) };
        serde_json::from_slice(&json).map(Some).map_err(|source| Error::Record { path, source })
    }

    pub(crate) fn store(&self, project: &Project) -> Result<()> {
        fsio::create_private_folder(&project.layout().applied())?;
        let json = serde_json::to_vec(self).expect("because the journal has only plain fields");
        fsio::replace(&project.layout().journal(&self.id), &json)
    }
}

/// All journals of a project.
pub(crate) fn list(project: &Project) -> Result<Vec<Journal>> {
    let folder = project.layout().applied();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    let mut journals = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| Error::io("list", &folder, e))?.file_name();
        if let Some(id) = name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse().ok()) {
            journals.extend(Journal::load(project, &id)?);
        }
    }
    Ok(journals)
}
