//! What may differ between installations.

use std::time::Duration;

/// Limits and permissions; [`Policy::default`] is what boocoder uses.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Larger files are not captured by a checkpoint but reported as skipped, in bytes. Default 64 MiB.
    pub max_file_bytes: u64,
    /// How long to wait for another process that works on the same worktree or repository. Default 30 s.
    pub lock_wait: Duration,
    /// Work with repositories that another user owns. Default no: that user could change them at any time.
    pub trust_foreign_owner: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_file_bytes: 64 << 20, lock_wait: Duration::from_secs(30), trust_foreign_owner: false }
    }
}
