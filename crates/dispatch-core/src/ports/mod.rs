//! Ports: traits that the world implements. Each states what dispatch may rely on; the `conformance`
//! crate holds the same clauses as tests.

mod backend;
mod publisher;
mod records;
mod store;
mod workspace;

pub use backend::{
    AgentControl, AgentSession, Agents, Backend, Close, Opened, Prompt, SessionInfo, SessionSpec, WarmAgent,
};
pub use publisher::Publisher;
pub use records::{
    ChangeFilter, Decision, NewChange, NewProject, NodeView, OpenPermission, Records, RecordsError,
    SessionFilter, SessionView, TaskFilter, Totals, WaitsFor, WarmView,
};
pub use store::{
    AgentConversation, Appended, ChangeVerdict, ClaimRequest, Class, Lease, Lineage, NewCheckpoint, NodeInfo,
    Orders, PermissionAnswer, Recovered, RecoveredAs, SettledChange, SettledMessage, Settlement, StopAnswer,
    Store, StoreError, Wakeups, WriteAnswer,
};
pub use workspace::{
    CancelFlag, Collected, Release, Workspace, WorkspaceError, WorkspaceInfo, WorkspaceOwner, WorkspaceSpec,
};
