//! The nodes that a dispatcher is, one after the other.

use std::sync::Arc;

use dispatch_core::ids::NodeId;

use crate::node::Node;

/// A node that claims no more.
struct Retired {
    node: Arc<Node>,
    is_leaving: bool,
}

/// The nodes that a dispatcher is: one that claims, and those before it that have not left yet.
pub(super) struct Nodes {
    current: Option<Arc<Node>>,
    retired: Vec<Retired>,
    /// A new one is joining.
    pub(super) is_joining: bool,
}

impl Nodes {
    pub(super) fn new(node: Node) -> Self {
        Self { current: Some(Arc::new(node)), retired: vec![], is_joining: false }
    }

    /// The one that claims.
    pub(super) const fn current(&self) -> Option<&Arc<Node>> {
        self.current.as_ref()
    }

    /// Whether this one claims.
    pub(super) fn is_current(&self, node: &Arc<Node>) -> bool {
        self.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, node))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.current.iter().chain(self.retired.iter().map(|retired| &retired.node))
    }

    /// Lets the current one claim no more.
    pub(super) fn retire(&mut self) {
        let retired = self.current.take().map(|node| Retired { node, is_leaving: false });
        self.retired.extend(retired);
    }

    /// A node that is to be joined again as another one, if it is time for that: not before the turns of a
    /// lost lease have ended.
    pub(super) fn predecessor(&self, has_turns: impl Fn(NodeId) -> bool) -> Option<&Arc<Node>> {
        let is_held_up = |retired: &Retired| retired.node.is_lost() && has_turns(retired.node.id());
        if self.current.is_some() || self.is_joining || self.retired.iter().any(is_held_up) {
            return None;
        }
        self.retired.last().map(|retired| &retired.node)
    }

    pub(super) fn joined(&mut self, node: Arc<Node>) {
        self.current = Some(node);
    }

    /// The retired ones that are to leave now, as their turns have ended.
    pub(super) fn leavers(&mut self, has_turns: impl Fn(NodeId) -> bool) -> Vec<Arc<Node>> {
        // The last one stays until there is another, which is made like it.
        let succeeded = self.current.is_some();
        let mut leaving = Vec::new();
        for retired in &mut self.retired {
            if succeeded && !retired.is_leaving && !has_turns(retired.node.id()) {
                retired.is_leaving = true;
                leaving.push(Arc::clone(&retired.node));
            }
        }
        leaving
    }

    /// Notes whether a node could leave; one that could not tries it again.
    pub(super) fn left(&mut self, node: NodeId, has_left: bool) {
        self.retired.retain_mut(|retired| {
            let is_meant = retired.node.id() == node;
            retired.is_leaving &= !is_meant;
            !(is_meant && has_left)
        });
    }
}
