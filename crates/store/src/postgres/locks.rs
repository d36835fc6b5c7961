//! How a session is held.

/// Holds a session: before any of its tasks that run or wait is changed.
pub(super) const LOCK_SESSION: &str = "SELECT num FROM session WHERE id = $1 FOR NO KEY UPDATE";
/// The same by its row.
pub(super) const LOCK_SESSION_ROW: &str = "SELECT num FROM session WHERE num = $1 FOR NO KEY UPDATE";
/// The same by one of its tasks.
pub(super) const LOCK_SESSION_OF_TASK: &str =
    "SELECT num, id FROM session WHERE num = (SELECT session FROM task WHERE id = $1) FOR NO KEY UPDATE";
