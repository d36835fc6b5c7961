//! Claude Code's list of tasks, which it keeps with tools: `TaskCreate` adds one, `TaskUpdate` changes one.

use std::collections::HashMap;

use dispatch_core::agent::PlanEntry;
use serde_json::Value;

use crate::common::id_hash::id_hash;
use crate::common::json::text;

/// Tasks that are shown.
const SHOWN: usize = 200;
/// Calls that may wait for their result.
const WAITING: usize = 64;
/// Characters of a word that are kept.
const LONGEST: usize = 1000;

/// The list, as far as it was heard of in this turn.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    entries: Vec<(String, PlanEntry)>,
    /// What a call will have done when it has worked.
    waiting: HashMap<u64, Change>,
}

#[derive(Debug)]
enum Change {
    Create { subject: String },
    Update { task: String, subject: Option<String>, status: Option<String> },
}

impl Tasks {
    /// A tool was called.
    pub(super) fn called(&mut self, call: &str, name: &str, input: &Value) {
        let word = |key: &str| {
            let text = input.get(key).and_then(Value::as_str);
            text.map(|text| text.chars().take(LONGEST).collect::<String>())
        };
        let change = match name {
            "TaskCreate" => Change::Create { subject: word("subject").unwrap_or_default() },
            "TaskUpdate" => {
                let task = word("taskId").unwrap_or_default();
                Change::Update { task, subject: word("subject"), status: word("status") }
            }
            _ => return,
        };
        if self.waiting.len() < WAITING {
            self.waiting.insert(id_hash(call), change);
        }
    }

    /// A call was answered; returns the list if that changed it.
    pub(super) fn answered(
        &mut self,
        call: &str,
        has_failed: bool,
        detail: Option<&Value>,
    ) -> Option<Vec<PlanEntry>> {
        let change = self.waiting.remove(&id_hash(call)).filter(|_| !has_failed)?;
        match change {
            Change::Create { subject } if self.entries.len() < SHOWN => {
                let task = text(detail?.get("task")?, "id").chars().take(LONGEST).collect();
                let entry =
                    PlanEntry { content: subject, status: "pending".to_owned(), priority: String::new() };
                self.entries.push((task, entry));
            }
            Change::Create { .. } => return None,
            Change::Update { task, status: Some(status), .. } if status == "deleted" => {
                self.entries.retain(|(id, _)| *id != task);
            }
            Change::Update { task, subject, status } => {
                let (_, entry) = self.entries.iter_mut().find(|(id, _)| *id == task)?;
                entry.content = subject.unwrap_or(std::mem::take(&mut entry.content));
                entry.status = status.unwrap_or(std::mem::take(&mut entry.status));
            }
        }
        Some(self.entries.iter().map(|(_, entry)| entry.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_worked_changes_the_list() {
        let mut tasks = Tasks::default();
        let made = json!({"task": {"id": "1"}});
        tasks.called("a", "TaskCreate", &json!({"subject": "look"}));
        assert_eq!(tasks.answered("b", false, None), None, "another call");
        assert_eq!(tasks.answered("a", false, Some(&made)).unwrap()[0].content, "look");
        tasks.called("c", "TaskUpdate", &json!({"taskId": "1", "status": "completed"}));
        assert_eq!(tasks.answered("c", false, None).unwrap()[0].status, "completed");
        tasks.called("d", "TaskUpdate", &json!({"taskId": "1", "status": "deleted"}));
        assert_eq!(tasks.answered("d", true, None), None, "it did not work");
        tasks.called("d", "TaskUpdate", &json!({"taskId": "1", "status": "deleted"}));
        assert_eq!(tasks.answered("d", false, None), Some(vec![]));
    }
}
