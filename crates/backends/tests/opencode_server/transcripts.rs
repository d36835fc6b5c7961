//! Recorded conversations of the real server, translated: what a person would see of each.

use std::collections::BTreeMap;
use std::fmt::Write;

use backends::opencode_server::{Kind, Standing, Translator};
use serde_json::Value;

use crate::shown::{json, recorded, show};

#[test]
fn recorded_turns_mean_what_they_meant() {
    let scenarios = scenarios();
    assert_eq!(scenarios.len(), 27);
    for (name, rows) in &scenarios {
        let trace = replay(rows);
        if !trace.is_empty() {
            insta::assert_snapshot!(name.clone(), trace);
        }
    }
}

/// The rows of each scenario.
fn scenarios() -> BTreeMap<String, Vec<Value>> {
    let mut scenarios = BTreeMap::new();
    let mut name = String::new();
    for row in recorded("tests/opencode_server/transcripts.ndjson.gz") {
        if row["dir"] == "scenario" {
            name = row["line"].as_str().unwrap().to_owned();
            scenarios.insert(name.clone(), Vec::new());
        } else {
            scenarios.get_mut(&name).unwrap().push(row);
        }
    }
    scenarios
}

/// What each prompt led to. The host that was recorded did not choose its prompts' ids: they are looked up.
fn replay(rows: &[Value]) -> String {
    let mut trace = String::new();
    let mut turns: BTreeMap<String, Translator> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        if let Some(session) = prompted(row) {
            let is_busy = turns.get(&session).is_some_and(|turn| turn.standing() != Standing::Over);
            if !is_busy {
                let prompt = rows[at..].iter().find_map(|row| prompt_of(row, &session)).unwrap_or_default();
                turns.insert(session.clone(), Translator::new(&*session, prompt, []));
                writeln!(trace, "prompt").unwrap();
            }
        }
        let Some((kind, properties)) = event(row) else { continue };
        let about = properties["sessionID"].as_str().unwrap_or_default().to_owned();
        let Some(turn) = turns.get_mut(&about) else { continue };
        if turn.standing() == Standing::Over {
            continue;
        }
        let (mut updates, before) = (Vec::new(), turn.standing());
        turn.event(kind, &about, &properties.to_string(), &mut updates);
        if turn.standing() == Standing::Over {
            turn.finish(&mut updates);
        }
        show(&updates, &mut trace);
        match turn.standing() {
            Standing::Over => writeln!(trace, "  end {:?} {}", turn.end().0, json(&turn.end().1)).unwrap(),
            Standing::Unsure if before != Standing::Unsure => writeln!(trace, "  over?").unwrap(),
            _ => {}
        }
    }
    trace
}

/// The conversation that a row prompts.
fn prompted(row: &Value) -> Option<String> {
    let path = row["http"].as_str().filter(|_| row["dir"] == "out")?.strip_prefix("POST /session/")?;
    let (session, rest) = path.split_once('/')?;
    (rest.starts_with("prompt_async") || rest.starts_with("message")).then(|| session.to_owned())
}

fn event(row: &Value) -> Option<(Kind, Value)> {
    let stream = row["sse"].as_str()?;
    let data: Value = serde_json::from_str(row["line"].as_str()?.strip_prefix("data: ")?).ok()?;
    // Where both were recorded, the stream of one folder says nothing else.
    let event = if stream.starts_with("/global") { data["payload"].clone() } else { data };
    let kind = Kind::of(event["type"].as_str()?)?;
    Some((kind, event["properties"].clone()))
}

/// The id of the prompt's message.
fn prompt_of(row: &Value, session: &str) -> Option<String> {
    let (kind, properties) = event(row)?;
    let info = &properties["info"];
    let is_it = kind == Kind::Message && properties["sessionID"] == *session && info["role"] == "user";
    // One that is known already is an earlier prompt, of which something is told late.
    (is_it && info.get("summary").is_none()).then(|| info["id"].as_str().unwrap().to_owned())
}
