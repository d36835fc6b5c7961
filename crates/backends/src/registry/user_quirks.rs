//! `[agents.NAME.quirks]` of the configuration.

use acp_proto::host::MissingFile;
use serde::Deserialize;

use super::entry::Quirks;

/// Letters that the beginning of an error has at least: a shorter one would fit what is none.
const SHORTEST_ERROR: usize = 8;

/// [`Quirks`], as far as a user says something of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserQuirks {
    /// What it is answered when it reads a file that does not exist.
    pub missing_file: Option<MissingFileAnswer>,
    /// Its text carries `<dcp…>` context tags, which are taken out.
    pub context_tags: Option<bool>,
    /// It reports model errors as text with this beginning; empty for one that does not.
    pub error_text: Option<String>,
    /// It does not end when its standard input is closed.
    pub ignores_eof: Option<bool>,
    /// The mode that it is put into where a task names none; empty for its own.
    pub start_mode: Option<String>,
    /// Its answers tell the tokens of the whole conversation, not of the turn.
    pub usage_adds_up: Option<bool>,
    /// What it had running goes on when its turn is cancelled.
    pub cancel_leaves_commands: Option<bool>,
}

/// What an agent is answered when it reads a file that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingFileAnswer {
    /// That there is none.
    Error,
    /// No text, as if it were empty.
    Empty,
}

impl UserQuirks {
    /// Which of them cannot be meant, and why.
    pub(super) fn trouble(&self) -> Option<(&'static str, &'static str)> {
        let is_short = |text: &String| {
            let length = text.trim().chars().count();
            !text.is_empty() && length < SHORTEST_ERROR
        };
        let is_blank = |text: &String| !text.is_empty() && text.trim() != text;
        if self.error_text.as_ref().is_some_and(is_short) {
            Some(("error_text", "give at least 8 letters, or nothing for an agent that has none"))
        } else if self.start_mode.as_ref().is_some_and(is_blank) {
            Some(("start_mode", "a mode's name begins and ends with no space"))
        } else {
            None
        }
    }

    /// Changes what the user says something of.
    pub(super) fn change(self, quirks: &mut Quirks) {
        let Self {
            missing_file,
            context_tags,
            error_text,
            ignores_eof,
            start_mode,
            usage_adds_up,
            cancel_leaves_commands,
        } = self;
        if let Some(answer) = missing_file {
            quirks.missing_file = match answer {
                MissingFileAnswer::Error => MissingFile::default(),
                MissingFileAnswer::Empty => MissingFile::Empty,
            };
        }
        let switch = |slot: &mut bool, wanted: Option<bool>| *slot = wanted.unwrap_or(*slot);
        switch(&mut quirks.context_tags, context_tags);
        switch(&mut quirks.ignores_eof, ignores_eof);
        switch(&mut quirks.usage_adds_up, usage_adds_up);
        switch(&mut quirks.cancel_leaves_commands, cancel_leaves_commands);
        let word = |slot: &mut Option<String>, wanted: Option<String>| {
            if let Some(wanted) = wanted {
                *slot = Some(wanted).filter(|wanted| !wanted.is_empty());
            }
        };
        word(&mut quirks.error_text, error_text);
        word(&mut quirks.start_mode, start_mode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Registry, UserAgent};
    use dispatch_core::task::Name;

    fn with(agent: &str, json: &str) -> Result<Quirks, String> {
        let user: UserAgent = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let name = Name::new(agent).unwrap();
        let registry = Registry::new([(name, user)]).map_err(|error| error.to_string())?;
        Ok(registry.get(agent).unwrap().quirks.clone())
    }

    #[test]
    fn what_a_user_says_counts_and_the_rest_stays() {
        let vibe = with("vibe-acp", r#"{"quirks": {"start_mode": "plan", "missing_file": "empty"}}"#);
        let shipped = with("vibe-acp", "{}").unwrap();
        assert_eq!(shipped.start_mode.as_deref(), Some("ask"));
        let changed =
            Quirks { start_mode: Some("plan".to_owned()), missing_file: MissingFile::Empty, ..shipped };
        assert_eq!(vibe.unwrap(), changed);
        let goose = with("goose", r#"{"quirks": {"error_text": "", "ignores_eof": false}}"#).unwrap();
        assert_eq!(goose, Quirks::default());
        let gemini = with("gemini", r#"{"quirks": {"missing_file": "error"}}"#).unwrap();
        assert_eq!(gemini.missing_file, MissingFile::default());
        let own = r#"{"command": ["own"], "quirks": {"error_text": "I failed: ", "usage_adds_up": true,
                      "context_tags": true, "cancel_leaves_commands": true}}"#;
        let expected = Quirks {
            error_text: Some("I failed: ".to_owned()),
            usage_adds_up: true,
            context_tags: true,
            cancel_leaves_commands: true,
            ..Quirks::default()
        };
        assert_eq!(with("own", own).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (json, named) in [
            (r#"{"quirks": {"error_text": "Error"}}"#, "[agents.goose.quirks] error_text"),
            (r#"{"quirks": {"error_text": "         "}}"#, "[agents.goose.quirks] error_text"),
            (r#"{"quirks": {"start_mode": " plan"}}"#, "[agents.goose.quirks] start_mode"),
            (r#"{"quirks": {"ignores_oef": true}}"#, "ignores_oef"),
            (r#"{"quirks": {"missing_file": "maybe"}}"#, "maybe"),
        ] {
            let error = with("goose", json).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
