//! Where things are.

use crate::Failure;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The checkout that this program was built in.
pub struct Workspace {
    pub root: PathBuf,
}

impl Workspace {
    /// # Errors
    /// When this was not started by cargo, which says where the checkout is.
    pub fn find() -> Result<Self, Failure> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = manifest.as_deref().and_then(Path::parent).map(Path::to_owned);
        root.map(|root| Self { root })
            .ok_or_else(|| Failure::new("the workspace is unknown", "start this as `cargo xtask`"))
    }

    /// Where pinned programs are installed; the same whatever the target folder of the build is.
    pub fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// A program that finds the pinned programs first.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let tools = self.tools();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(paths) {
            command.env("PATH", path);
        }
        command.env("BOOCODER_TOOLS", tools).current_dir(&self.root);
        command
    }

    pub fn cargo(&self, args: &[&str]) -> Command {
        let mut command = self.command("cargo");
        command.args(args);
        command
    }
}
