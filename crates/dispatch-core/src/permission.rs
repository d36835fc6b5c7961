//! Rules that answer permission requests by the kind of tool and the files that it is about.

use serde::{Deserialize, Serialize};

use crate::{
    agent::{Answer, PermissionRequest},
    task::PermissionPolicy,
};

/// What to answer to requests of one sort. Of several rules, the first that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionRule {
    /// The kind of tool, in the agent's word (`edit`, `execute`, `read`, …); every kind where it is absent.
    #[serde(default)]
    pub tool: Option<String>,
    /// The files, relative to the worktree: `*` and `?` stand for what is no `/`, `**` for any number of folders.
    /// Every file that the request names must fit; one that names none, or one outside the worktree, never
    /// does. Where the pattern is absent, files do not matter.
    #[serde(default)]
    pub path: Option<String>,
    /// What is answered.
    pub answer: RuleAnswer,
}

/// What a rule answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleAnswer {
    /// Allow it, once.
    Allow,
    /// Refuse it.
    Deny,
    /// Ask the user.
    Ask,
}

impl PermissionRule {
    /// Whether the rule is about this request.
    #[must_use]
    pub fn fits(&self, request: &PermissionRequest) -> bool {
        let tool = self.tool.as_ref().is_none_or(|tool| *tool == request.tool_call.kind);
        let path = self.path.as_ref().is_none_or(|pattern| {
            !request.paths.is_empty() && request.paths.iter().all(|path| path_fits(pattern, path))
        });
        tool && path
    }
}

/// The answer to a request that is given without asking anybody; `None` asks the user.
#[must_use]
pub fn decide(
    policy: PermissionPolicy,
    rules: &[PermissionRule],
    request: &PermissionRequest,
) -> Option<Answer> {
    match policy {
        PermissionPolicy::Ask => None,
        PermissionPolicy::Allow => Some(Answer::Allow),
        PermissionPolicy::Deny => Some(Answer::Deny),
        PermissionPolicy::Auto => {
            match rules.iter().find(|rule| rule.fits(request)).map(|rule| rule.answer) {
                Some(RuleAnswer::Allow) => Some(Answer::Allow),
                Some(RuleAnswer::Deny) => Some(Answer::Deny),
                Some(RuleAnswer::Ask) | None => None,
            }
        }
    }
}

/// Whether a path fits a pattern, folder by folder.
fn path_fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    wild(
        &pattern,
        &path,
        |part| *part == "**",
        |part, name| {
            let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
            wild(&part, &name, |c| *c == '*', |c, d| *c == '?' || c == d)
        },
    )
}

/// Whether `items` fit `pattern`, of which some parts stand for any number of items and each other one for one.
/// The time is bounded by the product of their lengths: only the last part of that sort is ever tried again.
fn wild<P, T>(
    pattern: &[P],
    items: &[T],
    is_any: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while i < items.len() {
        match pattern.get(p) {
            Some(part) if is_any(part) => {
                again = Some((p + 1, i));
                p += 1;
            }
            Some(part) if fits(part, &items[i]) => {
                p += 1;
                i += 1;
            }
            _ => match &mut again {
                Some((after, taken)) => {
                    *taken += 1;
                    (p, i) = (*after, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(is_any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::ToolCall;

    fn request(kind: &str, paths: &[&str]) -> PermissionRequest {
        PermissionRequest {
            id: "1".into(),
            tool_call: ToolCall { kind: kind.into(), ..ToolCall::default() },
            options: vec![],
            paths: paths.iter().map(|&path| path.into()).collect(),
        }
    }

    fn rule(tool: Option<&str>, path: Option<&str>, answer: RuleAnswer) -> PermissionRule {
        PermissionRule { tool: tool.map(Into::into), path: path.map(Into::into), answer }
    }

    #[test]
    fn patterns_are_those_of_paths() {
        for (pattern, path, fits) in [
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/b/a.rs", false),
            ("src/**", "src/b/a.rs", true),
            ("**/*.md", "a.md", true),
            ("**/*.md", "x/y/a.md", true),
            ("**/test/**/?.txt", "a/test/b/c/d.txt", true),
            ("**/test/**/?.txt", "a/test/b/c/dd.txt", false),
            ("a*b*c", "aXbYbZc", true),
            ("*", "a/b", false),
            ("", "a", false),
        ] {
            assert_eq!(path_fits(pattern, path), fits, "{pattern} {path}");
        }
        let (pattern, path) = ("**/a/".repeat(200) + "b", "a/".repeat(2000));
        assert!(!path_fits(&pattern, &path), "and it ends soon");
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_nobody_is_trusted_outside() {
        use RuleAnswer::{Allow, Ask, Deny};
        let rules = [
            rule(Some("edit"), Some("src/**"), Allow),
            rule(Some("edit"), Some("secret/**"), Deny),
            rule(Some("execute"), None, Ask),
            rule(None, None, Deny),
        ];
        let decided = |kind, paths: &[&str]| decide(PermissionPolicy::Auto, &rules, &request(kind, paths));
        assert_eq!(decided("edit", &["src/a", "src/b/c"]), Some(Answer::Allow));
        assert_eq!(
            decided("edit", &["src/a", "secret/b"]),
            Some(Answer::Deny),
            "not all of it fits the first"
        );
        assert_eq!(decided("edit", &[]), Some(Answer::Deny), "nobody knows where");
        assert_eq!(decided("execute", &[]), None);
        assert_eq!(decide(PermissionPolicy::Auto, &[], &request("edit", &["a"])), None, "no rule: ask");
    }
}
